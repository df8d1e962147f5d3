//! Searches: jobs that make the jobs of what they find.

use master::store::{Admitted, Announced, Found, JobPin, Place};
use model::JobState::{Cancelled, Expired, Finished, Queued, Superseded, Waiting};
use model::intake::JobAnswer;
use model::missed::{Asked, Fate};
use model::source::Pin;
use model::{JobId, Policy, Time};

use crate::bed::{Bed, decide, fit, keyed, make, states, worker};
use crate::stories;

fn pin() -> Pin {
    Pin { reference: "main".into(), commit: "a".repeat(40).parse().unwrap() }
}

fn search(admitted: Admitted) -> Admitted {
    Admitted { source: Some(JobPin::Open("main".into())), search: Some(admitted.job.key), ..admitted }
}

/// What a search finds in these folders.
fn in_folders(search: &Admitted, folders: &[&str]) -> Vec<master::store::Candidate> {
    let found = |folder: &&str| {
        let mut found = search.clone();
        found.job.key = search.job.key.in_folder(folder);
        found.job.params.insert("folder".into(), (*folder).into());
        found.source = Some(JobPin::At(pin()));
        fit(found)
    };
    folders.iter().map(found).collect()
}

async fn seq(bed: &Bed, job: JobId) -> i64 {
    bed.store.job(job).await.unwrap().unwrap().seq
}

