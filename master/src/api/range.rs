//! A part of something long, as RFC 9110 (section 14) lets a client ask for it.

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, IntoResponseParts, Response};
use net::Problem;

/// What is to be sent of something that is `size` bytes long: from, and up to but without.
#[derive(Clone, Copy, Debug)]
pub struct Slice {
    pub start: u64,
    pub end: u64,
    size: u64,
    whole: bool,
}

impl Slice {
    /// What a request asks for; what lies beyond the end is refused.
    pub fn asked(headers: &HeaderMap, size: u64) -> Result<Slice, Box<Response>> {
        let range = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
        match range.map(|text| part(text, size)) {
            None | Some(Part::Whole) => Ok(Slice { start: 0, end: size, size, whole: true }),
            Some(Part::Of(start, end)) => Ok(Slice { start, end, size, whole: false }),
            Some(Part::Beyond) => {
                let detail = format!("it is {size} bytes long");
                let range = [(header::CONTENT_RANGE, format!("bytes */{size}"))];
                Err(Box::new((range, Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, detail)).into_response()))
            }
        }
    }

    pub fn length(&self) -> u64 {
        self.end - self.start
    }

    /// The answer, whose body is just this part.
    pub fn respond(self, headers: impl IntoResponseParts, body: Body) -> Response {
        let Slice { start, end, size, whole } = self;
        let status = if whole { StatusCode::OK } else { StatusCode::PARTIAL_CONTENT };
        let length = [(header::CONTENT_LENGTH, (end - start).to_string())];
        let mut response = (status, headers, length, body).into_response();
        if !whole && let Ok(value) = format!("bytes {start}-{}/{size}", end - 1).parse() {
            response.headers_mut().insert(header::CONTENT_RANGE, value);
        }
        response
    }
}

/// What a `Range` asks for, of something of some size.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    /// It cannot be understood, or asks for several: it is ignored, as RFC 9110 allows.
    Whole,
    /// From, and up to but without.
    Of(u64, u64),
    Beyond,
}

fn part(range: &str, size: u64) -> Part {
    let Some((first, last)) = range.trim().strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Part::Whole;
    };
    let number = |text: &str| text.trim().parse::<u64>();
    match (first.trim(), last.trim()) {
        ("", last) => match number(last) {
            Ok(0) => Part::Beyond,
            Ok(_) if size == 0 => Part::Beyond,
            Ok(n) => Part::Of(size.saturating_sub(n), size),
            Err(_) => Part::Whole,
        },
        (first, "") => match number(first) {
            Ok(first) if first < size => Part::Of(first, size),
            Ok(_) => Part::Beyond,
            Err(_) => Part::Whole,
        },
        (first, last) => match (number(first), number(last)) {
            (Ok(first), Ok(last)) if last < first => Part::Whole,
            (Ok(first), Ok(last)) if first < size => Part::Of(first, size.min(last.saturating_add(1))),
            (Ok(_), Ok(_)) => Part::Beyond,
            _ => Part::Whole,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_as_rfc_9110_says() {
        let table = [
            ("bytes=0-3", Part::Of(0, 4)),
            ("bytes=8-", Part::Of(8, 10)),
            ("bytes=-3", Part::Of(7, 10)),
            ("bytes=-30", Part::Of(0, 10)),
            ("bytes=5-99", Part::Of(5, 10)),
            ("bytes=10-", Part::Beyond),
            ("bytes=-0", Part::Beyond),
            ("bytes=3-1", Part::Whole),
            ("bytes=0-1,4-5", Part::Whole),
            ("lines=0-1", Part::Whole),
        ];
        for (range, want) in table {
            assert_eq!(part(range, 10), want, "{range}");
        }
        assert_eq!(part("bytes=0-", 0), Part::Beyond);
    }
}
