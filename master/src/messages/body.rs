//! One message: topic, id, headers and body, from what the store noted. Pure, and the same each time that it is asked.
//!
//! The shape is that of the public CI messages (`contact`, `run`, `artifact`, `pipeline`, `test`, `version`), the headers
//! are those of fedora-messaging.

use bus::Telegram;
use model::{JobState, Outcome};
use serde_json::{Value, json};
use uuid::{Uuid, uuid};

use super::artifact::{artifact, word};
use super::settings::Messages;
use crate::Settings;
use crate::store::{Message, Stage};

/// The namespace of message ids (version 5 UUIDs).
const MESSAGES: Uuid = uuid!("5a5c3f0b-8f0c-5d4e-9b5f-0c9a4b1de7a2");

/// Of the specification that the bodies follow.
const VERSION: &str = "1.1.14";

/// The class that checks these bodies, in the package `ci-messages`; and the one that checks nothing.
const SCHEMA: &str = "ci_messages.CIMessageV1";
const ANY: &str = "base.message";

/// A name in a header has to fit into a short string, with what stands before it.
const LONGEST_NAME: usize = 200;

/// What the last word of a topic says.
enum Word {
    Queued,
    Running,
    Complete(Outcome),
    /// It ended, and nobody judged the item.
    Error,
}

impl Word {
    fn of(stage: &Stage) -> Word {
        match stage {
            Stage::Queued => Word::Queued,
            Stage::Running { .. } => Word::Running,
            Stage::Ended { state: JobState::Finished, outcome: Some(outcome), .. } if *outcome != Outcome::Error => {
                Word::Complete(*outcome)
            }
            Stage::Ended { .. } => Word::Error,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Word::Queued => "queued",
            Word::Running => "running",
            Word::Complete(_) => "complete",
            Word::Error => "error",
        }
    }
}

pub fn telegram(message: &Message, to: &Messages, settings: &Settings) -> Telegram {
    let artifact = artifact(message);
    let word = Word::of(&message.stage);
    let topic = to.outlet.topic(&format!("ci.{}.test.{}", artifact.kind, word.name()));
    let about = [("rpm", artifact.package), ("user", artifact.user)];
    let about = about.into_iter().filter_map(|(what, name)| Some((what, name.filter(|n| n.len() <= LONGEST_NAME)?)));
    Telegram {
        id: id(message).to_string(),
        topic,
        schema: if artifact.whole { SCHEMA } else { ANY },
        severity: if matches!(word, Word::Error) { 30 } else { 20 },
        sent_at: message.at.to_seconds().replace(' ', "T") + "+00:00",
        about: about.map(|(what, name)| format!("fedora_messaging_{what}_{name}")).collect(),
        body: body(message, &word, artifact.kind.as_str(), artifact.block, to, settings).to_string(),
    }
}

/// From what is told of which job, so that whoever sends it again sends the same.
fn id(message: &Message) -> Uuid {
    let told = match &message.stage {
        Stage::Queued => "queued".to_owned(),
        Stage::Running { attempt } => format!("running.{attempt}"),
        Stage::Ended { .. } => "ended".to_owned(),
    };
    Uuid::new_v5(&MESSAGES, format!("{}.{told}", message.job).as_bytes())
}

fn body(message: &Message, is: &Word, kind: &str, artifact: Value, to: &Messages, settings: &Settings) -> Value {
    let page = settings.job_page(message.job);
    let api = settings.public_url.as_str().trim_end_matches('/');
    let log = format!("{api}/api/v1/jobs/{}/log", message.job);
    let mut pipeline = json!({"id": message.job, "name": message.task});
    let mut test = json!({
        "type": message.task,
        "category": to.category(&message.task),
        "namespace": format!("{}.{kind}", word(&to.namespace)),
    });
    let (attempts, note) = match &message.stage {
        Stage::Queued => (0, None),
        Stage::Running { attempt } => (*attempt, None),
        Stage::Ended { attempts, reason, .. } => (*attempts, Some(reason)),
    };
    if attempts > 0 {
        pipeline["build"] = json!(attempts.to_string());
    }
    let mut body = json!({
        "contact": to.contact,
        "run": {"url": page, "log": log},
        "artifact": artifact,
        "pipeline": pipeline,
        "generated_at": message.at,
        "version": VERSION,
    });
    match is {
        Word::Queued | Word::Running => {}
        Word::Complete(outcome) => {
            test["result"] = json!(outcome.name().to_lowercase());
            test["note"] = json!(note);
            body["system"] = json!([]);
        }
        Word::Error => body["error"] = json!({"reason": note}),
    }
    if message.arch != model::NOARCH {
        // Not a word of the specification, which lets others in: two jobs on one item may differ in nothing else.
        test["architecture"] = json!(message.arch);
    }
    body["test"] = test;
    body
}

