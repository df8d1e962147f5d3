//! What becomes of one job: how it ends, what it prints, what it finds, and that nothing of it is left.

mod kit;

use std::fs;

use kit::{Master, Rig, lease, lease_with, processes_of, until};
use model::source::Source;
use model::{End, Event, Outcome, Quota, Sandbox, Span};

fn outcomes(report: &model::lease::Report) -> Vec<Outcome> {
    report.findings.iter().map(|f| f.outcome).collect()
}

#[tokio::test]
async fn an_exit_code_is_a_result() {
    let rig = Rig::start().await;
    let report = rig.run(&lease("exit 0")).await;
    assert_eq!((report.end.clone(), outcomes(&report)), (End::Exited { code: 0 }, vec![Outcome::Passed]));
    let report = rig.run(&lease("exit 75")).await;
    assert_eq!((report.end.clone(), outcomes(&report)), (End::Exited { code: 75 }, vec![Outcome::Failed]));
}

#[tokio::test]
async fn a_signal_from_elsewhere_is_no_result() {
    let rig = Rig::start().await;
    let report = rig.run(&lease("kill -SEGV $$")).await;
    assert_eq!((report.end.clone(), outcomes(&report)), (End::Signalled { signal: 11 }, vec![]));
}

#[tokio::test]
async fn what_cannot_be_started_says_why() {
    let rig = Rig::start().await;
    let reason = async |change: fn(&mut model::lease::Lease)| match rig.run(&lease_with("true", change)).await.end {
        End::NotStarted { reason } => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        reason(|l| l.task.run = vec!["no-such-program".into()]).await,
        "cannot run 'no-such-program': no such program, or its interpreter is missing"
    );
    assert_eq!(reason(|l| l.task.run.clear()).await, "the task's `run` is empty");
    assert!(reason(|l| l.task.run = vec!["/etc/passwd".into()]).await.contains("Permission denied"));
    let in_bubblewrap = async |program: &str| {
        let job = lease_with("", |l| {
            (l.task.run, l.task.bounds.sandbox) = (vec![program.to_owned()], Some(Sandbox::Bubblewrap));
        });
        rig.run(&job).await.end.to_string()
    };
    for (program, why) in [("/etc/passwd", "Permission denied"), ("no-such-program", "No such file or directory")] {
        let want = format!("could not be run: cannot run '{program}': bwrap: execvp {program}: {why}");
        assert_eq!(in_bubblewrap(program).await, want);
    }
    assert!(reason(|l| l.item = "a\0b".into()).await.contains("nul byte"));
    assert!(
        reason(|l| l.task.source = Some(Source::Path("/no/such".into())))
            .await
            .starts_with("cannot copy the task's source")
    );
    assert_eq!((rig.lies_in("work"), rig.lies_in("groups")), (vec![], vec![]));
}

/// As a build in a chroot does: what it starts has a session and an environment of its own.
#[tokio::test]
async fn a_timeout_ends_also_what_has_nothing_of_the_jobs_group_and_environment() {
    let rig = Rig::start().await;
    let files = ["child", "orphan"].map(|name| rig.file(name));
    let [child, orphan] = files.each_ref().map(|file| {
        format!("setsid env -i sh -c 'trap \"\" TERM; echo $$ >{}; while :; do sleep 1; done'", file.display())
    });
    let script = format!("trap '' TERM; {child} & ({orphan} &); while :; do sleep 1; done");
    let job = lease_with(&script, |l| (l.task.timeout, l.task.grace) = (Span::millis(800), Span::millis(200)));
    rig.master.give(job.clone());
    let pid = |file: &std::path::PathBuf| fs::read_to_string(file).ok()?.trim().parse::<i32>().ok();
    until("both run", || files.iter().all(|file| pid(file).is_some())).await;
    assert_eq!(rig.master.report(&job).await.end, End::TimedOut { quota: Quota::Total });
    until("none is left", || {
        files.iter().filter_map(pid).all(|pid| {
            let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            !files.iter().any(|file| command.contains(&file.display().to_string()))
        })
    })
    .await;
}

