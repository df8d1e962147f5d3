//! The parameters of the listings.

use url::form_urlencoded;

use super::fault::{ApiError, Fault};
use crate::json::Json;
use crate::moment;
use crate::pattern::Pattern;
use crate::store::{Filter, GroupFilter, Latest, Names, Page, Range, Wanted};

/// How many rows a page has unless the client says.
const LIMIT: i64 = 20;

/// SQLite takes no longer pattern, as it is written for it.
const LONGEST_PATTERN: usize = 40_000;

/// How many patterns one request may have, and how many keys of data it may ask for or tell newest results apart by:
/// the engines take statements of some thousand conditions at most.
const MOST_PATTERNS: usize = 400;
const MOST_KEYS: usize = 100;

/// The parameters of one request, in their order.
pub struct Parameters(Vec<(String, String)>);

/// A list as it was asked for.
pub struct Listing {
    pub filter: Filter,
    pub page: Page,
    distinct: Vec<String>,
}

impl Parameters {
    pub fn parse(query: Option<&str>) -> Result<Parameters, ApiError> {
        let pairs: Vec<(String, String)> =
            form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect();
        if pairs.iter().any(|(name, value)| name.contains('\0') || value.contains('\0')) {
            return Err(ApiError::bad_request());
        }
        Ok(Parameters(pairs))
    }

    /// The same parameters as members of a JSON object: a list stands for its elements with commas between them.
    pub fn of_members(members: &[(String, Json)]) -> Result<Parameters, ApiError> {
        let (mut pairs, mut faults) = (Vec::new(), Vec::new());
        for (name, value) in members {
            let given = match value {
                Json::Null => continue,
                Json::Text(_) | Json::Bool(_) | Json::Int(_) | Json::Float(_) => Some(value.python()),
                Json::List(list) => {
                    let texts = list.iter().map(|v| if let Json::Text(text) = v { Some(text.as_str()) } else { None });
                    texts.collect::<Option<Vec<_>>>().map(|texts| texts.join(","))
                }
                Json::Object(_) => None,
            };
            match given {
                Some(text) if !text.contains('\0') && !name.contains('\0') => pairs.push((name.clone(), text)),
                Some(_) | None => faults.push(Fault::value(
                    "parameters",
                    "a parameter is a text or a list of texts, without NUL characters",
                    value,
                )),
            }
        }
        none_of(faults)?;
        Ok(Parameters(pairs))
    }

