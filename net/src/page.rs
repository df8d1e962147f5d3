//! The common look of all pages: the shell around them, the stylesheet, the script that keeps them live, and the headers
//! that keep hostile text harmless.
//!
//! The scripts are our own and not a library: all that is live here is "fetch this page again and exchange the parts that
//! say so" and "print what a log has got since", which need neither `eval` nor inline styles, so the policy can forbid
//! both.

use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest, Sha256};
use tower_http::set_header::SetResponseHeaderLayer;

use crate::Problem;

/// What the pages may load and do: their own stylesheet and script, nothing inline, nothing foreign, no frame around.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The places of the navigation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    Overview,
    Events,
    Jobs,
    Workers,
    Results,
    /// A page that none of them leads to.
    Elsewhere,
}

/// The navigation, in its order.
const NAVIGATION: [(Section, &str, &str); 5] = [
    (Section::Overview, "/", "Overview"),
    (Section::Events, "/events", "Events"),
    (Section::Jobs, "/jobs", "Jobs"),
    (Section::Workers, "/workers", "Workers"),
    (Section::Results, "/results", "Results"),
];

/// A file that pages load; its name carries its hash, so that it may be kept for ever.
struct Asset {
    stem: &'static str,
    ending: &'static str,
    kind: &'static str,
    body: &'static str,
    name: LazyLock<String>,
}

static STYLE: Asset = Asset {
    stem: "style",
    ending: "css",
    kind: "text/css; charset=utf-8",
    body: include_str!("assets/style.css"),
    name: LazyLock::new(|| STYLE.hashed()),
};

static SCRIPT: Asset = Asset {
    stem: "live",
    ending: "js",
    kind: "text/javascript; charset=utf-8",
    body: include_str!("assets/live.js"),
    name: LazyLock::new(|| SCRIPT.hashed()),
};

static LOG: Asset = Asset {
    stem: "log",
    ending: "js",
    kind: "text/javascript; charset=utf-8",
    body: include_str!("assets/log.js"),
    name: LazyLock::new(|| LOG.hashed()),
};

static ICON: Asset = Asset {
    stem: "icon",
    ending: "svg",
    kind: "image/svg+xml",
    body: include_str!("assets/icon.svg"),
    name: LazyLock::new(|| ICON.hashed()),
};

impl Asset {
    fn hashed(&self) -> String {
        let hash = hex::encode(Sha256::digest(self.body));
        format!("{}.{}.{}", self.stem, &hash[..12], self.ending)
    }

    /// Whether `name` asks for this file, in this version or another.
    fn is_meant_by(&self, name: &str) -> bool {
        name.strip_prefix(self.stem).is_some_and(|rest| rest.starts_with('.')) && name.ends_with(self.ending)
    }
}

/// A whole page around `body`, which is HTML already; `title` is text.
///
/// An element with an `id` and `data-live` is exchanged for its newer self every two seconds.
pub fn shell(title: &str, section: Section, body: &str) -> Html<String> {
    shell_with(title, section, "", body)
}

/// The same with `corner`, HTML too, at the end of the header: who looks at it.
pub fn shell_with(title: &str, section: Section, corner: &str, body: &str) -> Html<String> {
    let (style, script, log, icon) = (&*STYLE.name, &*SCRIPT.name, &*LOG.name, &*ICON.name);
    let links: String = NAVIGATION
        .iter()
        .map(|(place, path, name)| {
            let here = if *place == section { " aria-current=\"page\"" } else { "" };
            format!("<a href=\"{path}\"{here}>{name}</a>")
        })
        .collect();
    let title = escape(title);
    Html(format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title} · Taskotron</title>\n\
         <link rel=\"icon\" href=\"/assets/{icon}\">\n\
         <link rel=\"stylesheet\" href=\"/assets/{style}\">\n\
         <script src=\"/assets/{script}\" defer></script>\n\
         <script src=\"/assets/{log}\" defer></script>\n</head>\n<body>\n\
         <header><a class=\"brand\" href=\"/\">Taskotron</a><nav>{links}</nav>{corner}</header>\n\
         <main>\n{body}\n</main>\n</body>\n</html>\n"
    ))
}

/// Text as HTML shows it, also between the quotes of an attribute.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// The stylesheet, the script and the icon. Merged once into what a listener serves.
pub fn assets<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/assets/{name}", get(asset))
}

async fn asset(Path(name): Path<String>) -> Response {
    let Some(asset) = [&STYLE, &SCRIPT, &LOG, &ICON].into_iter().find(|asset| asset.is_meant_by(&name)) else {
        return Problem::not_found(format!("there is no file '{name}' here")).into_response();
    };
    // While masters of two versions serve, a page may ask for the other's file: it gets this one, and keeps it not.
    let keep = if *asset.name == name { "public, max-age=31536000, immutable" } else { "no-store" };
    let headers = [
        (header::CONTENT_TYPE, asset.kind),
        (header::CACHE_CONTROL, keep),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'; sandbox"),
    ];
    (headers, asset.body).into_response()
}

/// Adds the headers that every page needs, to all routes of `router` that do not bring their own.
pub fn secure<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    let add = |name: HeaderName, value: &'static str| {
        SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
    };
    router
        .layer(add(header::CONTENT_SECURITY_POLICY, POLICY))
        .layer(add(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(add(header::REFERRER_POLICY, "same-origin"))
        .layer(add(header::CACHE_CONTROL, "no-cache"))
}

/// The answer to a path that no room serves: a problem body below `/api/`, else a page.
pub async fn not_found(uri: Uri) -> Response {
    let path = uri.path();
    if path.starts_with("/api/") {
        return Problem::not_found(format!("there is nothing at {path}")).into_response();
    }
    let body = format!("<h1>Not found</h1>\n<p>There is nothing at <code>{}</code>.</p>", escape(path));
    let csp = [(header::CONTENT_SECURITY_POLICY, POLICY), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (StatusCode::NOT_FOUND, csp, shell("Not found", Section::Elsewhere, &body)).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt as _;

    use super::*;

    async fn get_asset(name: &str) -> Response {
        let request = Request::get(format!("/assets/{name}")).body(Body::empty()).unwrap();
        assets::<()>().oneshot(request).await.unwrap()
    }

    #[tokio::test]
    async fn a_page_loads_only_what_is_served_and_says_where_it_is() {
        let Html(page) = shell("a <b>", Section::Jobs, "<p>x</p>");
        assert!(page.contains("a &lt;b&gt; · Taskotron"));
        assert!(page.contains("<a href=\"/jobs\" aria-current=\"page\">Jobs</a>"));
        assert!(!page.contains("style=") && !page.contains("onclick"));
        for part in page.split("/assets/").skip(1) {
            let name = part.split('"').next().unwrap();
            let response = get_asset(name).await;
            assert_eq!(response.status(), StatusCode::OK, "{name}");
            assert_eq!(response.headers()[header::CACHE_CONTROL], "public, max-age=31536000, immutable");
        }
    }

    #[tokio::test]
    async fn another_version_of_a_file_is_served_but_not_kept() {
        let response = get_asset("style.000000000000.css").await;
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
        assert_eq!(get_asset("passwd").await.status(), StatusCode::NOT_FOUND);
    }

    #[test]
    fn text_cannot_leave_its_place() {
        assert_eq!(escape("<a b=\"c\" d='e'>&"), "&lt;a b=&quot;c&quot; d=&#39;e&#39;&gt;&amp;");
    }
}