#[tokio::test]
async fn a_timeout_ends_the_whole_tree_however_deaf() {
    let rig = Rig::start().await;
    let script = "trap '' TERM; (trap '' TERM; sh -c 'trap \"\" TERM; echo deep; while :; do sleep 1; done' & wait) & \
                  while :; do sleep 1; done";
    let deaf = lease_with(script, |l| (l.task.timeout, l.task.grace) = (Span::millis(400), Span::millis(200)));
    rig.master.give(deaf.clone());
    until("all four run", || processes_of(&deaf).len() >= 4).await;
    let report = rig.master.report(&deaf).await;
    assert_eq!((report.end, report.findings), (End::TimedOut { quota: Quota::Total }, vec![]));
    assert!(report.ran >= Span::millis(600), "it had its grace: {}", report.ran);
    until("none is left", || processes_of(&deaf).is_empty()).await;
    assert_eq!(rig.master.log(&deaf), b"deep\n");
}

#[tokio::test]
async fn a_job_that_heeds_term_may_tidy_up() {
    let rig = Rig::start().await;
    let script = "trap 'echo tidy; exit 0' TERM; echo on; while :; do sleep 0.05; done";
    let polite = lease_with(script, |l| l.task.timeout = Span::millis(300));
    let report = rig.run(&polite).await;
    assert_eq!(report.end, End::TimedOut { quota: Quota::Total });
    assert!(rig.master.log(&polite).ends_with(b"tidy\n"));
    assert!(report.ran < Span::seconds(9), "nobody waits for the rest of the grace");
}

#[tokio::test]
async fn silence_has_a_clock_of_its_own() {
    let rig = Rig::start().await;
    // It prints more often than the clock allows, and then no more.
    let script = "for i in 1 2 3 4 5 6; do echo $i; sleep 0.1; done; sleep 1000";
    let report = rig.run(&lease_with(script, |l| l.task.no_output_timeout = Some(Span::millis(400)))).await;
    assert_eq!(report.end, End::TimedOut { quota: Quota::NoOutput });
    assert!(report.ran >= Span::millis(900), "{}", report.ran);
}

#[tokio::test]
async fn a_daemon_neither_holds_up_the_job_nor_outlives_it() {
    let rig = Rig::start().await;
    let holds_pipe = lease("sleep 1000 & echo done");
    let report = rig.run(&holds_pipe).await;
    assert_eq!(report.end, End::Exited { code: 0 });
    assert!(report.ran < Span::seconds(5), "{}", report.ran);
    assert_eq!(rig.master.log(&holds_pipe), b"done\n");
    until("no daemon", || processes_of(&holds_pipe).is_empty()).await;

    let leaves_group = lease("setsid sleep 1000 & setsid sleep 1000 </dev/null >/dev/null 2>&1 & sleep 0.1; echo done");
    assert_eq!(rig.run(&leaves_group).await.end, End::Exited { code: 0 });
    until("no daemon of its own session", || processes_of(&leaves_group).is_empty()).await;
}

