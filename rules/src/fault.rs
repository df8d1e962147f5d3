//! What is wrong with a configuration, and where: file, line, column, and the line itself with a caret under it.

use std::fmt;
use std::sync::Arc;

/// A place in one of the files of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Place {
    /// Which file, by its number in [`Problems`].
    pub file: usize,
    /// From 1; 0 where there is no line to point at.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// How many characters to underline.
    pub length: usize,
}

/// One thing wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file's name, as it was given.
    pub file: String,
    /// From 1; 0 where the fault is the whole file's.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong, and what to write instead.
    pub message: String,
    /// The line in question, and the length of the part that is meant.
    snippet: Option<(String, usize)>,
}

/// Everything that is wrong with a configuration; never empty when it is an error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Faults(pub Vec<Fault>);

/// Collects faults while a configuration is read.
#[derive(Default)]
pub(crate) struct Problems {
    files: Vec<(String, Arc<str>)>,
    faults: Vec<Fault>,
}

impl Problems {
    /// Makes a file known and returns its number.
    pub fn file(&mut self, name: &str, text: &str) -> usize {
        self.files.push((name.to_owned(), text.into()));
        self.files.len() - 1
    }

    pub fn add(&mut self, place: Place, message: impl Into<String>) {
        let (file, text) = self.files.get(place.file).cloned().unwrap_or_default();
        let line = place.line.checked_sub(1).and_then(|n| text.lines().nth(n));
        let snippet = line.map(|line| (line.to_owned(), place.length));
        self.faults.push(Fault { file, line: place.line, column: place.column, message: message.into(), snippet });
    }

    /// The name of the file of a place.
    pub fn name(&self, place: Place) -> String {
        self.files.get(place.file).map(|(name, _)| name.clone()).unwrap_or_default()
    }

    /// `Ok` when nothing was found, else all of it in the order of files and lines.
    pub fn finish(mut self) -> Result<(), Faults> {
        if self.faults.is_empty() {
            return Ok(());
        }
        let order = |fault: &Fault| self.files.iter().position(|(name, _)| *name == fault.file);
        self.faults.sort_by_cached_key(|f| (order(f), f.line, f.column));
        Err(Faults(self.faults))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            return write!(f, "{}: {}", self.file, self.message);
        }
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        let Some((line, length)) = &self.snippet else { return Ok(()) };
        let number = self.line.to_string();
        let before = self.column.saturating_sub(1);
        let left = line.chars().count().saturating_sub(before);
        // Tabs stay tabs, so that the caret stands where a terminal puts the text.
        let indent: String = line.chars().take(before).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let carets = "^".repeat((*length).clamp(1, left.max(1)));
        write!(f, "\n{number} | {line}\n{:width$} | {indent}{carets}", "", width = number.len())
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n\n")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

/// The known name that a wrong one most likely means, for "did you mean".
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&name.to_lowercase(), &candidate.to_lowercase()), candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= 1 + candidate.chars().count().min(name.chars().count()) / 3)
        .map(|(_, candidate)| candidate)
}

/// "; did you mean 'x'?", or nothing where no known name is near.
pub(crate) fn hint<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, known).map_or_else(String::new, |near| format!("; did you mean '{near}'?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_shows_its_line_with_a_caret() {
        let mut problems = Problems::default();
        let file = problems.file("rules.yml", "rules:\n  - nam: x\n");
        problems.add(Place { file, line: 2, column: 5, length: 3 }, "unknown key 'nam'; did you mean 'name'?");
        let faults = problems.finish().unwrap_err();
        insta::assert_snapshot!(faults, @r"
        rules.yml:2:5: unknown key 'nam'; did you mean 'name'?
        2 |   - nam: x
          |     ^^^
        ");
    }

    #[test]
    fn only_a_near_name_is_suggested() {
        assert_eq!(nearest("rpmlnt", ["rpmlint", "abicheck"]), Some("rpmlint"));
        assert_eq!(nearest("depcheck", ["rpmlint", "noop"]), None);
    }
}
