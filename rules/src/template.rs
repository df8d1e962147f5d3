//! MiniJinja templates that print one text each: strict about what is absent, limited in what they may cost.
//!
//! A template is rendered after the YAML was parsed, so an event can never bring structure with it, only text.

use std::fmt;
use std::sync::{Arc, LazyLock};

use minijinja::value::{Serde, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value};
use regex::Regex;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::lazy::Names;

/// Instructions that one rendering may take; a template that needs more is at fault itself.
const FUEL: u64 = 20_000;

/// Bytes that one rendering may print.
const LONGEST: usize = 64 * 1024;

/// The name that a template has in its own environment.
const NAME: &str = "template";

/// Every template has an environment of its own: a copy of this one shares all but the template itself.
static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    // Only with this does an error say which name is undefined.
    environment.set_debug(true);
    environment.set_formatter(print);
    environment
});

/// A compiled template; the default prints nothing.
#[derive(Clone, Default)]
pub struct Template {
    source: Arc<str>,
    /// None where the text is printed as it stands.
    environment: Option<Arc<Environment<'static>>>,
}

/// The names that a template sees.
#[derive(Clone, Debug)]
pub struct Context(Value);

impl Template {
    /// Compiles a template; the error is a sentence that names the wrong part.
    pub fn new(source: &str) -> Result<Template, String> {
        let mut template = Template { source: source.into(), environment: None };
        if ["{{", "{%", "{#"].iter().any(|opening| source.contains(opening)) {
            let mut environment = ENVIRONMENT.clone();
            environment.add_template_owned(NAME, source.to_owned()).map_err(|e| {
                let detail = e.detail().map_or_else(|| e.kind().to_string(), str::to_owned);
                format!("not a template: {detail}")
            })?;
            template.environment = Some(Arc::new(environment));
            unknown_filter(source)?;
        }
        Ok(template)
    }

    /// The template as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The names that the template uses and does not define itself, as far as they can be told without an event.
    pub fn names(&self) -> Vec<String> {
        let Some(environment) = &self.environment else { return Vec::new() };
        let Ok(template) = environment.get_template(NAME) else { return Vec::new() };
        let builtin: Vec<&str> = environment.globals().map(|(name, _)| name).collect();
        let mut names: Vec<String> = template.undeclared_variables(false).into_iter().collect();
        names.retain(|name| !builtin.contains(&name.as_str()));
        names.sort();
        names
    }

    /// Prints the template; the error names the expression and what is wrong with it, as in
    /// "body.commit.repo is a mapping".
    pub fn render(&self, context: &Context) -> Result<String, String> {
        let text = match &self.environment {
            // As the engine does: one newline at the end is the file's, not the text's.
            None => self.source.strip_suffix('\n').unwrap_or(&self.source).to_owned(),
            Some(environment) => environment
                .get_template(NAME)
                .and_then(|template| template.render(context.0.clone()))
                .map_err(|error| self.complaint(&error))?,
        };
        if text.len() > LONGEST {
            return Err(format!("it prints {} bytes, more than {LONGEST}", text.len()));
        }
        if text.contains('\0') {
            return Err("it prints a NUL character, which no database takes".into());
        }
        Ok(text)
    }

    fn complaint(&self, error: &Error) -> String {
        let detail = error.detail().unwrap_or_default();
        match error.kind() {
            ErrorKind::OutOfFuel => format!("it takes more than {FUEL} steps"),
            ErrorKind::UndefinedError => match detail.strip_suffix(" is undefined") {
                Some(name) => format!("{}: field absent", name.trim_matches('`')),
                None => format!("{}: field absent", self.expression(error)),
            },
            ErrorKind::BadSerialization if detail.starts_with(NOT_A_TEXT) => {
                format!("{} is {}", self.expression(error), &detail[NOT_A_TEXT.len()..])
            }
            kind if detail.is_empty() => format!("{}: {kind}", self.expression(error)),
            _ => format!("{}: {detail}", self.expression(error)),
        }
    }

    /// The expression, between its braces, in which an error arose.
    fn expression(&self, error: &Error) -> &str {
        let source: &str = &self.source;
        let at = error.range().map_or(0, |range| range.start).min(source.len());
        let start = source.get(..at).and_then(|s| s.rfind("{{")).map_or(0, |n| n + 2);
        let end = source.get(at..).and_then(|s| s.find("}}")).map_or(source.len(), |n| at + n);
        source.get(start..end).unwrap_or(source).trim_matches(|c: char| c == '-' || c.is_whitespace())
    }
}

/// The engine looks a filter up when it renders; that is too late to tell the author.
fn unknown_filter(source: &str) -> Result<(), String> {
    static FILTER: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r#""[^"]*"|'[^']*'|\|\s*([A-Za-z_]\w*)"#).expect("a regex that a test compiles"));
    for name in FILTER.captures_iter(source).filter_map(|found| found.get(1)) {
        let probe = ENVIRONMENT.render_str(&format!("{{{{ '' | {} }}}}", name.as_str()), ());
        if probe.is_err_and(|error| error.kind() == ErrorKind::UnknownFilter) {
            return Err(format!("not a template: unknown filter '{}'", name.as_str()));
        }
    }
    Ok(())
}

