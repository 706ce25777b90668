//! When and on what something is measured.

use std::fs;
use std::process::Command;

/// As `date` tells it, which is part of every system; nothing where it is not.
pub(super) fn date() -> String {
    let output = Command::new("date").args(["-u", "+%F %T UTC"]).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

/// How busy the machine was in the last minute.
pub(super) fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}
