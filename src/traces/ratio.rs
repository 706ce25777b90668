//! Which part of the calls is recorded where their callers don't say.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::TracesError;

/// A part, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "f64")]
pub struct Ratio(#[schemars(range(min = 0, max = 1))] f64);

/// It is a number.
impl Eq for Ratio {}

impl TryFrom<f64> for Ratio {
    type Error = &'static str;

    fn try_from(ratio: f64) -> Result<Self, Self::Error> {
        match ratio {
            0.0..=1.0 => Ok(Self(ratio)),
            _ => Err("expected a ratio from 0 to 1"),
        }
    }
}

impl Ratio {
    const ALL: Self = Self(1.0);
    const NONE: Self = Self(0.0);

    /// What `OTEL_TRACES_SAMPLER` asks for. Only its samplers that go by the caller's word are known, for we always do.
    pub(super) fn of_environment(look_up: &dyn Fn(&str) -> Option<String>) -> Result<Self, TracesError> {
        let get = |name| look_up(name).filter(|value| !value.trim().is_empty());
        match get("OTEL_TRACES_SAMPLER").as_deref() {
            None | Some("parentbased_always_on") => Ok(Self::ALL),
            Some("parentbased_always_off") => Ok(Self::NONE),
            Some("parentbased_traceidratio") => {
                let Some(ratio) = get("OTEL_TRACES_SAMPLER_ARG") else { return Ok(Self::ALL) };
                let ratio: f64 = ratio.trim().parse().map_err(|_| TracesError::Sampler)?;
                Self::try_from(ratio).map_err(|_| TracesError::Sampler)
            }
            Some(_) => Err(TracesError::Sampler),
        }
    }

    /// Of 2^63 numbers, so many.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a ratio is no finer than a float, and none is below 0 or above 1"
    )]
    pub(super) fn threshold(self) -> u64 {
        (self.0 * (1_u64 << 63) as f64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_a_part_of_the_numbers() {
        let threshold = |ratio: f64| Ratio::try_from(ratio).map(Ratio::threshold);
        assert_eq!([0.0, 0.5, 1.0].map(threshold), [Ok(0), Ok(1 << 62), Ok(1 << 63)]);
        for ratio in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert!(threshold(ratio).is_err(), "{ratio}");
        }
    }

    #[test]
    fn the_standard_samplers_that_heed_the_caller_are_known() {
        let of = |sampler: &str, argument: &str| {
            let look_up = |name: &str| match name {
                "OTEL_TRACES_SAMPLER" => Some(sampler.to_owned()),
                "OTEL_TRACES_SAMPLER_ARG" => Some(argument.to_owned()),
                _ => None,
            };
            Ratio::of_environment(&look_up).map(|Ratio(ratio)| ratio).ok()
        };
        assert_eq!(of("", ""), Some(1.0));
        assert_eq!(of("parentbased_always_on", "0.1"), Some(1.0));
        assert_eq!(of("parentbased_always_off", ""), Some(0.0));
        assert_eq!(of("parentbased_traceidratio", "0.25"), Some(0.25));
        assert_eq!(of("parentbased_traceidratio", ""), Some(1.0));
        for (sampler, argument) in
            [("always_on", ""), ("jaeger_remote", ""), ("parentbased_traceidratio", "2")]
        {
            assert_eq!(of(sampler, argument), None, "{sampler}");
        }
    }
}
