//! One line of an export, or one element of a listing: a result, a testcase or a group as the API prints them.

use anyhow::{Context as _, bail, ensure};

use crate::api::{ApiError, posted};
use crate::json::Json;
use crate::moment;
use crate::result::{Change, NewGroup, NewResult, NewTestcase};

pub enum Line {
    Testcase(NewTestcase),
    Group(NewGroup),
    Result(Box<NewResult>),
}

/// Ids beyond this would leave none for later results, and not every client could read them.
pub const GREATEST_ID: i64 = (1 << 53) - 1;

/// The longest outcome, in characters.
const LONGEST_OUTCOME: usize = 32;

pub fn read(line: &[u8]) -> anyhow::Result<Line> {
    match Json::parse(line) {
        Some(object @ Json::Object(_)) => of(object),
        Some(_) => bail!("it is no JSON object"),
        None => bail!("it is no JSON, or it ends in the middle"),
    }
}

/// What an object is, by the members that it has.
pub fn of(object: Json) -> anyhow::Result<Line> {
    if object.get("outcome").is_some() {
        return Ok(Line::Result(Box::new(result(object)?)));
    }
    let mut reader = posted::Reader::new(&object);
    let ref_url = Change::Set(reader.text("ref_url"));
    if object.get("uuid").is_some() {
        let uuid = reader.uuid("uuid");
        let description = Change::Set(reader.text("description"));
        let uuid = reader.done(uuid).map_err(faults)?.context("a group's uuid is empty")?;
        return Ok(Line::Group(NewGroup { uuid, description, ref_url }));
    }
    ensure!(
        object.get("name").is_some(),
        "it is neither a result (with an outcome) nor a group (with a uuid) nor a testcase (with a name)"
    );
    let name = reader.name("name");
    Ok(Line::Testcase(NewTestcase { name: reader.done(name).map_err(faults)?, ref_url }))
}

fn result(object: Json) -> anyhow::Result<NewResult> {
    let Json::Object(mut members) = object else { bail!("it is no JSON object") };
    let mut take = |name: &str| {
        let place = members.iter().position(|(n, _)| n == name)?;
        Some(members.swap_remove(place).1)
    };
    let id = match take("id") {
        Some(Json::Int(id)) => i64::try_from(id).ok().filter(|id| (1..=GREATEST_ID).contains(id)),
        _ => None,
    };
    let id = id.context("a result's id must be a whole number from 1 up")?;
    let submit_time = match take("submit_time") {
        Some(Json::Text(text)) => moment::stored(&text),
        _ => None,
    };
    let submit_time =
        submit_time.with_context(|| format!("result {id}: submit_time must be YYYY-MM-DDTHH:MM:SS[.f]"))?;
    let body = Json::Object(members);
    // Any outcome is taken that another store has taken.
    let outcomes = match body.get("outcome") {
        Some(Json::Text(outcome)) => vec![outcome.trim().to_uppercase()],
        _ => Vec::new(),
    };
    let mut nameless = false;
    let made_up = || {
        nameless = true;
        uuid::Uuid::nil()
    };
    let result = posted::members(&body, &outcomes, submit_time, made_up);
    let result = result.map_err(faults).with_context(|| format!("result {id}"))?;
    ensure!(!nameless, "result {id}: a group has no uuid");
    check(NewResult { id: Some(id), submit_time, ..result })
}

/// What every source must keep to.
pub fn check(result: NewResult) -> anyhow::Result<NewResult> {
    let length = result.outcome.chars().count();
    ensure!(
        (1..=LONGEST_OUTCOME).contains(&length),
        "result {}: its outcome has {length} characters, and must have 1 to {LONGEST_OUTCOME}",
        result.id.unwrap_or_default()
    );
    Ok(result)
}

/// What is wrong with an object, in one line.
fn faults(e: ApiError) -> anyhow::Error {
    match e {
        ApiError::Invalid(faults) => {
            let all: Vec<String> = faults.iter().map(|f| format!("{}: {}", f.field, f.message)).collect();
            anyhow::anyhow!(all.join("; "))
        }
        other => anyhow::anyhow!(other.body()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_known_by_its_members() {
        let full =
            br#"{"id": 7, "outcome": "odd", "testcase": {"name": "t", "ref_url": null, "href": "x"}, "note": null,
            "groups": ["g", {"uuid": "h", "description": "d"}], "submit_time": "2020-01-02T03:04:05", "ref_url": "r",
            "data": {"item": ["a", "b"], "a:b": ["c"]}, "href": "x"}"#;
        let Line::Result(result) = read(full).unwrap() else { panic!("no result") };
        assert_eq!((result.id, result.outcome.as_str(), result.submit_time.0), (Some(7), "ODD", 1_577_934_245_000_000));
        assert_eq!(result.groups[1].description, Change::Set(Some("d".into())));
        assert_eq!(result.data["a:b"], ["c"]);
        assert!(matches!(read(br#"{"uuid": "u", "results_count": 1}"#).unwrap(), Line::Group(_)));
        assert!(matches!(read(br#"{"name": "n"}"#).unwrap(), Line::Testcase(_)));
    }

    #[test]
    fn what_is_wrong_with_a_line_is_said() {
        let time = r#""submit_time": "2020-01-02T03:04:05""#;
        for (line, says) in [
            ("[]".to_owned(), "no JSON object"),
            (r#"{"id": 1, "outco"#.to_owned(), "ends in the middle"),
            ("{}".to_owned(), "neither a result"),
            (r#"{"outcome": "PASSED"}"#.to_owned(), "id must be"),
            (r#"{"outcome": "PASSED", "id": 0}"#.to_owned(), "id must be"),
            (r#"{"outcome": "PASSED", "id": 9007199254740992}"#.to_owned(), "id must be"),
            (r#"{"outcome": "PASSED", "id": 1, "testcase": "t"}"#.to_owned(), "result 1: submit_time"),
            (format!(r#"{{"outcome": "PASSED", "id": 1, {time}}}"#), "testcase: Field required"),
            (format!(r#"{{"outcome": 5, "id": 1, "testcase": "t", {time}}}"#), "outcome: Input should be"),
            (format!(r#"{{"outcome": "", "id": 1, "testcase": "t", {time}}}"#), "its outcome has 0 characters"),
            (
                format!(r#"{{"outcome": "P", "id": 1, "testcase": "t", "groups": [{{}}], {time}}}"#),
                "a group has no uuid",
            ),
            (r#"{"uuid": ""}"#.to_owned(), "uuid is empty"),
            (r#"{"name": ""}"#.to_owned(), "at least 1 character"),
        ] {
            let error = format!("{:#}", read(line.as_bytes()).err().unwrap());
            assert!(error.contains(says), "{line}: {error}");
        }
    }
}
