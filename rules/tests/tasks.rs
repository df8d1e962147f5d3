//! From a job to what a worker is told to run.

use model::lease::ResultFormat;
use model::source::{Commit, Pin, Source};
use model::{Bounds, JobId, Limit, NewJob, Sandbox, Span};
use rules::{Configuration, RetryPolicy, Task};
use serde_json::json;

const TASKS: &str = r#"
tasks:
  full:
    source: { path: /srv/tasks/full }
    run: ["./run.sh", "{{ item }}", "{{ arch }}", "{{ params.branch | default('main') }}", 7, "{{ task }}-{{ job_id }}"]
    needs: { arch: "{{ arch }}", disk: 20, net: true }
    timeout: 30m
    no_output_timeout: 20m
    grace: 5s
    retry: { on: [lost, exit:75], attempts: 2, delay: 0s }
    interruptible: true
    exclusive: true
    results: [results.yml, { junit: "out/*.xml" }, tap, { tmt: [a.yaml, b.yaml] }, exit_code]
    limits: { log: 2MiB, memory: 1GiB, cpus: 1.5, processes: 64, files: 256, disk: 3GB }
    network: false
    sandbox: bubblewrap
    testcase: "dist.full.{{ item_type }}"
    priority: -2
    concurrency: { limit: 2, key: "{{ item_type }}-{{ arch }}" }
  bare: { source: none, run: ["true"] }
  settled: { run: ["true"], retry: never, concurrency: 3 }
"#;

fn configuration() -> Configuration {
    Configuration::parse(&[("tasks.yml".into(), TASKS.into())]).unwrap_or_else(|faults| panic!("{faults}"))
}

fn job(arch: &str) -> NewJob {
    NewJob {
        key: JobId::of("e", "full", "koji_build", "a b; rm -rf /", arch),
        task: "full".into(),
        item: "a b; rm -rf /".into(),
        item_type: "koji_build".into(),
        arch: arch.into(),
        rule: String::new(),
        priority: 0,
        params: json!({"branch": "f41"}).as_object().unwrap().clone(),
        expires_at: None,
        supersede: None,
    }
}

#[test]
fn a_task_becomes_an_order_for_one_job() {
    let configuration = configuration();
    let (task, job) = (configuration.task("full").unwrap(), job("s390x"));
    let order = task.order(&job, None).unwrap();
    let last = format!("full-{}", job.key);
    assert_eq!(order.run, ["./run.sh", "a b; rm -rf /", "s390x", "f41", "7", &last]);
    assert_eq!(order.source, Some(Source::Path("/srv/tasks/full".into())));
    assert_eq!((order.timeout, order.no_output_timeout), (Span::minutes(30), Some(Span::minutes(20))));
    assert_eq!((order.grace, order.exclusive, order.log_limit), (Span::seconds(5), true, 2 << 20));
    let files = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let formats = [
        ResultFormat::ResultYaml,
        ResultFormat::Junit(files(&["out/*.xml"])),
        ResultFormat::Tap(files(&["results.tap"])),
        ResultFormat::Tmt(files(&["a.yaml", "b.yaml"])),
        ResultFormat::ExitCode,
    ];
    assert_eq!(order.results, formats);
    assert_eq!(order.testcase, "dist.full.koji_build");
    let bounds = Bounds {
        memory: Some(1 << 30),
        cpus: Some(1.5),
        processes: Some(64),
        files: Some(256),
        disk: Some(3_000_000_000),
        network: Some(false),
        sandbox: Some(Sandbox::Bubblewrap),
    };
    assert_eq!(order.bounds, bounds);
    let limits = ["cpus", "disk", "files", "memory", "network", "processes"].map(|name| format!("limit:{name}"));
    let needs = [
        &["arch:s390x", "disk:20"].map(String::from)[..],
        &limits,
        &["net:true", "sandbox:bubblewrap"].map(String::from),
    ];
    assert_eq!(task.needs(&job).unwrap(), needs.concat(), "what must be enforced is needed");
    assert_eq!(task.testcase(&job).unwrap(), "dist.full.koji_build");
    assert!(task.interruptible() && task.exclusive());
    assert_eq!(task.priority(), -2);
    assert_eq!(task.limit(&job).unwrap(), Some(Limit { key: "koji_build-s390x".into(), most: 2 }));
}

#[test]
fn noarch_needs_no_arch() {
    let needs = configuration().task("full").unwrap().needs(&job("noarch")).unwrap();
    assert!(needs.contains(&"disk:20".into()) && !needs.iter().any(|label| label.starts_with("arch:")), "{needs:?}");
    assert!(configuration().task("bare").unwrap().needs(&job("noarch")).unwrap().is_empty());
}

