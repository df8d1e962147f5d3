//! Under a service manager: it is told when a worker is at work, that it gets on, that it needs more time to stop, and when
//! it goes; and what a worker is told of its disk and its graces.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::installation::Installation;
use crate::kit::count::text;
use crate::kit::process::Process;
use crate::kit::{Story, http, secs, until};
use crate::site::PATIENCE;

const TASKS: &str = r#"
tasks:
  held: { run: [sh, -c, 'until [ -e "$GATE" ]; do sleep 0.05; done'] }
  stubborn: { run: [sh, -c, 'trap "" TERM; while :; do sleep 0.1; done'], grace: 1h }
  quick: { run: ["true"] }
"#;

/// A `taskotron up` without a worker of its own to speak of, and a worker beside it, whose manager we are.
struct House {
    site: Installation,
    manager: UnixDatagram,
}

fn house() -> House {
    let story = Story::new();
    story.write("config/tasks.yml", TASKS);
    let manager = UnixDatagram::bind(story.path("notify")).expect("a socket");
    manager.set_read_timeout(Some(Duration::from_millis(100))).expect("it is ours");
    // Its own worker offers nothing that a job needs.
    let mut site = Installation::new(story, "[worker]\nslots = 1\nlabels = []\ndisk_reserve = 9223372036854775807\n");
    site.start_ready();
    House { site, manager }
}

impl House {
    /// One whose manager we are, and listen to: a manager that does not holds up whoever speaks to it.
    fn managed(&self, name: &str) -> Process {
        let mut worker = self.command(name, "");
        worker.env("NOTIFY_SOCKET", self.site.story.path("notify")).env("WATCHDOG_USEC", "1000000");
        self.site.story.start(name, worker)
    }

    fn worker(&self, name: &str, more: &str) -> Process {
        self.site.story.start(name, self.command(name, more))
    }

    fn command(&self, name: &str, more: &str) -> Command {
        let (dir, gate) = (self.site.story.path(name), self.site.story.path("gate"));
        let settings = format!(
            "[worker]\nname = {name:?}\ndir = {dir:?}\nmaster = {:?}\ntoken_file = {:?}\nslots = 2\n\
             environment = {{ GATE = {gate:?} }}\nwritable = [{:?}]\n{more}\n",
            self.site.url(),
            self.site.data("worker.token"),
            self.site.story.folder()
        );
        self.site.story.write(format!("{name}.toml"), settings);
        let mut worker = self.site.story.command("sh");
        // A manager names the process that it watches.
        worker.args(["-c", "WATCHDOG_PID=$$ exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_taskotron"), "worker"]);
        worker.args(["--settings", &format!("{name}.toml")]);
        worker
    }

    /// Waits until the manager is told this.
    #[track_caller]
    fn told(&self, what: &str) {
        until(PATIENCE, &format!("the manager to be told {what}"), || {
            let mut buffer = [0; 512];
            match self.manager.recv(&mut buffer) {
                Ok(n) => {
                    let said = String::from_utf8_lossy(&buffer[..n]).into_owned();
                    if said.lines().any(|line| line.starts_with(what)) { Ok(()) } else { Err(said) }
                }
                Err(error) => Err(error.to_string()),
            }
        });
    }

    fn submit(&self, task: &str) -> String {
        self.site.story.write("one.csv", format!("item,item_type,task,arch\n{task}-item,thing,{task},\n"));
        let mut command = self.site.as_operator(self.site.story.jobrunner());
        command.arg("one.csv");
        let ran = self.site.story.run(PATIENCE, command);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        text(&self.site.all("jobs").iter().find(|job| job["task"] == task).expect("it was made")["id"])
    }

    #[track_caller]
    fn state(&self, job: &str, state: &str) {
        until(PATIENCE, &format!("the job to be {state}"), || {
            let job = self.site.look(&format!("/api/v1/jobs/{job}"))?;
            if job["state"] == state { Ok(()) } else { Err(job.to_string()) }
        });
    }
}

