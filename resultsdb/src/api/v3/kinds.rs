//! What can be posted: the kinds of things that were tested, and the members that a result of each may have.
//!
//! Names and rules are those of ResultsDB's API v3.

/// A kind of thing that was tested.
pub struct Kind {
    /// As in the address, there with an `s`, and in the data's `type`.
    pub name: &'static str,
    pub about: &'static str,
    /// Members of this kind, besides [`COMMON`].
    pub own: &'static [Member],
}

/// One member of a body.
pub struct Member {
    pub name: &'static str,
    pub shape: Shape,
    pub required: bool,
    pub about: &'static str,
    /// For the documentation, as JSON; empty: none is shown.
    pub sample: &'static str,
}

/// What a member may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Outcome,
    Text,
    /// A text that is not empty.
    Name,
    /// `http://` or `https://`.
    Link,
    Mail,
    Integer,
    Flag,
    Texts,
}

use Shape::{Flag, Integer, Link, Mail, Name, Outcome, Text, Texts};

const fn must(name: &'static str, shape: Shape, about: &'static str, sample: &'static str) -> Member {
    Member { name, shape, required: true, about, sample }
}

const fn may(name: &'static str, shape: Shape, about: &'static str) -> Member {
    Member { name, shape, required: false, about, sample: "" }
}

/// The longest text, in characters.
pub const LONGEST: usize = 8192;

/// Outcomes that there are besides those of API v2.0.
pub const MORE_OUTCOMES: [&str; 3] = ["QUEUED", "RUNNING", "ERROR"];

/// Only where the outcome is ERROR.
pub const OF_ERRORS: [&str; 2] = ["error_reason", "issue_url"];

pub const COMMON: &[Member] = &[
    must(
        "outcome",
        Outcome,
        "How the test ended, or that it is QUEUED, RUNNING, or came to no verdict (ERROR)",
        "\"PASSED\"",
    ),
    must("testcase", Name, "The whole name of the testcase", "\"dist.rpmlint\""),
    may("testcase_ref_url", Link, "Where the testcase is described: how to run it, and how to change it"),
    may("note", Text, "A remark on this result"),
    may("ref_url", Link, "The run that found it, as in the CI system"),
    may("error_reason", Text, "Why there is no verdict; only with ERROR"),
    may("issue_url", Link, "The issue that was filed about it; only with ERROR"),
    may("system_provider", Text, "Where the system comes from that it ran on: openstack, beaker.example.org"),
    may("system_architecture", Text, "The architecture of that system: x86_64"),
    may("system_variant", Text, "The variant of the compose or image: Server"),
    may("scenario", Text, "Tells runs of one testcase on one item apart: Server x86_64"),
    must("ci_name", Text, "The CI system, for people", "\"Example CI\""),
    must("ci_team", Text, "The team that runs it", "\"QA\""),
    must("ci_docs", Link, "Where it is documented", "\"https://ci.example.org/docs\""),
    must("ci_email", Mail, "Whom to ask", "\"ci@example.org\""),
    may("ci_url", Link, "Its web interface"),
    may("ci_irc", Text, "Where to talk to its people"),
    may("scratch", Flag, "Whether it is about a scratch build: then the type ends in _scratch"),
    may("rebuild", Link, "Where the run can be started again"),
    may("log", Link, "The log of the run"),
];

pub const KINDS: [Kind; 4] = [
    Kind {
        name: "brew-build",
        about: "A result on a build of Koji or Brew",
        own: &[
            must("item", Name, "The build's name-version-release", "\"glibc-2.40-1.fc41\""),
            must("brew_task_id", Integer, "The number of its task", "123456"),
        ],
    },
    Kind {
        name: "productmd-compose",
        about: "A result on a compose; its items are ID/VARIANT/ARCH and ID",
        own: &[must("id", Name, "The compose's id in its metadata", "\"Fedora-41-20261120.0\"")],
    },
    Kind {
        name: "redhat-container-image",
        about: "A result on a container image",
        own: &[
            must("item", Name, "The image's name-version-release", "\"example-container-1-2\""),
            must("id", Text, "The digest that tells it from all others", "\"sha256:27a5\""),
            must("issuer", Text, "Who had it built", "\"jdoe\""),
            must("component", Text, "The name of its product", "\"example-container\""),
            must(
                "full_names",
                Texts,
                "Its names, as registry:port/namespace/name:tag",
                "[\"registry.example.org/a/b:1\"]",
            ),
            may("brew_task_id", Integer, "The number of the task that built it"),
            may("brew_build_id", Integer, "The number of the build"),
            may("registry_url", Text, "The registry, from its full name"),
            may("tag", Text, "The tag, from its full name"),
            may("name", Text, "The name, from its full name"),
            may("namespace", Text, "The namespace, from its full name"),
            may("source", Text, "What it was built from, as its task says"),
        ],
    },
    Kind {
        name: "redhat-module",
        about: "A result on a module",
        own: &[must("item", Name, "The module's name-stream-version-context", "\"example-1-20261120-abcd\"")],
    },
];

impl Kind {
    pub fn members(&self) -> impl Iterator<Item = &'static Member> {
        self.own.iter().chain(COMMON)
    }
}
