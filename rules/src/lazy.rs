//! JSON as templates see it: nothing of an event is copied before a template asks for it.

use std::sync::Arc;

use minijinja::Value;
use minijinja::value::{Enumerator, Object, ObjectRepr};
use serde_json::{Map, Value as Json};

/// The names of one rendering: one element, before it a kind's fields, before those the event's own.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    pub event: Arc<Map<String, Json>>,
    pub fields: Option<Arc<Map<String, Json>>>,
    /// `each`
    pub each: Option<Value>,
}

/// A list or mapping within a document, by the way that leads to it.
#[derive(Debug)]
struct Inside {
    document: Arc<Map<String, Json>>,
    way: Vec<Step>,
}

#[derive(Clone, Debug)]
enum Step {
    Name(String),
    Place(usize),
}

impl Object for Names {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, name: &str) -> Option<Value> {
        if name == "each" && self.each.is_some() {
            return self.each.clone();
        }
        match &self.fields {
            Some(fields) if fields.contains_key(name) => member(fields, name),
            _ => member(&self.event, name),
        }
    }
}

fn member(document: &Arc<Map<String, Json>>, name: &str) -> Option<Value> {
    let json = document.get(name)?;
    Some(value(json, || Inside { document: document.clone(), way: vec![Step::Name(name.to_owned())] }))
}

/// A leaf as it is, anything else by the way to it.
fn value(json: &Json, inside: impl FnOnce() -> Inside) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(boolean) => Value::from(*boolean),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(n), _) => Value::from(n),
            (None, Some(n)) => Value::from(n),
            (None, None) => number.as_f64().map_or_else(|| Value::from(()), Value::from),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(_) | Json::Object(_) => Value::from_object(inside()),
    }
}

impl Inside {
    fn json(&self) -> Option<&Json> {
        let (first, rest) = self.way.split_first()?;
        let Step::Name(name) = first else { return None };
        rest.iter().try_fold(self.document.get(name)?, |json, step| match step {
            Step::Name(name) => json.get(name),
            Step::Place(place) => json.get(place),
        })
    }

    fn further(&self, step: Step) -> Inside {
        let mut way = Vec::with_capacity(self.way.len() + 1);
        way.extend_from_slice(&self.way);
        way.push(step);
        Inside { document: self.document.clone(), way }
    }
}

impl Object for Inside {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        match self.json() {
            Some(Json::Array(_)) => ObjectRepr::Seq,
            _ => ObjectRepr::Map,
        }
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        if let Some(name) = key.as_str() {
            return self.get_value_by_str(name);
        }
        let place = key.as_usize()?;
        let json = self.json()?.as_array()?.get(place)?;
        Some(value(json, || self.further(Step::Place(place))))
    }

    fn get_value_by_str(self: &Arc<Self>, name: &str) -> Option<Value> {
        let json = self.json()?.as_object()?.get(name)?;
        Some(value(json, || self.further(Step::Name(name.to_owned()))))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        match self.json() {
            Some(Json::Array(list)) => Enumerator::Seq(list.len()),
            Some(Json::Object(map)) => Enumerator::Values(map.keys().map(|name| Value::from(name.as_str())).collect()),
            _ => Enumerator::Empty,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::template::{Context, Template};

    #[test]
    fn templates_see_no_difference() {
        let event = json!({"topic": "a.b", "body": {
            "list": [{"n": 1}, {"n": 2.5}, "x", [true, null]], "map": {"b": 1, "a": {"deep": "er"}}, "empty": [], "null": null
        }});
        let fields = json!({"topic": "hidden"});
        let names = Names {
            event: Arc::new(event.as_object().unwrap().clone()),
            fields: Some(Arc::new(fields.as_object().unwrap().clone())),
            each: None,
        };
        let lazy = Context::lazy(names);
        let eager = Context::new([
            ("body".to_owned(), Context::value(&event["body"])),
            ("topic".to_owned(), Context::value(&fields["topic"])),
        ]);
        for source in [
            "{{ topic }}",
            "{{ body.map.a.deep }}{{ body['map']['b'] }}{{ body.list[1].n }}{{ body.list[-1][0] }}",
            "{{ body.list | length }} {{ body.map | length }} {{ body.empty | length }}",
            "{% for x in body.list %}{{ loop.index }}{% endfor %}{% for k in body.map %}{{ k }}{% endfor %}",
            "{% for k, v in body.map | items %}{{ k }}{% endfor %}",
            "{{ body.list[:2] | map(attribute='n') | join('+') }}",
            "{{ 'a' in body.map }} {{ 'x' in body.list }} {{ 'q' in body.map }}",
            "{{ body.list | first | tojson }} {{ body.map | tojson }}",
            "{{ body.map == {'b': 1, 'a': {'deep': 'er'}} }} {{ body.empty == [] }}",
            "{% if body.empty %}full{% else %}empty{% endif %}",
            "{{ body.list }}",
            "{{ body.map.a }}",
            "{{ body.null }}",
            "{{ body.map.gone }}",
            "{{ body.map.gone | default('d') }}",
            "{{ body.list.gone }}",
            "{{ gone }}",
            "{{ each }}",
        ] {
            let template = Template::new(source).unwrap();
            assert_eq!(template.render(&lazy), template.render(&eager), "{source}");
        }
    }
}
