//! The way to the master: a trigger against a small master that loses answers, restarts and goes back.

mod kit;

use std::time::Duration;

use kit::{Bench, Master, configuration, line, until};
use tokio_util::sync::CancellationToken;

/// Runs a trigger that reads `lines` once, and waits until `holds`; then stops it.
async fn trigger(bench: &Bench, master: &Master, lines: &[String], holds: impl AsyncFn() -> bool) {
    let file = bench.file("in.jsonl", lines);
    let settings = trigger::Settings {
        name: "t".into(),
        dir: bench.path("log"),
        master: Some(master.url().into()),
        file: Some(file),
        rotate_at: 4000,
        ..trigger::Settings::default()
    };
    let stop = CancellationToken::new();
    let running = tokio::spawn(trigger::run(
        settings,
        configuration(1),
        net::Secret::none(),
        bench.metrics.clone(),
        stop.clone(),
    ));
    until("the master has it", holds).await;
    stop.cancel();
    running.await.unwrap().unwrap();
}

fn lines(range: std::ops::RangeInclusive<u64>) -> Vec<String> {
    range.map(line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_arrives_once_in_order_with_its_jobs() {
    let (bench, master) = (Bench::new(), Master::start().await);
    trigger(&bench, &master, &lines(1..=1200), async || master.len() == 1200).await;
    let records = master.records();
    assert!(records.iter().zip(1..).all(|(record, seq)| record.seq == seq && record.event.id == format!("e-{seq}")));
    assert_eq!(records.iter().map(|record| record.jobs.len()).sum::<usize>(), 600, "every second one calls for a job");
    assert!(records.iter().all(|record| record.generation == 1));
    trigger(&bench, &master, &lines(1190..=1205), async || master.len() == 1205).await;
    assert_eq!(master.recorders().len(), 1);
    until("the counts have arrived", async || {
        let counts = master.counts();
        (counts.recorded, counts.duplicates) == (1205, 11)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_and_an_absent_master_cost_nothing() {
    let (bench, master) = (Bench::new(), Master::start().await);
    master.lose_answers(2);
    master.be_away(3);
    trigger(&bench, &master, &lines(1..=700), async || master.len() == 700).await;
    assert!(master.records().iter().zip(1..).all(|(record, seq)| record.seq == seq));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_master_is_given_again_what_it_has_lost() {
    let (bench, master) = (Bench::new(), Master::start().await);
    trigger(&bench, &master, &lines(1..=300), async || {
        if master.len() == 300 && !master.was_cut() {
            master.cut(40);
        }
        master.was_cut() && master.len() == 300
    })
    .await;
    assert!(master.records().iter().zip(1..).all(|(record, seq)| record.seq == seq));
    assert_eq!(master.recorders().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_put_back_from_a_copy_begins_anew_with_what_the_master_cannot_have() {
    let (bench, master) = (Bench::new(), Master::start().await);
    trigger(&bench, &master, &lines(1..=20), async || master.len() == 20).await;
    bench.copy("log", "copy");
    trigger(&bench, &master, &lines(21..=30), async || master.len() == 30).await;
    bench.remove("log");
    bench.copy("copy", "log");
    // The log knows 20 events and takes 15 more: under numbers that the master has other events for.
    trigger(&bench, &master, &lines(31..=45), async || master.recorders().len() == 2 && master.ids().len() == 45).await;
    let second = &master.recorders()[1];
    let records = master.records_of(second);
    assert_eq!(records.len(), 15);
    assert!(records.iter().zip(1..).all(|(record, seq)| record.seq == seq && record.job_seq <= seq));
    assert_eq!(records[0].event.id, "e-31");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_without_events_hears_from_its_trigger_all_the_same() {
    let (bench, master) = (Bench::new(), Master::start().await);
    trigger(&bench, &master, &["no json".into()], async || master.counts().quarantined == 1).await;
    assert_eq!(master.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_not_passed_over() {
    let (bench, master) = (Bench::new(), Master::start().await);
    master.refuse(1);
    let began = std::time::Instant::now();
    trigger(&bench, &master, &lines(1..=10), async || master.len() == 10).await;
    assert!(began.elapsed() >= Duration::from_secs(2), "a refusal is tried again slowly");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_the_master_fails_at_holds_up_none_before_it() {
    let (bench, master) = (Bench::new(), Master::start().await);
    master.fail_at(6);
    trigger(&bench, &master, &lines(1..=8), async || master.len() == 5).await;
}
