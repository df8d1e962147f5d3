//! From a `when` as it is written to a query; what is no query is a fault at its place.

use regex::RegexBuilder;

use super::values::Type;
use super::{Clause, Comparison, Condition, Element, Operator, Path, Query};
use crate::fault::{Place, hint};
use crate::yaml::{Key, Node, Tree};

/// Why a query does not compile.
#[derive(Clone, Debug)]
pub(crate) struct QueryFault {
    pub place: Place,
    pub message: String,
}

const LOGICAL: [&str; 4] = ["$and", "$or", "$nor", "$not"];

const OPERATORS: [&str; 20] = [
    "$eq",
    "$ne",
    "$gt",
    "$gte",
    "$lt",
    "$lte",
    "$in",
    "$nin",
    "$and",
    "$or",
    "$nor",
    "$not",
    "$exists",
    "$type",
    "$mod",
    "$regex",
    "$options",
    "$all",
    "$size",
    "$elemMatch",
];

type Result<T> = std::result::Result<T, QueryFault>;

fn fault<T>(place: Place, message: impl Into<String>) -> Result<T> {
    Err(QueryFault { place, message: message.into() })
}

impl Query {
    pub(crate) fn compile(node: &Node) -> Result<Query> {
        let Tree::Map(entries) = &node.tree else {
            return fault(node.place, format!("a query is a mapping, not {}", node.sort()));
        };
        entries.iter().map(|(key, node)| Clause::compile(key, node)).collect::<Result<_>>().map(Query)
    }
}

impl Clause {
    fn compile(key: &Key, node: &Node) -> Result<Clause> {
        Ok(match key.name.as_str() {
            "$and" => Clause::And(queries(key, node)?),
            "$or" => Clause::Or(queries(key, node)?),
            "$nor" => Clause::Nor(queries(key, node)?),
            "$not" => Clause::Not(Query::compile(node)?),
            name if OPERATORS.contains(&name) => {
                return fault(key.place, format!("{name} needs a field: write {{ FIELD: {{ {name}: … }} }}"));
            }
            name if name.starts_with('$') => return fault(key.place, unknown(name)),
            name => Clause::Field { path: Path::new(name), condition: Condition::compile(node)? },
        })
    }
}

impl Condition {
    fn compile(node: &Node) -> Result<Condition> {
        let Tree::Map(entries) = &node.tree else { return Ok(Condition::Equals(node.to_json())) };
        let Some((operator, _)) = entries.iter().find(|(key, _)| key.name.starts_with('$')) else {
            return Ok(Condition::Equals(node.to_json()));
        };
        if entries.iter().any(|(key, _)| !key.name.starts_with('$')) {
            return fault(operator.place, "operators and fields stand in one mapping; write them in two");
        }
        let mut operators = Vec::with_capacity(entries.len());
        for (key, node) in entries {
            if key.name == "$options" {
                if !entries.iter().any(|(key, _)| key.name == "$regex") {
                    return fault(key.place, "$options needs a $regex beside it");
                }
                continue;
            }
            operators.push(Operator::compile(key, node, entries)?);
        }
        Ok(Condition::Operators(operators))
    }
}

impl Operator {
    fn compile(key: &Key, node: &Node, siblings: &[(Key, Node)]) -> Result<Operator> {
        let values = || Ok(list(key, node)?.iter().map(Node::to_json).collect());
        let conditions = || list(key, node)?.iter().map(Condition::compile).collect::<Result<Vec<_>>>();
        let compare = |comparison| Operator::Compare(comparison, node.to_json());
        Ok(match key.name.as_str() {
            "$eq" => Operator::Eq(node.to_json()),
            "$ne" => Operator::Ne(node.to_json()),
            "$in" => Operator::In(values()?),
            "$nin" => Operator::Nin(values()?),
            "$gt" => compare(Comparison::Gt),
            "$gte" => compare(Comparison::Gte),
            "$lt" => compare(Comparison::Lt),
            "$lte" => compare(Comparison::Lte),
            "$exists" => Operator::Exists(truth(node)?),
            "$type" => Operator::Type(types(node)?),
            "$mod" => modulo(node)?,
            "$regex" => regex(node, siblings)?,
            "$all" => Operator::All(values()?),
            "$size" => match integer(node).map(u64::try_from) {
                Some(Ok(size)) => Operator::Size(size),
                _ => return fault(node.place, "$size wants a whole number from 0"),
            },
            "$elemMatch" => Operator::ElemMatch(Element::compile(node)?),
            "$not" => Operator::Not(Box::new(Condition::compile(node)?)),
            "$and" => Operator::And(conditions()?),
            "$or" => Operator::Or(conditions()?),
            "$nor" => Operator::Nor(conditions()?),
            name => return fault(key.place, unknown(name)),
        })
    }
}