#[test]
fn a_manager_is_told_how_a_worker_gets_on_and_its_job_outlasts_a_master() {
    let mut house = house();
    let mut worker = house.managed("w1");
    house.told("READY=1");
    house.told("WATCHDOG=1");
    let job = house.submit("held");
    house.state(&job, "running");
    // The master is started anew: the job does not notice.
    house.site.kill();
    house.site.start_ready();
    house.state(&job, "running");
    worker.signal(Signal::SIGTERM);
    house.told("STATUS=takes nothing new");
    house.told("EXTEND_TIMEOUT_USEC=");
    house.site.story.write("gate", "");
    house.told("STOPPING=1");
    assert_eq!(worker.wait(PATIENCE).code(), Some(0), "{}", worker.err());
    let seen = house.site.get(&format!("/api/v1/jobs/{job}"));
    assert_eq!((&seen["outcome"], &seen["attempts"]), (&json!("PASSED"), &json!(1)), "{seen}");
    assert_eq!(house.site.stop(PATIENCE).code(), Some(0));
    house.site.assert_nothing_left();
}

#[test]
fn what_does_not_end_within_the_grace_is_handed_back_and_graces_that_do_not_fit_are_refused() {
    let mut house = house();
    let mut wrong = house.worker("wrong", "stop_grace = \"2m\"");
    assert_ne!(wrong.wait(PATIENCE).code(), Some(0));
    assert!(wrong.err().contains("job_grace (5m) is not shorter than stop_grace (2m)"), "{}", wrong.err());

    let mut worker = house.worker("w1", "job_grace = \"500ms\"\nstop_grace = \"1s\"\nstop_timeout = \"30s\"");
    let job = house.submit("stubborn");
    house.state(&job, "running");
    worker.signal(Signal::SIGTERM);
    assert_eq!(worker.wait(secs(30)).code(), Some(0), "{}", worker.err());
    house.state(&job, "queued");
    assert_eq!(house.site.stop(PATIENCE).code(), Some(0));
    house.site.assert_nothing_left();
}

#[test]
fn a_worker_whose_disk_is_short_takes_no_jobs_and_says_why() {
    let mut house = house();
    let job = house.submit("quick");
    let stop = until(PATIENCE, "the status to say it", || {
        let status = house.site.look("/api/v1/status")?;
        let stops = status["stopped_by"].as_array().cloned().unwrap_or_default();
        stops.into_iter().find(|stop| text(&stop["what"]).ends_with("takes no jobs")).ok_or(status.to_string())
    });
    assert!(text(&stop["reason"]).contains("less than disk_reserve"), "{stop}");
    house.state(&job, "queued");
    let workers = house.site.get("/api/v1/workers");
    let figures = &workers["items"][0]["figures"];
    assert!(figures["memory_total"].as_u64() > Some(0) && figures["disk_total"].as_u64() > Some(0), "{workers}");
    let name = text(&workers["items"][0]["name"]);
    let token = std::fs::read_to_string(house.site.data("operator.token")).expect("a token");
    let metrics = http::get(&format!("{}/metrics", house.site.url())).bearer(&token).send().expect("numbers").text();
    let line = format!("taskotron_worker_machine{{worker=\"{name}\",what=\"takes_none\"}} 1");
    assert!(metrics.contains(&line), "{metrics}");
    let checked = house.site.taskotron(&["check", "workers"]);
    assert!(checked.code == Some(1) && checked.out.contains("takes no jobs: "), "{checked:?}");
    let shown = house.site.taskotron(&["worker", "show", &name]);
    assert!(shown.out.contains("takes_none") && shown.out.contains("disk_reserve"), "{shown:?}");
    assert_eq!(house.site.taskotron(&["worker", "show", "nobody"]).code, Some(2));

    let mut worker = house.worker("w1", "");
    house.state(&job, "finished");
    assert_eq!(worker.stop(PATIENCE).code(), Some(0));
    assert_eq!(house.site.stop(PATIENCE).code(), Some(0));
    house.site.assert_nothing_left();
}
