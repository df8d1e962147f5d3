//! `discover: tests/*/tests.yml`: the folders of a repository in which a task is found. Pure.

use std::collections::BTreeSet;

use globset::{GlobBuilder, GlobMatcher};
use serde::{Deserialize, Serialize};

use super::source::is_inside;
use crate::fault::Problems;
use crate::section;
use crate::yaml::{Node, Tree};

/// The parameter that says which of the folders a job is for.
pub const FOLDER: &str = "folder";

/// What [`FOLDER`] says where the files of the task stand at the top of the repository.
pub const TOP: &str = ".";

/// How many folders one search may find.
pub const MOST_FOLDERS: usize = 500;

/// Patterns of files, each of which makes the folder that it stands in one of the task; or of folders, where they end in
/// `/`. Serialized it is as it is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Discover(Vec<String>);

impl Discover {
    pub(super) fn read(node: &Node, problems: &mut Problems) -> Option<Discover> {
        let nodes = match &node.tree {
            Tree::List(_) => section::list(node, "discover", problems)?,
            _ => std::slice::from_ref(node),
        };
        let mut patterns = Vec::with_capacity(nodes.len());
        for node in nodes {
            let text = section::text(node, "a pattern of discover", problems)?;
            let place = text.strip_suffix('/').unwrap_or(&text);
            if !is_inside(place) {
                let message = format!(
                    "'{text}' leads out of the repository: discover is a pattern from its top, as in tests/*/tests.yml, or \
                     tests/*/ for any folder"
                );
                problems.add(node.place, message);
            } else if let Err(why) = matcher(place) {
                problems.add(node.place, format!("'{text}' is no pattern: {why}"));
            }
            patterns.push(text);
        }
        Some(Discover(patterns))
    }

    /// The folders in which a repository with these files has it, sorted.
    pub fn folders<'a>(&self, files: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
        let compiled = |text: &String| matcher(text.strip_suffix('/').unwrap_or(text)).ok();
        let (folders, files_wanted): (Vec<&String>, Vec<&String>) = self.0.iter().partition(|text| text.ends_with('/'));
        let folders: Vec<GlobMatcher> = folders.into_iter().filter_map(compiled).collect();
        let files_wanted: Vec<GlobMatcher> = files_wanted.into_iter().filter_map(compiled).collect();
        let mut found = BTreeSet::new();
        for file in files {
            let above = || file.match_indices('/').map(|(end, _)| &file[..end]);
            found.extend(above().filter(|folder| folders.iter().any(|p| p.is_match(folder))).map(str::to_owned));
            if files_wanted.iter().any(|pattern| pattern.is_match(file)) {
                found.insert(above().next_back().unwrap_or(TOP).to_owned());
            }
        }
        found
    }

    /// `tests/*/tests.yml`, several with commas between.
    pub fn patterns(&self) -> String {
        self.0.join(", ")
    }
}

/// `*` stays in its folder, `**` does not.
fn matcher(pattern: &str) -> Result<GlobMatcher, String> {
    let glob = GlobBuilder::new(pattern).literal_separator(true).build();
    glob.map(|glob| glob.compile_matcher()).map_err(|e| e.kind().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_found_by_the_file_in_it_or_by_its_own_name() {
        let files = ["tests.yml", "tests/a/tests.yml", "tests/a/deep/tests.yml", "tests/b/run.sh", "x/c d/é/tests.yml"];
        let found = |patterns: &[&str]| {
            let discover = Discover(patterns.iter().map(|text| (*text).to_owned()).collect());
            discover.folders(files).into_iter().collect::<Vec<_>>()
        };
        assert_eq!(found(&["tests/*/tests.yml"]), ["tests/a"]);
        assert_eq!(found(&["tests/*/"]), ["tests/a", "tests/b"]);
        assert_eq!(found(&["tests/**/tests.yml"]), ["tests/a", "tests/a/deep"]);
        assert_eq!(found(&["**/tests.yml"]), [".", "tests/a", "tests/a/deep", "x/c d/é"]);
        assert_eq!(found(&["tests/*/run.sh", "tests/a/"]), ["tests/a", "tests/b"]);
        assert_eq!(found(&["tests/{a,b}/*"]), ["tests/a", "tests/b"]);
        assert_eq!(found(&["nothing/*/"]), Vec::<String>::new());
    }
}
