//! Whether the server can decide, as `/readyz` tells it.

use super::text::{Kind, Text};
use crate::health::Readiness;

pub(super) fn write(readiness: &Readiness, text: &mut Text) {
    let is = match readiness {
        Readiness::Ready => "ready",
        Readiness::Degraded { .. } => "degraded",
        Readiness::Unavailable { .. } => "unavailable",
        Readiness::Stopping => "stopping",
    };
    let help = "1 for what the server is: it decides, it does with faults that /readyz names, it does not, or it stops.";
    text.family("ecs_authz_readiness", Kind::Gauge, help);
    for state in ["ready", "degraded", "unavailable", "stopping"] {
        text.sample("ecs_authz_readiness", &[("state", state)], u8::from(state == is));
    }
}
