//! JUnit's XML, as pytest, Maven Surefire, go-junit-report, gotestsum, Node, GoogleTest and others write it.
//!
//! `<testsuites>` and `<testsuite>` nest in any way; each `<testcase>` is one case, called CLASSNAME.NAME:
//!
//! | in it | outcome |
//! |---|---|
//! | nothing, or only Surefire's `<flakyFailure>`, `<flakyError>` | PASSED |
//! | `<failure>` | FAILED |
//! | `<error>`: the test itself broke, as in a fixture | ERROR |
//! | `<skipped>`, or a status that says so (GoogleTest) | INFO |
//!
//! A suite that says that it has more failures and errors than it shows is an ERROR. A case's properties are kept as its
//! data; those of a suite and what was printed are not: they are the environment and the log. No entity is expanded but
//! XML's own five, and no document type is taken.

use std::io::BufRead;

use model::Outcome;
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::Wrong;
use super::case::{Case, Cases};
use super::file::Lines;

/// How deep elements may nest.
const MAX_DEPTH: usize = 64;

/// Characters of text that are collected within one element.
const MAX_TEXT: usize = 2000;

/// An element that is open.
enum Open {
    Suite(Suite),
    Case(Building),
    /// `<failure>` and the like, in a case.
    Verdict,
    /// Whatever else, with its text.
    Other,
}

/// What a suite says of itself, and what was seen in it.
struct Suite {
    name: String,
    declared: u64,
    shown: u64,
}

struct Building {
    case: Case,
    /// Whether a failing verdict is to be expected: Node's `todo`.
    excused: bool,
    shown: u64,
    text: String,
}

struct Parser<'c> {
    open: Vec<Open>,
    cases: &'c mut Cases,
    over: bool,
}

/// Adds the cases of a document.
pub fn read(input: impl BufRead, cases: &mut Cases) -> Result<(), Wrong> {
    let mut reader = Reader::from_reader(Lines::of(input));
    let mut parser = Parser { open: Vec::new(), cases, over: false };
    let mut buffer = Vec::new();
    loop {
        // What makes no sense is told by where it begins, what breaks off by where it does.
        let begins = reader.get_ref().line();
        let taken = match reader.read_event_into(&mut buffer) {
            Ok(Event::Eof) => {
                let line = reader.get_ref().line();
                return parser.end_of_file().map_err(|what| Wrong { line, what });
            }
            Ok(event) => parser.take(&event).map_err(|what| Wrong { line: begins, what }),
            Err(e) => Err(Wrong { line: reader.get_ref().line(), what: format!("not XML: {e}") }),
        };
        taken?;
        buffer.clear();
    }
}

impl Parser<'_> {
    fn take(&mut self, event: &Event<'_>) -> Result<(), String> {
        match event {
            Event::Start(element) => self.begin(element),
            Event::Empty(element) => {
                self.begin(element)?;
                self.end()
            }
            Event::End(_) => self.end(),
            Event::Text(text) => {
                let text = text.decode().map_err(|e| e.to_string())?;
                if self.open.is_empty() && !text.trim().is_empty() {
                    return Err("text outside of all elements".to_owned());
                }
                self.text(&text);
                Ok(())
            }
            Event::CData(text) => {
                self.text(&text.decode().map_err(|e| e.to_string())?);
                Ok(())
            }
            Event::GeneralRef(reference) => {
                let name = reference.decode().map_err(|e| e.to_string())?;
                match reference.resolve_char_ref().map_err(|e| e.to_string())? {
                    Some(character) => self.text(character.encode_utf8(&mut [0; 4])),
                    None => match quick_xml::escape::resolve_xml_entity(&name) {
                        Some(text) => self.text(text),
                        None => return Err(format!("the entity '&{name};' is not expanded")),
                    },
                }
                Ok(())
            }
            Event::DocType(_) => Err("a document type is not taken".to_owned()),
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) | Event::Eof => Ok(()),
        }
    }

    fn begin(&mut self, element: &BytesStart<'_>) -> Result<(), String> {
        if self.open.len() == MAX_DEPTH {
            return Err(format!("more than {MAX_DEPTH} elements in each other"));
        }
        let name = element.local_name();
        let name = std::str::from_utf8(name.as_ref()).map_err(|e| e.to_string())?;
        let opened = match (self.open.last_mut(), name) {
            (None, "testsuites" | "testsuite") if !self.over => Open::Suite(Suite::of(element)?),
            (None, _) if self.over => return Err(format!("a second root, <{name}>")),
            (None, _) => return Err(format!("the root is <{name}>, not <testsuites> or <testsuite>")),
            (Some(Open::Suite(_)), "testsuites" | "testsuite") => Open::Suite(Suite::of(element)?),
            (Some(Open::Suite(_)), "testcase") => Open::Case(Building::of(element)?),
            (Some(Open::Case(case)), _) => case.has(name, element)?,
            (Some(Open::Suite(_) | Open::Verdict | Open::Other), "property") => self.property(element)?,
            (Some(Open::Suite(_) | Open::Verdict | Open::Other), _) => Open::Other,
        };
        self.open.push(opened);
        Ok(())
    }

    /// A property of the case that it stands in, two elements up.
    fn property(&mut self, element: &BytesStart<'_>) -> Result<Open, String> {
        if let [.., Open::Case(building), Open::Other] = &mut self.open[..] {
            let name = attribute(element, "name")?.unwrap_or_default();
            let value = attribute(element, "value")?.unwrap_or_default();
            building.case.data.entry(name).or_default().push(value);
        }
        Ok(Open::Other)
    }

    /// Text counts within a verdict only.
    fn text(&mut self, text: &str) {
        if let [.., Open::Case(building), Open::Verdict] = &mut self.open[..] {
            let room = MAX_TEXT.saturating_sub(building.text.len());
            building.text.extend(text.chars().take(room));
        }
    }

    fn end(&mut self) -> Result<(), String> {
        match self.open.pop() {
            Some(Open::Case(building)) => {
                let shown = building.shown;
                self.cases.add(building.done())?;
                if let Some(Open::Suite(suite)) = self.open.last_mut() {
                    suite.shown += shown;
                }
            }
            Some(Open::Suite(suite)) => {
                if let Some(case) = suite.hides() {
                    self.cases.add(case)?;
                }
                match self.open.last_mut() {
                    Some(Open::Suite(parent)) => parent.shown += suite.shown.max(suite.declared),
                    Some(Open::Case(_) | Open::Verdict | Open::Other) | None => self.over = true,
                }
            }
            Some(Open::Verdict) => {
                if let Some(Open::Case(building)) = self.open.last_mut() {
                    building.judged();
                }
            }
            Some(Open::Other) | None => {}
        }
        Ok(())
    }

    fn end_of_file(&self) -> Result<(), String> {
        match self.over {
            true => Ok(()),
            false if self.open.is_empty() => Err("there is no XML in it".to_owned()),
            false => Err("it ends before its elements do".to_owned()),
        }
    }
}