#[cfg(test)]
mod tests {
    use model::{JobId, Time};

    use super::super::settings::sample;
    use super::*;

    fn message(stage: Stage) -> Message {
        let event = json!({
            "name": "foo", "version": "1", "release": "1", "owner": "kath", "task_id": 7, "build_id": 5, "new": 1,
        });
        Message {
            seq: 1,
            job: JobId::of("e", "rpmlint", "koji_build", "foo-1-1", "x86_64"),
            stage,
            at: Time(1_700_000_000_123_456),
            task: "rpmlint".into(),
            item: "foo-1-1".into(),
            item_type: "koji_build".into(),
            arch: "x86_64".into(),
            event: event.as_object().cloned(),
            tries: 0,
        }
    }

    fn ended(state: JobState, outcome: Option<Outcome>) -> Stage {
        Stage::Ended { state, reason: "exited with 1".into(), outcome, attempts: 2 }
    }

    #[test]
    fn a_message_says_what_the_ci_messages_say() {
        let mut to = sample();
        to.outlet.topic_prefix = "org.example.prod".into();
        let one = telegram(&message(ended(JobState::Finished, Some(Outcome::Failed))), &to, &Settings::default());
        assert_eq!(one.topic, "org.example.prod.ci.koji-build.test.complete");
        assert_eq!((one.schema, one.severity, one.sent_at.as_str()), (SCHEMA, 20, "2023-11-14T22:13:20+00:00"));
        assert_eq!(one.about, ["fedora_messaging_rpm_foo", "fedora_messaging_user_kath"]);
        let job = message(Stage::Queued).job;
        assert_eq!(
            serde_json::from_str::<Value>(&one.body).unwrap(),
            json!({
                "contact": {"name": "Taskotron", "team": "QA", "docs": "https://example.org/docs", "email": "qa@example.org"},
                "run": {
                    "url": format!("http://127.0.0.1:8080/jobs/{job}"),
                    "log": format!("http://127.0.0.1:8080/api/v1/jobs/{job}/log"),
                },
                "artifact": {
                    "type": "koji-build", "id": 7, "nvr": "foo-1-1", "component": "foo", "issuer": "kath",
                    "scratch": false,
                },
                "pipeline": {"id": job, "name": "rpmlint", "build": "2"},
                "test": {
                    "type": "rpmlint", "category": "functional", "namespace": "taskotron.koji-build",
                    "result": "failed", "note": "exited with 1", "architecture": "x86_64",
                },
                "system": [],
                "generated_at": "2023-11-14T22:13:20.123456Z",
                "version": "1.1.14",
            })
        );
    }

    #[test]
    fn every_stage_has_one_word_and_one_id() {
        let table = [
            (Stage::Queued, "queued"),
            (Stage::Running { attempt: 1 }, "running"),
            (Stage::Running { attempt: 2 }, "running"),
            (ended(JobState::Finished, Some(Outcome::Passed)), "complete"),
            (ended(JobState::Finished, Some(Outcome::Error)), "error"),
            (ended(JobState::Cancelled, None), "error"),
            (ended(JobState::Superseded, None), "error"),
            (ended(JobState::Expired, None), "error"),
        ];
        let mut ids = std::collections::BTreeSet::new();
        for (stage, word) in table {
            let one = telegram(&message(stage.clone()), &sample(), &Settings::default());
            assert_eq!(one.topic, format!("ci.koji-build.test.{word}"), "{stage:?}");
            assert_eq!(one.body.contains(r#""error":{"#), word == "error", "{stage:?}");
            assert_eq!(one.severity, if word == "error" { 30 } else { 20 });
            assert_eq!(one, telegram(&message(stage), &sample(), &Settings::default()), "it is the same again");
            ids.insert(one.id);
        }
        assert_eq!(ids.len(), 4, "queued, two attempts, and one end, whichever it is");
    }
}
