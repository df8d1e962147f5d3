//! Whatever is thrown at it: an answer, never a panic.

use model::{Event, Time};
use proptest::prelude::*;
use rules::{Configuration, Query, Template};
use serde_json::{Value, json};

fn json_value() -> impl Strategy<Value = Value> {
    let keys = prop::sample::select(vec!["a", "b", "a.0", "$in", "$not", "$or", "$regex", "$mod", "$elemMatch", "$x"]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-c/(\\[]{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((keys.clone(), inner), 0..4)
                .prop_map(|pairs| Value::Object(pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
        ]
    })
}

fn event(body: Value) -> Event {
    let body = body.as_object().cloned().unwrap_or_default();
    let topic = "k".to_owned();
    Event { id: "1".into(), topic, sent_at: None, headers: Default::default(), body, source: String::new() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn a_query_answers_and_its_explanation_agrees(query in json_value(), document in json_value()) {
        if let (Ok(query), Value::Object(document)) = (Query::from_json(&query), &document) {
            prop_assert_eq!(query.matches(document), query.explain(document).is_none());
        }
    }

    #[test]
    fn a_configuration_is_read_or_refused(text in "(kinds|rules|tasks|- name|topics|do|run|when|[a-z]|[:\\[\\]{}'\"%#&*!|>~0-9 \n-]){0,60}") {
        if let Err(faults) = Configuration::parse(&[("a.yml".into(), text)]) {
            prop_assert!(!faults.0.is_empty() && !faults.to_string().is_empty());
        }
    }

    #[test]
    fn a_template_prints_or_says_why(
        template in "(\\{\\{|\\}\\}|\\{%|%\\}| body| each| for x in| if| endif| \\| default\\(1\\)|\\.a|\\[0:\\]|\\+| \\* 9|[a-z'()]){0,12}",
        body in json_value(),
    ) {
        if Template::new(&template).is_ok() {
            let rule = json!({"name": "r", "topics": ["k"], "do": [{"tasks": ["t"], "item": template, "item_type": "x"}]});
            let text = json!({"tasks": {"t": {"run": ["true"]}}, "rules": [rule]}).to_string();
            if let Ok(configuration) = Configuration::parse(&[("a.yml".into(), text)]) {
                let decision = configuration.decide(&event(body), Time::default());
                prop_assert_eq!(decision.jobs.len() + decision.unrendered.len(), 1);
            }
        }
    }
}

#[test]
fn depth_of_lists_is_limited() {
    for text in ["[".repeat(50_000), "- ".repeat(20_000)] {
        assert!(Configuration::parse(&[("a.yml".into(), text)]).is_err());
    }
}

#[test]
fn depth_of_mappings_is_limited() {
    for text in ["a: ".to_owned() + &"{a: ".repeat(5_000), "? ".repeat(5_000)] {
        assert!(Configuration::parse(&[("a.yml".into(), text)]).is_err());
    }
}

#[test]
fn depth_of_templates_is_limited() {
    let template = format!("{{{{ {} 1 }}}}", "(".repeat(20_000));
    assert!(Template::new(&template).is_err());
}
