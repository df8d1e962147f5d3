//! Two triggers of a pair: what they send is compared, whoever comes first and however late the other is.

use master::store::{Batch, Store};
use model::intake::Pair;
use model::operator::{Differs, Divergence};
use model::{JobId, Span};

use crate::bed::{batch, event};
use crate::stories;

const GRACE: Span = Span::minutes(5);

/// Events of one of the pair; each asks for the jobs of these causes.
fn of(member: &str, first: u64, events: &[(&str, &[&str])]) -> Batch {
    let recorder = format!("{member}-log");
    let mut batch = batch(&recorder, first, events.iter().map(|(id, _)| event(id, 1)).collect());
    batch.pair = Some(Pair { name: "fedora".into(), member: member.into() });
    for (new, (_, causes)) in batch.events.iter_mut().zip(events) {
        new.decided = causes.iter().map(|cause| key(cause)).collect();
    }
    batch
}

fn key(cause: &str) -> JobId {
    JobId::of(cause, "rpmlint", "koji_build", "foo", "noarch")
}

async fn found(store: &Store) -> Vec<Divergence> {
    store.divergences(GRACE, None, 100).await.unwrap().0
}

async fn ids(store: &Store) -> Vec<String> {
    found(store).await.into_iter().map(|divergence| divergence.event_id).collect()
}

