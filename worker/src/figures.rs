//! How the machine stands that a worker runs on, as it tells the master; and whether there is room for another job.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use model::lease::Figures;
use rustix::fs::statvfs;
use tokio::time::Instant;

/// They are read this often at most.
const FRESH: Duration = Duration::from_secs(2);

/// Reads them, and remembers them for a moment.
#[derive(Debug)]
pub struct Gauge {
    dir: PathBuf,
    /// With fewer bytes free in `dir` no job is taken.
    reserve: u64,
    last: Mutex<Option<(Instant, Figures)>>,
}

impl Gauge {
    pub fn new(dir: &Path, reserve: u64) -> Gauge {
        Gauge { dir: dir.to_owned(), reserve, last: Mutex::new(None) }
    }

    pub fn read(&self) -> Figures {
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((at, figures)) = &*last
            && at.elapsed() < FRESH
        {
            return figures.clone();
        }
        let figures = self.measure();
        *last = Some((Instant::now(), figures.clone()));
        figures
    }

    fn measure(&self) -> Figures {
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let (disk_free, disk_total) = match statvfs(&self.dir) {
            Ok(found) => (found.f_bavail.saturating_mul(found.f_frsize), found.f_blocks.saturating_mul(found.f_frsize)),
            // What cannot be told is no reason to stop: writing will tell.
            Err(_) => (u64::MAX, 0),
        };
        let idle = (disk_free < self.reserve).then(|| {
            format!(
                "{} MiB are free in {}, less than disk_reserve ({} MiB)",
                disk_free >> 20,
                self.dir.display(),
                self.reserve >> 20
            )
        });
        Figures {
            load_percent: load.split(' ').next().and_then(hundredths).unwrap_or(0),
            memory_free: bytes(&memory, "MemAvailable:"),
            memory_total: bytes(&memory, "MemTotal:"),
            disk_free: if disk_total == 0 { 0 } else { disk_free },
            disk_total,
            takes_none: idle,
        }
    }
}

/// `0.53` is 53.
fn hundredths(text: &str) -> Option<u32> {
    let (whole, part) = text.split_once('.')?;
    Some(whole.parse::<u32>().ok()?.saturating_mul(100).saturating_add(part.get(..2)?.parse().ok()?))
}

/// A line of /proc/meminfo, which counts in kibibytes.
fn bytes(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0).saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_read_and_a_full_disk_takes_no_jobs() {
        let dir = tempfile::tempdir().unwrap();
        let figures = Gauge::new(dir.path(), 0).read();
        assert!(figures.memory_total >= figures.memory_free && figures.memory_free > 0, "{figures:?}");
        assert!(figures.disk_total >= figures.disk_free && figures.disk_total > 0, "{figures:?}");
        assert_eq!(figures.takes_none, None);
        let why = Gauge::new(dir.path(), u64::MAX).read().takes_none.unwrap();
        assert!(why.contains(" MiB are free in /") && why.contains("disk_reserve"), "{why}");
        assert_eq!((hundredths("0.53"), hundredths("12.07"), hundredths("x")), (Some(53), Some(1207), None));
        assert_eq!(bytes("MemTotal:        2048 kB\nMemAvailable:  7 kB\n", "MemAvailable:"), 7 << 10);
    }
}
