//! Commits of jobs, and what the mirrors show.

use master::store::{Heads, JobPin, MirrorRow, Place};
use model::source::{MirrorNote, Pin};
use model::{JobState, Time};

use crate::bed::{fit, worker};
use crate::stories;

fn pin(digit: &str) -> Pin {
    Pin { reference: "main".into(), commit: digit.repeat(40).parse().unwrap() }
}

stories! {
    async fn a_job_runs_the_commit_it_was_queued_with_and_waits_while_it_has_none(bed: Bed) {
        let with = |n, source| {
            let mut admitted = bed.admitted(n);
            admitted.source = source;
            fit(admitted)
        };
        let open = || Some(JobPin::Open("f41, else main".into()));
        let jobs = [with(1, Some(JobPin::At(pin("a")))), with(2, open()), with(3, open()), with(4, None), with(5, open())];
        bed.store.submit(&jobs).await.unwrap();
        let ids: Vec<_> = (1..6).map(|n| bed.admitted(n).job.key).collect();
        let states = async || {
            let mut states = Vec::new();
            for id in &ids {
                states.push(bed.state(*id).await);
            }
            states
        };
        use JobState::{Cancelled, Queued, Waiting};
        assert_eq!(states().await, [Queued, Waiting, Waiting, Queued, Waiting]);
        let seen = bed.store.job(ids[1]).await.unwrap().unwrap();
        assert_eq!(seen.source, open());
        assert!(matches!(seen.place, Place::Waiting { until: None, .. }));
        bed.sound().await;

        let unpinned = bed.store.unpinned(0, 2).await.unwrap();
        assert_eq!(unpinned.iter().map(|u| u.job).collect::<Vec<_>>(), ids[1..3]);
        assert_eq!(bed.store.unpinned(unpinned[1].seq, 2).await.unwrap()[0].job, ids[4]);
        // One that is cancelled meanwhile stays so.
        bed.cancel(&[ids[2]]).await;
        let pins: Vec<_> = unpinned.iter().map(|u| (u.seq, pin("b"))).collect();
        bed.store.pin(&pins).await.unwrap();
        bed.store.pin(&[(pins[0].0, pin("c"))]).await.unwrap();
        assert_eq!(bed.store.promote().await.unwrap(), 1);
        assert_eq!(states().await, [Queued, Queued, Cancelled, Queued, Waiting]);
        bed.sound().await;

        let mut granted = bed.claim(&worker("w"), 9).await;
        granted.sort_by_key(|grant| ids.iter().position(|id| *id == grant.job));
        let pinned: Vec<_> = granted.into_iter().map(|grant| grant.pin).collect();
        assert_eq!(pinned, [Some(pin("a")), Some(pin("b")), None]);
    }

    async fn what_the_mirrors_show_changes_at_once_and_every_master_sees_that_it_did(bed: Bed) {
        let other = bed.another(crate::bed::SITE).await;
        let row = |url: &str, digit: &str| MirrorRow {
            url: url.into(),
            heads: Heads { branches: [("main".to_owned(), pin(digit).commit)].into(), tags: Default::default() },
            fetched_at: Some(Time(1)),
            ..MirrorRow::default()
        };
        assert_eq!(other.mirrors().await.unwrap(), (0, Vec::new()));
        bed.store.swap_mirrors(&[row("a", "1"), row("b", "1")], &[]).await.unwrap();
        assert_eq!(other.mirrors_version().await.unwrap(), 1);
        let failed = Some(MirrorNote { what: "no route\0".into(), since: Time(2) });
        let notes = vec![MirrorNote { what: "branch main was force-pushed".into(), since: Time(3) }];
        let changed = MirrorRow { failed, notes, ..row("b", "2") };
        bed.store.swap_mirrors(&[changed.clone(), row("c", "3")], &["a".into()]).await.unwrap();
        let (version, rows) = other.mirrors().await.unwrap();
        assert_eq!((version, rows.len()), (2, 2));
        assert_eq!(rows[0].heads, changed.heads);
        assert_eq!(rows[0].notes, changed.notes);
        assert!(rows[0].failed.as_ref().is_some_and(|note| note.what.starts_with("no route")));
        assert_eq!(rows[1], row("c", "3"));
    }
}
