//! A blocking HTTP client of few lines. It speaks HTTP/1.0 on purpose: the answer
//! then ends where the connection does, with no chunks, so what a test sees is
//! what was sent.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use url::Url;

/// What came back. Header names are in lower case.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(known, _)| known == name)?;
        Some(value)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into()
    }

    /// Panics, showing the body, where it is not JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {self:?}"))
    }
}

/// A request on its way to being sent; `get`, `post` and `put` begin one.
pub struct Request {
    method: &'static str,
    url: Url,
    headers: String,
    body: Vec<u8>,
    within: Duration,
}

pub fn get(url: &str) -> Request {
    Request::new("GET", url)
}

pub fn post(url: &str, content_type: &str, body: impl Into<Vec<u8>>) -> Request {
    let mut request = Request::new("POST", url).header("content-type", content_type);
    request.body = body.into();
    request
}

pub fn put(url: &str, body: impl Into<Vec<u8>>) -> Request {
    let mut request = Request::new("PUT", url);
    request.body = body.into();
    request
}

impl Request {
    #[track_caller]
    pub fn new(method: &'static str, url: &str) -> Request {
        Request {
            method,
            url: url.parse().expect("a URL"),
            headers: String::new(),
            body: Vec::new(),
            within: Duration::from_secs(30),
        }
    }

    pub fn header(mut self, name: &str, value: &str) -> Request {
        self.headers += &format!("{name}: {value}\r\n");
        self
    }

    pub fn bearer(self, token: &str) -> Request {
        self.header("authorization", &format!("Bearer {}", token.trim()))
    }

    /// How long to wait for each part of the answer (30 s unless said).
    pub fn within(mut self, within: Duration) -> Request {
        self.within = within;
        self
    }

    /// An error means that there was no whole answer: nobody listens, the
    /// connection broke off, time was up. So `until` can poll with it.
    pub fn send(self) -> io::Result<Reply> {
        let host = self.url.host_str().unwrap_or("127.0.0.1");
        let port = self.url.port_or_known_default().unwrap_or(80);
        let mut stream = TcpStream::connect((host, port))?;
        stream.set_read_timeout(Some(self.within))?;
        let target = &self.url[url::Position::BeforePath..url::Position::AfterQuery];
        let head = format!(
            "{} {target} HTTP/1.0\r\nhost: {host}:{port}\r\ncontent-length: {}\r\n{}\r\n",
            self.method,
            self.body.len(),
            self.headers
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(&self.body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        parse(&answer).ok_or_else(|| {
            let seen = String::from_utf8_lossy(&answer).into_owned();
            io::Error::new(io::ErrorKind::InvalidData, format!("not a whole answer: {seen:?}"))
        })
    }
}

fn parse(answer: &[u8]) -> Option<Reply> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let mut lines = std::str::from_utf8(&answer[..end]).ok()?.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let reply = Reply {
        status,
        headers: lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_lowercase(), value.trim().into()))
            .collect(),
        body: answer[end + 4..].to_vec(),
    };
    // An answer that names its length and is cut off is not an answer.
    let whole = reply.header("content-length").is_none_or(|length| length.parse() == Ok(reply.body.len()));
    whole.then_some(reply)
}
