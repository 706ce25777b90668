//! The process, as proc(5) tells, by the names that all clients of Prometheus give.

use std::fs;
use std::time::{Duration, SystemTime};

use super::text::{Kind, Text};

/// What Linux counts processor time in, on every architecture that it shows programs (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

pub(super) fn write(started: SystemTime, text: &mut Text) {
    let since_1970 = started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let help = "When the process began to count, in seconds since 1970.";
    text.single("process_start_time_seconds", Kind::Gauge, help, since_1970.as_secs_f64());
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    if let Some(time) = processor_time(&stat) {
        let help = "Processor time, of the program and of the system for it.";
        text.single("process_cpu_seconds_total", Kind::Counter, help, time.as_secs_f64());
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(bytes) = resident_bytes(&status) {
        text.single("process_resident_memory_bytes", Kind::Gauge, "Memory that is resident.", bytes);
    }
    if let Ok(files) = fs::read_dir("/proc/self/fd") {
        // One of them reads the others.
        let open = files.count().saturating_sub(1);
        text.single("process_open_fds", Kind::Gauge, "Files and sockets that are open.", open);
    }
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    if let Some(most) = most_files(&limits) {
        text.single("process_max_fds", Kind::Gauge, "The most files and sockets that may be open.", most);
    }
}

/// `utime` and `stime`. The name of the program in front may hold anything, also spaces and parentheses.
fn processor_time(stat: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut times = fields.split(' ').skip(11).map(str::parse::<u32>);
    let (user, system) = (times.next()?.ok()?, times.next()?.ok()?);
    Some(TICK * user.checked_add(system)?)
}

fn resident_bytes(status: &str) -> Option<u64> {
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?;
    kib.parse::<u64>().ok()?.checked_mul(1_024)
}

/// The soft limit; nothing where there is none.
fn most_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_read_by_its_fields() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 3 0 99 1000 10";
        assert_eq!(processor_time(stat), Some(Duration::from_secs(2)));
        assert_eq!(resident_bytes("VmPeak:\t 9 kB\nVmRSS:\t    12 kB\n"), Some(12_288));
        let limits = "Limit      Soft Limit Hard Limit Units\nMax open files   1024   524288   files\n";
        assert_eq!(most_files(limits), Some(1_024));
    }

    #[test]
    fn what_is_not_there_is_left_out() {
        assert_eq!((processor_time(""), resident_bytes(""), most_files("")), (None, None, None));
        assert_eq!(most_files("Max open files  unlimited unlimited files"), None);
    }
}
