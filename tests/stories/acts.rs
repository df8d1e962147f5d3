//! What people do to jobs: by the command line, one and many at a time, over a restart of everything; and on the pages,
//! where only who has logged in does anything.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::installation::{Installation, PATIENCE};
use crate::kit::count::text;
use crate::kit::{Story, http, until};

const TASKS: &str = r#"
tasks:
  held: { run: [sh, -c, "echo attempt $TASKOTRON_ATTEMPT begins; while [ ! -e GATE ]; do sleep 0.05; done; echo ends"], interruptible: false }
  fails: { run: [sh, -c, "echo no good; exit 1"] }
  once: { run: [sh, -c, "while [ ! -e GATE ]; do sleep 0.05; done"], retry: never }
"#;

const SETTINGS: &str = "[worker]\nslots = 1\n[master]\nlease_term = \"3s\"\nmax_unasked = 1\n";

fn installation() -> Installation {
    let story = Story::new();
    let gate = story.path("gate").display().to_string();
    story.write("config/tasks.yml", TASKS.replace("GATE", &gate));
    let mut up = Installation::new(story, SETTINGS);
    up.start_ready();
    up
}

/// Orders one job of a task for each item; their ids.
#[track_caller]
fn submit(up: &Installation, task: &str, items: &[&str]) -> Vec<String> {
    let rows: String = items.iter().map(|item| format!("{item},number,{task},\n")).collect();
    let file = format!("{task}-{}.csv", items.join("-"));
    up.story.write(&file, format!("item,item_type,task,arch\n{rows}"));
    let mut command = up.as_operator(up.story.jobrunner());
    command.arg(&file);
    let ran = up.story.run(PATIENCE, command);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let job = |item: &&str| text(&up.get(&format!("/api/v1/jobs?task={task}&item={item}"))["items"][0]["id"]);
    items.iter().map(job).collect()
}

#[track_caller]
fn in_state(up: &Installation, job: &str, state: &str) -> Value {
    until(PATIENCE, &format!("{job} to be {state}"), || {
        let job = up.look(&format!("/api/v1/jobs/{job}"))?;
        if job["state"] == state { Ok(job) } else { Err(job.to_string()) }
    })
}

/// Runs a command, and checks how it ends and what it says on stderr.
#[track_caller]
fn says(up: &Installation, arguments: &[&str], code: i32, err: &str) -> String {
    let ran = up.taskotron(arguments);
    assert_eq!(ran.code, Some(code), "{arguments:?}: {ran:?}");
    assert!(ran.err.contains(err), "{arguments:?}: {ran:?}");
    ran.out
}

