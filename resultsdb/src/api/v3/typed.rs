//! A body of one kind, checked member by member, and the result that it stands for.

use std::collections::BTreeMap;

use model::Time;
use url::Url;

use super::kinds::{Kind, LONGEST, Member, OF_ERRORS, Shape};
use crate::api::fault::{ApiError, Fault};
use crate::json::Json;
use crate::result::{Change, NewResult, NewTestcase};

/// Members that become parts of the result, and not of its data.
const NOT_DATA: [&str; 6] = ["testcase", "testcase_ref_url", "outcome", "ref_url", "note", "scratch"];

/// The result, with every fault at once where there are some. `user` posted it.
pub fn result(kind: &Kind, body: &Json, vocabulary: &[String], user: &str, now: Time) -> Result<NewResult, ApiError> {
    let mut faults = Vec::new();
    let mut given: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    for member in kind.members() {
        match body.get(member.name) {
            None if member.required => faults.push(Fault::missing(member.name, body)),
            None => {}
            Some(Json::Null) if !member.required => {}
            Some(value) => match read(member, value, vocabulary) {
                Ok(texts) => drop(given.insert(member.name, texts)),
                Err(fault) => faults.push(fault),
            },
        }
    }
    let text = |name: &str| given.get(name).and_then(|texts| texts.first()).cloned();
    let outcome = text("outcome").unwrap_or_default();
    if outcome != "ERROR" {
        let only = OF_ERRORS.into_iter().filter(|name| given.contains_key(name));
        let input = |name| body.get(name).unwrap_or(&Json::Null);
        faults.extend(only.map(|name| Fault::value(name, "can be set only for the outcome ERROR", input(name))));
    }
    if !faults.is_empty() {
        return Err(ApiError::Invalid(faults));
    }
    let ref_url = text("testcase_ref_url").map_or(Change::Keep, |url| Change::Set(Some(url)));
    Ok(NewResult {
        outcome,
        testcase: NewTestcase { name: text("testcase").unwrap_or_default(), ref_url },
        groups: Vec::new(),
        note: text("note"),
        ref_url: text("ref_url"),
        data: data(kind, given, user),
        submit_time: now,
        received: now,
        key: None,
        told_at: None,
        id: None,
    })
}

fn data(kind: &Kind, given: BTreeMap<&'static str, Vec<String>>, user: &str) -> BTreeMap<String, Vec<String>> {
    let first = |name: &str| given.get(name).and_then(|texts| texts.first()).map(String::as_str);
    let scratch = if first("scratch") == Some("true") { "_scratch" } else { "" };
    let mut data = BTreeMap::from([
        ("username".to_owned(), vec![user.to_owned()]),
        ("type".to_owned(), vec![format!("{}{scratch}", kind.name)]),
    ]);
    let mut left_out = NOT_DATA.to_vec();
    if kind.name == "productmd-compose" {
        left_out.push("id");
        let id = first("id").unwrap_or_default();
        let variant = first("system_variant").filter(|text| !text.is_empty()).unwrap_or("unknown");
        let arch = first("system_architecture").unwrap_or_default();
        data.insert("item".to_owned(), vec![format!("{id}/{variant}/{arch}"), id.to_owned()]);
    }
    let rest = given.into_iter().filter(|(name, _)| !left_out.contains(name));
    data.extend(rest.map(|(name, texts)| (name.to_owned(), texts)));
    data
}

/// A member's value as the texts that are stored.
fn read(member: &Member, value: &Json, vocabulary: &[String]) -> Result<Vec<String>, Fault> {
    let name = member.name;
    let one = match member.shape {
        Shape::Outcome => {
            let outcome = text(name, value)?;
            if !vocabulary.contains(&outcome) {
                return Err(Fault::value(name, format!("must be one of: {}", vocabulary.join(", ")), value));
            }
            outcome
        }
        Shape::Text => text(name, value)?,
        Shape::Name => Some(text(name, value)?).filter(|t| !t.is_empty()).ok_or_else(|| Fault::empty(name, value))?,
        Shape::Link => {
            let link = text(name, value)?;
            let parsed = Url::parse(&link).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
            if parsed.is_none() {
                return Err(Fault::new(name, "url_parsing", "Input should be a valid URL (http or https)", value));
            }
            link
        }
        Shape::Mail => {
            let mail = text(name, value)?;
            let fits = |(user, host): (&str, &str)| !user.is_empty() && host.contains('.') && !host.contains('@');
            if mail.contains(char::is_whitespace) || !mail.split_once('@').is_some_and(fits) {
                return Err(Fault::value(name, "must be an e-mail address", value));
            }
            mail
        }
        Shape::Integer => integer(value).ok_or_else(|| {
            const SAID: &str = "Input should be a valid integer, unable to parse string as an integer";
            Fault::new(name, "int_parsing", SAID, value)
        })?,
        Shape::Flag => flag(value).ok_or_else(|| {
            Fault::new(name, "bool_parsing", "Input should be a valid boolean, unable to interpret input", value)
        })?,
        Shape::Texts => {
            let Json::List(list) = value else {
                return Err(Fault::new(name, "list_type", "Input should be a valid list", value));
            };
            return list.iter().map(|element| text(name, element)).collect();
        }
    };
    Ok(vec![one])
}

fn text(name: &'static str, value: &Json) -> Result<String, Fault> {
    match value {
        Json::Text(text) if text.contains('\0') => Err(Fault::value(name, "NUL characters are not allowed", value)),
        Json::Text(text) if text.chars().count() > LONGEST => Err(Fault::too_long(name, LONGEST, value)),
        Json::Text(text) => Ok(text.clone()),
        other => Err(Fault::not_text(name, other)),
    }
}

/// A whole number, also as text or as one with nothing behind its point.
fn integer(value: &Json) -> Option<String> {
    match value {
        Json::Int(n) => Some(n.to_string()),
        Json::Float(x) if x.fract() == 0.0 && x.abs() < 1e15 => Some(format!("{x:.0}")),
        Json::Text(text) => text.trim().parse::<i128>().ok().map(|n| n.to_string()),
        Json::Float(_) | Json::Null | Json::Bool(_) | Json::List(_) | Json::Object(_) => None,
    }
}

fn flag(value: &Json) -> Option<String> {
    let yes = match value {
        Json::Bool(yes) => *yes,
        Json::Int(n @ (0 | 1)) => *n == 1,
        Json::Text(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "t" | "yes" | "y" | "on" | "1" => true,
            "false" | "f" | "no" | "n" | "off" | "0" => false,
            _ => return None,
        },
        Json::Int(_) | Json::Float(_) | Json::Null | Json::List(_) | Json::Object(_) => return None,
    };
    Some(yes.to_string())
}
