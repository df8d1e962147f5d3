//! What was tested, as the CI messages say it: one arm for each type of item that they have words for.
//!
//! Only what is known is said. What a type asks for and the event does not tell is left out; then the message does not
//! claim the public schema, which would refuse it.

use serde_json::{Map, Value, json};

use crate::store::Message;

/// The block `artifact` of a message, and what follows from it.
#[derive(Clone, Debug, PartialEq)]
pub struct Artifact {
    /// The word in the topic, too.
    pub kind: String,
    pub block: Value,
    /// Whether it has all that the public schema of its topic asks for.
    pub whole: bool,
    /// Names for the headers that consumers filter by.
    pub package: Option<String>,
    pub user: Option<String>,
}

/// Types of items, by the names that rules and kinds give them.
pub fn artifact(message: &Message) -> Artifact {
    let nothing = Map::new();
    let event = message.event.as_ref().unwrap_or(&nothing);
    match message.item_type.as_str() {
        "koji_build" => koji_build(&message.item, event),
        "bodhi_update" => bodhi_update(&message.item, event),
        "pull_request" | "dist_git_pr" => pull_request(&message.item, event),
        "compose" => plain("productmd-compose".into(), &message.item, user(event, &["agent"])),
        other => plain(word(other), &message.item, user(event, &["agent"])),
    }
}

/// The id of a build is that of its task in Koji, as everywhere in these messages.
fn koji_build(nvr: &str, event: &Map<String, Value>) -> Artifact {
    let component = component(nvr);
    let text = |key| event.get(key).and_then(Value::as_str).unwrap_or_default();
    // The event may be about more, or about something else, than this build.
    let is_its = format!("{}-{}-{}", text("name"), text("version"), text("release")) == nvr;
    let id = event.get("task_id").and_then(Value::as_u64).filter(|id| is_its && *id > 0);
    let issuer = user(event, &["owner"]).filter(|_| is_its);
    // Koji tells its bus of builds that have a number; a scratch build has none.
    let scratch = (is_its && event.get("build_id").is_some_and(Value::is_u64)).then_some(false);
    let whole = id.is_some() && issuer.is_some() && scratch.is_some();
    let block = object([
        ("type", Some(json!("koji-build"))),
        ("id", id.map(Value::from)),
        ("nvr", Some(json!(nvr))),
        ("component", Some(json!(component))),
        ("issuer", issuer.as_deref().map(Value::from)),
        ("scratch", scratch.map(Value::from)),
    ]);
    Artifact { kind: "koji-build".into(), block, whole, package: Some(component.to_owned()), user: issuer }
}

fn bodhi_update(alias: &str, event: &Map<String, Value>) -> Artifact {
    let update = event.get("update").and_then(Value::as_object);
    let builds = update.and_then(|update| update.get("builds")).and_then(Value::as_array);
    let builds = builds.into_iter().flatten().filter_map(|build| build.get("nvr")?.as_str());
    let builds: Vec<Value> =
        builds.map(|nvr| json!({"type": "koji-build", "nvr": nvr, "component": component(nvr)})).collect();
    let release = update.and_then(|update| update.get("release")).and_then(Value::as_object);
    let release = release.map(|release| {
        let named = ["name", "version"].map(|key| (key, release.get(key).filter(|value| value.is_string()).cloned()));
        object(named)
    });
    let issuer = update.and_then(|update| {
        let user = update.get("user").and_then(|user| user.get("name")).or_else(|| update.get("submitter"));
        user?.as_str().map(str::to_owned)
    });
    let block = object([
        ("type", Some(json!("fedora-update"))),
        ("id", Some(json!(alias))),
        ("alias", Some(json!(alias))),
        ("release", release),
        ("builds", (!builds.is_empty()).then_some(Value::Array(builds))),
        ("issuer", issuer.as_deref().map(Value::from)),
    ]);
    Artifact { kind: "fedora-update".into(), block, whole: false, package: None, user: issuer }
}

fn pull_request(item: &str, event: &Map<String, Value>) -> Artifact {
    let request = event.get("pullrequest").and_then(Value::as_object);
    let text = |key: &str| request.and_then(|request| request.get(key)).filter(|value| value.is_string()).cloned();
    let (repository, number) = item.rsplit_once('#').unwrap_or((item, ""));
    let issuer = request.and_then(|request| request.get("user")?.get("name")?.as_str()).map(str::to_owned);
    let id = number.parse::<u64>().map_or_else(|_| json!(item), Value::from);
    let block = object([
        ("type", Some(json!("dist-git-pr"))),
        ("id", Some(id)),
        ("repository", Some(json!(repository))),
        ("uid", text("uid")),
        ("commit_hash", text("commit_stop")),
        ("issuer", issuer.as_deref().map(Value::from)),
    ]);
    let package = repository.strip_prefix("rpms/").map(str::to_owned);
    Artifact { kind: "dist-git-pr".into(), block, whole: false, package, user: issuer }
}