#[test]
fn jobs_are_changed_one_and_many_at_a_time_and_watched_past_a_restart() {
    let mut up = installation();
    let held = submit(&up, "held", &["1", "2", "3", "4"]);
    in_state(&up, &held[0], "running");

    // Who has more to say comes first.
    says(&up, &["job", "priority", &held[3], "--to", "5", "-m", "urgent"], 0, "1 planned = 1 done");
    assert_eq!(up.get(&format!("/api/v1/jobs/{}", held[3]))["priority"], 5);
    let queued = ["job", "cancel", "--task", "held", "--state", "queued"];
    let with = |more: &[&'static str]| [&queued[..], more].concat();
    let dry =
        says(&up, &with(&["--dry-run", "-o", "jsonl"]), 0, "3 planned = 3 done + 0 skipped + 0 failed (a dry run");
    assert_eq!(dry.lines().count(), 3, "{dry}");
    assert_eq!(up.get("/api/v1/status")["jobs"]["queued"], 3);
    says(&up, &with(&["-m", "wrong"]), 3, "--dry-run, then --yes; nothing was changed");
    says(&up, &["job", "cancel", "-m", "wrong"], 2, "");
    says(&up, &["job", "cancel", &held[1], "--task", "held", "-m", "x"], 2, "");
    says(&up, &["job", "cancel", &held[1], "-m", " "], 2, "the reason is empty");
    says(&up, &["job", "cancel", &held[1], &held[2], "-m", "wrong"], 0, "2 planned = 2 done");
    says(&up, &["job", "cancel", &held[1], "-m", "wrong"], 7, "1 planned = 0 done + 1 skipped");
    says(&up, &["job", "cancel", "6f1d1c1e-8f0a-5b7e-9d5c-2f6f0e2b7a11", "-m", "x"], 2, "there is no job");
    let again = says(&up, &["job", "rerun", &held[1], "-m", "after all", "-o", "jsonl"], 0, "1 planned = 1 done");
    let again: Value = serde_json::from_str(&again).unwrap();
    let new = text(&again["new_job"]);
    says(&up, &with(&["--yes", "-m", "no"]), 0, "2 planned = 2 done");
    in_state(&up, &new, "cancelled");

    // The watch sees the log as it comes, the process die, and the next attempt.
    let mut watch = up.as_operator(up.story.taskotron());
    watch.args(["job", "watch", &held[0], "--timeout", "5m"]);
    let mut watch = up.story.start("watch", watch);
    until(PATIENCE, "the watch to print", || {
        if watch.out().contains("attempt 1 begins") { Ok(()) } else { Err(watch.err()) }
    });
    says(&up, &["job", "watch", &held[0], "--timeout", "1s", "--no-log"], 5, "the jobs go on");
    up.kill();
    until(PATIENCE, "the watch to miss it", || {
        if watch.err().contains("does not answer") { Ok(()) } else { Err(watch.err()) }
    });
    up.start_ready();
    until(PATIENCE, "the next attempt", || {
        if watch.out().contains("attempt 2 begins") { Ok(()) } else { Err(watch.err()) }
    });
    up.story.write("gate", "");
    assert_eq!(watch.wait(PATIENCE).code(), Some(0), "{}", watch.err());
    assert_eq!(watch.out(), "attempt 1 begins\nattempt 2 begins\nends\n");

    let fails = submit(&up, "fails", &["7", "8"]);
    let both = ["job", "watch", &fails[0], &fails[1]];
    let out = says(&up, &both, 1, "found FAILED");
    assert!(out.contains(&format!("{} no good", &fails[0][..8])), "each line says whose it is: {out}");
    let tasks = says(&up, &["report", "tasks", "-o", "csv"], 0, "1 of 3 tasks declare neither");
    assert!(tasks.contains("fails,") && !tasks.contains("once"), "{tasks}");

    // Each act has its row, with what was before and after.
    let acts = up.get("/api/v1/audit?limit=100")["items"].as_array().unwrap().clone();
    let priority = acts.iter().find(|act| act["action"] == "priority").unwrap();
    assert_eq!((&priority["before"]["priority"], &priority["after"]["priority"]), (&0.into(), &5.into()));
    assert_eq!(acts.iter().filter(|act| act["action"] == "cancel" && act["before"]["state"] == "queued").count(), 4);
    up.stop(PATIENCE);
    up.assert_nothing_left();
    up.assert_sound();
}

#[test]
fn what_is_never_tried_again_waits_for_an_operator_also_when_all_is_to_be_idle() {
    let mut up = installation();
    let once = submit(&up, "once", &["1", "2"]);
    in_state(&up, &once[0], "running");
    up.kill();
    up.start_ready();
    let lost = in_state(&up, &once[0], "waiting");
    assert!(text(&lost["why"]).contains(&format!("taskotron job settle {} --as", once[0])), "{lost}");
    let listed = says(&up, &["job", "list", "--unsettled", "-o", "jsonl"], 0, "");
    assert_eq!(listed.lines().count(), 1, "{listed}");
    assert!(says(&up, &["status"], 0, "").contains("1 job waits for a person to settle it"));
    // The second runs to its end; the first still stands against idle.
    up.story.write("gate", "");
    in_state(&up, &once[1], "finished");
    says(&up, &["idle", "-m", "update", "--deadline", "1s"], 5, "taskotron job settle");
    let settle = ["job", "settle", &once[0], "--as", "failed", "-m", "its log says so"];
    says(&up, &settle, 0, "1 planned = 1 done");
    says(&up, &settle, 7, "1 skipped");
    says(&up, &["idle", "-m", "update"], 0, "");
    let results = up.results();
    assert_eq!(results[&once[0]][0]["outcome"], "FAILED");
    assert_eq!(results[&once[0]][0]["note"], "settled as FAILED by operator: its log says so");
    up.stop(PATIENCE);
    up.assert_sound();
}

/// A browser without a script: it keeps cookies, and sends forms.
struct Browser {
    url: String,
    cookie: Option<String>,
}

impl Browser {
    fn new(up: &Installation) -> Browser {
        Browser { url: up.url().to_owned(), cookie: None }
    }

    fn with_cookie(&self, request: http::Request) -> http::Request {
        match &self.cookie {
            Some(cookie) => request.header("cookie", cookie),
            None => request,
        }
    }

    #[track_caller]
    fn get(&mut self, path: &str) -> http::Reply {
        let reply = self.with_cookie(http::get(&format!("{}{path}", self.url))).send().expect("it answers");
        self.keep(&reply);
        reply
    }

    #[track_caller]
    fn post(&mut self, path: &str, form: &BTreeMap<String, String>, more: &[(&str, &str)]) -> http::Reply {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let mut request = http::post(&format!("{}{path}", self.url), "application/x-www-form-urlencoded", body);
        for (name, value) in more {
            request = request.header(name, value);
        }
        let reply = self.with_cookie(request).send().expect("it answers");
        self.keep(&reply);
        reply
    }

    fn keep(&mut self, reply: &http::Reply) {
        if let Some(cookie) = reply.header("set-cookie") {
            let gone = cookie.contains("Max-Age=0");
            self.cookie = (!gone).then(|| cookie.split(';').next().unwrap().to_owned());
        }
    }
}

/// The hidden fields of a page's form that leads to `action`.
#[track_caller]
fn fields(page: &str, action: &str) -> BTreeMap<String, String> {
    let (_, form) = page.split_once(&format!("action=\"{action}\"")).unwrap_or_else(|| panic!("no {action} in {page}"));
    let (form, _) = form.split_once("</form>").expect("a form ends");
    let value = |field: &str, name: &str| {
        let (_, rest) = field.split_once(&format!("{name}=\""))?;
        Some(rest.split('"').next()?.to_owned())
    };
    let hidden = form.split("<input type=\"hidden\"").skip(1);
    hidden.map(|field| (value(field, "name").unwrap(), value(field, "value").unwrap())).collect()
}

#[test]
fn on_the_pages_only_who_has_logged_in_does_anything_and_only_by_their_own_forms() {
    let mut up = installation();
    let held = submit(&up, "held", &["1", "2", "3"]);
    in_state(&up, &held[0], "running");
    let said = up.up().err();
    let (_, code) = said.split_once("/login/").expect("it prints an address to log in");
    let address = format!("/login/{}", &code[..64]);
    let (job, act) = (format!("/jobs/{}", held[1]), "/acts/cancel".to_owned());
    let confirm = format!("{act}?job={}", held[1]);

    // Nobody in particular reads, and sees no buttons.
    let mut anyone = Browser::new(&up);
    assert!(!anyone.get(&job).text().contains("/acts/"));
    assert_eq!(anyone.get(&confirm).status, 401);
    let mut form = BTreeMap::from([("job".to_owned(), held[1].clone()), ("reason".to_owned(), "x".to_owned())]);
    assert_eq!(anyone.post(&act, &form, &[]).status, 401);
    // A token that a browser might send along by itself opens no form either.
    let bearer = format!("Bearer {}", std::fs::read_to_string(up.data("operator.token")).unwrap().trim());
    assert_eq!(anyone.post(&act, &form, &[("authorization", &bearer)]).status, 401);

    let mut kath = Browser::new(&up);
    let login = kath.get(&address);
    assert_eq!((login.status, login.header("location")), (303, Some("/")));
    let cookie = login.header("set-cookie").unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
    let twice = anyone.get(&address);
    assert_eq!(twice.status, 403, "an address is good for one visit");
    assert!(twice.text().contains("is spent") && twice.header("set-cookie").is_none());
    let page = kath.get(&job);
    assert!(page.text().contains(&format!("href=\"{confirm}\"")), "{}", page.text());
    assert_eq!(page.header("cache-control"), Some("no-store"));

    // The page before the deed says what would be done, and gives the form.
    let page = kath.get(&confirm).text();
    assert!(page.contains("Cancel 1 job?") && page.contains("Nothing has been done yet"), "{page}");
    let given = fields(&page, &act);
    for (more, change) in [
        (&[][..], Some("")),
        (&[], Some("0123")),
        (&[("origin", "https://evil.example")], None),
        (&[("sec-fetch-site", "cross-site")], None),
    ] {
        form.extend(given.clone());
        match change {
            Some("") => drop(form.remove("csrf")),
            Some(csrf) => drop(form.insert("csrf".into(), csrf.into())),
            None => {}
        }
        assert_eq!(kath.post(&act, &form, more).status, 403, "{more:?} {change:?}");
    }
    in_state(&up, &held[1], "queued");
    form.extend(given);
    form.insert("reason".into(), "a wrong item".into());
    let here = [("origin", up.url()), ("sec-fetch-site", "same-origin")];
    let done = kath.post(&act, &form, &here);
    assert_eq!((done.status, done.header("location")), (303, Some(job.as_str())), "{}", done.text());
    let cancelled = in_state(&up, &held[1], "cancelled");
    assert!(text(&cancelled["why"]).contains("cancelled by operator: a wrong item"), "{cancelled}");

    // Many at a time, by the filter of the listing.
    let listing = kath.get("/jobs?task=held&state=queued&item=").text();
    assert!(
        listing.contains("/acts/cancel?state=queued&#38;task=held")
            || listing.contains("/acts/cancel?state=queued&amp;task=held"),
        "{listing}"
    );
    let page = kath.get("/acts/priority?state=queued&task=held").text();
    let mut form = fields(&page, "/acts/priority");
    form.extend([("priority".to_owned(), "7".to_owned()), ("reason".to_owned(), "urgent".to_owned())]);
    let done = kath.post("/acts/priority", &form, &here);
    assert!(done.text().contains("1 planned = 1 done + 0 skipped + 0 failed"), "{}", done.text());
    assert_eq!(up.get(&format!("/api/v1/jobs/{}", held[2]))["priority"], 7);

    // A reader may log in, and may do no more than before.
    let mut reader = Browser::new(&up);
    let token = std::fs::read_to_string(up.data("reader.token")).unwrap();
    let login = BTreeMap::from([("token".to_owned(), token), ("to".to_owned(), job.clone())]);
    assert_eq!(reader.post("/login", &login, &[("origin", "https://evil.example")]).status, 403);
    assert_eq!(reader.post("/login", &login, &here).header("location"), Some(job.as_str()));
    let page = reader.get(&job).text();
    assert!(page.contains("Log out") && !page.contains("/acts/"), "{page}");
    let mut form = fields(&page, "/logout");
    form.extend([("job".to_owned(), held[2].clone()), ("reason".to_owned(), "x".to_owned())]);
    assert_eq!(reader.post(&act, &form, &here).status, 403);
    let wrong = BTreeMap::from([("token".to_owned(), "guess".to_owned())]);
    assert_eq!(Browser::new(&up).post("/login", &wrong, &here).status, 403);

    // After the logout the cookie is worth nothing, also to who has kept it.
    let kept = kath.cookie.clone();
    let out = fields(&kath.get("/").text(), "/logout");
    assert_eq!(kath.post("/logout", &BTreeMap::new(), &here).status, 403);
    assert_eq!(kath.post("/logout", &out, &here).status, 303);
    assert_eq!(kath.cookie, None);
    kath.cookie = kept;
    assert_eq!(kath.get(&confirm).status, 401);
    let audit = up.get("/api/v1/audit?limit=100")["items"].as_array().unwrap().clone();
    let of = |actor: &str| {
        audit.iter().filter(|act| act["actor"] == actor).map(|act| text(&act["action"])).collect::<Vec<_>>()
    };
    assert_eq!(of("operator"), ["logout", "priority", "cancel", "login"]);
    assert_eq!(of("reader"), ["login"]);
    up.story.write("gate", "");
    up.stop(PATIENCE);
    up.assert_sound();
}
