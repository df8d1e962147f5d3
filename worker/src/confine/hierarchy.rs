//! Where the machine's cgroups are (cgroups(7)): which hierarchies are mounted, and where in them this process is.

use std::path::{Path, PathBuf};

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// The folder of the cgroup that this process is in.
    pub here: PathBuf,
    pub kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// With its controllers.
    V1(Vec<String>),
    V2,
}

/// Reads `/proc/self/mountinfo` and `/proc/self/cgroup`; a hierarchy in which this process is not to be seen is left out.
pub fn parse(mountinfo: &str, cgroup: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mountinfo.lines() {
        let Some((before, after)) = line.split_once(" - ") else { continue };
        let before: Vec<&str> = before.split(' ').collect();
        let after: Vec<&str> = after.split(' ').collect();
        let ([_, _, _, root, point, ..], [kind, _, options]) = (before.as_slice(), after.as_slice()) else { continue };
        let kind = match *kind {
            "cgroup2" => Kind::V2,
            "cgroup" => Kind::V1(options.split(',').map(str::to_owned).collect()),
            _ => continue,
        };
        if let Some(path) = own_path(cgroup, &kind)
            && let Ok(below) = Path::new(path).strip_prefix(root)
            && found.iter().all(|hierarchy| hierarchy.kind != kind)
        {
            found.push(Hierarchy { here: Path::new(point).join(below), kind });
        }
    }
    found
}

/// Where this process is in that hierarchy: lines of `ID:CONTROLLERS:PATH`, without controllers for the one of v2.
fn own_path<'a>(cgroup: &'a str, kind: &Kind) -> Option<&'a str> {
    cgroup.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let ours = match kind {
            Kind::V2 => controllers.is_empty(),
            Kind::V1(names) => controllers.split(',').any(|controller| names.iter().any(|name| name == controller)),
        };
        ours.then_some(path)
    })
}

impl Hierarchy {
    pub fn has(&self, controller: &str) -> bool {
        match &self.kind {
            Kind::V1(names) => names.iter().any(|name| name == controller),
            Kind::V2 => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hierarchy_is_found_with_our_place_in_it() {
        let mountinfo = "\
25 1 0:22 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
26 1 0:23 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
27 1 0:24 /box /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
28 1 0:25 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
29 1 0:26 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
30 1 0:27 / /proc rw - proc proc rw
";
        let cgroup = "4:memory:/a/b\n3:cpuacct,cpu:/\n2:pids:/box/c\n1:freezer:\n0::/user.slice\n";
        let found = parse(mountinfo, cgroup);
        let here: Vec<_> = found.iter().map(|h| h.here.to_str().unwrap()).collect();
        let want =
            ["memory/a/b", "cpu,cpuacct/", "pids/c", "unified/user.slice"].map(|p| format!("/sys/fs/cgroup/{p}"));
        assert_eq!(here, want);
        assert!(found[1].has("cpu") && !found[3].has("memory"));
    }

    #[test]
    fn elsewhere_mounted_is_not_ours() {
        let mountinfo = "27 1 0:24 /other /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n";
        assert_eq!(parse(mountinfo, "2:pids:/box\n"), []);
    }
}
