//! Claims that could not be provisioned, from Events.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::api::{ObjectKey, SharedStr};

/// The latest `ProvisioningFailed` Event of a claim.
#[derive(Clone, Debug)]
pub struct ProvisioningError {
    /// Time of the Event.
    pub at: Timestamp,
    /// The message, shortened.
    pub message: Arc<str>,
}

/// Maximum number of claims: tenants can write Events, and must not fill the memory.
const MAX_ERRORS: usize = 20_000;

/// Maximum number of claims per namespace.
const MAX_ERRORS_OF_NAMESPACE: usize = 2_000;

/// Provisioning errors by the claim that the Event names. An Event with a wrong uid matches no claim.
#[derive(Debug, Default)]
pub struct ProvisioningErrors {
    of_claims: HashMap<ObjectKey, ProvisioningError>,
    /// Number of errors per namespace.
    of_namespaces: HashMap<SharedStr, usize>,
}

impl ProvisioningErrors {
    /// Records an error, unless a later one is known.
    pub fn note(&mut self, claim: ObjectKey, error: ProvisioningError) {
        if let Some(known) = self.of_claims.get_mut(&claim) {
            if error.at >= known.at {
                *known = error;
            }
            return;
        }
        let of_namespace = self
            .of_namespaces
            .entry(claim.namespace.clone())
            .or_default();
        if *of_namespace < MAX_ERRORS_OF_NAMESPACE && self.of_claims.len() < MAX_ERRORS {
            *of_namespace += 1;
            self.of_claims.insert(claim, error);
        }
    }

    /// The latest error of a claim.
    pub fn of(&self, claim: &ObjectKey) -> Option<&ProvisioningError> {
        self.of_claims.get(claim)
    }

    /// Whether no error is known.
    pub fn is_empty(&self) -> bool {
        self.of_claims.is_empty()
    }

    /// Removes the claims for which `keep` returns false.
    pub fn retain(&mut self, keep: impl Fn(&ObjectKey) -> bool) {
        let of_namespaces = &mut self.of_namespaces;
        self.of_claims.retain(|claim, _| {
            let kept = keep(claim);
            if !kept && let Some(of_namespace) = of_namespaces.get_mut(&claim.namespace) {
                *of_namespace -= 1;
            }
            kept
        });
        of_namespaces.retain(|_, count| *count > 0);
    }
}