#[test]
fn defaults_work() {
    let configuration = configuration();
    let (task, job) = (configuration.task("bare").unwrap(), job("noarch"));
    let order = task.order(&job, None).unwrap();
    assert_eq!((order.source, order.timeout, order.grace), (None, Span::minutes(60), Span::seconds(10)));
    assert_eq!(order.results, [ResultFormat::ResultYaml, ResultFormat::ExitCode]);
    assert_eq!(task.testcase(&job).unwrap(), "bare");
    assert_eq!(task.retry(), &RetryPolicy::default());
    assert_eq!((task.declared_retry(), task.declared_interruptible(), task.interruptible()), (None, None, false));
    assert_eq!(task.limit(&job).unwrap(), None);
    let settled = configuration.task("settled").unwrap();
    assert_eq!(settled.retry(), &RetryPolicy::Never);
    assert_eq!(settled.limit(&job).unwrap(), Some(Limit { key: String::new(), most: 3 }));
    // What says nothing of it is the same version as before there was such a key.
    assert!(task.definition().get("concurrency").is_none());
}

#[test]
fn a_definition_is_a_task_again() {
    let configuration = configuration();
    for task in configuration.tasks().values() {
        let definition = task.definition();
        assert_eq!(&Task::from_definition(&definition).unwrap(), task);
        assert_eq!(Task::from_definition(&definition).unwrap().definition(), definition);
    }
    assert!(Task::from_definition(&json!({"name": "x"})).is_err());
}

#[test]
fn a_job_that_a_task_cannot_run_says_why() {
    let text = "tasks: { t: { run: [\"{{ params.x }}\"], needs: { host: \"{{ params.y }}\" }, testcase: \"{{ params.z }}\" } }";
    let configuration = Configuration::parse(&[("t.yml".into(), text.into())]).unwrap();
    let (task, mut job) = (configuration.task("t").unwrap(), job("noarch"));
    assert_eq!(task.check(&job).unwrap_err(), "cannot render argument 1 of run: params.x: field absent");
    job.params.insert("y".into(), json!("a b"));
    job.params.insert("z".into(), json!(["q"]));
    assert_eq!(task.needs(&job).unwrap_err(), "needs.host is 'a b', which is no label");
    assert_eq!(task.testcase(&job).unwrap_err(), "cannot render testcase: params.z is a list");
}

