//! x
pub mod catalog;
pub mod cli;
pub mod decision;
pub mod grpc;
pub mod health;
pub mod pdp;
pub mod policy;
pub mod request;
pub mod server;
pub mod store;
pub mod telemetry;
