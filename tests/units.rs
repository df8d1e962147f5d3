//! The units for systemd say what the programs rely on; and systemd itself finds no fault with them, where it is here.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROLES: [&str; 4] = ["master", "resultsdb", "trigger", "worker"];

fn path(role: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("packaging/systemd/taskotron-{role}.service"))
}

/// Section and key, with all values.
fn read(role: &str) -> BTreeMap<(String, String), Vec<String>> {
    let text = fs::read_to_string(path(role)).expect("the unit is there");
    let mut section = String::new();
    let mut unit: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_owned();
            assert!(["Unit", "Service", "Install"].contains(&name), "{role}: [{name}]");
            continue;
        }
        let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("{role}: '{line}' is no setting"));
        assert!(key.chars().all(|c| c.is_ascii_alphanumeric()), "{role}: '{line}'");
        unit.entry((section.clone(), key.to_owned())).or_default().push(value.to_owned());
    }
    unit
}

#[test]
fn each_unit_says_what_its_program_relies_on() {
    for role in ROLES {
        let unit = read(role);
        let one = |key: &str| match unit.get(&("Service".to_owned(), key.to_owned())).map(Vec::as_slice) {
            Some([value]) => value.as_str(),
            other => panic!("{role}: {key}= is {other:?}"),
        };
        assert_eq!((one("Type"), one("NotifyAccess"), one("KillMode")), ("notify", "main", "mixed"), "{role}");
        assert_eq!(one("ExecStart"), format!("/usr/bin/taskotron {role}"));
        assert_eq!(one("Restart"), "on-failure", "{role}");
        // A restart of one role must not take another along.
        for key in ["Requires", "BindsTo", "PartOf", "Requisite"] {
            assert!(!unit.contains_key(&("Unit".to_owned(), key.to_owned())), "{role}: {key}=");
        }
        if role == "worker" {
            assert_eq!((one("Delegate"), one("TimeoutStopSec"), one("OOMPolicy")), ("yes", "infinity", "continue"));
            // What a job would inherit and may not need to be without.
            for key in
                ["NoNewPrivileges", "PrivateDevices", "ProtectSystem", "RestrictNamespaces", "CapabilityBoundingSet"]
            {
                assert!(!unit.contains_key(&("Service".to_owned(), key.to_owned())), "a job would inherit {key}=");
            }
        } else {
            assert_eq!((one("NoNewPrivileges"), one("ProtectSystem")), ("yes", "strict"), "{role}");
        }
    }
}

#[test]
fn systemd_finds_no_fault_with_the_units() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let units: Vec<PathBuf> = ROLES
        .iter()
        .map(|role| {
            let text = fs::read_to_string(path(role)).expect("the unit is there");
            let unit = folder.path().join(format!("taskotron-{role}.service"));
            // What is verified must be there to be started, under an account that is there.
            let text = text.replace("/usr/bin/taskotron", env!("CARGO_BIN_EXE_taskotron"));
            fs::write(&unit, text.replace("=taskotron\n", "=root\n")).expect("it is ours");
            unit
        })
        .collect();
    let verified = match Command::new("systemd-analyze").args(["--man=no", "verify"]).args(&units).output() {
        Ok(verified) => verified,
        Err(error) => {
            // The other test has read them all the same, key by key.
            println!("systemd-analyze is not here ({error}): the units were only read");
            return;
        }
    };
    let said = String::from_utf8_lossy(&verified.stderr);
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("taskotron")).collect();
    assert!(ours.is_empty(), "{said}");
}
