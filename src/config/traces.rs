//! Traces: which calls are recorded, and where their spans go.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::otlp::CollectorConfig;
use crate::traces::Ratio;

/// Traces. Nothing is recorded unless this is configured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TracesConfig {
    /// Of the calls whose callers don't say whether they are recorded, the part that is: 0 to 1. Without it,
    /// `OTEL_TRACES_SAMPLER` says so, and without that all are.
    pub sample_ratio: Option<Ratio>,
    /// Where spans are sent.
    pub collector: CollectorConfig,
}

impl TracesConfig {
    /// What is well-formed and yet can't be meant.
    pub(super) fn fault(&self) -> Option<String> {
        self.collector.fault().map(|fault| format!("traces.{fault}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_a_part() {
        for text in ["", "sample_ratio = 0.0", "sample_ratio = 1.0", "sample_ratio = 1e-3"] {
            assert_eq!(toml::from_str::<TracesConfig>(text).unwrap().fault(), None, "{text}");
        }
        for ratio in ["1.1", "-0.1", "nan", "inf", "'all'"] {
            let error = toml::from_str::<TracesConfig>(&format!("sample_ratio = {ratio}")).unwrap_err();
            assert!(error.to_string().contains("expected"), "{error}");
        }
        let fault = toml::from_str::<TracesConfig>("collector = { timeout_ms = 0 }").unwrap().fault();
        assert!(fault.unwrap().starts_with("traces.collector.timeout_ms: "));
    }
}