    /// The first value of a name; an empty one counts as none.
    pub fn first(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str()).filter(|v| !v.is_empty())
    }

    /// Takes a parameter out that the listings do not know, for its first value; an empty one counts as none.
    pub fn take(&mut self, name: &str) -> Option<String> {
        let value = self.first(name).map(String::from);
        self.0.retain(|(n, _)| n != name);
        value
    }

    /// All of them, in their order.
    pub fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    /// The query that says the same but for some names.
    pub fn without(&self, names: &[&str]) -> String {
        let kept = self.0.iter().filter(|(name, _)| !names.contains(&name.as_str()));
        form_urlencoded::Serializer::new(String::new()).extend_pairs(kept).finish()
    }

    fn list(&self, name: &str) -> Option<Vec<String>> {
        self.first(name).map(|list| list.split(',').map(|v| v.trim().to_owned()).collect())
    }

    fn patterns(&self, name: &'static str, faults: &mut Vec<Fault>) -> Option<Vec<Pattern>> {
        self.first(name).map(|list| patterns(name, list, true, faults))
    }

    fn page(&self, faults: &mut Vec<Fault>) -> Page {
        let number = self.integer("page", 0, faults).max(0);
        let limit = self.integer("limit", LIMIT, faults);
        if limit < 0 {
            let input = Json::Text(self.first("limit").unwrap_or_default().to_owned());
            faults.push(Fault::new(
                "limit",
                "greater_than_equal",
                "Input should be greater than or equal to 0",
                &input,
            ));
        }
        Page { number, limit, oldest_first: self.first("_sort") == Some("asc:submit_time") }
    }

    fn integer(&self, name: &'static str, default: i64, faults: &mut Vec<Fault>) -> i64 {
        let Some((_, text)) = self.0.iter().find(|(n, _)| n == name) else { return default };
        let digits = text.trim();
        // `1.0` is an integer too.
        let digits = match digits.split_once('.') {
            Some((whole, zeros)) if !whole.is_empty() && zeros.bytes().all(|b| b == b'0') => whole,
            _ => digits,
        };
        digits.parse().unwrap_or_else(|_| {
            let message = "Input should be a valid integer, unable to parse string as an integer";
            faults.push(Fault::new(name, "int_parsing", message, &Json::Text(text.clone())));
            default
        })
    }

    fn since(&self, faults: &mut Vec<Fault>) -> Range {
        let Some((_, text)) = self.0.iter().find(|(n, _)| n == "since") else { return Range::default() };
        let mut ends = text.split(',').map(moment::since);
        let (from, until) = (ends.next().unwrap_or_default(), ends.next());
        if from.is_none() || until == Some(None) {
            faults.push(Fault::value("since", "must be in ISO8601 format", &Json::Text(text.clone())));
        }
        Range { from, until: until.flatten() }
    }

    fn outcomes(&self, vocabulary: &[String], faults: &mut Vec<Fault>) -> Vec<String> {
        let Some(list) = self.list("outcome") else { return Vec::new() };
        let outcomes: Vec<String> = list.iter().map(|o| o.to_uppercase()).collect();
        if !outcomes.iter().all(|o| vocabulary.contains(o)) {
            let message = format!("must be one of: {}", vocabulary.join(", "));
            let given = list.into_iter().map(Json::Text).collect();
            faults.push(Fault::value("outcome", message, &Json::List(given)));
        }
        outcomes
    }

    /// Every parameter that has no meaning of its own asks for data.
    fn data(&self, faults: &mut Vec<Fault>) -> Vec<(String, Wanted)> {
        let mut data: Vec<(String, Wanted)> = Vec::new();
        for (name, value) in &self.0 {
            if data.len() > MOST_KEYS {
                break;
            }
            let known =
                ["page", "limit", "outcome", "testcases", "testcases:like", "groups", "since", "_sort", "_distinct_on"];
            if known.contains(&name.as_str()) {
                continue;
            }
            let (key, how) = name.split_once(':').unwrap_or((name, ""));
            let earlier = data.iter_mut().find(|(k, w)| k == key && matches!(w, Wanted::Like(_)) == (how == "like"));
            match (how, earlier) {
                ("like", Some((_, Wanted::Like(all)))) => all.extend(patterns("like", value, false, faults)),
                ("like", _) => data.push((key.to_owned(), Wanted::Like(patterns("like", value, false, faults)))),
                (_, Some((_, Wanted::OneOf(all)))) => all.extend(value.split(',').map(String::from)),
                (_, _) => data.push((key.to_owned(), Wanted::OneOf(value.split(',').map(String::from).collect()))),
            }
        }
        if data.len() > MOST_KEYS {
            faults.push(Fault::too_many("data", MOST_KEYS));
        }
        let like = data.iter().map(|(_, wanted)| if let Wanted::Like(all) = wanted { all.len() } else { 0 });
        if like.sum::<usize>() > MOST_PATTERNS {
            faults.push(Fault::too_many("like", MOST_PATTERNS));
        }
        data
    }

    /// A list of results.
    pub fn results(&self, vocabulary: &[String]) -> Result<Listing, ApiError> {
        let mut faults = Vec::new();
        let exact = self.list("testcases");
        let like = self.patterns("testcases:like", &mut faults);
        let testcases = (exact.is_some() || like.is_some())
            .then(|| Names { exact: exact.unwrap_or_default(), like: like.unwrap_or_default() });
        let filter = Filter {
            outcomes: self.outcomes(vocabulary, &mut faults),
            testcases,
            groups: self.list("groups").unwrap_or_default(),
            since: self.since(&mut faults),
            data: self.data(&mut faults),
        };
        let page = self.page(&mut faults);
        let distinct = self.list("_distinct_on").unwrap_or_default();
        if distinct.len() > MOST_KEYS {
            faults.push(Fault::too_many("_distinct_on", MOST_KEYS));
        }
        none_of(faults)?;
        Ok(Listing { filter, page, distinct })
    }

    pub fn latest(&self, vocabulary: &[String]) -> Result<Latest, ApiError> {
        let latest = self.latest_of_items(vocabulary)?;
        let filter = &latest.filter;
        let unfiltered = filter.testcases.is_none()
            && filter.groups.is_empty()
            && filter.since.from.is_none()
            && filter.data.is_empty();
        if unfiltered && !latest.distinct.is_empty() {
            let message = "Please, provide at least one filter beside '_distinct_on'";
            return Err(ApiError::Message(axum::http::StatusCode::BAD_REQUEST, message.into()));
        }
        Ok(latest)
    }

    /// As [`Parameters::latest`], where the items are a filter already.
    pub fn latest_of_items(&self, vocabulary: &[String]) -> Result<Latest, ApiError> {
        let Listing { filter, distinct, page: _ } = self.results(vocabulary)?;
        let distinct: Vec<String> = distinct.into_iter().filter(|key| !key.is_empty()).collect();
        Ok(Latest { filter, distinct })
    }

    pub fn testcases(&self) -> Result<(Option<Names>, Page), ApiError> {
        let mut faults = Vec::new();
        let page = self.page(&mut faults);
        let names = match self.list("name") {
            Some(exact) => Some(Names { exact, like: Vec::new() }),
            None => self.patterns("name:like", &mut faults).map(|like| Names { exact: Vec::new(), like }),
        };
        none_of(faults)?;
        Ok((names, page))
    }

    pub fn groups(&self) -> Result<(GroupFilter, Page), ApiError> {
        let mut faults = Vec::new();
        let page = self.page(&mut faults);
        let untrimmed = |name| self.first(name).map(|list| list.split(',').map(String::from).collect());
        let filter = GroupFilter {
            uuids: untrimmed("uuid").unwrap_or_default(),
            descriptions: untrimmed("description").unwrap_or_default(),
            descriptions_like: self.patterns("description:like", &mut faults).unwrap_or_default(),
        };
        none_of(faults)?;
        Ok((filter, page))
    }
}

fn patterns(name: &'static str, list: &str, trim: bool, faults: &mut Vec<Fault>) -> Vec<Pattern> {
    let all: Vec<Pattern> = list.split(',').map(|p| Pattern::parse(if trim { p.trim() } else { p })).collect();
    if all.len() > MOST_PATTERNS {
        faults.push(Fault::too_many(name, MOST_PATTERNS));
    }
    if all.iter().any(|pattern| pattern.glob().len() > LONGEST_PATTERN) {
        faults.push(Fault::too_long(name, LONGEST_PATTERN, &Json::Null));
    }
    all
}

fn none_of(faults: Vec<Fault>) -> Result<(), ApiError> {
    if faults.is_empty() { Ok(()) } else { Err(ApiError::Invalid(faults)) }
}
