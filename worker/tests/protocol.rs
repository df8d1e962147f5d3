//! What a worker and its master say to each other when answers are lost, leases end, or one of them stops.

mod kit;

use std::fs;
use std::path::Path;

use kit::{Master, Rig, lease, lease_with, processes_of, until};
use model::lease::{Hold, Lease};
use model::{End, Span};

/// A script that goes on until a file is there.
fn gated(rig: &Rig, name: &str) -> (String, std::path::PathBuf) {
    let gate = rig.file(name);
    (format!("echo on; while [ ! -e {} ]; do sleep 0.02; done; echo off", gate.display()), gate)
}

#[tokio::test]
async fn a_claim_is_repeated_under_its_id_until_there_is_an_answer() {
    let rig = Rig::start().await;
    rig.master.change(|book| book.lose_claims = 3);
    let job = lease("true");
    assert_eq!(rig.run(&job).await.end, End::Exited { code: 0 });
    rig.master.change(|book| {
        let id = book.given.iter().find(|(_, leases)| !leases.is_empty()).map(|(id, _)| *id).unwrap();
        assert!(book.claims.iter().filter(|(claim, _)| *claim == id).count() >= 4);
        assert_eq!(book.reports.len(), 1, "it ran once");
    });
}

#[tokio::test]
async fn a_slot_that_becomes_free_does_not_wait_for_a_held_claim() {
    let rig = Rig::with(Master::start().await, tempfile::tempdir().unwrap(), |s| s.slots = 2);
    let (script, gate) = gated(&rig, "gate");
    let long = lease(&script);
    rig.master.give(long.clone());
    // The claim for the other slot is held now. The first slot becomes free, and then two jobs come at once.
    rig.master
        .until("a claim for one slot", |book| book.claims.iter().any(|(_, slots)| *slots == 1).then_some(()))
        .await;
    fs::write(gate, "").unwrap();
    rig.master.report(&long).await;
    let (script, gate) = gated(&rig, "second");
    let (a, b) = (lease(&script), lease(&script));
    rig.master.change(|book| book.queue.extend([a.clone(), b.clone()]));
    until("both run", || !processes_of(&a).is_empty() && !processes_of(&b).is_empty()).await;
    fs::write(gate, "").unwrap();
    rig.master.report(&a).await;
    rig.master.report(&b).await;
}

#[tokio::test]
async fn a_log_arrives_byte_for_byte_however_often_its_pieces_fail() {
    let rig = Rig::start().await;
    rig.master.change(|book| (book.lose_pieces, book.fail_pieces) = (2, 2));
    let (script, gate) = gated(&rig, "gate");
    let job = lease(&format!("head -c 700000 /dev/urandom | tee {}; {script}", rig.file("copy").display()));
    rig.master.give(job.clone());
    let size = 700_000 + "on\n".len();
    rig.master.until("the log while it runs", |b| (b.logs.get(&job.token)?.len() == size).then_some(())).await;
    assert!(rig.master.book.lock().unwrap().reports.is_empty());
    rig.master.change(|book| book.lose_finishes = 1);
    fs::write(gate, "").unwrap();
    let report = rig.master.report(&job).await;
    let mut want = fs::read(rig.file("copy")).unwrap();
    want.extend_from_slice(b"on\noff\n");
    assert!(rig.master.log(&job) == want && report.log_size == want.len() as u64);
    rig.master.change(|book| assert!(book.pieces.iter().all(|(_, length)| *length <= 256 * 1024)));
    rig.master.until("the same report again", |book| (book.reports.len() == 2).then_some(())).await;
}

#[tokio::test]
async fn a_cancelled_job_is_stopped_and_reported_as_such() {
    let rig = Rig::start().await;
    rig.master.change(|book| book.term = Span::millis(400));
    let job = lease("echo on; sleep 1000");
    rig.master.give(job.clone());
    until("it runs", || !processes_of(&job).is_empty()).await;
    let cancel = Hold::Cancel { reason: "superseded by another".into() };
    rig.master.change(|book| book.holds.insert(job.token.clone(), cancel));
    let report = rig.master.report(&job).await;
    assert_eq!((report.end, report.findings), (End::Cancelled, vec![]));
    assert_eq!(report.note.as_deref(), Some("cancelled: superseded by another"));
    until("none is left", || processes_of(&job).is_empty()).await;
}

