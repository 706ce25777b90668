//! `grpc.health.v1`: whether this server can decide, for clients that speak gRPC. It says what `/readyz` says.

use std::time::Duration;

use tokio::time::sleep;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use super::drain::{Phase, PhaseWatch};
use crate::health::Sources;

/// How often it is looked whether this server can decide. Calls that it can't decide are errors at once.
const INTERVAL: Duration = Duration::from_millis(500);

/// What is reported of this server as a whole, and of each of its services.
#[derive(Debug, Clone)]
pub(super) struct GrpcHealth {
    reporter: HealthReporter,
    services: Vec<&'static str>,
}

impl GrpcHealth {
    /// Reports of these services: that they serve, for they are there only once policies are loaded.
    pub(super) async fn new(services: impl Iterator<Item = &'static str>) -> Self {
        let services = std::iter::once("").chain(services).collect();
        let health = Self { reporter: HealthReporter::new(), services };
        health.announce(ServingStatus::Serving).await;
        health
    }

    /// The service that clients ask.
    pub(super) fn service(&self) -> HealthServer<HealthService> {
        HealthServer::new(HealthService::from_health_reporter(self.reporter.clone()))
    }

    /// Tells whoever asks or watches.
    pub(super) async fn announce(&self, status: ServingStatus) {
        for service in &self.services {
            self.reporter.set_service_status(service, status).await;
        }
    }

    /// Ends the watches, which never end otherwise.
    pub(super) async fn end_watches(&self) {
        let mut reporter = self.reporter.clone();
        for service in &self.services {
            reporter.clear_service_status(service).await;
        }
    }

    /// Announces what is, until the server stops.
    pub(super) async fn follow(self, sources: Sources, phase: PhaseWatch) {
        let mut announced = true;
        loop {
            let can_decide = sources.readiness().can_decide();
            if announced != can_decide && !phase.is_stopping() {
                self.announce(if can_decide { ServingStatus::Serving } else { ServingStatus::NotServing })
                    .await;
                log(can_decide);
                announced = can_decide;
            }
            tokio::select! {
                () = phase.reaches(Phase::Leaving) => return,
                () = sleep(INTERVAL) => {}
            }
        }
    }
}

fn log(can_decide: bool) {
    if can_decide {
        tracing::info!("decisions can be made again: health says SERVING");
    } else {
        tracing::warn!("no decision can be made: health says NOT_SERVING, see /readyz");
    }
}
