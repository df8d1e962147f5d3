//! Files that a job leaves for people: what they may be called, and what is known of them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Time;

/// Bytes of a name at most.
const LONGEST: usize = 512;

/// `GET /api/v1/jobs/ID/artifacts`: one file of a job. Bytes and name are the job's own, and nobody vouches for them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Artifact {
    /// Which attempt left it.
    pub attempt: u32,
    /// Its path in the workspace.
    pub name: String,
    pub size: u64,
    /// In hex.
    pub sha256: String,
    pub stored_at: Time,
    /// When its bytes were removed, being too old or too many; none while they are there.
    #[serde(default)]
    pub removed_at: Option<Time>,
}

/// A file that a worker hands over: `PUT /api/v1/artifact?name=…&size=…&sha256=…&offset=N` with a piece of it, and the
/// lease's token in the header `lease-token`. A first one without bytes asks how much is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArtifactPiece {
    pub name: String,
    /// Of the whole file.
    pub size: u64,
    /// Of the whole file, in hex.
    pub sha256: String,
    /// The place of the first byte.
    pub offset: u64,
}

/// The answer to a piece: from where on the worker goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ArtifactStored {
    /// How much of the file is there.
    pub size: u64,
    /// Whether that is all of it, and what was promised.
    pub stored: bool,
}

/// Whether a text may name an artifact: a path that leads nowhere but down, of parts that every system can write.
pub fn is_artifact_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= LONGEST
        && !name.chars().any(|c| c.is_control() || c == '\\')
        && name.split('/').all(|part| !matches!(part, "" | "." | "..") && part.len() <= 255)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_only_down() {
        for name in ["a", "a/b.log", ".hidden", "...", "é/ü x"] {
            assert!(is_artifact_name(name), "{name}");
        }
        for name in
            ["", "/a", "a/", "a//b", ".", "..", "a/../b", "a\nb", "a\\b", "a\0", &"x".repeat(256), &"x/".repeat(400)]
        {
            assert!(!is_artifact_name(name), "{name}");
        }
    }
}
