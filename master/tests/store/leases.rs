//! Claim, renew, lapse, finish.

use model::lease::{Hold, Receipt};
use model::operator::WorkerState;
use model::{End, JobState, Outcome, Span};

use crate::bed::{TERM, decide, fit, passed, report, request, worker, worker_with};
use crate::stories;

stories! {
    async fn a_job_goes_from_the_queue_through_a_lease_to_its_end(bed: Bed) {
        let w = worker("w1");
        let granted = bed.run(1, &w).await;
        assert_eq!((granted.attempt, granted.item.as_str()), (1, "foo-1-1"));
        assert_eq!(granted.params["n"], 1);
        assert_eq!(bed.state(granted.job).await, JobState::Running);
        assert_eq!(bed.claim(&w, 4).await.len(), 0);

        assert_eq!(bed.finish(&w, passed(&granted)).await, Receipt::Accepted);
        let job = bed.store.job(granted.job).await.unwrap().unwrap();
        assert_eq!(job.summary.state, JobState::Finished);
        assert_eq!(job.summary.outcome, Some(Outcome::Passed));
        assert_eq!(job.summary.end, Some(End::Exited { code: 0 }));
        assert_eq!(job.summary.attempts, 1);
        let attempts = bed.store.attempts(granted.job).await.unwrap();
        assert_eq!(attempts.len(), 1);
        assert_eq!((attempts[0].worker.as_str(), attempts[0].log_size), ("w1", 9));
        assert_eq!(attempts[0].enforced["memory"], "1GiB, by cgroup v2");
        assert_eq!(bed.store.counts().await.unwrap().finished, 1);
        assert_eq!(bed.store.outbox_len().await.unwrap(), 1);
        bed.sound().await;
    }

    async fn a_lapsed_lease_goes_to_another_worker_and_the_late_report_is_gone(bed: Bed) {
        let (slow, quick) = (worker("slow"), worker("quick"));
        let late = bed.run(1, &slow).await;
        bed.store.advance(Span::seconds(59));
        assert!(bed.store.expire(&decide).await.unwrap().lost.is_empty());
        bed.store.advance(Span::seconds(2));
        assert_eq!(bed.store.expire(&decide).await.unwrap().lost, [(late.job, 1)]);
        assert!(bed.store.expire(&decide).await.unwrap().lost.is_empty());

        let again = bed.claim(&quick, 1).await.pop().unwrap();
        assert_eq!((again.job, again.attempt), (late.job, 2));
        assert_ne!(again.token, late.token);
        assert_eq!(bed.finish(&slow, passed(&late)).await, Receipt::Gone);
        assert_eq!(bed.state(late.job).await, JobState::Running);
        assert_eq!(bed.finish(&slow, passed(&late)).await, Receipt::Gone);
        let stale = bed.store.stale_reports(late.job).await.unwrap();
        assert_eq!(stale.len(), 1, "a late report is kept once");
        assert_eq!((stale[0].attempt, stale[0].worker.as_str()), (1, "slow"));

        assert_eq!(bed.finish(&quick, passed(&again)).await, Receipt::Accepted);
        let ends: Vec<_> = bed.store.attempts(late.job).await.unwrap().into_iter().map(|a| a.end).collect();
        assert_eq!(ends, [Some(End::Lost), Some(End::Exited { code: 0 })]);
        bed.sound().await;
    }

    async fn a_late_report_of_a_job_that_is_not_here_is_kept_until_it_is(bed: Bed) {
        // As a master that was put back from a backup meets it: the job comes again from its trigger, later.
        let mut lost = bed.run(1, &worker("w1")).await;
        let candidate = bed.candidate(2);
        let master::store::Candidate::Admitted(admitted) = &candidate else { unreachable!() };
        lost.token = lost.token.replacen(&lost.job.to_string(), &admitted.job.key.to_string(), 1);
        for _ in 0..2 {
            assert_eq!(bed.finish(&worker("w1"), passed(&lost)).await, Receipt::Gone);
        }
        let kept = bed.store.stale_reports(admitted.job.key).await.unwrap();
        assert_eq!((kept.len(), kept[0].worker.as_str()), (1, "w1"));
        assert_eq!(bed.store.stale_count(Span::days(1)).await.unwrap(), 1);
        let job = bed.submit(2).await;
        assert_eq!(bed.store.stale_reports(job).await.unwrap(), kept);
        assert_eq!(bed.state(job).await, JobState::Queued);
        bed.sound().await;
    }

    async fn a_lease_is_judged_by_the_moment_of_the_look_and_not_by_a_later_one(bed: Bed) {
        let granted = bed.run(1, &worker("w1")).await;
        let seen = bed.store.now().await.unwrap();
        // Whoever looked stood still for ten minutes, and so perhaps did everybody who could renew.
        bed.store.advance(Span::minutes(10));
        assert!(bed.store.expire_as_of(seen, &decide).await.unwrap().lost.is_empty());
        let seen = bed.store.now().await.unwrap();
        assert_eq!(bed.store.expire_as_of(seen, &decide).await.unwrap().lost, [(granted.job, 1)]);
        bed.sound().await;
    }

    async fn the_end_of_a_lapsed_lease_is_judged_with_the_parameters_of_its_job(bed: Bed) {
        let w = worker("w1");
        bed.run(7, &w).await;
        let reported = bed.run(8, &w).await;
        let seen = std::sync::Mutex::new(Vec::new());
        let judge = |ending: &master::store::Ending| {
            seen.lock().unwrap().push(ending.params["n"].clone());
            decide(ending)
        };
        bed.store.finish("w1", &[passed(&reported)], &judge).await.unwrap();
        bed.store.advance(Span::seconds(61));
        bed.store.expire(&judge).await.unwrap();
        assert_eq!(*seen.lock().unwrap(), [8, 7]);
    }

    async fn a_renewed_lease_does_not_lapse(bed: Bed) {
        let w = worker("w1");
        let granted = bed.run(1, &w).await;
        for _ in 0..4 {
            bed.store.advance(Span::seconds(45));
            let held = bed.store.renew(&w, &[granted.token.clone(), "x".into()], TERM).await.unwrap();
            assert_eq!(held, [Hold::Held, Hold::Gone]);
            assert!(bed.store.expire(&decide).await.unwrap().lost.is_empty());
        }
        bed.finish(&w, passed(&granted)).await;
        assert_eq!(bed.store.renew(&w, &[granted.token], TERM).await.unwrap(), [Hold::Gone]);
        bed.sound().await;
    }

    async fn the_same_claim_again_gives_the_same_leases_and_no_more(bed: Bed) {
        bed.store.submit(&bed.candidates(0..10)).await.unwrap();
        let w = worker("w1");
        let request = request(&w, 3);
        let first = bed.store.claim(std::slice::from_ref(&request), TERM).await.unwrap().pop().unwrap().unwrap();
        let again = bed.store.claim(&[request], TERM).await.unwrap().pop().unwrap().unwrap();
        let tokens = |granted: &[master::store::Granted]| granted.iter().map(|g| g.token.clone()).collect::<Vec<_>>();
        assert_eq!(first.len(), 3);
        assert_eq!(tokens(&first), tokens(&again));
        assert_eq!(bed.store.counts().await.unwrap().running, 3);
        bed.sound().await;
    }

    async fn one_claim_sent_many_times_at_once_is_served_once(bed: Bed) {
        bed.store.submit(&bed.candidates(0..20)).await.unwrap();
        let w = worker("w1");
        let request = request(&w, 3);
        let claims = (0..6).map(|_| {
            let (store, request) = (bed.store.clone(), request.clone());
            tokio::spawn(async move { store.claim(&[request], TERM).await.unwrap().pop().unwrap().unwrap() })
        });
        let mut seen = std::collections::BTreeSet::new();
        for claim in claims.collect::<Vec<_>>() {
            seen.extend(claim.await.unwrap().into_iter().map(|granted| granted.token));
        }
        assert_eq!(seen.len(), 3);
        bed.sound().await;
    }

    async fn the_same_finish_again_is_accepted_and_changes_nothing(bed: Bed) {
        let w = worker("w1");
        let granted = bed.run(1, &w).await;
        let report = passed(&granted);
        let twice = bed.store.finish("w1", &[report.clone(), report.clone()], &decide).await.unwrap();
        assert_eq!(twice, [Receipt::Accepted, Receipt::Accepted]);
        assert_eq!(bed.finish(&w, report).await, Receipt::Accepted);
        assert_eq!(bed.store.attempts(granted.job).await.unwrap().len(), 1);
        assert_eq!(bed.store.outbox_len().await.unwrap(), 1);
        assert!(bed.store.stale_reports(granted.job).await.unwrap().is_empty());
        bed.sound().await;
    }

    async fn a_token_with_another_secret_is_no_token(bed: Bed) {
        let w = worker("w1");
        let granted = bed.run(1, &w).await;
        let mut forged = passed(&granted);
        let from = forged.token.len() - 4;
        forged.token.replace_range(from.., if forged.token.ends_with("0000") { "1111" } else { "0000" });
        assert_eq!(bed.finish(&w, forged).await, Receipt::Gone);
        let mut nonsense = passed(&granted);
        nonsense.token = "open sesame".into();
        assert_eq!(bed.finish(&w, nonsense).await, Receipt::Gone);
        assert_eq!(bed.state(granted.job).await, JobState::Running);
        bed.sound().await;
    }

    async fn a_worker_that_started_anew_keeps_a_lease_until_it_asks_for_work(bed: Bed) {
        let (old, new) = (worker("w1"), worker("w1"));
        let granted = bed.run(1, &old).await;
        let token = std::slice::from_ref(&granted.token);
        for _ in 0..3 {
            bed.store.advance(Span::seconds(50));
            assert_eq!(bed.store.renew(&new, token, TERM).await.unwrap(), [Hold::Held]);
            assert!(bed.store.expire(&decide).await.unwrap().lost.is_empty());
        }
        bed.claim(&new, 0).await;
        for worker in [&old, &new] {
            assert_eq!(bed.store.renew(worker, token, TERM).await.unwrap(), [Hold::Gone]);
        }
        assert_eq!(bed.store.expire(&decide).await.unwrap().lost, [(granted.job, 1)]);
        bed.sound().await;
    }

    async fn a_worker_that_started_anew_gives_up_its_leases(bed: Bed) {
        let old = worker("w1");
        let granted = bed.run(1, &old).await;
        let new = worker("w1");
        assert!(bed.claim(&new, 1).await.is_empty());
        assert_eq!(bed.store.renew(&old, std::slice::from_ref(&granted.token), TERM).await.unwrap(), [Hold::Gone]);
        // Giving every lease a full term does not bring it back.
        bed.store.grant_full_term(TERM).await.unwrap();
        assert_eq!(bed.store.expire(&decide).await.unwrap().lost, [(granted.job, 1)]);
        let again = bed.claim(&new, 1).await.pop().unwrap();
        assert_eq!((again.job, again.attempt), (granted.job, 2));
        bed.sound().await;
    }

    async fn after_an_outage_every_lease_has_a_full_term(bed: Bed) {
        let w = worker("w1");
        let granted = bed.run(1, &w).await;
        bed.store.advance(Span::minutes(30));
        assert_eq!(bed.store.grant_full_term(TERM).await.unwrap(), 1);
        assert!(bed.store.expire(&decide).await.unwrap().lost.is_empty());
        assert_eq!(bed.finish(&w, passed(&granted)).await, Receipt::Accepted);
        bed.sound().await;
    }

    async fn a_worker_gets_only_what_its_labels_satisfy_and_the_rest_does_not_stand_in_its_way(bed: Bed) {
        let needing = |n, needs: &[&str]| {
            let mut admitted = bed.admitted(n);
            admitted.needs = needs.iter().map(|label| (*label).to_owned()).collect();
            fit(admitted)
        };
        let mut all: Vec<_> = (0..30).map(|n| needing(n, &["arch:s390x"])).collect();
        all.push(needing(100, &["arch:x86_64"]));
        all.push(needing(101, &["arch:x86_64", "kvm"]));
        all.push(needing(102, &[]));
        bed.store.submit(&all).await.unwrap();
        let items = |granted: Vec<master::store::Granted>| {
            let mut items: Vec<_> = granted.into_iter().map(|g| g.item).collect();
            items.sort();
            items
        };
        let plain = worker_with("plain", &["arch:x86_64"]);
        assert_eq!(items(bed.claim(&plain, 10).await), ["foo-100-1", "foo-102-1"]);
        let kvm = worker_with("kvm", &["arch:x86_64", "kvm"]);
        assert_eq!(items(bed.claim(&kvm, 10).await), ["foo-101-1"]);
        assert_eq!(bed.store.counts().await.unwrap().queued, 30);
        bed.sound().await;
    }

    async fn what_is_urgent_runs_first_then_what_came_first(bed: Bed) {
        let with = |n, priority| {
            let mut admitted = bed.admitted(n);
            admitted.job.priority = priority;
            fit(admitted)
        };
        bed.store.submit(&[with(1, 0)]).await.unwrap();
        bed.store.submit(&[with(2, 0)]).await.unwrap();
        bed.store.submit(&[with(3, 5)]).await.unwrap();
        bed.store.submit(&[with(4, -1)]).await.unwrap();
        // Five steps of priority are worth five minutes, and no more.
        bed.store.advance(Span::minutes(10));
        bed.store.submit(&[with(5, 5)]).await.unwrap();
        let items: Vec<_> = bed.claim(&worker("w1"), 10).await.into_iter().map(|g| g.item).collect();
        assert_eq!(items, ["foo-3-1", "foo-1-1", "foo-2-1", "foo-4-1", "foo-5-1"]);
        bed.sound().await;
    }

    async fn workers_are_ready_busy_or_lost_and_forgotten_in_the_end(bed: Bed) {
        let (busy, ready) = (worker_with("busy", &["kvm"]), worker("ready"));
        bed.submit(1).await;
        let granted = bed.claim(&busy, 1).await.pop().unwrap();
        bed.claim(&ready, 1).await;
        let states = |views: Vec<model::operator::WorkerView>| {
            views.into_iter().map(|w| (w.name, w.state, w.running)).collect::<Vec<_>>()
        };
        let seen = bed.store.workers(TERM).await.unwrap();
        assert_eq!(seen[0].labels, ["kvm"]);
        assert_eq!(states(seen), [
            ("busy".to_owned(), WorkerState::Busy, 1),
            ("ready".to_owned(), WorkerState::Ready, 0),
        ]);
        bed.store.advance(Span::seconds(181));
        bed.store.renew(&busy, &[granted.token], TERM).await.unwrap();
        assert_eq!(states(bed.store.workers(TERM).await.unwrap())[1].1, WorkerState::Lost);
        bed.store.tidy(Span::seconds(100)).await.unwrap();
        assert_eq!(bed.store.workers(TERM).await.unwrap().len(), 1);
        bed.sound().await;
    }

    async fn reports_of_many_workers_are_taken_in_one_go(bed: Bed) {
        bed.store.submit(&bed.candidates(0..6)).await.unwrap();
        let workers: Vec<_> = (0..3).map(|n| worker(&format!("w{n}"))).collect();
        let requests: Vec<_> = workers.iter().map(|w| request(w, 2)).collect();
        let granted = bed.store.claim(&requests, TERM).await.unwrap();
        let reports: Vec<_> = workers
            .iter()
            .zip(&granted)
            .flat_map(|(w, granted)| granted.as_ref().unwrap().iter().map(|g| (w.name.clone(), report(g, End::Exited { code: 1 }))))
            .collect();
        assert_eq!(reports.len(), 6);
        let receipts = bed.store.finish_many(&reports, &decide).await.unwrap();
        assert_eq!(receipts, [Receipt::Accepted; 6]);
        assert_eq!(bed.store.counts().await.unwrap().finished, 6);
        bed.sound().await;
    }
}
