//! What the mirrors show, and what a job can be pinned to by it. Pure.

use std::collections::HashMap;

use model::source::{Commit, Pin};
use rules::Wanted;

use crate::store::MirrorRow;

/// All mirrors at one moment.
#[derive(Debug, Default)]
pub struct Set {
    version: i64,
    mirrors: HashMap<String, MirrorRow>,
}

/// What a mirror says to what a job wants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Found {
    Pin(Pin),
    /// A whole commit was named, which only the repository itself can tell of.
    Commit(Commit),
    /// Why there is none, in words.
    No(String),
}

impl Set {
    pub fn new(version: i64, rows: Vec<MirrorRow>) -> Set {
        Set { version, mirrors: rows.into_iter().map(|row| (row.url.clone(), row)).collect() }
    }

    /// How often the mirrors had changed.
    pub fn version(&self) -> i64 {
        self.version
    }

    pub fn get(&self, url: &str) -> Option<&MirrorRow> {
        self.mirrors.get(url)
    }

    pub fn all(&self) -> impl Iterator<Item = &MirrorRow> {
        self.mirrors.values()
    }

    /// The first branch or tag that there is of those that would do.
    pub fn find(&self, wanted: &Wanted) -> Found {
        let Some(mirror) = self.get(&wanted.git) else {
            return Found::No(format!("{} has not been fetched yet", wanted.git));
        };
        if mirror.fetched_at.is_none() {
            return Found::No(format!("{}: {}", wanted.git, when(mirror)));
        }
        for reference in &wanted.references {
            let heads = &mirror.heads;
            if let Some(commit) = heads.branches.get(reference).or_else(|| heads.tags.get(reference)) {
                return Found::Pin(Pin { reference: reference.clone(), commit: commit.clone() });
            }
            if let Ok(commit) = reference.parse() {
                return Found::Commit(commit);
            }
        }
        let names: Vec<String> = wanted.references.iter().map(|name| format!("'{name}'")).collect();
        Found::No(format!("{} has no branch or tag {}; {}", wanted.git, names.join(" or "), when(mirror)))
    }
}

/// Of when what a mirror shows is: since when it could not be fetched and why, or when it was.
pub fn when(mirror: &MirrorRow) -> String {
    match (&mirror.failed, mirror.fetched_at) {
        (Some(note), _) => format!("it could not be fetched since {}: {}", note.since.to_seconds(), note.what),
        (None, Some(at)) => format!("it was fetched at {}", at.to_seconds()),
        (None, None) => "it has not been fetched yet".into(),
    }
}

#[cfg(test)]
mod tests {
    use model::Time;
    use model::source::MirrorNote;

    use super::*;
    use crate::store::Heads;

    fn commit(digit: char) -> Commit {
        digit.to_string().repeat(40).parse().unwrap()
    }

    fn wanted(git: &str, references: &[&str]) -> Wanted {
        Wanted { git: git.into(), references: references.iter().map(|r| (*r).to_owned()).collect(), path: None }
    }

    #[test]
    fn the_first_that_there_is_is_taken_and_what_is_missing_says_why() {
        let heads = Heads {
            branches: [("main".to_owned(), commit('a'))].into(),
            tags: [("main".to_owned(), commit('b')), ("v1".to_owned(), commit('c'))].into(),
        };
        let failed = || Some(MirrorNote { what: "no route to host".into(), since: Time(60_000_000) });
        let row = |url: &str, fetched: bool| MirrorRow {
            url: url.into(),
            heads: heads.clone(),
            fetched_at: fetched.then_some(Time(0)),
            ..MirrorRow::default()
        };
        let set = Set::new(
            1,
            vec![
                row("here", true),
                MirrorRow { failed: failed(), ..row("away", true) },
                MirrorRow { failed: failed(), ..row("never", false) },
            ],
        );
        let pin = |reference: &str, digit| Found::Pin(Pin { reference: reference.into(), commit: commit(digit) });
        let find = |git: &str, references: &[&str]| set.find(&wanted(git, references));
        assert_eq!(find("here", &["f41", "main"]), pin("main", 'a'), "a branch comes before a tag of its name");
        assert_eq!(find("here", &["v1", "main"]), pin("v1", 'c'));
        assert_eq!(find("away", &["main"]), pin("main", 'a'), "what was fetched counts on");
        assert_eq!(find("here", &[commit('d').as_str(), "main"]), Found::Commit(commit('d')));
        let no = |git: &str, references: &[&str]| match find(git, references) {
            Found::No(why) => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            no("here", &["f41", "f40"]),
            "here has no branch or tag 'f41' or 'f40'; it was fetched at 1970-01-01 00:00:00"
        );
        assert_eq!(
            no("away", &["x"]),
            "away has no branch or tag 'x'; it could not be fetched since 1970-01-01 00:01:00: no route to host"
        );
        assert_eq!(
            no("never", &["main"]),
            "never: it could not be fetched since 1970-01-01 00:01:00: no route to host"
        );
        assert_eq!(no("other", &["main"]), "other has not been fetched yet");
    }
}
