//! The files that a hostile job leaves, from its worker to whoever fetches them.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use crate::fleet::{Fleet, Peer, Plan, Role};
use crate::held;
use crate::kit::count::text;
use crate::kit::{Chance, Story, http, secs, until};
use crate::site::PATIENCE;

/// Leaves what is to be kept, and much that must not be.
const LEAVE: &str = r#"#!/bin/sh
cd "$TASKOTRON_ARTIFACTS" || exit
cp "$1" big.bin
printf '<script>document.title = "hacked"</script>' >report.html
mkdir 'a b' && echo "$TASKOTRON_ITEM" >'a b/own.txt'
echo log >../top.log
ln -s /etc/passwd passwd
ln -s /etc etc
ln "$2" secret
mkfifo pipe
truncate -s 8G sparse
"#;

/// Bytes of the largest file.
const BIG: usize = 6 << 20;

/// Digests of what lies on the shelf of the masters. (Where two masters were sent the same at once, one of two copies
/// is cleared away later.)
fn lying(fleet: &Fleet) -> BTreeSet<String> {
    let folders = fs::read_dir(fleet.story.path("shared/artifacts/kept")).into_iter().flatten();
    let names = folders.flat_map(|folder| fs::read_dir(folder.expect("an entry").path()).expect("a folder"));
    let digest = |name: String| name.split('.').next().expect("a part").to_owned();
    names.map(|name| digest(name.expect("an entry").file_name().to_string_lossy().into_owned())).collect()
}

#[test]
fn what_a_job_leaves_arrives_through_cut_connections_once_and_nothing_else_does() {
    let story = Story::new();
    let (big, secret) = (story.path("big"), story.path("secret"));
    fs::write(&big, Chance::new(2).bytes(BIG)).expect("the story has a folder");
    fs::write(&secret, "of the machine").expect("the story has a folder");
    let leave = story.write("leave", LEAVE);
    let tasks = format!(
        "tasks:\n  leave:\n    run: [sh, {leave:?}, {big:?}, {secret:?}]\n    artifacts: ['artifacts/**', '*.log']\n    \
         limits: {{ artifacts: 30MiB }}\n"
    );
    story.write("config/leave.yml", tasks);
    let mut fleet = Fleet::new(story, Plan { triggers: 0, masters: 2, workers: 1, slots: 1, ..Plan::default() });
    fleet.start_all();
    held::submit(&fleet, 0, "leave", &["x"]);
    let job = held::job_of(&fleet, "x");
    let incoming = fleet.story.path("shared/artifacts/incoming");
    for cut in 1..=5 {
        until(PATIENCE, &format!("cut {cut}"), || {
            let came = fs::read_dir(&incoming).into_iter().flatten().filter_map(|entry| entry.ok()?.metadata().ok());
            let came: u64 = came.map(|found| found.len()).sum();
            if came >= cut * BIG as u64 / 6 || !lying(&fleet).is_empty() { Ok(()) } else { Err(came) }
        });
        for master in 0..2 {
            fleet.proxy(Role::Worker(0), Peer::Master(master)).cut();
        }
    }
    let ended = |job: &str| {
        until(secs(120), "the job to end", || {
            let seen = fleet.look(&format!("/api/v1/jobs/{job}"))?;
            if seen["state"] == "finished" { Ok(seen) } else { Err(seen.to_string()) }
        })
    };
    let over = ended(&job);
    assert_eq!((&over["outcome"], &over["attempts"]), (&json!("PASSED"), &json!(1)), "{over}");
    let note = text(&over["attempts_made"][0]["note"]);
    for told in ["artifacts/etc (is a link)", "artifacts/passwd (is a link)", "and 2 more"] {
        assert!(note.contains(told), "{told}: {note}");
    }

    // Another job with the same files, but for one.
    held::submit(&fleet, 1, "leave", &["y"]);
    let other = held::job_of(&fleet, "y");
    ended(&other);
    let ran = fleet.run(&["job", "artifacts", &other, "-o", "json"]);
    let list: Value = serde_json::from_str(&ran.out).expect("JSON");
    let names: Vec<_> = list.as_array().expect("a list").iter().map(|a| text(&a["name"])).collect();
    assert_eq!(names, ["artifacts/a b/own.txt", "artifacts/big.bin", "artifacts/report.html", "top.log"]);
    assert_eq!(lying(&fleet).len(), 5, "what is the same is kept once");

    let out = fleet.story.path("fetched");
    fleet.run(&["job", "artifacts", &job, "--all", "-O", &out.display().to_string()]);
    let fetched = |name: &str| fs::read(out.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert!(fetched("artifacts/big.bin") == fs::read(&big).expect("it is there"));
    assert_eq!((fetched("artifacts/a b/own.txt"), fetched("top.log")), (b"x\n".to_vec(), b"log\n".to_vec()));
    // A fetch that broke off goes on.
    let (place, whole) = (out.join("artifacts/big.bin"), fetched("artifacts/big.bin"));
    let list: Value = fleet.get(&format!("/api/v1/jobs/{job}/artifacts"));
    let big = list.as_array().expect("a list").iter().find(|a| a["name"] == "artifacts/big.bin").expect("it is there");
    fs::remove_file(&place).expect("it is ours");
    fs::write(format!("{}.{}.part", place.display(), &text(&big["sha256"])[..12]), &whole[..whole.len() - 9])
        .expect("ours");
    fleet.run(&["job", "artifacts", &job, "--get", "artifacts/big.bin", "-O", &out.display().to_string()]);
    assert!(fetched("artifacts/big.bin") == whole);
    let none = fleet.ask(&["job", "artifacts", &job, "--get", "passwd"]);
    assert_eq!(none.code, Some(2), "{none:?}");
    assert!(none.err.contains("left no 'passwd'"), "{none:?}");

    // To a browser it is a file to be stored, never a page of ours.
    let token = fs::read_to_string(&fleet.token_file).expect("it is there");
    let page = http::get(&format!("{}/api/v1/jobs/{job}/artifacts/artifacts/report.html", fleet.masters[1]));
    let page = page.bearer(&token).send().expect("the master answers");
    assert_eq!(page.header("content-type"), Some("application/octet-stream"));
    assert_eq!(page.header("content-disposition"), Some("attachment; filename*=UTF-8''report.html"));
    assert_eq!(page.header("content-security-policy"), Some("sandbox; default-src 'none'"));
    fleet.stop_all();
    assert_eq!(fs::read_dir(fleet.story.path("worker0/artifacts")).expect("it is there").count(), 0);
    fleet.assert_nothing_left();
    fleet.assert_sound();
}