#[tokio::test]
async fn the_environment_is_built_and_not_inherited() {
    let rig = Rig::start().await;
    let job = lease_with("env; pwd; cat \"$TASKOTRON_EVENT\"; readlink /proc/self/fd/0", |l| {
        let body = serde_json::Map::new();
        l.event = Some(Event {
            id: "2017-1".into(),
            topic: "a.b".into(),
            sent_at: None,
            headers: body.clone(),
            body,
            source: "file:x".into(),
        });
    });
    rig.run(&job).await;
    let log = String::from_utf8(rig.master.log(&job)).unwrap();
    let folder = rig.file("worker").canonicalize().unwrap().join("work").join(format!("{}.1", job.job));
    let folder = folder.display();
    for line in [
        "TASKOTRON_ITEM=foo-1-1.fc41".to_owned(),
        "TASKOTRON_ITEM_TYPE=koji_build".to_owned(),
        "TASKOTRON_ARCH=x86_64".to_owned(),
        "TASKOTRON_TASK=rpmlint".to_owned(),
        format!("TASKOTRON_JOB_ID={}", job.job),
        format!("HOME={folder}"),
        format!("TASKOTRON_RESULTS={folder}/results.yml"),
        format!("TASKOTRON_ARTIFACTS={folder}/artifacts"),
        "LANG=C.UTF-8".to_owned(),
        folder.to_string(),
        "/dev/null".to_owned(),
    ] {
        assert!(log.lines().any(|l| l.ends_with(&line)), "{line} is missing in\n{log}");
    }
    assert!(!log.contains("CARGO"), "{log}");
    assert!(log.contains(r#""id":"2017-1""#), "{log}");
}

#[tokio::test]
async fn a_workspace_holds_the_source_and_is_gone_afterwards() {
    let rig = Rig::start().await;
    let source = rig.file("task");
    fs::create_dir_all(source.join("lib")).unwrap();
    fs::write(source.join("lib/words"), "hello").unwrap();
    fs::write(source.join("results.yml"), "results:\n- {item: stale, outcome: PASSED}\n").unwrap();
    std::os::unix::fs::symlink("lib/words", source.join("link")).unwrap();
    fs::write(source.join("run.sh"), "#!/bin/sh\ncat link; mkdir -p a/b; touch a/b/c; chmod -R a-w a lib; exit 3\n")
        .unwrap();
    fs::set_permissions(source.join("run.sh"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let job = lease_with("", |l| {
        l.task.source = Some(Source::Path(source.display().to_string()));
        l.task.run = vec!["./run.sh".into()];
    });
    let report = rig.run(&job).await;
    assert_eq!((report.end.clone(), outcomes(&report)), (End::Exited { code: 3 }, vec![Outcome::Failed]));
    assert_eq!(rig.master.log(&job), b"hello");
    assert_eq!((rig.lies_in("work"), rig.lies_in("groups"), rig.lies_in("logs")), (vec![], vec![], vec![]));
    assert!(source.join("lib/words").exists(), "the source is a copy");
}

#[tokio::test]
async fn a_results_file_goes_before_the_exit_code() {
    let rig = Rig::start().await;
    let good = "printf 'results:\\n- {item: a, outcome: PASSED, checkname: t.x, size: 3}\\n- {item: b, outcome: \
                NEEDS_INSPECTION}\\n' > $TASKOTRON_RESULTS; exit 1";
    let report = rig.run(&lease(good)).await;
    assert_eq!(report.end, End::Exited { code: 1 });
    assert_eq!(outcomes(&report), [Outcome::Passed, Outcome::NeedsInspection]);
    assert_eq!(report.findings[0].testcase.as_deref(), Some("t.x"));
    assert_eq!(report.note.as_deref(), Some("exited with 1 after it wrote results.yml"));
    let report = rig.run(&lease("printf 'results:\\n- item: [\\n' > results.yml")).await;
    assert_eq!(outcomes(&report), [Outcome::Error]);
    assert!(report.findings[0].note.as_deref().unwrap().starts_with("results.yml, line "), "{report:?}");
}

#[tokio::test]
async fn a_log_beyond_its_limit_keeps_both_ends_and_states_the_cut() {
    let rig = Rig::start().await;
    let long = lease_with("seq 1 200000", |l| l.task.log_limit = 100_000);
    let report = rig.run(&long).await;
    let log = String::from_utf8(rig.master.log(&long)).unwrap();
    assert_eq!(report.log_size, log.len() as u64);
    assert!(log.len() <= 100_000 && log.len() > 99_900, "{}", log.len());
    assert!(log.starts_with("1\n2\n") && log.ends_with("199999\n200000\n"));
    let whole: usize = (1..=200_000).map(|n: u32| n.to_string().len() + 1).sum();
    let cut = log.lines().find(|line| line.contains("cut here")).unwrap();
    let lost: usize = cut.split(' ').nth(1).unwrap().parse().unwrap();
    assert_eq!(log.len() - cut.len() - 2 + lost, whole);
    until("the log is only with the master", || rig.lies_in("logs").is_empty()).await;
}

#[tokio::test]
async fn a_report_does_not_wait_for_ever_for_files_that_do_not_arrive() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::with(Master::start().await, dir, |settings| settings.artifacts_within = Span::millis(300));
    let script = "echo x >$TASKOTRON_ARTIFACTS/a; ln -s a $TASKOTRON_ARTIFACTS/b";
    let lease = lease_with(script, |lease| lease.task.artifacts = vec!["artifacts/**".to_owned()]);
    let report = rig.run(&lease).await;
    assert_eq!((outcomes(&report), report.end), (vec![Outcome::Passed], End::Exited { code: 0 }));
    let want = "artifacts that are not kept: artifacts/b (is a link); \
                artifacts that are not kept: artifacts/a (it was not sent within 300ms)";
    assert_eq!(report.note.unwrap(), want);
    until("nothing is left", || rig.lies_in("artifacts").is_empty() && rig.lies_in("reports").is_empty()).await;
}
