//! Connections of gRPC.

use super::text::{Kind, Text};
use crate::slots::Slots;

pub(super) fn write(connections: &Slots, text: &mut Text) {
    let help = "Connections of gRPC that are open.";
    text.single("ecs_authz_connections", Kind::Gauge, help, connections.taken());
    let help = "How many connections of gRPC there may be.";
    text.single("ecs_authz_connections_limit", Kind::Gauge, help, connections.most());
    let help = "Connections of gRPC that were closed at once, for there were too many.";
    text.single("ecs_authz_connections_refused_total", Kind::Counter, help, connections.refused());
}
