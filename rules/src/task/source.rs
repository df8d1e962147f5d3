//! Where a task's files come from: a folder on the workers, or a repository that the master mirrors.

use model::source::{Checkout, Pin, Source};
use serde::{Deserialize, Serialize};

use super::discover::{Discover, FOLDER, TOP};
use super::read::of_a_job;
use crate::fault::Problems;
use crate::section::{self, Section};
use crate::template::{Context, Template};
use crate::yaml::{Node, Tree};

/// What `source` says. Serialized it is as it is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Origin {
    Path(String),
    Repo(Repo),
}

/// `source: { git: URL, ref: BRANCH, path: FOLDER }`, or with `discover: PATTERN` in place of the path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repo {
    git: Template,
    /// The first that the repository has is taken.
    #[serde(rename = "ref")]
    references: Vec<Template>,
    path: Option<Template>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    discover: Option<Discover>,
}

/// What one job wants of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub git: String,
    /// Branches, tags or whole commits; the first that there is is taken.
    pub references: Vec<String>,
    pub path: Option<String>,
}

impl Repo {
    /// The address, where it is the same for every job.
    pub fn fixed(&self) -> Option<&str> {
        self.git.names().is_empty().then(|| self.git.source())
    }

    /// How the folders are found in which the task is, where it does not say one.
    pub fn discover(&self) -> Option<&Discover> {
        self.discover.as_ref()
    }

    pub(super) fn wanted(&self, context: &Context) -> Result<Wanted, String> {
        let render = |what: &str, template: &Template| {
            template.render(context).map_err(|why| format!("cannot render source.{what}: {why}"))
        };
        let git = render("git", &self.git)?;
        let odd = git.chars().any(|c| c.is_whitespace() || c.is_control());
        if odd || git.split('/').any(|part| part == "..") {
            return Err(format!("source.git is '{git}', which is no address"));
        }
        let path = self.path.as_ref().map(|path| render("path", path)).transpose()?;
        let path = path.filter(|path| self.discover.is_none() || path != TOP);
        if let Some(path) = &path
            && !is_inside(path)
        {
            return Err(format!("source.path is '{path}', which is no folder inside the repository"));
        }
        let references = self.references.iter().map(|one| render("ref", one)).collect::<Result<_, _>>()?;
        Ok(Wanted { git, references, path })
    }
}

impl Wanted {
    /// The order to fetch it at a commit.
    pub(super) fn at(self, pin: &Pin) -> Result<Source, String> {
        let Pin { reference, commit } = pin.clone();
        Ok(Source::Git(Checkout { git: self.git, reference, commit, path: self.path }))
    }

    /// What would do, in words: `f41, else main`.
    pub fn any(&self) -> String {
        self.references.join(", else ")
    }
}

/// Whether it names a folder below the top, and by no detour.
pub(super) fn is_inside(path: &str) -> bool {
    !path.contains('\0') && path.split('/').all(|part| !matches!(part, "" | "." | ".." | ".git"))
}

pub(super) fn read(node: &Node, problems: &mut Problems) -> Option<Origin> {
    match &node.tree {
        Tree::Null => return None,
        Tree::Text(text) if text == "none" => return None,
        _ => {}
    }
    let section = Section::open(node, "source", &["path", "git", "ref", "discover"], problems)?;
    let Some(git) = section.get("git") else {
        for key in ["ref", "discover"].into_iter().filter(|key| section.get(key).is_some()) {
            problems.add(section.key(key), format!("{key} needs 'git': the address of the repository"));
        }
        return section::text(section.need("path", problems)?, "path", problems).map(Origin::Path);
    };
    let address = of_a_job(git, "git", problems)?;
    if let Err(message) = check_address(address.source()) {
        problems.add(git.place, message);
    }
    let references = match section.get("ref") {
        None => vec![Template::new("main").ok()?],
        Some(node) => references(node, problems),
    };
    let mut path = section.get("path").and_then(|node| {
        let path = of_a_job(node, "path", problems)?;
        if path.names().is_empty() && !is_inside(path.source()) {
            let message = "path is a folder inside the repository, such as tests/smoke: no '..', and no '/' around it";
            problems.add(node.place, message);
        }
        Some(path)
    });
    let discover = section.get("discover").and_then(|node| Discover::read(node, problems));
    if discover.is_some() {
        if path.is_some() {
            let message = "discover finds the folders by itself: leave path out, and begin the pattern with it";
            problems.add(section.key("path"), message);
        }
        path = Some(Template::new(&format!("{{{{ params.{FOLDER} | default('{TOP}') }}}}")).ok()?);
    }
    Some(Origin::Repo(Repo { git: address, references, path, discover }))
}

/// A branch, or a list of which the first that there is is taken.
fn references(node: &Node, problems: &mut Problems) -> Vec<Template> {
    let nodes = match &node.tree {
        Tree::List(_) => section::list(node, "ref", problems).unwrap_or_default(),
        _ => std::slice::from_ref(node),
    };
    nodes.iter().filter_map(|node| of_a_job(node, "ref", problems)).collect()
}

/// An address is `SCHEME://HOST/…`. An event may choose the repository, never the host; and a password would be shown to
/// everyone who may look at a job.
fn check_address(written: &str) -> Result<(), String> {
    let form = "git is the address of a repository, such as https://example.org/group/name.git";
    let Some((scheme, rest)) = written.split_once("://") else {
        return Err(format!("{form}, ssh://git@example.org/name.git or file:///srv/name.git"));
    };
    if scheme.is_empty() || !scheme.bytes().all(|b| b.is_ascii_lowercase()) {
        return Err(format!("{form}: '{scheme}' is no scheme"));
    }
    let host = rest.split('/').next().unwrap_or_default();
    if !rest.contains('/') || host.contains(['{', '%', '\\']) || (host.is_empty() && scheme != "file") {
        return Err(format!("{form}: the host is written out, only what follows it may be a template"));
    }
    if host.rsplit_once('@').is_some_and(|(user, _)| user.contains(':')) {
        return Err("git has a password in it, which everyone would see who may look at a job: \
                    give the master's account a key for this repository"
            .into());
    }
    if rest.split('/').any(|part| part == "..") || written.chars().any(|c| c.is_control()) {
        return Err(format!("{form}, without '..'"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_its_host_and_no_password() {
        for good in ["https://h/x.git", "ssh://git@h:22/x", "file:///srv/x.git", "https://h/rpms/{{ item }}.git"] {
            assert_eq!(check_address(good), Ok(()), "{good}");
        }
        let bad = [
            "/srv/x.git",
            "git@h:x.git",
            "ext::sh -c touch",
            "https://{{ params.host }}/x.git",
            "https://h{{ item }}/x.git",
            "https://h",
            "https:///x",
            "https://me:secret@h/x.git",
            "file:///srv/../etc",
            "HTTPS://h/x",
        ];
        for bad in bad {
            assert!(check_address(bad).is_err(), "{bad}");
        }
    }
}
