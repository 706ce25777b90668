//! What the configuration file says of the decision log.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::mask::{Field, Masking};
use crate::otlp::CollectorConfig;
use crate::policy::{Pattern, Version};

/// The most renamed files: each is renamed again whenever one is added.
const MAX_KEPT: u32 = 1_000;
/// The fewest bytes of a queue: some of the largest records.
const MIN_QUEUE_BYTES: usize = 65_536;
/// The longest that a decision may be held up, in milliseconds: less than a caller waits for it.
const MAX_BLOCK_MS: u64 = 1_000;

/// The decision log. Nothing is recorded unless it is configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DecisionLogConfig {
    /// Which decisions are recorded. Errors always are.
    #[serde(default)]
    pub decisions: Decisions,
    /// Patterns of the actions whose decisions are recorded; none stands for all. What is denied before its action is
    /// known is always recorded.
    #[serde(default)]
    pub actions: Vec<String>,
    /// Of how many allows one is recorded. Denials always are.
    #[serde(default = "every_one")]
    pub sample_allows: NonZeroU32,
    /// Whether the path as received is recorded.
    #[serde(default)]
    pub paths: Paths,
    /// The fields that are not recorded as they are.
    #[serde(default)]
    pub mask: BTreeMap<Field, Masking>,
    /// The file whose bytes key the hashes.
    #[schemars(extend("format" = "path"))]
    pub mask_key: Option<PathBuf>,
    /// Records go to a file.
    pub file: Option<FileConfig>,
    /// Records go to standard output.
    pub stdout: Option<StdoutConfig>,
    /// Records go to a collector.
    pub otlp: Option<OtlpConfig>,
}

/// Which decisions are recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decisions {
    /// Allows and denials.
    #[default]
    All,
    /// Denials alone.
    Denials,
}

/// Whether the path as received is recorded. It holds ids of projects and servers, and its query whatever clients put
/// there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Paths {
    /// The route's template alone.
    #[default]
    Omit,
    /// The path too, up to its query.
    WithoutQuery,
}

/// A file of records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// The file. It is made if it is not there, with mode 0640.
    #[schemars(extend("format" = "path"))]
    pub path: PathBuf,
    /// The size at which it is renamed to `PATH.1`.
    #[serde(default = "hundred_mebibytes")]
    pub rotate_bytes: u64,
    /// How many renamed files are kept.
    #[serde(default = "five")]
    pub keep: NonZeroU32,
    /// What waits to be written.
    #[serde(default)]
    pub queue: QueueConfig,
}

/// Standard output as the place of records.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StdoutConfig {
    /// What waits to be written.
    #[serde(default)]
    pub queue: QueueConfig,
}

/// A collector as the place of records: one OTLP log record for each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OtlpConfig {
    /// Where they are sent.
    #[serde(default)]
    pub collector: CollectorConfig,
    /// What waits to be sent.
    #[serde(default)]
    pub queue: QueueConfig,
}

/// The queue between decisions and who writes their records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QueueConfig {
    /// The most bytes of records that wait.
    pub bytes: usize,
    /// What happens to a record that has no place.
    pub when_full: WhenFull,
    /// With `block`, how long a decision may be held up.
    pub block_ms: Option<u64>,
}

/// What happens to a record that has no place in the queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// It is dropped and counted. Decisions go on.
    #[default]
    Drop,
    /// The decision waits for a place, and then the record is dropped.
    Block,
    /// The decision is not answered: what can't be recorded must not pass.
    Refuse,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self { bytes: 16 * 1_024 * 1_024, when_full: WhenFull::Drop, block_ms: None }
    }
}

fn every_one() -> NonZeroU32 {
    NonZeroU32::MIN
}

fn five() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(4)
}

fn hundred_mebibytes() -> u64 {
    100 * 1_024 * 1_024
}

impl QueueConfig {
    /// How long a decision may be held up.
    pub(super) fn budget(&self) -> Duration {
        Duration::from_millis(self.block_ms.unwrap_or_default())
    }

    fn fault(&self) -> Option<String> {
        if self.bytes < MIN_QUEUE_BYTES {
            return Some(format!("queue.bytes: expected at least {MIN_QUEUE_BYTES}, found {}", self.bytes));
        }
        match (self.when_full, self.block_ms) {
            (WhenFull::Block, Some(1..=MAX_BLOCK_MS)) | (WhenFull::Drop | WhenFull::Refuse, None) => None,
            (WhenFull::Block, _) => Some(format!(
                "queue.block_ms: expected 1 to {MAX_BLOCK_MS}: how long may a decision be held up?"
            )),
            (WhenFull::Drop | WhenFull::Refuse, Some(_)) => {
                Some("queue.block_ms: expected it with when_full = \"block\" alone".to_owned())
            }
        }
    }
}

