//! Libraries that stand between a process and the world (LD_PRELOAD), compiled when a story needs one.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiles `NAME.c` of this folder into `folder`.
#[track_caller]
pub fn compile(name: &str, folder: &Path) -> PathBuf {
    let library = folder.join(format!("{name}.so"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/stories/kit/{name}.c"));
    let done = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"])
        .arg("-o")
        .args([&library, &source])
        .args(["-ldl", "-lpthread"])
        .output()
        .expect("a C compiler is installed");
    assert!(done.status.success(), "{name}.c does not compile: {}", String::from_utf8_lossy(&done.stderr));
    library
}
