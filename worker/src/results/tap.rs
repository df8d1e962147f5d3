//! The Test Anything Protocol, versions 13 and 14 (testanything.org), and the one without a version line.
//!
//! `ok` is PASSED, `not ok` FAILED; with `# SKIP`, and for a failure with `# TODO`, it is INFO. A subtest's cases are
//! named below its test point, which is a case by itself only if it failed and none of them did. Whatever makes the
//! count doubtful is wrong, and so an ERROR: no plan, another number of tests than planned, a number out of turn, a
//! subtest without its test point, a YAML block without an end, `Bail out!`. Lines that are no TAP are ignored, as TAP
//! says, unless it says `pragma +strict`.

use std::io::BufRead;

use model::Outcome;
use serde_json::Value;

use super::Wrong;
use super::case::{Case, Cases};

/// How deep subtests may nest.
const MAX_DEPTH: usize = 32;

/// Bytes of a YAML block that are looked at.
const MAX_YAML: usize = 16 << 10;

/// A line, by what stands in it.
#[derive(Debug, PartialEq)]
enum Line<'a> {
    Version,
    Plan { count: u64, reason: Option<&'a str> },
    Point(Point),
    BailOut(&'a str),
    YamlBegins,
    Strict(bool),
    Comment,
    Other,
}

#[derive(Debug, PartialEq)]
struct Point {
    ok: bool,
    number: Option<u64>,
    description: String,
    directive: Option<Directive>,
}

#[derive(Debug, PartialEq)]
enum Directive {
    Todo(String),
    Skip(String),
}

/// The document, or a subtest of it.
struct Level {
    indent: usize,
    plan: Option<u64>,
    points: u64,
    /// Where the cases begin of a subtest that awaits its test point.
    awaits: Option<usize>,
    /// Where its own cases begin.
    start: usize,
}

struct Parser<'c> {
    levels: Vec<Level>,
    cases: &'c mut Cases,
    strict: bool,
    seen: bool,
    /// The test point that was just read: its indent, and its case where it has one.
    last: Option<(usize, Option<usize>)>,
    yaml: Option<Yaml>,
}

/// A YAML block that is being read.
struct Yaml {
    indent: usize,
    case: Option<usize>,
    text: String,
}

/// Adds the cases of a document.
pub fn read(mut input: impl BufRead, cases: &mut Cases) -> Result<(), Wrong> {
    let start = cases.len();
    let root = Level { indent: 0, plan: None, points: 0, awaits: None, start };
    let mut parser = Parser { levels: vec![root], cases, strict: false, seen: false, last: None, yaml: None };
    let (mut bytes, mut line) = (Vec::new(), 0);
    loop {
        bytes.clear();
        let wrong = |line, what| Wrong { line, what };
        let n = input.read_until(b'\n', &mut bytes).map_err(|e| wrong(line, format!("cannot be read: {e}")))?;
        if n == 0 {
            return parser.end().map_err(|what| wrong(line.max(1), what));
        }
        line += 1;
        let text = String::from_utf8_lossy(&bytes);
        parser.take(text.trim_end_matches(['\n', '\r'])).map_err(|what| wrong(line, what))?;
    }
}

