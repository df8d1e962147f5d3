//! The JSON schema of a kind's body.

use serde_json::{Map, Value, json};

use super::kinds::{Kind, LONGEST, Member, Shape};

pub fn schema(kind: &Kind, vocabulary: &[String]) -> Value {
    let properties: Map<String, Value> =
        kind.members().map(|member| (member.name.to_owned(), property(member, vocabulary))).collect();
    let required: Vec<&str> = kind.members().filter(|member| member.required).map(|member| member.name).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": kind.name,
        "description": kind.about,
        "type": "object",
        "properties": properties,
        "required": required,
    })
}

fn property(member: &Member, vocabulary: &[String]) -> Value {
    let mut schema = match member.shape {
        Shape::Outcome => json!({"type": "string", "enum": vocabulary}),
        Shape::Text => json!({"type": "string", "maxLength": LONGEST}),
        Shape::Name => json!({"type": "string", "minLength": 1, "maxLength": LONGEST}),
        Shape::Link => json!({"type": "string", "format": "uri", "minLength": 1, "maxLength": LONGEST}),
        Shape::Mail => json!({"type": "string", "format": "email", "maxLength": LONGEST}),
        Shape::Integer => json!({"type": "integer"}),
        Shape::Flag => json!({"type": "boolean", "default": false}),
        Shape::Texts => json!({"type": "array", "items": {"type": "string", "maxLength": LONGEST}}),
    };
    if !member.required {
        schema = json!({"anyOf": [schema, {"type": "null"}]});
    }
    schema["title"] = json!(member.name);
    schema["description"] = json!(member.about);
    schema
}
