//! What can be asked of API v3, as OpenAPI 3.1. ResultsDB has no such address.

use serde_json::{Map, Value, json};

use super::kinds::KINDS;
use super::schema::schema;

pub fn description(vocabulary: &[String]) -> Value {
    let mut paths = Map::new();
    for kind in &KINDS {
        let body = schema(kind, vocabulary);
        paths.insert(format!("/results/{}s", kind.name), json!({"post": post(kind.about, &body)}));
        let schema = get("The JSON schema of such a result", &[], "object");
        paths.insert(format!("/schemas/{}s", kind.name), json!({"get": schema}));
    }
    let about = json!({
        "name": "testcase",
        "in": "query",
        "description": "Only those about this testcase",
        "schema": {"type": "string"},
    });
    paths.insert(
        "/permissions".into(),
        json!({"get": get("Who may post results of which testcases", &[about], "array")}),
    );
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Results store, API v3",
            "version": "3",
            "description": "ResultsDB's API v3: results of a few kinds of things. They are read by API v2.0.",
        },
        "servers": [{"url": "/api/v3"}],
        "paths": paths,
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    })
}

fn get(summary: &str, parameters: &[Value], answer: &str) -> Value {
    json!({
        "summary": summary,
        "parameters": parameters,
        "responses": {"200": {"description": "It", "content": {"application/json": {"schema": {"type": answer}}}}},
    })
}

fn post(summary: &str, body: &Value) -> Value {
    let key = json!({
        "name": "Idempotency-Key",
        "in": "header",
        "description": "The same result posted again with the same key is stored once",
        "schema": {"type": "string"},
    });
    let said =
        |what: &str| json!({"description": what, "content": {"application/json": {"schema": {"type": "object"}}}});
    json!({
        "summary": summary,
        "security": [{"token": []}],
        "parameters": [key],
        "requestBody": {"required": true, "content": {"application/json": {"schema": body}}},
        "responses": {
            "201": said("Stored, as API v2.0 shows it"),
            "400": said("Not understood"),
            "401": said("A submitter's token is needed"),
            "403": said("The token is not allowed to post results of this testcase"),
            "413": said("The body is too large"),
            "415": said("No JSON"),
        },
    })
}
