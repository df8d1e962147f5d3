//! The results of one item laid out: testcases down, flavours across, the newest in each cell.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use model::Time;

use super::link;
use super::verdict::{Flavour, Verdict};
use crate::result::StoredResult;

/// More columns than this no one can read; those with the most results are shown.
const COLUMNS: usize = 40;

/// More lines than this are left out.
const LINES: usize = 1000;

#[derive(Default)]
pub struct Matrix {
    pub columns: Vec<String>,
    pub lines: Vec<Line>,
    pub left_out: LeftOut,
    /// The types that the results name beside the item.
    pub kinds: BTreeSet<String>,
    pub good: usize,
    pub bad: usize,
    pub pending: usize,
    pub neither: usize,
    pub missing: usize,
}

/// What there was no room for.
#[derive(Default)]
pub struct LeftOut {
    pub columns: usize,
    pub lines: usize,
}

pub struct Line {
    pub testcase: String,
    pub link: String,
    /// One for each column; `None` where the testcase has no result of this flavour.
    pub cells: Vec<Option<Cell>>,
}

pub struct Cell {
    pub id: i64,
    pub outcome: String,
    pub time: String,
    pub ref_url: Option<String>,
    /// While the newest result is no verdict yet: the one before it.
    pub before: Option<Before>,
}

pub struct Before {
    pub id: i64,
    pub outcome: String,
}

impl Matrix {
    /// Lays out results that come newest first. Testcases that were `expected` have a line also without any.
    pub fn new(results: &[StoredResult], expected: &[String]) -> Matrix {
        let mut cells: BTreeMap<&str, HashMap<Flavour, Cell>> =
            expected.iter().map(|name| (name.as_str(), HashMap::new())).collect();
        let mut sizes: BTreeMap<Flavour, usize> = BTreeMap::new();
        let mut kinds = BTreeSet::new();
        for result in results {
            let line = cells.entry(&result.testcase).or_default();
            let mut data = result.data();
            kinds.extend(data.remove("type").into_iter().flatten());
            for flavour in Flavour::all(&data) {
                *sizes.entry(flavour.clone()).or_default() += 1;
                match line.get_mut(&flavour) {
                    None => {
                        line.insert(flavour, Cell::of(result));
                    }
                    Some(cell) => cell.had(result),
                }
            }
        }
        let columns = largest(sizes);
        let left_out = LeftOut { columns: columns.1, lines: cells.len().saturating_sub(LINES) };
        let columns = columns.0;
        let lines = (cells.into_iter().take(LINES))
            .map(|(testcase, mut cells)| Line {
                testcase: testcase.to_owned(),
                link: link::testcase(testcase),
                cells: columns.iter().map(|flavour| cells.remove(flavour)).collect(),
            })
            .collect();
        let mut matrix = Matrix {
            columns: columns.iter().map(Flavour::name).collect(),
            lines,
            left_out,
            kinds,
            ..Matrix::default()
        };
        matrix.count();
        matrix
    }

    fn count(&mut self) {
        let cells = self.lines.iter().flat_map(|line| &line.cells);
        for cell in cells {
            let counter = match cell.as_ref().map(|cell| Verdict::of(&cell.outcome)) {
                None => &mut self.missing,
                Some(Verdict::Good) => &mut self.good,
                Some(Verdict::Bad) => &mut self.bad,
                Some(Verdict::Pending) => &mut self.pending,
                Some(Verdict::Neither) => &mut self.neither,
            };
            *counter += 1;
        }
    }
}

/// The flavours with the most results, in their own order, and how many others there are.
fn largest(sizes: BTreeMap<Flavour, usize>) -> (Vec<Flavour>, usize) {
    let mut all: Vec<(Flavour, usize)> = sizes.into_iter().collect();
    let others = all.len().saturating_sub(COLUMNS);
    if others > 0 {
        all.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
        all.truncate(COLUMNS);
        all.sort();
    }
    (all.into_iter().map(|(flavour, _)| flavour).collect(), others)
}

impl Cell {
    fn of(result: &StoredResult) -> Cell {
        Cell {
            id: result.id,
            outcome: result.outcome.clone(),
            time: Time(result.submit_time).to_seconds(),
            ref_url: link::harmless(result.ref_url.as_deref()),
            before: None,
        }
    }

    /// There is an older result, too.
    fn had(&mut self, older: &StoredResult) {
        let pending = |outcome: &str| Verdict::of(outcome) == Verdict::Pending;
        if self.before.is_none() && pending(&self.outcome) && !pending(&older.outcome) {
            self.before = Some(Before { id: older.id, outcome: older.outcome.clone() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(id: i64, testcase: &str, outcome: &str, data: &str) -> StoredResult {
        StoredResult {
            id,
            outcome: outcome.into(),
            submit_time: id,
            note: None,
            ref_url: None,
            data: data.into(),
            groups: "[]".into(),
            testcase: testcase.into(),
            testcase_ref_url: None,
        }
    }

    #[test]
    fn the_newest_stands_in_each_cell_and_what_is_missing_or_running_is_told() {
        let results = [
            result(6, "a", "RUNNING", r#"{"arch":["x"]}"#),
            result(5, "a", "QUEUED", r#"{"arch":["x"]}"#),
            result(4, "a", "PASSED", r#"{"arch":["x"]}"#),
            result(3, "a", "FAILED", r#"{"arch":["x"]}"#),
            result(
                2,
                "b",
                "FAILED",
                r#"{"system_architecture":["y"],"arch":["z"],"scenario":["uefi"],"system_variant":["Server"]}"#,
            ),
            result(1, "c", "PASSED", "{}"),
        ];
        let matrix = Matrix::new(&results, &["c".into(), "d".into()]);
        assert_eq!(matrix.columns, ["—", "x", "y · uefi · Server"]);
        let names: Vec<&str> = matrix.lines.iter().map(|line| line.testcase.as_str()).collect();
        assert_eq!(names, ["a", "b", "c", "d"]);
        let cell = matrix.lines[0].cells[1].as_ref().unwrap();
        let before = cell.before.as_ref().unwrap();
        assert_eq!((cell.id, before.id, before.outcome.as_str()), (6, 4, "PASSED"));
        assert_eq!((matrix.good, matrix.bad, matrix.pending, matrix.missing), (1, 1, 1, 9));
    }

    #[test]
    fn a_matrix_stays_readable() {
        let results: Vec<StoredResult> =
            (0..1500).map(|i| result(i, &format!("{i}"), "PASSED", &format!(r#"{{"arch":["{i}","all"]}}"#))).collect();
        let matrix = Matrix::new(&results, &[]);
        assert_eq!((matrix.columns.len(), matrix.lines.len()), (COLUMNS, LINES));
        assert_eq!((matrix.left_out.columns, matrix.left_out.lines), (1501 - COLUMNS, 500));
        assert!(matrix.columns.contains(&"all".to_owned()));
    }
}
