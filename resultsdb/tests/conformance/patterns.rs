//! Patterns, against a matcher that is too simple to be wrong.

use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;
use serde_json::json;

use crate::server::Server;

crate::on_both_engines!(patterns_match_as_they_should);

/// Whether `text` is like `pattern`.
fn naive(pattern: &[char], text: &[char]) -> bool {
    match (pattern, text) {
        ([], _) => text.is_empty(),
        (['*' | '%', rest @ ..], _) => (0..=text.len()).any(|skip| naive(rest, &text[skip..])),
        (['\\', c, rest @ ..], [t, more @ ..]) => c == t && naive(rest, more),
        (['\\'], [t]) => *t == '\\',
        (['_', rest @ ..], [_, more @ ..]) => naive(rest, more),
        ([c, rest @ ..], [t, more @ ..]) => c == t && naive(rest, more),
        (_, []) => false,
    }
}

/// Few letters, so that things match, and everything that means something to LIKE, GLOB or JSON.
const ALPHABET: &str = r#"[aAbé*%_?\\\[\]^"😀-]{0,6}"#;

async fn patterns_match_as_they_should(server: Server) {
    let mut runner = TestRunner::default();
    let mut sample = |regex: &str, count: usize| -> Vec<String> {
        let strategy = proptest::string::string_regex(regex).unwrap();
        (0..count).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
    };
    let mut texts = sample(ALPHABET, 150);
    texts.extend(["".to_owned(), "a".repeat(200), format!("{}b", "a".repeat(100))]);
    texts.sort();
    texts.dedup();
    let results: Vec<_> =
        texts.iter().map(|t| json!({"outcome": "PASSED", "testcase": format!("{t}!"), "data": {"k": t}})).collect();
    let answer = server.post("/batch", json!({"results": results})).await;
    assert_eq!(answer.status, 200);
    let mut patterns = sample(ALPHABET, 300);
    patterns.extend([format!("{}*", "a".repeat(80)), format!("{}_*", "a".repeat(100)), "*".into(), r"\".into()]);
    for pattern in patterns {
        let wanted = |text: &str| naive(&pattern.chars().collect::<Vec<_>>(), &text.chars().collect::<Vec<_>>());
        let mut want: Vec<String> = texts.iter().filter(|t| wanted(t)).cloned().collect();
        let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("k:like", &pattern).finish();
        let found = server.get(&format!("/results?limit=1000&{query}")).await.json();
        let mut found: Vec<String> =
            found["data"].as_array().unwrap().iter().map(|r| r["data"]["k"][0].as_str().unwrap().to_owned()).collect();
        want.sort();
        found.sort();
        assert_eq!(found, want, "k:like={pattern}");

        if pattern.ends_with('\\') || pattern.starts_with([' ', '\\']) {
            continue;
        }
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("name:like", &format!("{pattern}!"))
            .finish();
        let mut found = server.get(&format!("/testcases?limit=1000&{query}")).await.column("name");
        found.sort();
        let mut want: Vec<String> = want.iter().map(|t| format!("{t}!")).collect();
        want.sort();
        assert_eq!(found, want, "name:like={pattern}!");
    }
}
