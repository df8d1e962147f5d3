//! Events that tell of a repository.

use std::collections::{BTreeSet, HashMap};

use model::Event;
use rules::Pattern;
use serde_json::Value;

use super::Mirrors;

impl Mirrors {
    /// Looks at the repositories anew that these events tell of.
    pub fn hear<'a>(&self, events: impl Iterator<Item = &'a Event>) {
        let set = self.set();
        let mut names = None;
        let mut told = BTreeSet::new();
        for event in events {
            if !self.topics.iter().any(|topic| topic.matches(&event.topic)) {
                continue;
            }
            let names = names.get_or_insert_with(|| Names::of(set.all().map(|row| row.url.as_str())));
            names.told_by(event, &mut told);
        }
        if !told.is_empty() {
            self.look_at(told);
        }
    }
}

/// Patterns for the topics of events that can tell of a repository.
pub fn topics(written: &[String]) -> Vec<Pattern> {
    written.iter().map(|text| Pattern::new(text)).collect()
}

/// What a repository may be called in an event: its whole address, its path at its host, or the last part of that, each
/// with or without `.git`.
struct Names<'a>(HashMap<String, Vec<&'a str>>);

impl<'a> Names<'a> {
    fn of(urls: impl Iterator<Item = &'a str>) -> Names<'a> {
        let mut names: HashMap<String, Vec<&str>> = HashMap::new();
        for url in urls {
            let whole = plain(url);
            let path = whole.split_once('/').map_or("", |(_, path)| path);
            let last = path.rsplit('/').next().unwrap_or_default();
            for name in BTreeSet::from([whole, path, last]) {
                if !name.is_empty() {
                    names.entry(name.to_owned()).or_default().push(url);
                }
            }
        }
        Names(names)
    }

    fn told_by(&self, event: &Event, told: &mut BTreeSet<String>) {
        let mut values: Vec<&Value> = event.body.values().collect();
        while let Some(value) = values.pop() {
            match value {
                Value::String(text) => {
                    let urls = self.0.get(plain(text)).into_iter().flatten();
                    told.extend(urls.map(|url| (*url).to_owned()));
                }
                Value::Array(list) => values.extend(list),
                Value::Object(map) => values.extend(map.values()),
                Value::Null | Value::Bool(_) | Value::Number(_) => {}
            }
        }
    }
}

/// An address without its scheme, its user and `.git`; a path is itself.
fn plain(text: &str) -> &str {
    let text = text.split_once("://").map_or(text, |(_, rest)| rest.rsplit_once('@').map_or(rest, |(_, host)| host));
    text.trim_matches('/').trim_end_matches(".git")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_repository_is_known_by_its_address_its_path_or_its_name() {
        let urls = ["https://pagure.io/qa/task-a.git", "ssh://git@example.org/task-b", "file:///srv/c.git"];
        let names = Names::of(urls.into_iter());
        let told = |body: Value| {
            let body = body.as_object().unwrap().clone();
            let event = Event {
                id: "1".into(),
                topic: "t".into(),
                sent_at: None,
                headers: Default::default(),
                body,
                source: "s".into(),
            };
            let mut told = BTreeSet::new();
            names.told_by(&event, &mut told);
            told.into_iter().collect::<Vec<_>>()
        };
        assert_eq!(told(json!({"repo": {"full_url": "https://pagure.io/qa/task-a"}})), [urls[0]]);
        assert_eq!(told(json!({"repo": {"fullname": "qa/task-a"}})), [urls[0]]);
        assert_eq!(told(json!({"repository": [{"clone_url": "https://example.org/task-b.git"}]})), [urls[1]]);
        assert_eq!(told(json!({"commit": {"repo": "task-b", "branch": "task-a"}})), [urls[0], urls[1]]);
        assert_eq!(told(json!({"url": "/srv/c.git/"})), [urls[2]]);
        assert_eq!(told(json!({"url": "https://pagure.io/other/task-ab", "n": 1, "x": ""})), Vec::<String>::new());
    }
}
