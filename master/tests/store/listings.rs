//! Pages, filters, and looking one thing up.

use master::store::{EventFilter, JobFilter, Lookup};
use model::{End, JobState, Outcome};

use crate::bed::{batch, event, fit, passed, report, worker};
use crate::stories;

stories! {
    async fn pages_show_each_job_once_while_others_are_added(bed: Bed) {
        bed.store.submit(&bed.candidates(0..10)).await.unwrap();
        let (mut seen, mut cursor, mut n) = (Vec::new(), None, 100);
        loop {
            let (page, next) = bed.store.jobs(&JobFilter::default(), cursor, 3).await.unwrap();
            seen.extend(page.into_iter().map(|job| job.item));
            bed.submit(n).await;
            n += 1;
            match next {
                Some(_) => cursor = next,
                None => break,
            }
        }
        assert_eq!(seen.len(), 10);
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 10);
    }

    async fn each_filter_finds_what_it_says(bed: Bed) {
        let w = worker("w1");
        let odd = |n, change: fn(&mut master::store::Admitted)| {
            let mut admitted = bed.admitted(n);
            change(&mut admitted);
            fit(admitted)
        };
        let finished = bed.run(1, &w).await;
        bed.finish(&w, passed(&finished)).await;
        let failed = bed.run(2, &w).await;
        let findings = vec![model::Finding::of(Outcome::Failed)];
        bed.finish(&w, master::store::ReportIn { findings, ..report(&failed, End::Exited { code: 1 }) }).await;
        let waiting = bed.run(3, &w).await;
        bed.finish(&w, report(&waiting, End::Exited { code: 75 })).await;
        let other = worker("w2");
        let running = bed.run(4, &other).await;
        let cancelled = bed.submit(5).await;
        bed.cancel(&[cancelled]).await;
        bed.store.submit(&[odd(6, |a| a.job.task = "depcheck".into()), odd(7, |a| a.job.rule = "other".into()),
            odd(8, |a| a.job.arch = "s390x".into()), odd(9, |a| a.event = Some("ev".into()))]).await.unwrap();

        let items = async |filter: JobFilter| {
            let (page, next) = bed.store.jobs(&filter, None, 100).await.unwrap();
            assert_eq!(next, None);
            page.into_iter().map(|job| job.item["foo-".len()..].trim_end_matches("-1").to_owned()).collect::<Vec<_>>()
        };
        let none = JobFilter::default;
        assert_eq!(items(none()).await, ["9", "8", "7", "6", "5", "4", "3", "2", "1"]);
        assert_eq!(items(JobFilter { states: vec![JobState::Queued], ..none() }).await, ["9", "8", "7", "6"]);
        assert_eq!(items(JobFilter { states: vec![JobState::Waiting], ..none() }).await, ["3"]);
        assert_eq!(items(JobFilter { states: vec![JobState::Running], ..none() }).await, ["4"]);
        assert_eq!(items(JobFilter { states: vec![JobState::Finished], ..none() }).await, ["2", "1"]);
        let mixed = vec![JobState::Cancelled, JobState::Running, JobState::Finished, JobState::Waiting];
        assert_eq!(items(JobFilter { states: mixed, ..none() }).await, ["5", "4", "3", "2", "1"]);
        assert_eq!(items(JobFilter { task: Some("depcheck".into()), ..none() }).await, ["6"]);
        assert_eq!(items(JobFilter { rule: Some("other".into()), ..none() }).await, ["7"]);
        assert_eq!(items(JobFilter { arch: Some("s390x".into()), ..none() }).await, ["8"]);
        assert_eq!(items(JobFilter { event: Some("ev".into()), ..none() }).await, ["9"]);
        assert_eq!(items(JobFilter { item: Some("foo-4-1".into()), ..none() }).await, ["4"]);
        assert_eq!(items(JobFilter { worker: Some("w2".into()), ..none() }).await, ["4"]);
        assert_eq!(items(JobFilter { worker: Some("w1".into()), ..none() }).await, ["3", "2", "1"]);
        assert_eq!(items(JobFilter { outcome: Some(Outcome::Failed), ..none() }).await, ["2"]);
        assert_eq!(items(JobFilter { outcome: Some(Outcome::Passed), ..none() }).await, ["1"]);
        let narrow = JobFilter { states: vec![JobState::Finished], task: Some("rpmlint".into()),
            worker: Some("w1".into()), outcome: Some(Outcome::Failed), ..none() };
        assert_eq!(items(narrow).await, ["2"]);

        // Pages go on where they stopped, also over several states.
        let filter = JobFilter { states: vec![JobState::Finished, JobState::Queued], ..none() };
        let (page, next) = bed.store.jobs(&filter, None, 5).await.unwrap();
        assert_eq!(page.len(), 5);
        let (page, next) = bed.store.jobs(&filter, next, 5).await.unwrap();
        assert_eq!((page.len(), next), (1, None));
        let running = bed.store.job(running.job).await.unwrap().unwrap();
        assert!(running.summary.started_at.is_some() && running.summary.finished_at.is_none());
        bed.sound().await;
    }

    async fn a_job_is_found_by_the_beginning_of_its_id(bed: Bed) {
        let job = bed.submit(1).await;
        let text = job.to_string();
        for prefix in [text.as_str(), &text[..8], &text[..13], &text.to_uppercase()[..6]] {
            assert_eq!(bed.store.lookup(prefix).await.unwrap(), Lookup::One(job), "{prefix}");
        }
        for prefix in ["", "abc", "nonsense", "ffffffffffff", "é12345"] {
            assert_eq!(bed.store.lookup(prefix).await.unwrap(), Lookup::None, "{prefix}");
        }
        bed.store.submit(&bed.candidates(1000..3000)).await.unwrap();
        assert_eq!(bed.store.job(model::JobId::of("x", "", "", "", "")).await.unwrap().map(|j| j.seq), None);
    }

    async fn events_are_listed_by_topic_and_by_whether_they_made_jobs(bed: Bed) {
        let mut all = batch("r", 1, vec![event("a", 1), event("b", 2), event("c", 3)]);
        all.events[0].jobs = vec![bed.candidate(1)];
        all.events[1].event.topic = "org.example.tag".into();
        all.events[2].event.topic = "com.other".into();
        bed.store.intake(&all).await.unwrap();
        let ids = async |filter: EventFilter| {
            let (page, _) = bed.store.events(&filter, None, 10).await.unwrap();
            page.into_iter().map(|e| format!("{}:{}", e.id, e.jobs)).collect::<Vec<_>>()
        };
        assert_eq!(ids(EventFilter::default()).await, ["c:0", "b:0", "a:1"]);
        assert_eq!(ids(EventFilter { topic: Some("org.example.*".into()), ..Default::default() }).await, ["b:0", "a:1"]);
        assert_eq!(ids(EventFilter { topic: Some("org.example.tag".into()), ..Default::default() }).await, ["b:0"]);
        assert_eq!(ids(EventFilter { with_jobs: Some(true), ..Default::default() }).await, ["a:1"]);
        assert_eq!(ids(EventFilter { with_jobs: Some(false), ..Default::default() }).await, ["c:0", "b:0"]);
        assert!(ids(EventFilter { recorder: Some("x".into()), ..Default::default() }).await.is_empty());
        let (page, next) = bed.store.events(&EventFilter::default(), None, 2).await.unwrap();
        assert_eq!(page.len(), 2);
        assert_eq!(bed.store.events(&EventFilter::default(), next, 2).await.unwrap().0.len(), 1);
    }
}
