//! Where a service is: one address, or several that serve the same.

use std::fmt;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::Url;

/// One address or more. In settings it is a text, or a list of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses(Vec<Url>);

impl Addresses {
    /// All of them, in the order in which they are tried; at least one.
    pub fn all(&self) -> &[Url] {
        &self.0
    }
}

impl From<Url> for Addresses {
    fn from(url: Url) -> Addresses {
        Addresses(vec![url])
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<_> = self.0.iter().map(Url::as_str).collect();
        f.write_str(&all.join(", "))
    }
}

impl Serialize for Addresses {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match &self.0[..] {
            [one] => one.serialize(to),
            more => more.serialize(to),
        }
    }
}

impl<'de> Deserialize<'de> for Addresses {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Addresses, D::Error> {
        from.deserialize_any(Read)
    }
}

struct Read;

impl<'de> Visitor<'de> for Read {
    type Value = Addresses;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address, as \"http://host:8080/\", or a list of addresses")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Addresses, E> {
        let url = Url::parse(text).map_err(|e| E::custom(format!("'{text}' is no address: {e}")))?;
        Ok(url.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Addresses, A::Error> {
        let mut urls = Vec::new();
        while let Some(url) = list.next_element::<Url>()? {
            urls.push(url);
        }
        if urls.is_empty() { Err(A::Error::custom("the list of addresses is empty")) } else { Ok(Addresses(urls)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_is_a_text_and_several_are_a_list() {
        for (text, count) in [(r#""http://a/""#, 1), (r#"["http://a/","http://b:1/c"]"#, 2)] {
            let addresses: Addresses = serde_json::from_str(text).unwrap();
            assert_eq!(addresses.all().len(), count);
            assert_eq!(serde_json::to_string(&addresses).unwrap(), text);
        }
        for text in ["[]", r#""nonsense""#, r#"["nonsense"]"#, "3"] {
            assert!(serde_json::from_str::<Addresses>(text).is_err(), "{text}");
        }
    }
}
