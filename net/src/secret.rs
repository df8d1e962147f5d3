//! A token in a program's hands.

use std::fmt;
use std::io;
use std::path::Path;

/// A bearer token, or none. Never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(Option<String>);

impl Secret {
    pub fn none() -> Secret {
        Secret(None)
    }

    /// An empty text is no token.
    pub fn new(text: &str) -> Secret {
        let text = text.trim();
        Secret((!text.is_empty()).then(|| text.to_owned()))
    }

    pub fn from_file(path: &Path) -> io::Result<Secret> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| io::Error::new(e.kind(), format!("cannot read the token file {}: {e}", path.display())))?;
        Ok(Secret::new(&text))
    }

    /// A new random token: 32 bytes in hex.
    pub fn random() -> Secret {
        Secret(Some(hex::encode(rand::random::<[u8; 32]>())))
    }

    /// The text itself, to be sent or stored; never to be logged.
    pub fn expose(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Secret(…)" } else { "Secret(none)" })
    }
}
