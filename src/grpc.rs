//! The gRPC edge: what comes over the wire is parsed, decided by the [`Pdp`](crate::pdp::Pdp), and rendered.
//!
//! The wire types are always named `pb::…`. A decision is an answer; a fault of the caller or of ours is a gRPC
//! status, and which ones there are is the closed set of [`status`].

pub mod authorize;
mod deadline;
mod parse;
pub mod render;
pub mod status;

/// The types of `proto/ecs/authz/v1/authorization.proto`.
#[expect(
    missing_docs,
    clippy::large_enum_variant,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated code; the proto documents every message and field"
)]
pub mod pb {
    tonic::include_proto!("ecs.authz.v1");
}

/// The contract as descriptors, which reflection serves.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("ecs_authz");
