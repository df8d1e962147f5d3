//! What a tool's own file says: one case after another, under names of the tool, with texts of bounded length.

use std::collections::BTreeMap;

use model::{Finding, Outcome};

/// Cases of one job that are taken, over all files.
pub const MOST: usize = 10_000;

/// Characters of a name and of a note that are kept.
const NAME: usize = 300;
const NOTE: usize = 1000;

/// Further data of one case, and characters of each of its texts.
const DATA: usize = 20;
const TEXT: usize = 300;

/// Bytes of notes and data over all cases. Whoever wants more of them has the log. Escaped, each may become six, and a
/// master takes no more than 32 MiB at once.
pub const ROOM: usize = 4 << 20;

/// One of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    pub name: String,
    pub outcome: Outcome,
    pub note: Option<String>,
    pub data: BTreeMap<String, Vec<String>>,
}

impl Case {
    pub fn new(name: impl Into<String>, outcome: Outcome) -> Case {
        Case { name: name.into(), outcome, note: None, data: BTreeMap::new() }
    }

    pub fn noted(mut self, note: impl Into<String>) -> Case {
        self.note = Some(note.into()).filter(|note| !note.is_empty());
        self
    }

    fn weight(&self) -> usize {
        let data = self.data.iter().map(|(key, texts)| key.len() + texts.iter().map(String::len).sum::<usize>());
        self.note.as_ref().map_or(0, String::len) + data.sum::<usize>()
    }
}

/// All of one file, or of one job.
#[derive(Debug, Default)]
pub struct Cases {
    cases: Vec<Case>,
    weight: usize,
    bare: usize,
}

impl Cases {
    /// Takes one in, its texts cut to what is kept. The error: there are too many.
    pub fn add(&mut self, mut case: Case) -> Result<(), String> {
        if self.cases.len() == MOST {
            return Err(format!("lists more than {MOST} results"));
        }
        cut(&mut case.name, NAME);
        if let Some(note) = &mut case.note {
            cut(note, NOTE);
        }
        while case.data.len() > DATA {
            case.data.pop_last();
        }
        case.data.values_mut().for_each(|texts| {
            texts.truncate(DATA);
            texts.iter_mut().for_each(|text| cut(text, TEXT));
        });
        let weight = case.weight();
        if self.weight + weight > ROOM {
            case = Case::new(case.name, case.outcome);
            self.bare += 1;
        } else {
            self.weight += weight;
        }
        self.cases.push(case);
        Ok(())
    }

    /// Takes in what another file says.
    pub fn extend(&mut self, more: Cases) -> Result<(), String> {
        more.cases.into_iter().try_for_each(|case| self.add(case))
    }

    pub fn len(&self) -> usize {
        self.cases.len()
    }

    /// Those from the `start`-th on: what a tool says later may name or excuse them.
    pub fn since(&mut self, start: usize) -> &mut [Case] {
        &mut self.cases[start..]
    }

    /// Says what the `index`-th is about, once it is known.
    pub fn note(&mut self, index: usize, note: &str) {
        if let Some(case) = self.cases.get_mut(index)
            && case.note.is_none()
            && self.weight + NOTE <= ROOM
        {
            let mut note = note.to_owned();
            cut(&mut note, NOTE);
            self.weight += note.len();
            case.note = Some(note);
        }
    }

    /// The gravest outcome.
    pub fn worst(&self) -> Option<Outcome> {
        self.cases.iter().map(|case| case.outcome).max()
    }

    /// Whether anything was judged: what was skipped was not.
    pub fn any_judged(&self) -> bool {
        self.cases.iter().any(|case| case.outcome != Outcome::Info)
    }

    /// `12 results: 9 PASSED, 3 INFO`
    pub fn sum(&self) -> String {
        let count = |outcome: Outcome| self.cases.iter().filter(|case| case.outcome == outcome).count();
        let parts = Outcome::ALL.map(|outcome| (count(outcome), outcome));
        let parts: Vec<_> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, o)| format!("{n} {o}")).collect();
        let plural = if self.cases.len() == 1 { "" } else { "s" };
        let bare = match self.bare {
            0 => String::new(),
            n => format!("; the notes of {n} of them are only in the files, they were too much"),
        };
        format!("{} result{plural}: {}{bare}", self.cases.len(), parts.join(", "))
    }

    /// One finding each, named below `testcase`.
    pub fn findings(self, testcase: &str) -> impl Iterator<Item = Finding> {
        self.cases.into_iter().map(move |case| Finding {
            testcase: Some(if testcase.is_empty() { case.name.clone() } else { format!("{testcase}.{}", case.name) }),
            note: case.note,
            data: case.data,
            ..Finding::of(case.outcome)
        })
    }
}

/// Cuts a text that has more characters than `most`, and says so.
pub fn cut(text: &mut String, most: usize) {
    if let Some((at, _)) = text.char_indices().nth(most) {
        text.truncate(at);
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_bounds_on_what_is_taken() {
        let mut cases = Cases::default();
        for n in 0..MOST {
            let note = "é".repeat(2 * NOTE);
            let mut case = Case::new("n".repeat(2 * NAME), Outcome::Passed).noted(note);
            if n == 0 {
                case.data = (0..50).map(|key| (format!("{key:02}"), vec!["x".repeat(2 * TEXT); 50])).collect();
            }
            cases.add(case).unwrap_or_else(|e| panic!("{n}: {e}"));
        }
        assert!(cases.add(Case::new("one more", Outcome::Failed)).is_err());
        let first = &cases.cases[0];
        assert_eq!(first.name.chars().count(), NAME + 1);
        assert_eq!(first.note.as_ref().unwrap().chars().count(), NOTE + 1);
        assert_eq!((first.data.len(), first.data["00"].len()), (DATA, DATA));
        assert!(cases.weight <= ROOM && cases.cases[MOST - 1].note.is_none());
        assert!(cases.sum().contains("too much"), "{}", cases.sum());
    }
}
