//! Links between the pages, and those that results bring with them.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use url::form_urlencoded;

/// An address that may stand in a link: anyone may have posted it.
pub fn harmless(url: Option<&str>) -> Option<String> {
    let url = url?;
    let harmless =
        url.starts_with("https://") || url.starts_with("http://") || (url.starts_with('/') && !url.starts_with("//"));
    harmless.then(|| url.to_owned())
}

/// A link with parameters; those without a value are left out.
pub fn query(path: &str, parameters: &[(&str, &str)]) -> String {
    let filled = parameters.iter().filter(|(_, value)| !value.is_empty());
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(filled).finish();
    format!("{path}?{query}")
}

pub fn testcase(name: &str) -> String {
    let segments: Vec<String> =
        name.split('/').map(|part| utf8_percent_encode(part, NON_ALPHANUMERIC).to_string()).collect();
    format!("/testcases/{}", segments.join("/"))
}

pub fn group(uuid: &str) -> String {
    format!("/groups/{}", utf8_percent_encode(uuid, NON_ALPHANUMERIC))
}

/// All about an item; `None` where it has no name.
pub fn item(item: &str, kind: &str) -> Option<String> {
    let (of_item, item) = exactly("item", item);
    let (of_kind, kind) = exactly("type", kind);
    (!item.is_empty()).then(|| query("/items", &[(&of_item, &item), (&of_kind, &kind)]))
}

/// The parameter that finds this very value of a key. A list is what a comma makes, so a value that holds one is asked
/// for by a pattern, in which any character stands for it.
fn exactly(key: &str, value: &str) -> (String, String) {
    if !value.contains(',') {
        return (key.to_owned(), value.to_owned());
    }
    let mut pattern = String::new();
    for c in value.chars() {
        match c {
            ',' => pattern.push('_'),
            '*' | '%' | '_' | '\\' => pattern.extend(['\\', c]),
            c => pattern.push(c),
        }
    }
    (format!("{key}:like"), pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_only_to_the_web() {
        assert_eq!(harmless(Some("//evil.example")), None);
        assert_eq!(harmless(Some("javascript:alert(1)")), None);
        assert_eq!(harmless(Some("/jobs/1")).as_deref(), Some("/jobs/1"));
    }

    #[test]
    fn names_stay_whole_in_links() {
        assert_eq!(testcase("a/b?c d"), "/testcases/a/b%3Fc%20d");
        assert_eq!(group("a/b"), "/groups/a%2Fb");
        assert_eq!(item("a-1", "koji_build").as_deref(), Some("/items?item=a-1&type=koji_build"));
        assert_eq!(item("a,b_c", "").as_deref(), Some("/items?item%3Alike=a_b%5C_c"));
        assert_eq!(item("", "koji_build"), None);
    }
}