stories! {
    async fn a_search_makes_each_job_once_whoever_looks_and_however_often_it_is_asked_for(bed: Bed) {
        let asked = search(bed.admitted(1));
        let id = make(&bed.store, [asked.clone()]).await[0];
        assert_eq!(states(&bed, &[id]).await, [Waiting]);
        let (seq, other) = (seq(&bed, id).await, bed.another(crate::bed::SITE).await);
        let jobs = in_folders(&asked, &["tests/a", "tests/b"]);
        let pin = pin();
        let found = Found { seq, pin: &pin, state: Finished, reason: "found tests/a, tests/b", jobs: &jobs };
        let (one, two) = tokio::join!(bed.store.found(&found), other.found(&found));
        let mut made = [one.unwrap(), two.unwrap()];
        made.sort_unstable();
        assert_eq!(made, [0, 2], "two masters look at once, and one of them makes the jobs");
        let ids = ["tests/a", "tests/b"].map(|folder| id.in_folder(folder));
        assert_eq!(states(&bed, &[id, ids[0], ids[1]]).await, [Finished, Queued, Queued]);
        let named = bed.store.found_by(id).await.unwrap();
        assert_eq!(named.iter().map(|job| job.id).collect::<Vec<_>>(), ids);
        assert!(named.iter().all(|job| job.search == Some(id) && !job.is_search()));

        // The repository has another folder by now: whoever asks again is told that it was looked for.
        let again = bed.store.submit(&[fit(asked.clone())]).await.unwrap();
        assert_eq!(again, [JobAnswer::Exists { job: id, state: Finished }]);
        let more = in_folders(&asked, &["tests/a", "tests/c"]);
        assert_eq!(bed.store.found(&Found { jobs: &more, ..found }).await.unwrap(), 0);
        assert_eq!(bed.store.found_by(id).await.unwrap().len(), 2);
        let parts = bed.store.job(id).await.unwrap().unwrap();
        assert_eq!(parts.source, Some(JobPin::At(pin.clone())));
        assert!(matches!(parts.place, Place::Ended { reason, .. } if reason == "found tests/a, tests/b"));
        let granted = bed.claim(&worker("w"), 9).await;
        let mut claimed: Vec<_> = granted.iter().map(|grant| (grant.job, grant.pin.clone())).collect();
        claimed.sort_unstable_by_key(|(job, _)| ids.iter().position(|id| id == job));
        assert_eq!(claimed, ids.map(|id| (id, Some(pin.clone()))), "and never the search itself");

        // Run again it looks again, and what that finds is new.
        let rerun = bed.act(master::store::Deed::Rerun, &[id]).await;
        let anew = rerun[0].new_job.expect("it was ordered anew");
        assert_eq!(states(&bed, &[anew]).await, [Waiting]);
        assert!(bed.store.job(anew).await.unwrap().unwrap().summary.is_search());
    }

    async fn the_bus_hears_of_what_was_found_and_a_search_is_done_when_that_is(bed: Bed) {
        bed.store.announce(Announced::default());
        let asked = search(bed.admitted(1));
        let id = make(&bed.store, [asked.clone()]).await[0];
        let fate = async || bed.store.known(&[Asked { id: "e".into(), jobs: vec![id] }]).await.unwrap()[0].jobs[0].clone();
        assert_eq!(fate().await, Fate::Open { state: Waiting });
        let (pin, jobs) = (pin(), in_folders(&asked, &["tests/a"]));
        let found = Found { seq: seq(&bed, id).await, pin: &pin, state: Finished, reason: "found tests/a", jobs: &jobs };
        assert_eq!(bed.store.found(&found).await.unwrap(), 1);
        let told: Vec<_> = bed.store.messages_due(9).await.unwrap().into_iter().map(|message| message.job).collect();
        assert_eq!(told, [id.in_folder("tests/a")]);
        assert_eq!(fate().await, Fate::Open { state: Queued });
        bed.cancel(&[id.in_folder("tests/a")]).await;
        assert!(matches!(fate().await, Fate::Ended { state: Cancelled, .. }));
        bed.sound().await;
    }

    async fn what_finds_nothing_or_has_ended_makes_nothing(bed: Bed) {
        let [empty, cancelled, expired] = [1, 2, 3].map(|n| search(bed.admitted(n)));
        let past = Admitted {
            job: model::NewJob { expires_at: Some(Time(1)), ..expired.job.clone() },
            ..expired
        };
        let ids = make(&bed.store, [empty.clone(), cancelled.clone(), past.clone()]).await;
        let pin = pin();
        let jobs = in_folders(&cancelled, &["a"]);
        let mut seqs = Vec::new();
        for id in &ids {
            seqs.push(seq(&bed, *id).await);
        }
        let found = |n: usize| Found { seq: seqs[n], pin: &pin, state: Finished, reason: "found nothing", jobs: &[] };
        assert_eq!(bed.store.found(&found(0)).await.unwrap(), 0);
        bed.cancel(&[ids[1]]).await;
        bed.store.expire(&decide).await.unwrap();
        assert_eq!(bed.store.found(&Found { jobs: &jobs, ..found(1) }).await.unwrap(), 0);
        assert_eq!(bed.store.found(&Found { jobs: &jobs, ..found(2) }).await.unwrap(), 0);
        assert_eq!(states(&bed, &ids).await, [Finished, Cancelled, Expired]);
        assert_eq!(bed.claim(&worker("w"), 9).await.len(), 0);
    }

    async fn what_one_search_found_is_equally_new_and_a_newer_search_takes_its_place(bed: Bed) {
        let latest = |n, second: i64| {
            let admitted = keyed(bed.admitted(n), "foo", Policy::KeepLatestQueued);
            search(Admitted { ordered_at: Time(second * 1_000_000), ..admitted })
        };
        let (old, new) = (latest(1, 10), latest(2, 20));
        let first = make(&bed.store, [old.clone()]).await[0];
        let pin = pin();
        let jobs = in_folders(&old, &["a", "b"]);
        let found = Found { seq: seq(&bed, first).await, pin: &pin, state: Finished, reason: "found", jobs: &jobs };
        assert_eq!(bed.store.found(&found).await.unwrap(), 2);
        let ids = ["a", "b"].map(|folder| first.in_folder(folder));
        assert_eq!(states(&bed, &ids).await, [Queued, Queued]);
        let second = make(&bed.store, [new.clone()]).await[0];
        assert_eq!(states(&bed, &ids).await, [Superseded, Superseded]);
        let jobs = in_folders(&new, &["a"]);
        let found = Found { seq: seq(&bed, second).await, pin: &pin, state: Finished, reason: "found", jobs: &jobs };
        assert_eq!(bed.store.found(&found).await.unwrap(), 1);
        assert_eq!(states(&bed, &[second, second.in_folder("a")]).await, [Finished, Queued]);
    }
}