impl Element {
    fn compile(node: &Node) -> Result<Element> {
        let Tree::Map(entries) = &node.tree else {
            return fault(node.place, format!("$elemMatch wants a mapping, not {}", node.sort()));
        };
        let of_a_value = |name: &str| name.starts_with('$') && !LOGICAL.contains(&name);
        if entries.iter().any(|(key, _)| of_a_value(&key.name)) {
            return Condition::compile(node).map(Element::Value);
        }
        Query::compile(node).map(Element::Mapping)
    }
}

fn unknown(name: &str) -> String {
    format!("unknown operator {name}{}", hint(name, OPERATORS))
}

fn list<'a>(key: &Key, node: &'a Node) -> Result<&'a [Node]> {
    match &node.tree {
        Tree::List(list) => Ok(list),
        _ => fault(node.place, format!("{} wants a list, not {}", key.name, node.sort())),
    }
}

fn queries(key: &Key, node: &Node) -> Result<Vec<Query>> {
    list(key, node)?.iter().map(Query::compile).collect()
}

fn truth(node: &Node) -> Result<bool> {
    match &node.tree {
        Tree::Bool(b) => Ok(*b),
        Tree::Number(n) => Ok(n.as_f64() != Some(0.0)),
        _ => fault(node.place, format!("$exists wants true or false, not {}", node.sort())),
    }
}

fn types(node: &Node) -> Result<Vec<Type>> {
    let names = match &node.tree {
        Tree::List(list) => list.as_slice(),
        _ => std::slice::from_ref(node),
    };
    names.iter().map(one_type).collect()
}

fn one_type(node: &Node) -> Result<Type> {
    let Tree::Text(name) = &node.tree else {
        return fault(node.place, format!("$type wants the name of a type, not {}", node.sort()));
    };
    match Type::ALL.into_iter().find(|known| known.name() == name) {
        Some(found) => Ok(found),
        None => {
            let names = Type::ALL.map(Type::name);
            fault(node.place, format!("unknown type '{name}'; the types are {}", names.join(", ")))
        }
    }
}

/// A whole number, also where it is written as `2.0`.
fn integer(node: &Node) -> Option<i64> {
    let Tree::Number(number) = &node.tree else { return None };
    number.as_i64().or_else(|| {
        let float = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < 9e15)?;
        Some(float as i64)
    })
}

fn modulo(node: &Node) -> Result<Operator> {
    let wants = "$mod wants a list of two whole numbers, the divisor (not 0) and the remainder";
    let Tree::List(list) = &node.tree else { return fault(node.place, wants) };
    match list.as_slice() {
        [divisor, remainder] => match (integer(divisor), integer(remainder)) {
            (Some(divisor), Some(remainder)) if divisor != 0 => Ok(Operator::Mod { divisor, remainder }),
            _ => fault(node.place, wants),
        },
        _ => fault(node.place, wants),
    }
}

/// `/text/flags`, or only the text; flags may stand in `$options` too.
fn regex(node: &Node, siblings: &[(Key, Node)]) -> Result<Operator> {
    let Tree::Text(written) = &node.tree else {
        return fault(node.place, format!("$regex wants a text, not {}", node.sort()));
    };
    let (text, mut flags) = slashed(written).map_or((written.as_str(), String::new()), |(t, f)| (t, f.to_owned()));
    let mut place = node.place;
    if let Some((_, options)) = siblings.iter().find(|(key, _)| key.name == "$options") {
        place = options.place;
        match &options.tree {
            Tree::Text(more) => flags.push_str(more),
            _ => return fault(options.place, format!("$options wants a text, not {}", options.sort())),
        }
    }
    let mut builder = RegexBuilder::new(text);
    for flag in flags.chars() {
        match flag {
            'i' => builder.case_insensitive(true),
            'm' => builder.multi_line(true),
            's' => builder.dot_matches_new_line(true),
            'x' => builder.ignore_whitespace(true),
            _ => return fault(place, format!("unknown flag '{flag}' of a regex; the flags are i, m, s and x")),
        };
    }
    match builder.build() {
        Ok(regex) => Ok(Operator::Regex { regex, written: format!("/{text}/{flags}") }),
        Err(error) => fault(node.place, format!("not a regex: {}", last_line(&error))),
    }
}

fn slashed(written: &str) -> Option<(&str, &str)> {
    let (text, flags) = written.strip_prefix('/')?.rsplit_once('/')?;
    flags.chars().all(|flag| "imsx".contains(flag)).then_some((text, flags))
}

/// The regex compiler draws a picture first and says what is wrong at the end.
fn last_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.trim_start_matches("error: ").to_owned()
}
