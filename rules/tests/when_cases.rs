//! MongoDB's meaning of a query, case by case.

use rules::Query;
use serde_json::Value;

#[test]
fn every_case_means_what_mongodb_means() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("data/when-cases.json")).unwrap();
    assert!(cases.len() > 80);
    for case in cases {
        let document = case["doc"].as_object().unwrap();
        match (&case["expect"], Query::from_json(&case["when"])) {
            (Value::Bool(want), Ok(query)) => {
                assert_eq!(query.matches(document), *want, "{}", case["when"]);
                assert_eq!(query.explain(document).is_none(), *want, "{}", case["when"]);
            }
            (Value::String(want), Err(_)) => assert_eq!(want, "error"),
            (want, got) => panic!("{}: wants {want}, got {got:?}", case["when"]),
        }
    }
}