impl Parser<'_> {
    fn take(&mut self, line: &str) -> Result<(), String> {
        let content = line.trim_start_matches(' ');
        let indent = line.len() - content.len();
        if self.yaml.is_some() {
            return self.within_yaml(line, indent);
        }
        let parsed = parse(content);
        match parsed {
            Line::Comment => return Ok(()),
            Line::Other if self.strict && !content.trim().is_empty() => {
                return Err(format!("'{}' is no TAP, and it says that all is", content.trim()));
            }
            Line::Other => return Ok(()),
            Line::BailOut(reason) => {
                return Err(format!("bailed out{}{reason}", if reason.is_empty() { "" } else { ": " }));
            }
            Line::YamlBegins => {
                if let Some((at, case)) = self.last.take().filter(|(at, _)| indent == at + 2) {
                    self.yaml = Some(Yaml { indent: at + 2, case, text: String::new() });
                }
                return Ok(());
            }
            Line::Strict(strict) => {
                self.strict = strict;
                return Ok(());
            }
            Line::Version | Line::Plan { .. } | Line::Point(_) => {}
        }
        if !self.go_to(indent)? {
            // Printed by a test, by chance in this form.
            return Ok(());
        }
        self.seen = true;
        self.last = None;
        match parsed {
            Line::Version => self.version(),
            Line::Plan { count, reason } => self.plan(count, reason),
            Line::Point(point) => self.point(point),
            Line::BailOut(_) | Line::YamlBegins | Line::Strict(_) | Line::Comment | Line::Other => Ok(()),
        }
    }

    fn level(&mut self) -> &mut Level {
        self.levels.last_mut().expect("the document's level is never left")
    }

    /// Ends the subtests that are deeper, or begins one; whether a line of this indent is TAP at all.
    fn go_to(&mut self, indent: usize) -> Result<bool, String> {
        if !self.levels.iter().any(|level| level.indent == indent) {
            if indent != self.level().indent + 4 {
                return Ok(false);
            }
            if self.levels.len() == MAX_DEPTH {
                return Err(format!("more than {MAX_DEPTH} subtests in each other"));
            }
            let start = self.cases.len();
            self.levels.push(Level { indent, plan: None, points: 0, awaits: None, start });
        }
        while self.level().indent > indent {
            self.leave()?;
        }
        Ok(true)
    }

    /// Ends the deepest level; the one above then awaits its test point.
    fn leave(&mut self) -> Result<(), String> {
        let Some(level) = self.levels.pop() else { return Ok(()) };
        level.check()?;
        if let Some(above) = self.levels.last_mut() {
            if above.awaits.is_some() {
                return Err("a subtest has no test point of its own".to_owned());
            }
            above.awaits = Some(level.start);
        }
        Ok(())
    }

    fn version(&mut self) -> Result<(), String> {
        let level = self.level();
        match level.points == 0 && level.plan.is_none() && level.awaits.is_none() {
            true => Ok(()),
            false => Err("another TAP document begins".to_owned()),
        }
    }

    fn plan(&mut self, count: u64, reason: Option<&str>) -> Result<(), String> {
        let whole = self.levels.len() == 1;
        if self.level().plan.replace(count).is_some() {
            return Err("a second plan".to_owned());
        }
        match (whole, count, reason) {
            (true, 0, Some(reason)) => self.cases.add(Case::new("all", Outcome::Info).noted(skipped(reason))),
            _ => Ok(()),
        }
    }

    fn point(&mut self, point: Point) -> Result<(), String> {
        let level = self.level();
        level.points += 1;
        let (indent, points, awaits) = (level.indent, level.points, level.awaits.take());
        if let Some(number) = point.number.filter(|number| *number != points) {
            return Err(format!("test {number} stands where test {points} should"));
        }
        let name = if point.description.is_empty() { points.to_string() } else { point.description };
        let (outcome, note) = match (point.ok, &point.directive) {
            (true, None) => (Outcome::Passed, String::new()),
            (false, None) => (Outcome::Failed, String::new()),
            (true, Some(Directive::Todo(why))) => (Outcome::Passed, format!("passed unexpectedly, to do: {why}")),
            (false, Some(Directive::Todo(why))) => (Outcome::Info, format!("failed as expected, to do: {why}")),
            (true, Some(Directive::Skip(why))) => (Outcome::Info, skipped(why)),
            // A harness counts it as a failure, whatever was meant.
            (false, Some(Directive::Skip(why))) => (Outcome::Failed, skipped(why)),
        };
        let note = note.trim_end_matches([':', ' ']).to_owned();
        let start = awaits.unwrap_or(self.cases.len());
        let excused = matches!(point.directive, Some(Directive::Todo(_)));
        let below = self.cases.since(start);
        let mut failed = false;
        for case in below.iter_mut() {
            case.name = format!("{name}/{}", case.name);
            super::case::cut(&mut case.name, 300);
            if excused && case.outcome > Outcome::Info {
                case.outcome = Outcome::Info;
            }
            failed |= case.outcome > Outcome::Info;
        }
        let speaks = below.is_empty() || (outcome == Outcome::Failed && !failed);
        let case = speaks.then_some(self.cases.len());
        if speaks {
            self.cases.add(Case::new(name, outcome).noted(note))?;
        }
        self.last = Some((indent, case));
        Ok(())
    }

    fn within_yaml(&mut self, line: &str, indent: usize) -> Result<(), String> {
        let Some(yaml) = &mut self.yaml else { return Ok(()) };
        let content = line.trim();
        if indent < yaml.indent && !content.is_empty() {
            return Err("a YAML block has no end".to_owned());
        }
        if indent == yaml.indent && content == "..." {
            if let Some((case, message)) = yaml.case.zip(message(&yaml.text)) {
                self.cases.note(case, &message);
            }
            self.yaml = None;
        } else if yaml.text.len() + line.len() < MAX_YAML {
            yaml.text.push_str(line.get(yaml.indent..).unwrap_or_default());
            yaml.text.push('\n');
        }
        Ok(())
    }

    fn end(mut self) -> Result<(), String> {
        if self.yaml.is_some() {
            return Err("a YAML block has no end".to_owned());
        }
        if !self.seen {
            return Err("there is no TAP in it".to_owned());
        }
        while self.levels.len() > 1 {
            self.leave()?;
        }
        if self.level().awaits.is_some() {
            return Err("a subtest has no test point of its own".to_owned());
        }
        self.level().check()
    }
}

