//! Questions to the master: paths, pages, and who may be asked by half a name.

use model::operator::Page;
use net::Client;
use serde::de::DeserializeOwned;
use url::Url;

use crate::exit::{Exit, Failure};

use super::output::{Format, Listed, Listing};

/// How many items one page has at most.
const PAGE: u64 = 1000;

/// A path with parts and a query, each encoded.
pub fn path(parts: &[&str], query: &[(&str, String)]) -> String {
    let mut url = Url::parse("http://x/").expect("a constant address");
    url.path_segments_mut().expect("http has segments").pop_if_empty().extend(["api", "v1"]).extend(parts);
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    let query = url.query().map(|q| format!("?{q}")).unwrap_or_default();
    format!("{}{query}", url.path())
}

/// Prints the pages of a listing, up to `limit` items.
pub async fn pages<T: Listed + DeserializeOwned>(
    client: &Client,
    format: Format,
    noun: &str,
    query: Vec<(&str, String)>,
    limit: u64,
) -> anyhow::Result<()> {
    let mut listing = Listing::new(format);
    let (mut left, mut after) = (limit, None::<String>);
    loop {
        let mut query = query.clone();
        query.push(("limit", left.min(PAGE).to_string()));
        if let Some(after) = &after {
            query.push(("cursor", after.clone()));
        }
        let Page { mut items, next }: Page<T> = client.get(&path(&[noun], &query)).await?;
        items.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        left -= items.len() as u64;
        listing.add(items)?;
        match next {
            Some(next) if left > 0 => after = Some(next),
            Some(_) => {
                listing.finish()?;
                eprintln!("there are more; --limit N shows more than {limit}");
                return Ok(());
            }
            None => return listing.finish(),
        }
    }
}

/// Reasons are for those who come after: one that says nothing is refused.
pub fn reason(text: &str) -> anyhow::Result<String> {
    match text.trim() {
        "" => Err(Failure::error(Exit::Usage, "the reason is empty: say why, for those who come after")),
        text => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_an_id_is_made_of_it_stays_one_segment() {
        assert_eq!(path(&["events", "a/b?c"], &[]), "/api/v1/events/a%2Fb%3Fc");
        assert_eq!(path(&["jobs"], &[("item", "a&b".into())]), "/api/v1/jobs?item=a%26b");
    }
}
