//! Answers: compact JSON in ASCII, members sorted by name, one newline at the end.

use std::collections::HashMap;
use std::fmt::Write as _;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::address::Address;
use super::tag;
use crate::json::{optional, text};
use crate::moment;
use crate::result::{Group, NewGroup, StoredResult, Testcase};

/// An answer of this JSON text; what was found has a tag.
pub fn json(status: StatusCode, mut body: String) -> Response {
    body.push('\n');
    let tag = (status == StatusCode::OK).then(|| tag::of(&body));
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    let mut response = (status, kind, body).into_response();
    if let Some(tag) = tag {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

pub fn result(result: &StoredResult, address: &Address, out: &mut String) {
    out.push_str("{\"data\":");
    out.push_str(&result.data);
    out.push_str(",\"groups\":");
    out.push_str(&result.groups);
    out.push_str(",\"href\":");
    text(&address.of(&format!("/results/{}", result.id)), out);
    from_id_to_testcase(result, out);
    testcase_of(&result.testcase, result.testcase_ref_url.as_deref(), address, out);
    out.push('}');
}

/// The members that an answer and an export have alike, up to the testcase's value.
fn from_id_to_testcase(result: &StoredResult, out: &mut String) {
    write!(out, ",\"id\":{},\"note\":", result.id).expect("writing to a String cannot fail");
    optional(result.note.as_deref(), out);
    out.push_str(",\"outcome\":");
    text(&result.outcome, out);
    out.push_str(",\"ref_url\":");
    optional(result.ref_url.as_deref(), out);
    out.push_str(",\"submit_time\":");
    text(&moment::text(model::Time(result.submit_time)), out);
    out.push_str(",\"testcase\":");
}

pub fn testcase(testcase: &Testcase, address: &Address, out: &mut String) {
    testcase_of(&testcase.name, testcase.ref_url.as_deref(), address, out);
}

fn testcase_of(name: &str, ref_url: Option<&str>, address: &Address, out: &mut String) {
    out.push_str("{\"href\":");
    text(&address.of_named("/testcases/", name), out);
    out.push_str(",\"name\":");
    text(name, out);
    out.push_str(",\"ref_url\":");
    optional(ref_url, out);
    out.push('}');
}

pub fn group(group: &Group, address: &Address, out: &mut String) {
    out.push_str("{\"description\":");
    optional(group.description.as_deref(), out);
    out.push_str(",\"href\":");
    text(&address.of_named("/groups/", &group.uuid), out);
    out.push_str(",\"ref_url\":");
    optional(group.ref_url.as_deref(), out);
    out.push_str(",\"results\":");
    text(&address.of_query("/results?groups=", &group.uuid), out);
    write!(out, ",\"results_count\":{},\"uuid\":", group.results_count).expect("writing to a String cannot fail");
    text(&group.uuid, out);
    out.push('}');
}

/// A result with its groups whole and without links, as a line of an export.
pub fn whole_result(result: &StoredResult, groups: &HashMap<String, NewGroup>, out: &mut String) {
    out.push_str("{\"data\":");
    out.push_str(&result.data);
    out.push_str(",\"groups\":[");
    let uuids: Vec<String> = serde_json::from_str(&result.groups).unwrap_or_default();
    for (i, uuid) in uuids.iter().enumerate() {
        out.push_str(if i == 0 { "" } else { "," });
        match groups.get(uuid) {
            Some(group) => whole_group(group, out),
            None => text(uuid, out),
        }
    }
    out.push(']');
    from_id_to_testcase(result, out);
    whole_testcase(&result.testcase, result.testcase_ref_url.as_deref(), out);
    out.push_str("}\n");
}

pub fn whole_testcase(name: &str, ref_url: Option<&str>, out: &mut String) {
    out.push_str("{\"name\":");
    text(name, out);
    out.push_str(",\"ref_url\":");
    optional(ref_url, out);
    out.push('}');
}

pub fn whole_group(group: &NewGroup, out: &mut String) {
    out.push_str("{\"description\":");
    optional(group.description.text(), out);
    out.push_str(",\"ref_url\":");
    optional(group.ref_url.text(), out);
    out.push_str(",\"uuid\":");
    text(&group.uuid, out);
    out.push('}');
}

/// One object as a whole answer.
pub fn one<T>(status: StatusCode, value: &T, address: &Address, write: fn(&T, &Address, &mut String)) -> Response {
    let mut out = String::new();
    write(value, address, &mut out);
    json(status, out)
}

/// `{"data":[…]` of a listing, not yet closed.
pub fn listing<T>(values: &[T], address: &Address, write: fn(&T, &Address, &mut String)) -> String {
    let mut out = String::with_capacity(16 + values.len() * 640);
    out.push_str("{\"data\":[");
    for (i, value) in values.iter().enumerate() {
        out.push_str(if i == 0 { "" } else { "," });
        write(value, address, &mut out);
    }
    out.push(']');
    out
}

/// A page of a listing, with links to its neighbours.
pub fn page<T>(
    rows: &(Vec<T>, bool),
    number: i64,
    address: &Address,
    write: fn(&T, &Address, &mut String),
) -> Response {
    let (values, more) = rows;
    let mut out = listing(values, address, write);
    out.push_str(",\"next\":");
    optional(more.then(|| address.page(number.saturating_add(1))).as_deref(), &mut out);
    out.push_str(",\"prev\":");
    optional((number > 0).then(|| address.page(number - 1)).as_deref(), &mut out);
    out.push('}');
    json(StatusCode::OK, out)
}
