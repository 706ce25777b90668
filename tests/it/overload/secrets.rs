//! Many connections, and many requests: what they cost the process.

use libtest_mimic::Trial;

pub(super) fn trials() -> Vec<Trial> {
    Vec::new()
}