stories! {
    async fn an_event_that_both_decide_alike_leaves_nothing_behind(bed: Bed) {
        bed.store.intake(&of("a", 1, &[("e1", &["x", "y"]), ("e2", &[])])).await.unwrap();
        bed.store.intake(&of("b", 1, &[("e1", &["y", "x"]), ("e2", &[])])).await.unwrap();
        bed.store.advance(Span::days(1));
        // Another log of the one sends it all again: it was compared already.
        let mut anew = of("a", 1, &[("e1", &["z"]), ("e2", &[])]);
        anew.recorder = "a-new-log".into();
        bed.store.intake(&anew).await.unwrap();
        bed.store.intake(&of("b", 3, &[("e3", &[])])).await.unwrap();
        anew = of("a", 3, &[("e3", &[])]);
        anew.recorder = "a-new-log".into();
        bed.store.intake(&anew).await.unwrap();
        assert_eq!(ids(&bed.store).await, [""; 0]);
    }

    async fn other_jobs_for_one_event_are_told_with_both_generations(bed: Bed) {
        bed.store.intake(&of("a", 1, &[("e1", &["x", "y"]), ("e2", &["z"])])).await.unwrap();
        let mut second = of("b", 1, &[("e1", &["y", "w"]), ("e2", &["z"])]);
        second.events[0].generation = 8;
        bed.store.intake(&second).await.unwrap();
        let found = found(&bed.store).await;
        let [divergence] = &found[..] else { panic!("{found:?}") };
        assert_eq!((divergence.event_id.as_str(), divergence.pair.as_str()), ("e1", "fedora"));
        assert_eq!(
            divergence.differs,
            Differs::Decided {
                first_generation: 7,
                second_generation: 8,
                only_first: vec![key("x")],
                only_second: vec![key("w")],
            }
        );
        assert_eq!(
            divergence.to_string(),
            "a (generation 7) asks for 1 job that b (generation 8) does not ask for, and b for 1 job that a does not"
        );
        assert_eq!(bed.store.divergences_of("e1", GRACE).await.unwrap(), found);
        assert!(bed.store.divergences_of("e2", GRACE).await.unwrap().is_empty());
        let troubles = bed.store.pair_troubles(GRACE, Span::days(1)).await.unwrap();
        assert_eq!((troubles.len(), troubles[0].events, troubles[0].unseen), (1, 1, false));

        bed.store.advance(Span::days(2));
        assert!(bed.store.pair_troubles(GRACE, Span::days(1)).await.unwrap().is_empty());
        bed.store.tidy_pairs(Span::days(3)).await.unwrap();
        assert_eq!(ids(&bed.store).await, ["e1"]);
        bed.store.tidy_pairs(Span::days(1)).await.unwrap();
        assert_eq!(ids(&bed.store).await, [""; 0]);
    }

    async fn what_the_other_has_not_seen_counts_only_when_it_has_come_past_it(bed: Bed) {
        // From before there was a pair.
        bed.store.intake(&of("a", 1, &[("h1", &[])])).await.unwrap();
        bed.store.advance(Span::days(1));
        bed.store.intake(&of("a", 2, &[("e1", &[]), ("e2", &[])])).await.unwrap();
        bed.store.intake(&of("b", 1, &[("e1", &[])])).await.unwrap();
        // It may still come for as long as nothing later has come.
        bed.store.advance(Span::minutes(60));
        assert_eq!(ids(&bed.store).await, [""; 0]);
        bed.store.intake(&of("a", 4, &[("e3", &[]), ("e4", &[])])).await.unwrap();
        // What was sent with it or soon after tells nothing: two queues may give in another order.
        bed.store.intake(&of("b", 2, &[("e4", &[])])).await.unwrap();
        assert_eq!(ids(&bed.store).await, ["e2"], "e4 came an hour after e2, and at once after e3");
        bed.store.advance(Span::minutes(6));
        bed.store.intake(&of("a", 6, &[("e5", &[])])).await.unwrap();
        bed.store.intake(&of("b", 3, &[("e5", &[])])).await.unwrap();
        assert_eq!(ids(&bed.store).await, ["e3", "e2"]);
        let all = found(&bed.store).await;
        assert_eq!(all[0].to_string(), "a has sent it, and b has not, although it has sent what came later");
        let troubles = bed.store.pair_troubles(GRACE, Span::days(1)).await.unwrap();
        assert_eq!((troubles.len(), troubles[0].events, troubles[0].unseen), (1, 2, true));
        // It was late after all, and had decided differently.
        bed.store.intake(&of("b", 4, &[("e2", &["x"]), ("e3", &[])])).await.unwrap();
        let late = found(&bed.store).await;
        assert_eq!(late.len(), 1);
        assert!(matches!(late[0].differs, Differs::Decided { .. }), "{late:?}");
    }

    async fn the_first_is_told_apart_when_it_is_the_first_that_has_not_seen(bed: Bed) {
        bed.store.intake(&of("a", 1, &[("e1", &[])])).await.unwrap();
        bed.store.intake(&of("b", 1, &[("e1", &[]), ("e2", &[])])).await.unwrap();
        bed.store.advance(Span::minutes(6));
        bed.store.intake(&of("a", 2, &[("e3", &[])])).await.unwrap();
        assert_eq!(ids(&bed.store).await, [""; 0], "whether both have come past e2 is not known yet");
        bed.store.intake(&of("b", 3, &[("e3", &[])])).await.unwrap();
        let found = found(&bed.store).await;
        assert_eq!((found.len(), found[0].first.as_str(), found[0].second.as_str()), (1, "b", "a"));
    }

    async fn an_hour_of_backlog_is_no_divergence(bed: Bed) {
        let names: Vec<String> = (0..60).map(|n| format!("e{n}")).collect();
        let none: &[&str] = &[];
        let events: Vec<(&str, &[&str])> = names.iter().map(|name| (name.as_str(), none)).collect();
        bed.store.intake(&of("a", 1, &events[..1])).await.unwrap();
        bed.store.intake(&of("b", 1, &events[..1])).await.unwrap();
        for (n, _) in events.iter().enumerate().skip(1) {
            bed.store.advance(Span::minutes(1));
            bed.store.intake(&of("a", n as u64 + 1, &events[n..=n])).await.unwrap();
        }
        for n in (1..60).step_by(10) {
            let until = (n + 10).min(60);
            bed.store.intake(&of("b", n as u64 + 1, &events[n..until])).await.unwrap();
            assert_eq!(ids(&bed.store).await, [""; 0], "after {until}");
        }
        bed.store.advance(Span::minutes(60));
        assert_eq!(ids(&bed.store).await, [""; 0]);
    }

    async fn two_that_send_the_same_at_once_to_two_masters_are_paired_whole(bed: Bed) {
        let other = bed.another(crate::bed::SITE).await;
        let send = async |store: Store, member: &'static str| {
            for n in 0..20 {
                let names: Vec<String> = (0..10).map(|i| format!("e{}", n * 10 + i)).collect();
                let events: Vec<(&str, &[&str])> = names.iter().map(|name| (name.as_str(), &["x"][..])).collect();
                store.intake(&of(member, n * 10 + 1, &events)).await.unwrap();
            }
        };
        tokio::join!(send(bed.store.clone(), "a"), send(other, "b"));
        bed.store.advance(Span::minutes(6));
        bed.store.intake(&of("a", 201, &[("last", &[])])).await.unwrap();
        bed.store.intake(&of("b", 201, &[("last", &[])])).await.unwrap();
        assert_eq!(ids(&bed.store).await, [""; 0]);
        assert_eq!(bed.store.events(&Default::default(), None, 1000).await.unwrap().0.len(), 201);
        bed.sound().await;
    }
}
