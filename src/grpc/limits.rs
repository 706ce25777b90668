//! What bounds the calls of the services that decide.

use std::sync::Arc;
use std::time::Duration;

use super::status::CallError;
use crate::slots::{Slot, Slots};

/// The limits of a service's calls.
#[derive(Debug, Clone)]
pub struct CallLimits {
    /// The most bytes of a message.
    pub max_message_bytes: usize,
    /// The most that one decision may take, whatever its caller grants.
    pub budget: Duration,
    /// The places for decisions in the making. All services share them.
    pub decisions: Arc<Slots>,
}

impl CallLimits {
    /// A place for a decision, or for the decisions of a batch, which are made one after another. It is left when the call
    /// ends, also when its caller goes away.
    ///
    /// A message that is still on its way has none: a slow writer keeps nobody else out.
    pub(super) fn admit(&self) -> Result<Slot<&Slots>, CallError> {
        Slots::take(&*self.decisions).ok_or(CallError::Shed)
    }
}
