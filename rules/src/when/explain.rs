//! Why a query does not match: the first clause that fails, with the value it saw.

use serde_json::Value;

use super::{Clause, Comparison, Condition, Document, Element, Operator, Path, Query};

/// Characters of a value that an explanation shows.
const SHOWN: usize = 80;

impl Query {
    /// The first clause that fails and the value it saw; None when the query matches.
    pub(crate) fn complaint(&self, document: Document<'_>) -> Option<String> {
        self.0.iter().find_map(|clause| clause.complaint(document))
    }

    /// The query as a wish: "a is 1 and b matches /x/".
    fn wish(&self) -> String {
        if self.0.is_empty() {
            return "anything".into();
        }
        self.0.iter().map(Clause::wish).collect::<Vec<_>>().join(" and ")
    }
}

impl Clause {
    fn complaint(&self, document: Document<'_>) -> Option<String> {
        if self.holds(document) {
            return None;
        }
        Some(match self {
            Clause::Field { path, condition } => condition.complaint(path, &path.find(document)),
            Clause::And(queries) => queries.iter().find_map(|q| q.complaint(document)).unwrap_or_default(),
            Clause::Or(queries) if queries.is_empty() => "$or has no alternatives".into(),
            Clause::Or(queries) => {
                let all: Vec<_> = queries.iter().filter_map(|q| q.complaint(document)).collect();
                format!("no alternative holds: {}", all.join("; "))
            }
            Clause::Nor(queries) => {
                let held = queries.iter().find(|q| q.holds(document)).map_or_else(String::new, Query::wish);
                format!("must not hold: {held}")
            }
            Clause::Not(query) => format!("must not hold: {}", query.wish()),
        })
    }

    fn wish(&self) -> String {
        let all = |queries: &[Query], word| queries.iter().map(Query::wish).collect::<Vec<_>>().join(word);
        match self {
            Clause::Field { path, condition } => format!("{} {}", path.text, condition.wish()),
            Clause::And(queries) => all(queries, " and "),
            Clause::Or(queries) => format!("({})", all(queries, " or ")),
            Clause::Nor(queries) => format!("none of ({})", all(queries, " or ")),
            Clause::Not(query) => format!("not ({})", query.wish()),
        }
    }
}

impl Condition {
    /// "body.new is 2, wants 1", or "body.owner: field absent, wants …".
    fn complaint(&self, path: &Path, found: &[&Value]) -> String {
        let wants = match self {
            Condition::Equals(want) => show(want),
            Condition::Operators(operators) => {
                operators.iter().find(|operator| !operator.holds(found)).map_or_else(String::new, Operator::wish)
            }
        };
        let seen = match found {
            [] => format!("{}: field absent", path.text),
            [value] => format!("{} is {}", path.text, show(value)),
            [first, .., last] => {
                format!("{} is {} … {} ({} values)", path.text, show(first), show(last), found.len())
            }
        };
        match (found, self) {
            // "wants true" would say nothing more.
            ([], Condition::Operators(operators)) if matches!(operators.as_slice(), [Operator::Exists(true)]) => seen,
            _ => format!("{seen}, wants {wants}"),
        }
    }

    fn wish(&self) -> String {
        match self {
            Condition::Equals(want) => format!("is {}", show(want)),
            Condition::Operators(operators) => operators.iter().map(Operator::wish).collect::<Vec<_>>().join(" and "),
        }
    }
}

impl Operator {
    fn wish(&self) -> String {
        let list = |values: &[Value]| show(&Value::Array(values.to_vec()));
        let all =
            |conditions: &[Condition], word| conditions.iter().map(Condition::wish).collect::<Vec<_>>().join(word);
        match self {
            Operator::Eq(want) => show(want),
            Operator::Ne(want) => format!("anything but {}", show(want)),
            Operator::In(wanted) => format!("one of {}", list(wanted)),
            Operator::Nin(wanted) => format!("none of {}", list(wanted)),
            Operator::Compare(Comparison::Gt, want) => format!("more than {}", show(want)),
            Operator::Compare(Comparison::Gte, want) => format!("at least {}", show(want)),
            Operator::Compare(Comparison::Lt, want) => format!("less than {}", show(want)),
            Operator::Compare(Comparison::Lte, want) => format!("at most {}", show(want)),
            Operator::Exists(true) => "any value".into(),
            Operator::Exists(false) => "no such field".into(),
            Operator::Type(types) => {
                format!("the type {}", types.iter().map(|t| t.name()).collect::<Vec<_>>().join(" or "))
            }
            Operator::Mod { divisor, remainder } => format!("{remainder} modulo {divisor}"),
            Operator::Regex { written, .. } => format!("a match of {written}"),
            Operator::All(wanted) => format!("all of {}", list(wanted)),
            Operator::Size(size) => format!("a list of {size}"),
            Operator::ElemMatch(Element::Value(condition)) => format!("an element that wants {}", condition.wish()),
            Operator::ElemMatch(Element::Mapping(query)) => format!("an element with {}", query.wish()),
            Operator::Not(condition) => format!("not: {}", condition.wish()),
            Operator::And(conditions) => all(conditions, " and "),
            Operator::Or(conditions) => all(conditions, " or "),
            Operator::Nor(conditions) => format!("none of: {}", all(conditions, " or ")),
        }
    }
}

/// A value as JSON writes it, cut where it is long.
pub(crate) fn show(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_failing_clause_is_named_with_what_it_saw() {
        let document = json!({
            "body": {"new": 2, "tag": "f40-pending", "owner": null, "list": [{"n": 1}, {"n": 5}]}, "name": "kernel"
        });
        let cases = [
            (json!({"body.new": 2}), None),
            (json!({"body.new": 1}), Some("body.new is 2, wants 1")),
            (json!({"body.who": {"$exists": true}}), Some("body.who: field absent")),
            (json!({"body.who": "me"}), Some("body.who: field absent, wants \"me\"")),
            (
                json!({"name": {"$nin": ["kernel", "glibc"]}}),
                Some("name is \"kernel\", wants none of [\"kernel\",\"glibc\"]"),
            ),
            (
                json!({"body.tag": {"$not": {"$regex": "/pend/i"}}}),
                Some("body.tag is \"f40-pending\", wants not: a match of /pend/i"),
            ),
            (json!({"body.list.n": {"$gt": 9}}), Some("body.list.n is 1 … 5 (2 values), wants more than 9")),
            (
                json!({"$or": [{"body.new": 1}, {"name": "vim"}]}),
                Some("no alternative holds: body.new is 2, wants 1; name is \"kernel\", wants \"vim\""),
            ),
            (json!({"$nor": [{"name": "vim"}, {"body.new": {"$lt": 3}}]}), Some("must not hold: body.new less than 3")),
            (
                json!({"$and": [{"name": "kernel"}, {"body.owner": {"$type": "string"}}]}),
                Some("body.owner is null, wants the type string"),
            ),
        ];
        for (query, want) in cases {
            let found = Query::from_json(&query).unwrap().explain(document.as_object().unwrap());
            assert_eq!(found.as_deref(), want, "{query}");
        }
    }

    #[test]
    fn a_long_value_is_cut() {
        assert_eq!(show(&json!("é".repeat(200))).chars().count(), SHOWN + 1);
    }
}
