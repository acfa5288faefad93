//! What a process has taken of the machine, from /proc; nothing where there is none. For those who measure a server from
//! outside.
//!
//! Never touches the process. To add a figure: a line of [`Usage`].

use std::{fs, time::Duration};

/// Kernel clock ticks per second as /proc shows them: 100 on every architecture that Linux runs servers on.
const TICKS_PER_SECOND: u64 = 100;

/// Taken so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// User and system time.
    pub processor: Duration,
    /// Resident memory now.
    pub resident_kib: u64,
    /// Resident memory at its highest.
    pub peak_kib: u64,
    /// Open files and connections.
    pub descriptors: u64,
}

/// Which process.
#[derive(Debug, Clone, Copy)]
pub enum Process {
    /// This one.
    Own,
    /// Another.
    Id(u32),
}

impl Usage {
    /// `None` if there is no such process, if it is somebody else's, or no /proc.
    #[must_use]
    pub fn of(process: Process) -> Option<Self> {
        let folder = match process {
            Process::Own => "/proc/self".to_owned(),
            Process::Id(id) => format!("/proc/{id}"),
        };
        let stat = fs::read_to_string(format!("{folder}/stat")).ok()?;
        let status = fs::read_to_string(format!("{folder}/status")).ok()?;
        let descriptors = fs::read_dir(format!("{folder}/fd")).ok()?.count();
        Some(Self {
            processor: processor(&stat)?,
            resident_kib: kib(&status, "VmRSS:")?,
            peak_kib: kib(&status, "VmHWM:")?,
            descriptors: u64::try_from(descriptors).ok()?,
        })
    }

    /// The processor's time from `earlier` to here.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.processor.saturating_sub(earlier.processor)
    }
}

/// Fields 14 and 15, counted after the name, which may hold spaces and parentheses (proc(5)).
fn processor(stat: &str) -> Option<Duration> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(Duration::from_millis((user + system) * 1000 / TICKS_PER_SECOND))
}

fn kib(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processors_time_is_found_behind_a_name_with_parentheses() {
        let stat = "7 (a) b) (c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 3 0";
        assert_eq!(processor(stat), Some(Duration::from_secs(2)));
        assert_eq!(processor("7 (a) S 1"), None);
    }

    #[test]
    fn memory_is_read_in_kib() {
        let status = "Name:\ta\nVmHWM:\t   2048 kB\nVmRSS:\t   1024 kB\n";
        assert_eq!(
            (kib(status, "VmRSS:"), kib(status, "VmHWM:"), kib(status, "VmSwap:")),
            (Some(1024), Some(2048), None)
        );
    }
}
