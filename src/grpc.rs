//! The gRPC edge: what comes over the wire is parsed, decided by the [`Pdp`](crate::pdp::Pdp), and rendered.
//!
//! The wire types are always named `pb::…`. A decision is an answer; a fault of the caller or of ours is a gRPC
//! status, and which ones there are is the closed set of [`status`].

use prost::Message as _;
use prost_types::FileDescriptorSet;

pub mod admin;
pub mod admission;
pub mod authorize;
mod deadline;
pub mod departure;
mod explanation;
pub mod ext_authz;
pub mod guard;
pub(crate) mod in_place;
pub mod intake;
pub mod limits;
pub mod observe;
mod parse;
pub mod peer;
mod permission;
pub mod protobuf;
pub mod render;
mod span;
pub mod status;
mod stream;
pub mod untaken;

/// The types of `proto/`, a module for each part of a package's name.
#[expect(
    missing_docs,
    clippy::allow_attributes_without_reason,
    clippy::large_enum_variant,
    reason = "generated code; the protos document every message and field"
)]
pub mod wire {
    include!(concat!(env!("OUT_DIR"), "/protos.rs"));
}

/// The servers of `proto/`, without the calls that are answered in place.
#[expect(
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated code; the protos document every method"
)]
pub mod servers {
    include!(concat!(env!("OUT_DIR"), "/servers/ecs.authz.v1.rs"));
}

pub use wire::ecs::authz::v1 as pb;

/// The contract as descriptors, which reflection serves.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("ecs_authz");

/// All methods that may be served: service and name.
pub fn methods() -> impl Iterator<Item = (String, String)> {
    let sets = [
        FILE_DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    let files =
        sets.into_iter().filter_map(|set| FileDescriptorSet::decode(set).ok()).flat_map(|set| set.file);
    files.flat_map(|file| {
        let package = file.package().to_owned();
        let services =
            file.service.into_iter().map(move |service| (format!("{package}.{}", service.name()), service));
        services.flat_map(|(name, service)| {
            let methods = service.method.into_iter();
            methods.map(move |method| (name.clone(), method.name().to_owned()))
        })
    })
}