impl Level {
    fn check(&self) -> Result<(), String> {
        match self.plan {
            Some(planned) if planned == self.points => Ok(()),
            Some(planned) => Err(format!("{planned} tests were planned, and there are {}", self.points)),
            None => Err(format!("{} tests and no plan: it may have broken off", self.points)),
        }
    }
}

fn skipped(why: &str) -> String {
    format!("skipped: {}", why.trim()).trim_end_matches([':', ' ']).to_owned()
}

/// What a YAML block says in one text: `message` (TAP 14), or `error` (Node).
fn message(yaml: &str) -> Option<String> {
    let options = serde_saphyr::options! { with_snippet: false };
    let value: Value = serde_saphyr::from_str_with_options(yaml, options).ok()?;
    ["message", "error"].into_iter().find_map(|key| Some(value.get(key)?.as_str()?.trim_end().to_owned()))
}

fn parse(content: &str) -> Line<'_> {
    let content = content.trim_end();
    let digits = |text: &str| text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    if let Some(rest) = content.strip_prefix("TAP version ") {
        return if digits(rest) > 0 { Line::Version } else { Line::Other };
    }
    if let Some(rest) = content.strip_prefix("1..") {
        let (count, rest) = rest.split_at(digits(rest));
        let rest = rest.trim_start();
        let reason = rest.strip_prefix('#').map(str::trim_start);
        let reason = reason.map(|reason| match reason.get(..4) {
            Some(word) if word.eq_ignore_ascii_case("skip") => {
                reason[4..].trim_start_matches(|c: char| !c.is_whitespace()).trim_start()
            }
            _ => reason,
        });
        return match count.parse() {
            Ok(count) if rest.is_empty() || reason.is_some() => Line::Plan { count, reason },
            _ => Line::Other,
        };
    }
    if let Some(reason) = content.strip_prefix("Bail out!") {
        return Line::BailOut(reason.trim());
    }
    match content {
        "---" => return Line::YamlBegins,
        "pragma +strict" => return Line::Strict(true),
        "pragma -strict" => return Line::Strict(false),
        _ if content.starts_with('#') => return Line::Comment,
        _ => {}
    }
    let (ok, rest) = match content.strip_prefix("not ok") {
        Some(rest) => (false, rest),
        None => match content.strip_prefix("ok") {
            Some(rest) => (true, rest),
            None => return Line::Other,
        },
    };
    if !rest.is_empty() && !rest.starts_with([' ', '\t']) {
        return Line::Other;
    }
    let rest = rest.trim_start();
    let (number, description) = rest.split_at(digits(rest));
    let description = description.trim_start();
    let description = description.strip_prefix('-').unwrap_or(description).trim();
    let (description, directive) = directive(description);
    // One that is too long to be a number is out of turn, too.
    let number = (!number.is_empty()).then(|| number.parse().unwrap_or(0));
    Line::Point(Point { ok, number, description, directive })
}

/// Cuts a description at its directive, which an unescaped `#` begins.
fn directive(text: &str) -> (String, Option<Directive>) {
    let mut plain = String::new();
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => match text[at + 1..].chars().next() {
                Some(escaped @ ('#' | '\\')) => {
                    plain.push(escaped);
                    characters.next();
                }
                _ => plain.push(c),
            },
            '#' => {
                let rest = text[at + 1..].trim_start();
                let word = rest.split_whitespace().next().unwrap_or_default();
                let why = rest[word.len()..].trim().to_owned();
                let begins = |with: &str| word.get(..4).is_some_and(|word| word.eq_ignore_ascii_case(with));
                let found = if begins("skip") {
                    Some(Directive::Skip(why))
                } else if begins("todo") {
                    Some(Directive::Todo(why))
                } else {
                    None
                };
                match found {
                    Some(directive) => return (plain.trim_end().to_owned(), Some(directive)),
                    None => plain.push(c),
                }
            }
            c => plain.push(c),
        }
    }
    (plain, None)
}