/// Marks the formatter's own refusals among the engine's errors.
const NOT_A_TEXT: &str = "not a text: ";

fn print(out: &mut Output<'_>, _: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    let refuse = |what: &str| Err(Error::new(ErrorKind::BadSerialization, format!("{NOT_A_TEXT}{what}")));
    let written = match value.kind() {
        ValueKind::String | ValueKind::Number => write!(out, "{value}"),
        ValueKind::Bool => out.write_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Undefined => return Err(Error::from(ErrorKind::UndefinedError)),
        ValueKind::None => return refuse("null"),
        ValueKind::Seq | ValueKind::Iterable => return refuse("a list"),
        ValueKind::Map => return refuse("a mapping"),
        _ => return refuse("no text, number or boolean"),
    };
    written.map_err(|_| Error::new(ErrorKind::WriteFailure, "cannot be printed"))
}

impl Context {
    /// The names and their values, in the engine's own form.
    pub(crate) fn new(names: impl IntoIterator<Item = (String, Value)>) -> Context {
        Context(Value::from_pairs(names))
    }

    /// The names of an event, of which nothing is copied that no template asks for.
    pub(crate) fn lazy(names: Names) -> Context {
        Context(Value::from_object(names))
    }

    /// A JSON value as the engine holds it: copies of it are cheap.
    pub(crate) fn value(value: &impl Serialize) -> Value {
        Value::from(Serde(value))
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Template({:?})", self.source)
    }
}

impl PartialEq for Template {
    fn eq(&self, other: &Template) -> bool {
        self.source == other.source
    }
}

impl Serialize for Template {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.source)
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Template, D::Error> {
        Template::new(&String::deserialize(d)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn render(source: &str) -> Result<String, String> {
        let body = json!({
            "commit": {"repo": {"name": "x"}, "rev": "0123456789abcdef"},
            "null": null, "float": 1349718534.0, "big": 18446744073709551615_u64, "yes": true, "list": [1, 2],
            "update": {"items": "I"}, "nul": "a\u{0}b", "braces": "{{ id }}",
        });
        let context = Context::new([("body".to_owned(), Context::value(&body)), ("id".to_owned(), "7".into())]);
        Template::new(source)?.render(&context)
    }

    #[test]
    fn texts_numbers_and_booleans_are_printed() {
        let cases = [
            ("plain", "plain"),
            ("{{ body.commit.rev[:8] }}", "01234567"),
            ("{{ body.absent | default('x') }}", "x"),
            ("{{ body.float }} {{ body.big }} {{ body.yes }}", "1349718534.0 18446744073709551615 true"),
            ("{{ body.update.items }}", "I"),
            ("{{ body.list | first }}", "1"),
            ("{{ body.braces }}", "{{ id }}"),
            ("<{{ '&' }}>", "<&>"),
        ];
        for (source, want) in cases {
            assert_eq!(render(source).as_deref(), Ok(want), "{source}");
        }
    }

    #[test]
    fn anything_else_is_refused_by_name() {
        let cases = [
            ("{{ body.commit.repo }}", "body.commit.repo is a mapping"),
            ("a-{{- body.list -}}-b", "body.list is a list"),
            ("{{ id }}{{ body.null }}", "body.null is null"),
            ("{{ body.absent }}", "body.absent: field absent"),
            ("{{ body.absent.deeper }}", "body.absent: field absent"),
            ("{{ body.commit.absent[:8] }}", "body.commit.absent: field absent"),
            ("{{ body.nul }}", "it prints a NUL character, which no database takes"),
            ("{% for i in range(90000) %}{{ i }}{% endfor %}", "it takes more than 20000 steps"),
            ("{{ 'a' * 70000 }}", "it prints 70000 bytes, more than 65536"),
            ("{{ body.commit.rev.upper() }}", "body.commit.rev.upper(): string has no method named upper"),
        ];
        for (source, want) in cases {
            assert_eq!(render(source).unwrap_err(), want, "{source}");
        }
    }

    #[test]
    fn a_broken_template_does_not_compile() {
        assert_eq!(Template::new("{{ a( }}").unwrap_err(), "not a template: unexpected `}`");
        assert_eq!(Template::new("{{ a | nosuch }}").unwrap_err(), "not a template: unknown filter 'nosuch'");
        assert!(Template::new("{{ a | replace('|nosuch', 'x') | upper }}").is_ok());
    }

    #[test]
    fn the_names_of_a_template_are_known() {
        assert_eq!(Template::new("{{ itm }}{{ params.x }}").unwrap().names(), ["itm", "params"]);
        assert!(Template::new("{% for i in range(3) %}{{ i }}{% endfor %}").unwrap().names().is_empty());
    }
}
