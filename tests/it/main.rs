//! All integration tests in one binary.
//!
//! The harness is libtest-mimic, because most tests are data: each named case of `decisions/*.toml` is one reported
//! result, three times over, and each of `bad_input/*.toml` is one. `cargo test --test it status_management` runs those
//! whose names contain the text.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

mod admin;
mod bad_input;
mod cache;
mod cached;
mod cedar;
mod cli;
mod config;
mod conformance;
mod decision_log;
mod decisions;
mod deploy;
mod directory;
mod edge;
mod envoy;
mod envoy_lint;
mod evaluators;
mod explain;
mod ext_authz;
mod faults;
mod fuzzed;
mod grpc;
mod hostile;
mod http2;
mod identity;
mod layout;
mod lifecycle;
mod metrics;
mod mtls;
mod overload;
mod pages;
mod permissions;
mod postgres_clock;
mod postgres_failover;
mod postgres_faults;
mod postgres_herd;
mod postgres_load;
mod postgres_replicas;
mod postgres_start;
mod postgres_tls;
mod postgres_world;
mod random;
mod reference;
mod rendered;
mod replica;
mod serving;
mod shared_sets;
mod streams;
mod support;
mod sync;
mod tables;
mod telemetry;
mod tls;
mod tools;
mod unanswered;

fn main() -> ExitCode {
    let trials: Vec<Trial> = [
        admin::trials(),
        bad_input::trials(),
        cache::trials(),
        cached::trials(),
        cedar::trials(),
        cli::trials(),
        config::trials(),
        conformance::trials(),
        decision_log::trials(),
        decisions::trials(),
        deploy::trials(),
        directory::trials(),
        envoy::trials(),
        envoy_lint::trials(),
        ext_authz::trials(),
        explain::trials(),
        faults::trials(),
        fuzzed::trials(),
        grpc::trials(),
        hostile::trials(),
        identity::trials(),
        layout::trials(),
        lifecycle::trials(),
        metrics::trials(),
        mtls::trials(),
        overload::trials(),
        permissions::trials(),
        postgres_clock::trials(),
        postgres_failover::trials(),
        postgres_faults::trials(),
        postgres_herd::trials(),
        postgres_load::trials(),
        postgres_replicas::trials(),
        postgres_start::trials(),
        postgres_tls::trials(),
        random::trials(),
        pages::trials(),
        rendered::trials(),
        shared_sets::trials(),
        streams::trials(),
        sync::trials(),
        tables::trials(),
        telemetry::trials(),
        tls::trials(),
        tools::trials(),
        unanswered::trials(),
    ]
    .into_iter()
    .flatten()
    .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
