//! Another master as the reference of `missed`: what it has seen and this one has not, and what it cannot tell.

use serde_json::json;

use crate::installation::Installation;
use crate::kit::story::Ran;
use crate::kit::{Story, secs, until};
use crate::site::PATIENCE;

const CONFIG: &str = r#"
rules:
  - name: each
    topics: [story.each]
    do: [{ tasks: [check], item: "{{ body.n }}", item_type: number }]
tasks:
  check: { run: ["true"] }
"#;

/// One that has taken so many events from a file.
fn site(events: usize) -> Installation {
    let story = Story::new();
    story.write("config/all.yml", CONFIG);
    let line = |n| json!({"id": format!("m{n}"), "topic": "story.each", "body": {"n": n}}).to_string() + "\n";
    let file = story.write("events.jsonl", (0..events).map(line).collect::<String>());
    let mut site = Installation::new(story, &format!("[trigger]\nfile = {file:?}\n"));
    site.start_ready();
    until(secs(120), "every event to be taken", || {
        let status = site.look("/api/v1/status")?;
        if status["intake"]["forwarded"] == events { Ok(()) } else { Err(status.to_string()) }
    });
    site.settled(secs(120));
    site
}

fn missed(here: &Installation, against: &str, token: &std::path::Path) -> Ran {
    let mut command = here.as_operator(here.story.taskotron());
    command.args(["missed", "--since", "2020-01-01", "--exit-code", "-o", "csv", "--against", against]);
    command.arg("--against-token-file").arg(token);
    here.story.run(secs(180), command)
}

#[test]
fn another_master_tells_what_this_one_has_missed() {
    let (mut here, mut there) = (site(3), site(5));
    let (url, token) = (there.url().to_owned(), there.data("operator.token"));
    let lost = missed(&here, &url, &token);
    assert_eq!((lost.code, lost.out.lines().count()), (Some(10), 1 + 2), "{lost:?}");
    here.story.write("lost.csv", &lost.out);
    let mut jobrunner = here.as_operator(here.story.jobrunner());
    jobrunner.args(["--json", "lost.csv"]);
    let replayed = here.story.run(PATIENCE, jobrunner);
    assert!(replayed.code == Some(0) && replayed.out.contains("\"submitted\":2"), "{replayed:?}");
    here.settled(secs(120));
    let none = missed(&here, &url, &token);
    assert_eq!((none.code, none.out.lines().count()), (Some(0), 1), "{none:?}");
    // The other one has missed nothing; and nobody can tell once it is away.
    let back = missed(&there, here.url(), &here.data("operator.token"));
    assert_eq!((back.code, back.out.lines().count()), (Some(0), 1), "{back:?}");
    there.kill();
    let away = missed(&here, &url, &token);
    assert_eq!((away.code, away.out.as_str()), (Some(6), ""), "{away:?}");
    assert_eq!(here.stop(PATIENCE).code(), Some(0));
    here.assert_nothing_left();
    here.assert_sound();
}
