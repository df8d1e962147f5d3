//! YAML as a tree that knows where each of its nodes stands, so that every fault can point at its place.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{Error, Location, Spanned};

use crate::fault::{Place, Problems};

/// How deep lists and mappings may nest: everything that walks them does so on the stack.
const MAX_DEPTH: usize = 30;

/// One node and its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub place: Place,
    pub tree: Tree,
}

#[derive(Clone, Debug)]
pub(crate) enum Tree {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    /// In the author's order.
    Map(Vec<(Key, Node)>),
}

/// A mapping's key.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub name: String,
    pub place: Place,
}

impl Node {
    /// Reads one file; what is no YAML becomes a fault.
    pub fn read(text: &str, file: usize, problems: &mut Problems) -> Option<Node> {
        let options = serde_saphyr::options! {
            strict_booleans: true,
            with_snippet: false,
            budget: serde_saphyr::budget! { max_depth: MAX_DEPTH },
        };
        match serde_saphyr::from_str_with_options::<Node>(text, options) {
            Ok(mut node) => {
                node.belongs_to(file);
                Some(node)
            }
            Err(error) => {
                let at = error.location().map_or_else(Place::default, place);
                problems.add(Place { file, length: 1, ..at }, not_yaml(&error));
                None
            }
        }
    }

    fn belongs_to(&mut self, file: usize) {
        self.place.file = file;
        match &mut self.tree {
            Tree::Null | Tree::Bool(_) | Tree::Number(_) | Tree::Text(_) => {}
            Tree::List(list) => list.iter_mut().for_each(|node| node.belongs_to(file)),
            Tree::Map(map) => {
                for (key, node) in map {
                    key.place.file = file;
                    node.belongs_to(file);
                }
            }
        }
    }

    /// The value without its places.
    pub fn to_json(&self) -> Value {
        match &self.tree {
            Tree::Null => Value::Null,
            Tree::Bool(b) => (*b).into(),
            Tree::Number(n) => Value::Number(n.clone()),
            Tree::Text(t) => t.clone().into(),
            Tree::List(list) => list.iter().map(Node::to_json).collect(),
            Tree::Map(map) => Value::Object(map.iter().map(|(k, v)| (k.name.clone(), v.to_json())).collect()),
        }
    }

    /// A node for a value that comes from no file.
    pub fn from_json(value: &Value) -> Node {
        let tree = match value {
            Value::Null => Tree::Null,
            Value::Bool(b) => Tree::Bool(*b),
            Value::Number(n) => Tree::Number(n.clone()),
            Value::String(t) => Tree::Text(t.clone()),
            Value::Array(list) => Tree::List(list.iter().map(Node::from_json).collect()),
            Value::Object(map) => Tree::Map(Node::members(map)),
        };
        Node { place: Place::default(), tree }
    }

    fn members(map: &Map<String, Value>) -> Vec<(Key, Node)> {
        let key = |name: &String| Key { name: name.clone(), place: Place::default() };
        map.iter().map(|(name, value)| (key(name), Node::from_json(value))).collect()
    }

    /// What kind of thing this is, for "wants a list, not …".
    pub fn sort(&self) -> &'static str {
        match &self.tree {
            Tree::Null => "nothing",
            Tree::Bool(_) => "a boolean",
            Tree::Number(_) => "a number",
            Tree::Text(_) => "a text",
            Tree::List(_) => "a list",
            Tree::Map(_) => "a mapping",
        }
    }
}

fn not_yaml(error: &Error) -> String {
    match error.without_snippet() {
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("the key '{key}' stands here twice"),
        other => {
            let text = other.to_string();
            // The place is said once, in front.
            let message = text.split(" at line ").next().unwrap_or(&text).replace('\n', " ");
            if message.starts_with("multiple YAML documents") {
                return "a second YAML document: write one a file, without '---' between".into();
            }
            format!("not YAML: {message}")
        }
    }
}

fn place(at: Location) -> Place {
    let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    Place { file: 0, line: number(at.line()), column: number(at.column()), length: number(at.span().len()) }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Node, D::Error> {
        let spanned = Spanned::<Tree>::deserialize(d)?;
        Ok(Node { place: place(spanned.referenced), tree: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Tree, D::Error> {
        d.deserialize_any(AnyTree)
    }
}

struct AnyTree;

impl<'de> Visitor<'de> for AnyTree {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_bool<E>(self, b: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(b))
    }

    fn visit_i64<E>(self, n: i64) -> Result<Tree, E> {
        Ok(Tree::Number(n.into()))
    }

    fn visit_u64<E>(self, n: u64) -> Result<Tree, E> {
        Ok(Tree::Number(n.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, n: f64) -> Result<Tree, E> {
        Number::from_f64(n).map(Tree::Number).ok_or_else(|| E::custom("a number that is no number"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = seq.next_element()? {
            list.push(node);
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Tree, A::Error> {
        let mut map = Vec::new();
        while let Some((key, node)) = entries.next_entry::<Spanned<String>, Node>()? {
            map.push((Key { name: key.value, place: place(key.referenced) }, node));
        }
        Ok(Tree::Map(map))
    }
}