fn plain(kind: String, item: &str, user: Option<String>) -> Artifact {
    let block =
        object([("type", Some(json!(kind))), ("id", Some(json!(item))), ("issuer", user.as_deref().map(Value::from))]);
    Artifact { kind, block, whole: false, package: None, user }
}

fn object<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    members.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect::<Map<_, _>>().into()
}

/// The package of a name-version-release.
fn component(nvr: &str) -> &str {
    nvr.rsplitn(3, '-').last().unwrap_or(nvr)
}

fn user(event: &Map<String, Value>, keys: &[&str]) -> Option<String> {
    keys.iter().find_map(|key| event.get(*key)?.as_str()).filter(|name| !name.is_empty()).map(str::to_owned)
}

/// Any text as one word of a topic.
pub fn word(text: &str) -> String {
    let word: String = text.chars().take(60).map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    if word.is_empty() { "item".into() } else { word }
}

#[cfg(test)]
mod tests {
    use model::{JobId, Time};

    use super::*;
    use crate::store::Stage;

    fn of(item_type: &str, item: &str, event: Value) -> Artifact {
        artifact(&Message {
            seq: 1,
            job: JobId::of("e", "t", item_type, item, "noarch"),
            stage: Stage::Queued,
            at: Time(0),
            task: "t".into(),
            item: item.into(),
            item_type: item_type.into(),
            arch: "noarch".into(),
            event: event.as_object().cloned(),
            tries: 0,
        })
    }

    #[test]
    fn a_build_is_whole_where_its_own_event_tells_all_of_it() {
        let event = json!({
            "name": "python-foo", "version": "1.2", "release": "3.fc41", "owner": "kath", "task_id": 77, "build_id": 5,
        });
        let build = of("koji_build", "python-foo-1.2-3.fc41", event.clone());
        let want = json!({
            "type": "koji-build", "id": 77, "nvr": "python-foo-1.2-3.fc41", "component": "python-foo",
            "issuer": "kath", "scratch": false,
        });
        assert_eq!((build.block, build.whole), (want, true));
        assert_eq!((build.package.as_deref(), build.user.as_deref()), (Some("python-foo"), Some("kath")));

        let other = of("koji_build", "bar-1-1", event);
        assert_eq!(other.block, json!({"type": "koji-build", "nvr": "bar-1-1", "component": "bar"}));
        assert!(!other.whole && other.user.is_none(), "the event is about another build");
        assert_eq!(of("koji_build", "odd", Value::Null).block["component"], "odd");
    }

    #[test]
    fn other_items_say_what_is_known_of_them() {
        let update = json!({"update": {
            "alias": "FEDORA-2026-1", "release": {"name": "F41", "version": "41", "locked": true},
            "builds": [{"nvr": "foo-1-1.fc41", "epoch": 0}, {"nvr": null}], "user": {"name": "kath"},
        }});
        assert_eq!(
            of("bodhi_update", "FEDORA-2026-1", update).block,
            json!({
                "type": "fedora-update", "id": "FEDORA-2026-1", "alias": "FEDORA-2026-1", "issuer": "kath",
                "release": {"name": "F41", "version": "41"},
                "builds": [{"type": "koji-build", "nvr": "foo-1-1.fc41", "component": "foo"}],
            })
        );
        let request = json!({"pullrequest": {"uid": "2bf7", "commit_stop": null, "user": {"name": "kath"}}});
        let request = of("pull_request", "rpms/foo#12", request);
        let want = json!({"type": "dist-git-pr", "id": 12, "repository": "rpms/foo", "uid": "2bf7", "issuer": "kath"});
        assert_eq!((request.block, request.package.as_deref()), (want, Some("foo")));
        let commit = of("dist_git_commit", "rpms/foo#abc", json!({"commit": {}}));
        assert_eq!((commit.kind.as_str(), commit.whole), ("dist-git-commit", false));
        assert_eq!(commit.block, json!({"type": "dist-git-commit", "id": "rpms/foo#abc"}));
        assert_eq!(of("a.b c", "x", Value::Null).kind, "a-b-c");
        assert_eq!(of("", "x", Value::Null).kind, "item");
    }
}
