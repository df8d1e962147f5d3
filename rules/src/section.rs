//! Reads the mappings of a configuration: known keys only, each fault at its place, all of them in one go.

use model::{Size, Span};

use crate::fault::{Place, Problems, hint};
use crate::template::Template;
use crate::yaml::{Key, Node, Tree};

/// One mapping whose keys are all known by now.
pub(crate) struct Section<'a> {
    pub place: Place,
    /// What it describes, for messages: "a rule".
    what: &'static str,
    entries: &'a [(Key, Node)],
}

impl<'a> Section<'a> {
    /// Opens a mapping; unknown keys become faults and are passed over.
    pub fn open(node: &'a Node, what: &'static str, known: &[&str], problems: &mut Problems) -> Option<Section<'a>> {
        let Tree::Map(entries) = &node.tree else {
            problems.add(node.place, format!("{what} is a mapping, not {}", node.sort()));
            return None;
        };
        for (key, _) in entries.iter().filter(|(key, _)| !known.contains(&key.name.as_str())) {
            let near = hint(&key.name, known.iter().copied());
            problems.add(key.place, format!("unknown key '{}' of {what}{near}", key.name));
        }
        Some(Section { place: node.place, what, entries })
    }

    pub fn get(&self, key: &str) -> Option<&'a Node> {
        self.entries.iter().find(|(k, _)| k.name == key).map(|(_, node)| node)
    }

    /// The place of a key itself.
    pub fn key(&self, key: &str) -> Place {
        self.entries.iter().find(|(k, _)| k.name == key).map_or(self.place, |(k, _)| k.place)
    }

    /// A value that has to be there.
    pub fn need(&self, key: &str, problems: &mut Problems) -> Option<&'a Node> {
        let found = self.get(key);
        if found.is_none() {
            problems.add(self.place, format!("{} needs '{key}'", self.what));
        }
        found
    }

    /// Refuses a key that is part of the language and not built yet.
    pub fn not_yet(&self, key: &str, message: &str, problems: &mut Problems) {
        if self.get(key).is_some() {
            problems.add(self.key(key), message);
        }
    }
}

/// A text that is not empty.
pub(crate) fn text(node: &Node, what: &str, problems: &mut Problems) -> Option<String> {
    match &node.tree {
        Tree::Text(text) if !text.trim().is_empty() => Some(text.clone()),
        Tree::Text(_) => refuse(node, format!("{what} is empty"), problems),
        _ => refuse(node, format!("{what} is a text, not {}", node.sort()), problems),
    }
}

/// A name that people type and see: no blanks and no line breaks.
pub(crate) fn name(node: &Node, what: &str, problems: &mut Problems) -> Option<String> {
    let name = text(node, what, problems)?;
    match name.chars().any(|c| c.is_whitespace() || c.is_control()) {
        true => refuse(node, format!("{what} has a blank in it: '{name}'"), problems),
        false => Some(name),
    }
}

/// A template; a number or a boolean is the text it is written as.
pub(crate) fn template(node: &Node, what: &str, problems: &mut Problems) -> Option<Template> {
    let source = match &node.tree {
        Tree::Text(text) => text.clone(),
        Tree::Number(number) => number.to_string(),
        Tree::Bool(boolean) => boolean.to_string(),
        Tree::Null | Tree::List(_) | Tree::Map(_) => {
            return refuse(node, format!("{what} is a text with {{{{ … }}}} in it, not {}", node.sort()), problems);
        }
    };
    match Template::new(&source) {
        Ok(template) => Some(template),
        Err(message) => refuse(node, message, problems),
    }
}

/// A list that is not empty.
pub(crate) fn list<'a>(node: &'a Node, what: &str, problems: &mut Problems) -> Option<&'a [Node]> {
    match &node.tree {
        Tree::List(list) if !list.is_empty() => Some(list),
        Tree::List(_) => refuse(node, format!("{what} is empty"), problems),
        _ => refuse(node, format!("{what} is a list, not {}", node.sort()), problems),
    }
}

/// The entries of a mapping whose keys are the author's own names.
pub(crate) fn named<'a>(node: &'a Node, what: &str, problems: &mut Problems) -> &'a [(Key, Node)] {
    match &node.tree {
        Tree::Map(entries) => entries,
        _ => {
            problems.add(node.place, format!("{what} is a mapping, not {}", node.sort()));
            &[]
        }
    }
}

pub(crate) fn boolean(node: &Node, what: &str, problems: &mut Problems) -> Option<bool> {
    match &node.tree {
        Tree::Bool(boolean) => Some(*boolean),
        _ => refuse(node, format!("{what} is true or false"), problems),
    }
}

pub(crate) fn integer(node: &Node, what: &str, problems: &mut Problems) -> Option<i32> {
    let Tree::Number(number) = &node.tree else {
        return refuse(node, format!("{what} is a whole number, not {}", node.sort()), problems);
    };
    match number.as_i64().map(i32::try_from) {
        Some(Ok(n)) => Some(n),
        _ => refuse(node, format!("{what} is a whole number between {} and {}", i32::MIN, i32::MAX), problems),
    }
}

/// How many of something: one at least.
pub(crate) fn count(node: &Node, what: &str, problems: &mut Problems) -> Option<u64> {
    let number = match &node.tree {
        Tree::Number(number) => number.as_u64().filter(|n| *n > 0),
        Tree::Null | Tree::Bool(_) | Tree::Text(_) | Tree::List(_) | Tree::Map(_) => None,
    };
    number.or_else(|| refuse(node, format!("{what} is a whole number, and 1 at least"), problems))
}

/// A length of time longer than none.
pub(crate) fn span(node: &Node, what: &str, problems: &mut Problems) -> Option<Span> {
    let Tree::Text(written) = &node.tree else {
        return refuse(node, format!("{what} is a length of time such as 30s, 5m, 2h or 7d"), problems);
    };
    match written.parse::<Span>() {
        Ok(span) if span.micros() > 0 => Some(span),
        Ok(_) => refuse(node, format!("{what} is longer than nothing"), problems),
        Err(error) => refuse(node, error.to_string(), problems),
    }
}

/// A size such as `50MiB`, in bytes.
pub(crate) fn size(node: &Node, what: &str, problems: &mut Problems) -> Option<u64> {
    let bytes = match &node.tree {
        Tree::Number(number) => number.as_u64(),
        Tree::Text(text) => text.parse::<Size>().ok().map(|size| size.0),
        Tree::Null | Tree::Bool(_) | Tree::List(_) | Tree::Map(_) => None,
    };
    match bytes {
        Some(bytes) if bytes > 0 => Some(bytes),
        _ => refuse(node, format!("{what} is a size such as 500KiB, 50MiB or 1GiB"), problems),
    }
}

fn refuse<T>(node: &Node, message: impl Into<String>, problems: &mut Problems) -> Option<T> {
    problems.add(node.place, message);
    None
}