impl Suite {
    fn of(element: &BytesStart<'_>) -> Result<Suite, String> {
        let number = |name| -> Result<u64, String> {
            let Some(text) = attribute(element, name)? else { return Ok(0) };
            text.trim().parse().map_err(|_| format!("'{text}' is no number of {name}"))
        };
        let declared = number("failures")?.saturating_add(number("errors")?);
        Ok(Suite { name: attribute(element, "name")?.unwrap_or_default(), declared, shown: 0 })
    }

    /// A case for failures that no case shows: without it they would be forgotten.
    fn hides(&self) -> Option<Case> {
        let Suite { name, declared, shown } = self;
        let note = format!("the suite says that it has {declared} failures and errors, and shows {shown}");
        (declared > shown).then(|| Case::new(if name.is_empty() { "suite" } else { name }, Outcome::Error).noted(note))
    }
}

impl Building {
    fn of(element: &BytesStart<'_>) -> Result<Building, String> {
        let text = |name| Ok::<_, String>(attribute(element, name)?.filter(|text| !text.trim().is_empty()));
        let name = match (text("classname")?, text("name")?) {
            (Some(class), Some(name)) => format!("{class}.{name}"),
            (Some(name), None) | (None, Some(name)) => name,
            (None, None) => "case".to_owned(),
        };
        let mut case = Case::new(name, Outcome::Passed);
        case.data.extend(text("time")?.map(|time| ("time".to_owned(), vec![time])));
        for status in ["status", "result"] {
            match text(status)?.unwrap_or_default().to_ascii_lowercase().as_str() {
                "notrun" | "disabled" | "skipped" | "suppressed" | "ignored" => case.outcome = Outcome::Info,
                "failed" | "failure" | "broken" => case.outcome = Outcome::Failed,
                "error" => case.outcome = Outcome::Error,
                _ => {}
            }
        }
        Ok(Building { case, excused: false, shown: 0, text: String::new() })
    }

    /// An element in the case.
    fn has(&mut self, name: &str, element: &BytesStart<'_>) -> Result<Open, String> {
        let (outcome, said) = match name {
            "failure" => (Outcome::Failed, ""),
            "error" => (Outcome::Error, ""),
            "skipped" => (Outcome::Info, "skipped: "),
            "flakyFailure" | "flakyError" => (Outcome::Passed, "passed when it was tried again: "),
            _ => return Ok(Open::Other),
        };
        self.shown += u64::from(outcome >= Outcome::Failed);
        self.excused |= outcome == Outcome::Info && attribute(element, "type")?.as_deref() == Some("todo");
        if outcome >= self.case.outcome {
            self.case.outcome = outcome;
            let message = attribute(element, "message")?.unwrap_or_default();
            self.case.note = Some(format!("{said}{message}"));
        }
        self.text.clear();
        Ok(Open::Verdict)
    }

    /// A verdict has ended: its text follows its message.
    fn judged(&mut self) {
        let text = self.text.trim();
        if let Some(note) = &mut self.case.note
            && !text.is_empty()
            && !note.contains(text)
        {
            if !note.is_empty() && !note.ends_with(": ") {
                note.push('\n');
            }
            note.push_str(text);
        }
        self.text.clear();
    }

    fn done(mut self) -> Case {
        if self.excused {
            self.case.outcome = Outcome::Info;
        }
        self.case.note = self.case.note.map(|note| note.trim_end_matches([':', ' ', '\n']).to_owned());
        self.case.note = self.case.note.filter(|note| !note.is_empty());
        self.case
    }
}

/// An attribute's text, with only XML's own entities in it.
fn attribute(element: &BytesStart<'_>, name: &str) -> Result<Option<String>, String> {
    for attribute in element.attributes() {
        let attribute = attribute.map_err(|e| e.to_string())?;
        if attribute.key.local_name().as_ref() == name.as_bytes() {
            let value = attribute.decode_and_unescape_value(element.decoder()).map_err(|e| e.to_string())?;
            return Ok(Some(value.into_owned()));
        }
    }
    Ok(None)
}