#[test]
fn a_task_of_a_repository_says_what_it_wants_and_is_ordered_at_one_commit() {
    let text = r#"
tasks:
  plain: { run: ["true"], source: { git: "https://example.org/plain.git" } }
  chosen:
    run: ["true"]
    needs: { net: true }
    source: { git: "https://example.org/{{ item }}.git", ref: ["{{ params.branch }}", main], path: "tests/{{ arch }}" }
"#;
    let configuration =
        Configuration::parse(&[("t.yml".into(), text.into())]).unwrap_or_else(|faults| panic!("{faults}"));
    let job = NewJob { item: "bash".into(), ..job("s390x") };
    let (plain, chosen) = (configuration.task("plain").unwrap(), configuration.task("chosen").unwrap());
    assert_eq!(plain.repo().unwrap().fixed(), Some("https://example.org/plain.git"));
    assert_eq!(plain.wanted(&job).unwrap().unwrap().references, ["main"]);
    assert_eq!(chosen.repo().unwrap().fixed(), None);
    let wanted = chosen.wanted(&job).unwrap().unwrap();
    assert_eq!((wanted.git.as_str(), wanted.any().as_str()), ("https://example.org/bash.git", "f41, else main"));
    assert_eq!(chosen.needs(&job).unwrap(), ["net:true", "source:git"], "a worker without git is not asked");

    let commit: Commit = "0123456789abcdef0123456789abcdef01234567".parse().unwrap();
    let pin = Pin { reference: "f41".into(), commit: commit.clone() };
    let Some(Source::Git(checkout)) = chosen.order(&job, Some(&pin)).unwrap().source else { panic!("it is a commit") };
    assert_eq!((checkout.commit, checkout.path.as_deref()), (commit, Some("tests/s390x")));
    assert_eq!(chosen.order(&job, None).unwrap_err(), "the job has no commit of its task's repository");
    assert_eq!(chosen.check(&job), Ok(()));

    for (item, why) in
        [("../x", "source.git is 'https://example.org/../x.git', which is no address"), ("a b", "no address")]
    {
        let error = chosen.check(&NewJob { item: item.into(), ..job.clone() }).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
    let error = chosen.check(&NewJob { arch: "../..".into(), ..job.clone() }).unwrap_err();
    assert_eq!(error, "source.path is 'tests/../..', which is no folder inside the repository");
    let error = chosen.check(&NewJob { params: Default::default(), ..job }).unwrap_err();
    assert_eq!(error, "cannot render source.ref: params.branch: field absent");
}

#[test]
fn a_task_that_is_looked_for_runs_in_each_folder_that_is_found() {
    let text = r#"
tasks:
  dist-git:
    run: [./run.sh, "{{ params.folder | default('none') }}"]
    source: { git: "https://example.org/{{ item }}.git", ref: "{{ params.branch }}", discover: [tests/*/run.sh, plans/] }
  named: { run: ["true"], source: { git: "https://example.org/x.git", discover: "*/" }, testcase: "dist.{{ params.folder }}" }
"#;
    let configuration =
        Configuration::parse(&[("t.yml".into(), text.into())]).unwrap_or_else(|faults| panic!("{faults}"));
    let (task, job) = (configuration.task("dist-git").unwrap(), NewJob { item: "bash".into(), ..job("noarch") });
    let discover = task.searches(&job.params).expect("it says no folder");
    let folders = discover.folders(["tests/a/run.sh", "tests/b/README", "plans/x.fmf"]);
    assert_eq!(folders.into_iter().collect::<Vec<_>>(), ["plans", "tests/a"]);
    assert_eq!(discover.patterns(), "tests/*/run.sh, plans/");
    assert_eq!(task.wanted(&job).unwrap().unwrap().path, None);

    let found = NewJob { params: task.found(&job.params, "tests/a"), ..job.clone() };
    assert_eq!(task.searches(&found.params), None);
    let pin = Pin { reference: "f41".into(), commit: "0123456789abcdef0123456789abcdef01234567".parse().unwrap() };
    let order = task.order(&found, Some(&pin)).unwrap();
    let Some(Source::Git(checkout)) = order.source else { panic!("it is a commit") };
    assert_eq!((checkout.path.as_deref(), order.run[1].as_str()), (Some("tests/a"), "tests/a"));
    assert_eq!(order.testcase, "dist-git.tests/a");
    assert_eq!(configuration.task("named").unwrap().testcase(&found).unwrap(), "dist.tests/a");
    let top = NewJob { params: task.found(&job.params, "."), ..job.clone() };
    assert_eq!((task.wanted(&top).unwrap().unwrap().path, task.testcase(&top).unwrap()), (None, "dist-git".into()));
    let out = NewJob { params: task.found(&job.params, "../x"), ..job.clone() };
    assert_eq!(task.check(&out).unwrap_err(), "source.path is '../x', which is no folder inside the repository");

    let again = Task::from_definition(&task.definition()).unwrap();
    assert_eq!(&again, task);
    let (one, other) = (job.key.in_folder("tests/a"), job.key.in_folder("tests/b"));
    assert!(one == job.key.in_folder("tests/a") && one != other && one != job.key);
}

#[test]
fn artifacts_are_patterns_of_paths_in_the_workspace() {
    let order = |more: &str| {
        let text = format!("tasks:\n  full: {{ run: ['true'], {more} }}\n");
        let configuration = Configuration::parse(&[("tasks.yml".into(), text)]);
        configuration
            .map(|known| known.task("full").unwrap().order(&job("noarch"), None).unwrap())
            .map_err(|e| e.to_string())
    };
    let kept = |more: &str| order(more).map(|order| (order.artifacts, order.artifact_limit));
    assert_eq!(kept("priority: 1"), Ok((vec!["artifacts/**".to_owned()], 1 << 30)));
    assert_eq!(kept("artifacts: []"), Ok((Vec::new(), 1 << 30)));
    let some = kept("artifacts: ['*.log', 'out/**/*.xml'], limits: { artifacts: 3MiB }");
    assert_eq!(some, Ok((vec!["*.log".to_owned(), "out/**/*.xml".to_owned()], 3 << 20)));
    for (pattern, fault) in [
        ("/etc/*", "leads out of the workspace"),
        ("a/../../b", "leads out of the workspace"),
        ("a[b", "is no pattern: unclosed character class"),
    ] {
        let said = order(&format!("artifacts: ['{pattern}']")).unwrap_err();
        assert!(said.contains(fault), "{pattern}: {said}");
    }
}
