//! Anything at all is read without harm: bodies, queries, posted results. A thousand tries of each; as many as go into
//! `TASKOTRON_FUZZ` seconds where that is set.

use std::time::{Duration, Instant};

use model::Time;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use uuid::Uuid;

use super::posted;
use super::query::Parameters;
use crate::json::Json;
use crate::pattern::Pattern;
use crate::{moment, result};

/// Tries `check` on what `strategy` makes, without writing failures to a file.
fn try_many<S: Strategy>(strategy: &S, check: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let seconds = std::env::var("TASKOTRON_FUZZ").ok().and_then(|s| s.parse().ok()).unwrap_or(0);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut tries = 0_u64;
    loop {
        let mut runner = TestRunner::new(Config { cases: 1000, failure_persistence: None, ..Config::default() });
        runner.run(strategy, &check).unwrap_or_else(|e| panic!("after {tries} tries: {e}"));
        tries += 1000;
        if Instant::now() >= end {
            eprintln!("{tries} tries");
            return;
        }
    }
}

/// Pieces that mean something to a JSON parser, between ones that mean nothing.
fn json_like() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        proptest::sample::select(
            &[
                "{",
                "}",
                "[",
                "]",
                ":",
                ",",
                "\"",
                "\\",
                "\\u",
                "\\ud800",
                "\\udc00",
                "null",
                "true",
                "false",
                "-",
                "0",
                "1e",
                "1e400",
                "-0.0",
                "1e16",
                "18446744073709551616",
                "170141183460469231731687303715884105728",
                "\"a\"",
                " ",
                "\n",
                "\u{0}",
                "\u{feff}",
                "NaN",
                "Infinity",
                "\"data\":",
                "\"testcase\":\"t\"",
                "\"outcome\":\"PASSED\"",
            ][..]
        )
        .prop_map(|s| s.as_bytes().to_vec()),
        any::<Vec<u8>>(),
        ".{0,4}".prop_map(String::into_bytes),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

fn value() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::Bool),
        any::<i64>().prop_map(|n| Json::Int(n.into())),
        any::<f64>().prop_filter("JSON has no others", |x| x.is_finite()).prop_map(Json::Float),
        any::<String>().prop_map(Json::Text),
        proptest::sample::select(&["PASSED", "g", "2020-01-01T00:00:00.0", "1577836800000", ""][..])
            .prop_map(|s| Json::Text(s.to_owned())),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        let name = prop_oneof![any::<String>(), member()];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Json::List),
            proptest::collection::btree_map(name, inner, 0..6).prop_map(|m| Json::Object(m.into_iter().collect())),
        ]
    })
}

fn member() -> impl Strategy<Value = String> {
    let names = [
        "outcome",
        "testcase",
        "groups",
        "data",
        "note",
        "ref_url",
        "submit_time",
        "name",
        "uuid",
        "description",
        "a:b",
    ];
    proptest::sample::select(names.map(String::from).to_vec())
}

#[test]
fn bytes_are_json_or_they_are_not() {
    try_many(&json_like(), |bytes| {
        if let Some(json) = Json::parse(&bytes) {
            let mut text = String::new();
            json.write(&mut text);
            prop_assert!(text.is_ascii());
            let again = Json::parse(text.as_bytes());
            prop_assert_eq!(again.map(|j| j.python()), Some(json.python()));
        }
        Ok(())
    });
}

#[test]
fn values_come_back_as_they_were_written() {
    try_many(&value(), |json| {
        let mut text = String::new();
        json.write(&mut text);
        prop_assert_eq!(Json::parse(text.as_bytes()), Some(json));
        Ok(())
    });
}

#[test]
fn a_posted_result_is_taken_or_refused() {
    let vocabulary = ["PASSED", "FAILED"].map(String::from);
    let body =
        proptest::collection::btree_map(member(), value(), 0..8).prop_map(|m| Json::Object(m.into_iter().collect()));
    try_many(&body, |body| {
        match posted::result(&body, &vocabulary, Time(0), Uuid::nil) {
            Ok(taken) => {
                prop_assert!(vocabulary.contains(&taken.outcome) && !taken.testcase.name.is_empty());
                let data = result::data_json(&taken.data);
                prop_assert!(Json::parse(data.as_bytes()).is_some(), "{}", data);
            }
            Err(e) => prop_assert!(Json::parse(e.body().as_bytes()).is_some(), "{}", e.body()),
        }
        Ok(())
    });
}

#[test]
fn a_query_is_understood_or_refused() {
    let name = prop_oneof![
        proptest::sample::select(
            &[
                "page",
                "limit",
                "outcome",
                "testcases",
                "testcases:like",
                "groups",
                "since",
                "_sort",
                "_distinct_on",
                "name",
                "name:like",
                "uuid",
                "description:like",
                "item",
                "item:like",
                "a:b:like"
            ][..]
        )
        .prop_map(String::from),
        any::<String>(),
    ];
    let value = prop_oneof![
        any::<String>(),
        "[0-9TZ:.,+ -]{0,30}",
        "[*%_\\\\a,]{0,12}",
        proptest::sample::select(&["PASSED", "-1", "9223372036854775807", "1.0", "%00", "%", "%zz", "a%2Cb"][..])
            .prop_map(String::from),
    ];
    let query = proptest::collection::vec((name, value), 0..8)
        .prop_map(|pairs| pairs.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join("&"));
    let vocabulary = ["PASSED", "FAILED"].map(String::from);
    try_many(&query, |query| {
        let Ok(parameters) = Parameters::parse(Some(&query)) else { return Ok(()) };
        if let Ok(listing) = parameters.results(&vocabulary) {
            prop_assert!(listing.page.number >= 0 && listing.page.limit >= 0 && listing.page.offset() >= 0);
        }
        let _ = (parameters.latest(&vocabulary).is_ok(), parameters.testcases().is_ok(), parameters.groups().is_ok());
        Ok(())
    });
}

#[test]
fn times_and_patterns_of_any_text() {
    let text = prop_oneof![any::<String>(), "[0-9TZ:.,+ -]{0,40}", "[*%_\\\\a\\[\\]?-]{0,20}"];
    try_many(&text, |text| {
        for time in [moment::since(&text), moment::submitted(&text)].into_iter().flatten() {
            prop_assert!(!moment::text(time).is_empty());
        }
        let pattern = Pattern::parse(&text);
        prop_assert!(pattern.prefix().len() <= text.len() && pattern.like().len() <= 2 * text.len() + 2);
        let _ = (pattern.glob(), pattern.has_trigram());
        Ok(())
    });
}