#[test]
fn a_job_that_is_to_stop_before_its_workspace_is_ready_gets_no_process() {
    // One thread for what waits for the disk: while the test holds it, a workspace takes as long as the test likes.
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).max_blocking_threads(1).enable_all().build().unwrap().block_on(async {
        let rig = Rig::start().await;
        rig.master.change(|book| book.term = Span::millis(400));
        rig.master.until("a claim", |book| (!book.claims.is_empty()).then_some(())).await;
        let (ready, wait) = std::sync::mpsc::channel::<()>();
        let held = tokio::task::spawn_blocking(move || wait.recv());
        let job = lease("echo on");
        let cancel = Hold::Cancel { reason: "superseded by another".into() };
        rig.master.change(|book| book.holds.insert(job.token.clone(), cancel));
        rig.master.give(job.clone());
        // With the second renewal the answer to the first has come.
        rig.master.until("two renewals", |book| (book.renewals > 1).then_some(())).await;
        ready.send(()).unwrap();
        held.await.unwrap().unwrap();
        let report = rig.master.report(&job).await;
        assert_eq!((report.end, report.ran, report.log_size), (End::Cancelled, Span::default(), 0));
    });
}

#[tokio::test]
async fn a_job_whose_lease_was_lost_is_stopped_and_its_report_sent_for_the_record() {
    let rig = Rig::start().await;
    rig.master.change(|book| book.term = Span::millis(400));
    let job = lease("echo on; sleep 1000");
    rig.master.give(job.clone());
    until("it runs", || !processes_of(&job).is_empty()).await;
    rig.master.change(|book| book.holds.insert(job.token.clone(), Hold::Gone));
    assert_eq!(rig.master.report(&job).await.end, End::HandedBack);
    // The worker goes on, and asks for more.
    assert_eq!(rig.run(&lease("exit 0")).await.end, End::Exited { code: 0 });
    assert_eq!(rig.lies_in("reports"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_master_an_exclusive_task_ends_before_its_lease_and_others_go_on() {
    let rig = Rig::start().await;
    rig.master.change(|book| book.term = Span::seconds(6));
    let (script, gate) = gated(&rig, "gate");
    let alone = lease_with("echo on; trap '' TERM; while :; do sleep 1; done", |l| l.task.exclusive = true);
    let other = lease(&script);
    rig.master.change(|book| book.queue.extend([alone.clone(), other.clone()]));
    until("both run", || !processes_of(&alone).is_empty() && !processes_of(&other).is_empty()).await;
    rig.master.until("a renewal", |book| (book.renewals > 1).then_some(())).await;
    rig.master.change(|book| book.down = true);
    // No later than this the last lease was granted.
    let last = std::time::Instant::now();
    until("the exclusive one is gone", || processes_of(&alone).is_empty()).await;
    let gone = last.elapsed();
    assert!(gone < std::time::Duration::from_secs(6), "{gone:?}");
    assert!(!processes_of(&other).is_empty());
    fs::write(gate, "").unwrap();
    until("the other is over", || processes_of(&other).is_empty()).await;
    until("reports are kept", || rig.lies_in("reports").len() == 2).await;
    rig.master.change(|book| book.down = false);
    assert_eq!(rig.master.report(&alone).await.end, End::HandedBack);
    assert_eq!(rig.master.report(&other).await.end, End::Exited { code: 0 });
    until("nothing is kept", || rig.lies_in("reports").is_empty()).await;
}

#[tokio::test]
async fn jobs_go_on_without_a_master_only_so_long() {
    let rig = Rig::with(Master::start().await, tempfile::tempdir().unwrap(), |s| {
        s.control_loss_grace = Span::millis(500);
    });
    rig.master.change(|book| book.term = Span::seconds(1));
    let job = lease("echo on; sleep 1000");
    rig.master.give(job.clone());
    until("it runs", || !processes_of(&job).is_empty()).await;
    rig.master.change(|book| book.down = true);
    until("it was stopped", || processes_of(&job).is_empty()).await;
    rig.master.change(|book| book.down = false);
    let report = rig.master.report(&job).await;
    assert_eq!(report.end, End::HandedBack);
    assert!(report.note.unwrap().starts_with("stopped because the master could not be reached for "));
}

#[tokio::test]
async fn a_graceful_stop_takes_nothing_new_and_finishes_what_runs() {
    let rig = Rig::start().await;
    let (script, gate) = gated(&rig, "gate");
    let job = lease(&script);
    rig.master.give(job.clone());
    until("it runs", || !processes_of(&job).is_empty()).await;
    rig.stop.graceful.cancel();
    rig.master.until("the held claim is settled", |b| b.claims.iter().any(|(_, n)| *n == 0).then_some(())).await;
    rig.master.give(lease("true"));
    fs::write(gate, "").unwrap();
    assert_eq!(rig.master.report(&job).await.end, End::Exited { code: 0 });
    let master = rig.master.clone();
    rig.ended().await;
    master.change(|book| assert_eq!((book.queue.len(), book.reports.len()), (1, 1)));
}

#[tokio::test]
async fn a_lease_whose_answer_is_lost_when_the_worker_stops_is_handed_back() {
    let rig = Rig::start().await;
    let job = lease("touch /no/such");
    rig.master.change(|book| book.lose_claims = usize::MAX);
    rig.master.give(job.clone());
    rig.master.until("it is granted", |b| b.given.values().any(|leases| !leases.is_empty()).then_some(())).await;
    rig.stop.graceful.cancel();
    rig.master.until("the claim is settled", |b| b.claims.iter().any(|(_, n)| *n == 0).then_some(())).await;
    rig.master.change(|book| book.lose_claims = 0);
    assert_eq!(rig.master.report(&job).await.end, End::HandedBack);
    rig.ended().await;
}

#[tokio::test]
async fn a_stop_now_hands_back_what_runs() {
    let rig = Rig::start().await;
    let job = lease("trap 'echo tidy; exit 0' TERM; echo on; while :; do sleep 0.02; done");
    rig.master.give(job.clone());
    rig.master.until("it runs", |book| book.logs.get(&job.token).map(|_| ())).await;
    rig.stop.now.cancel();
    let report = rig.master.report(&job).await;
    assert_eq!((report.end, report.findings), (End::HandedBack, vec![]));
    assert!(rig.master.log(&job).ends_with(b"tidy\n"));
    rig.ended().await;
}

#[tokio::test]
async fn the_next_worker_sends_what_this_one_could_not() {
    let rig = Rig::with(Master::start().await, tempfile::tempdir().unwrap(), |s| {
        s.control_loss_grace = Span::seconds(1);
    });
    let (script, gate) = gated(&rig, "gate");
    let job = lease(&format!("{script}; seq 1 50000"));
    rig.master.give(job.clone());
    until("it runs", || !processes_of(&job).is_empty()).await;
    rig.master.change(|book| book.down = true);
    fs::write(gate, "").unwrap();
    until("the report is kept", || rig.lies_in("reports").len() == 1).await;
    let master = rig.master.clone();
    rig.stop.graceful.cancel();
    rig.stop.now.cancel();
    let dir = rig.ended().await;
    master.change(|book| book.down = false);
    let rig = Rig::with(master, dir, |_| {});
    let report = rig.master.report(&job).await;
    assert_eq!(report.end, End::Exited { code: 0 });
    let log = String::from_utf8(rig.master.log(&job)).unwrap();
    assert!(log.len() as u64 == report.log_size && log.starts_with("on\noff\n1\n") && log.ends_with("\n50000\n"));
    until("nothing is kept", || rig.lies_in("reports").is_empty() && rig.lies_in("logs").is_empty()).await;
}

#[tokio::test]
async fn a_report_that_gets_no_answer_is_kept_when_the_worker_is_to_stop() {
    let rig = Rig::with(Master::start().await, tempfile::tempdir().unwrap(), |s| {
        s.control_loss_grace = Span::seconds(1);
    });
    rig.master.change(|book| book.hang_finishes = true);
    let begun = rig.file("begun");
    let (on_its_way, behind_it) = (lease("exit 3"), lease(&format!("touch {}; exit 4", begun.display())));
    rig.master.give(on_its_way.clone());
    rig.master.until("it is asked", |book| (book.hung == 1).then_some(())).await;
    rig.master.give(behind_it.clone());
    until("the other has ended, too", || begun.exists() && rig.lies_in("work").is_empty()).await;
    assert_eq!(rig.lies_in("reports"), Vec::<String>::new());
    rig.stop.graceful.cancel();
    let mut both = [&on_its_way, &behind_it].map(|lease| format!("{}.1", lease.job));
    both.sort();
    until("both are kept", || {
        let mut kept = rig.lies_in("reports");
        kept.sort();
        kept == both
    })
    .await;
    rig.stop.now.cancel();
    rig.ended().await;
}

/// As a worker does that is killed before it could send it.
fn leave_a_report(dir: &Path, lease: &Lease) {
    let report = serde_json::json!({"token": lease.token, "end": End::HandedBack, "ran": Span::default(), "findings": [],
        "note": null, "log_size": 0, "log": null});
    fs::create_dir_all(dir.join("worker/reports")).unwrap();
    let kept = serde_json::json!({"report": report, "sent": 0});
    fs::write(dir.join(format!("worker/reports/{}.1", lease.job)), kept.to_string()).unwrap();
}

#[tokio::test]
async fn a_worker_claims_only_when_the_reports_of_the_one_before_are_taken() {
    let (master, dir) = (Master::start().await, tempfile::tempdir().unwrap());
    leave_a_report(dir.path(), &lease(""));
    master.change(|book| book.lose_finishes = 2);
    let rig = Rig::with(master, dir, |_| {});
    rig.master.until("a claim", |book| (!book.claims.is_empty()).then_some(())).await;
    rig.master.change(|book| assert_eq!(book.claimants, [0, 0, 0], "a claim voids the leases of the one before"));
    assert_eq!(rig.lies_in("reports"), Vec::<String>::new());
}

#[tokio::test]
async fn the_lease_of_what_an_earlier_worker_left_is_held_until_its_report_is_taken() {
    let (master, dir) = (Master::start().await, tempfile::tempdir().unwrap());
    let job = lease("");
    leave_a_report(dir.path(), &job);
    master.change(|book| {
        (book.term, book.lose_finishes) = (Span::millis(400), usize::MAX);
    });
    let rig = Rig::with(master, dir, |_| {});
    rig.master.until("renewals", |book| (book.renewals > 2).then_some(())).await;
    rig.master.change(|book| {
        assert!(book.claims.is_empty());
        book.lose_finishes = 0;
    });
    rig.master.until("a claim", |book| (!book.claims.is_empty()).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_small_jobs_share_their_reports() {
    let rig = Rig::with(Master::start().await, tempfile::tempdir().unwrap(), |s| s.slots = 16);
    let jobs: Vec<_> = (0..500).map(|_| lease_with("", |l| l.task.run = vec!["true".into()])).collect();
    let begun = std::time::Instant::now();
    rig.master.change(|book| book.queue.extend(jobs));
    rig.master.until("500 reports", |book| (book.reports.len() == 500).then_some(())).await;
    eprintln!("{:.0} jobs/s", 500.0 / begun.elapsed().as_secs_f64());
    rig.master.change(|book| {
        assert!(book.reports.iter().all(|r| r.end == End::Exited { code: 0 }));
        assert!(book.pieces.is_empty() && book.batches.len() <= 500);
    });
}
