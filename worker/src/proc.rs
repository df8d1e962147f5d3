//! The machine's processes as `/proc` shows them (proc(5)).

use std::fs;

use nix::unistd::Pid;

/// What is read of `/proc/PID/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    pub pid: Pid,
    pub parent: Pid,
    /// Its process group.
    pub group: Pid,
    /// When it started, in clock ticks since the machine did: with the number it names a process for good.
    pub start: u64,
    /// Whether it has ended and only waits to be reaped.
    pub zombie: bool,
}

impl Stat {
    /// Reads a line of `/proc/PID/stat`. The second field is the program's name in brackets, which may hold anything.
    pub fn parse(line: &str) -> Option<Stat> {
        let (head, tail) = (line.split_once(' ')?.0, line.rsplit_once(')')?.1);
        // The first of these is the third field.
        let mut fields = tail.split_whitespace();
        let zombie = matches!(fields.next()?, "Z" | "X");
        let parent = fields.next()?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        let start = fields.nth(16)?.parse().ok()?;
        let pid = Pid::from_raw(head.parse().ok()?);
        Some(Stat { pid, parent: Pid::from_raw(parent), group: Pid::from_raw(group), start, zombie })
    }

    /// None when there is no such process, or none any more.
    pub fn of(pid: Pid) -> Option<Stat> {
        let line = fs::read(format!("/proc/{pid}/stat")).ok()?;
        Stat::parse(&String::from_utf8_lossy(&line))
    }
}

/// The numbers of all processes.
pub fn pids() -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).map(Pid::from_raw).collect()
}

/// The environment with which a process was started; empty where it is not ours to read, or the process has ended.
pub struct Environ(Vec<u8>);

impl Environ {
    pub fn of(pid: Pid) -> Environ {
        Environ(fs::read(format!("/proc/{pid}/environ")).unwrap_or_default())
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .split(|b| *b == 0)
            .find_map(|entry| std::str::from_utf8(entry).ok()?.strip_prefix(name)?.strip_prefix('='))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_may_have_brackets_and_spaces_in_its_name() {
        let line = "4 (a) b (c) S 1 3 3 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 777 0 0";
        let [pid, parent, group] = [4, 1, 3].map(Pid::from_raw);
        let want = Stat { pid, parent, group, start: 777, zombie: false };
        assert_eq!(Stat::parse(line), Some(want));
        assert_eq!(Stat::parse("4 (a"), None);
    }

    #[test]
    fn we_are_a_process() {
        let me = Stat::of(Pid::this()).unwrap();
        assert_eq!((me.pid, me.parent, me.group), (Pid::this(), Pid::parent(), nix::unistd::getpgrp()));
        assert!(pids().contains(&me.pid));
    }
}
