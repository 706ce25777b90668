//! The gRPC edge: what comes over the wire is parsed, decided by the [`Pdp`](crate::pdp::Pdp), and rendered.
//!
//! The wire types are always named `pb::…`. A decision is an answer; a fault of the caller or of ours is a gRPC
//! status, and which ones there are is the closed set of [`status`].

pub mod admin;
pub mod authorize;
mod deadline;
mod explanation;
pub mod ext_authz;
mod parse;
pub mod peer;
mod permission;
pub mod render;
pub mod status;

/// The types of `proto/`, a module for each part of a package's name.
#[expect(
    missing_docs,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::large_enum_variant,
    reason = "generated code; the protos document every message and field"
)]
pub mod wire {
    include!(concat!(env!("OUT_DIR"), "/protos.rs"));
}

pub use wire::ecs::authz::v1 as pb;

/// The contract as descriptors, which reflection serves.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("ecs_authz");