impl DecisionLogConfig {
    /// What is well-formed and yet can't be meant.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        let fault = self.own_fault().or_else(|| self.mask_fault());
        fault.or_else(|| self.queue_fault()).map(|fault| format!("decision_log.{fault}"))
    }

    fn own_fault(&self) -> Option<String> {
        if self.file.is_none() && self.stdout.is_none() && self.otlp.is_none() {
            let expected = "expected `[decision_log.file]`, `[decision_log.stdout]` or `[decision_log.otlp]`";
            return Some(format!("file: {expected}: else records go nowhere"));
        }
        if self.file.as_ref().is_some_and(|file| file.rotate_bytes == 0) {
            return Some("file.rotate_bytes: expected at least 1".to_owned());
        }
        if let Some(keep) = self.file.as_ref().map(|file| file.keep).filter(|keep| keep.get() > MAX_KEPT) {
            return Some(format!("file.keep: expected at most {MAX_KEPT}, found {keep}"));
        }
        self.actions.iter().find_map(|text| {
            let fault = Pattern::parse(text, Version::Policy).err()?;
            Some(format!("actions: {fault}"))
        })
    }

    fn mask_fault(&self) -> Option<String> {
        let hashes = self.mask.values().any(|masking| *masking == Masking::Hash);
        if hashes != self.mask_key.is_some() {
            let expected = "mask_key: expected it where a field is masked with \"hash\", and only there";
            return Some(format!("{expected}: an id without a key is found by trying"));
        }
        let masks = |field| self.mask.contains_key(&field);
        if masks(Field::DomainId) && !masks(Field::Resource) {
            return Some("mask: expected `resource` too: a resource names its domain".to_owned());
        }
        let tells_ids = self.paths == Paths::WithoutQuery && !masks(Field::Path);
        if tells_ids && (masks(Field::ProjectId) || masks(Field::Resource)) {
            return Some("mask: expected `path` too: a path names its project and its objects".to_owned());
        }
        None
    }

    fn queue_fault(&self) -> Option<String> {
        let of_file = self.file.as_ref().and_then(|file| Some(format!("file.{}", file.queue.fault()?)));
        let of_stdout =
            || self.stdout.as_ref().and_then(|out| Some(format!("stdout.{}", out.queue.fault()?)));
        let of_otlp = || {
            let otlp = self.otlp.as_ref()?;
            Some(format!("otlp.{}", otlp.queue.fault().or_else(|| otlp.collector.fault())?))
        };
        of_file.or_else(of_stdout).or_else(of_otlp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        toml::from_str::<DecisionLogConfig>(text).unwrap().fault().unwrap_or_default()
    }

    #[test]
    fn records_go_somewhere() {
        assert!(fault("").contains("records go nowhere"));
        assert_eq!(fault("[stdout]"), "");
        assert_eq!(fault("[otlp]"), "");
        assert_eq!(fault("[file]\npath = \"d.log\""), "");
    }

    #[test]
    fn what_can_not_be_meant_is_told() {
        let cases = [
            ("actions = [\"ecs:\"]\n[stdout]", "decision_log.actions"),
            ("mask_key = \"k\"\n[stdout]", "decision_log.mask_key"),
            ("[stdout]\n[mask]\nuser_id = \"hash\"", "decision_log.mask_key"),
            ("[stdout]\n[mask]\ndomain_id = \"drop\"", "`resource` too"),
            ("paths = \"without_query\"\n[stdout]\n[mask]\nproject_id = \"drop\"", "`path` too"),
            ("[stdout]\nqueue = { bytes = 1 }", "decision_log.stdout.queue.bytes"),
            ("[stdout]\nqueue = { when_full = \"block\" }", "decision_log.stdout.queue.block_ms"),
            ("[stdout]\nqueue = { when_full = \"block\", block_ms = 1001 }", "block_ms"),
            ("[file]\npath = \"d\"\nqueue = { block_ms = 1 }", "decision_log.file.queue.block_ms"),
            ("[otlp]\nqueue = { bytes = 1 }", "decision_log.otlp.queue.bytes"),
            ("[otlp]\ncollector = { timeout_ms = 0 }", "decision_log.otlp.collector.timeout_ms"),
            ("[file]\npath = \"d\"\nrotate_bytes = 0", "decision_log.file.rotate_bytes"),
            (
                "[file]\npath = \"d\"\nkeep = 1001",
                "decision_log.file.keep: expected at most 1000, found 1001",
            ),
        ];
        for (text, expected) in cases {
            assert!(fault(text).contains(expected), "{text}: {}", fault(text));
        }
    }

    #[test]
    fn it_is_read_strictly() {
        for text in ["sampel = 1", "sample_allows = 0", "[mask]\ntoken = \"drop\"", "[file]\nkeep = 1"] {
            assert!(toml::from_str::<DecisionLogConfig>(text).is_err(), "{text}");
        }
    }
}
