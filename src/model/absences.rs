//! Claims the API server itself said do not exist, and claims it said could not be provisioned.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::api::{ObjectKey, SharedStr};

/// An uncached GET of a claim that ended in 404, this often in a row.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Absence {
    /// The first of the row.
    pub first: Timestamp,
    /// The latest.
    pub last: Timestamp,
    /// How many.
    pub count: u32,
}

/// Longest time between two answers of a row: claims are looked up at least every 30 s, of a namespace with thousands of
/// suspects every few minutes. After a longer one nobody knows what was there meanwhile.
const MAX_GAP: SignedDuration = SignedDuration::from_mins(15);

impl Absence {
    /// Whether it was asked often enough: one answer may fall between deletion and re-creation.
    pub fn counts(&self) -> bool {
        const NEEDED: u32 = 2;
        self.count >= NEEDED
    }
}

/// Absences by namespace and claim name.
#[derive(Debug, Default)]
pub struct Absences(HashMap<(SharedStr, SharedStr), Absence>);

impl Absences {
    /// Adds one more answer of 404.
    pub fn missing(&mut self, namespace: SharedStr, name: SharedStr, at: Timestamp) {
        let begun = Absence {
            first: at,
            last: at,
            count: 0,
        };
        let seen = self.0.entry((namespace, name)).or_insert(begun);
        if at.duration_since(seen.last) > MAX_GAP {
            *seen = begun;
        }
        seen.last = at;
        seen.count = seen.count.saturating_add(1);
    }

    /// Any other answer ends the row: it was found, or could not be looked for.
    pub fn not_missing(&mut self, namespace: SharedStr, name: SharedStr) {
        self.0.remove(&(namespace, name));
    }

    /// Forgets claims for which `keep`, given namespace and name, says no.
    pub fn retain(&mut self, keep: impl Fn(&SharedStr, &SharedStr) -> bool) {
        self.0.retain(|(namespace, name), _| keep(namespace, name));
    }

    /// Every claim that was not found, with what is known of it.
    pub fn iter(&self) -> impl Iterator<Item = (&SharedStr, &SharedStr)> {
        self.0.keys().map(|(namespace, name)| (namespace, name))
    }

    /// The absence of one claim.
    pub fn of(&self, namespace: &SharedStr, name: &SharedStr) -> Option<Absence> {
        self.0.get(&(namespace.clone(), name.clone())).copied()
    }
}

/// The latest `ProvisioningFailed` Event of a claim.
#[derive(Clone, Debug)]
pub struct ProvisioningError {
    /// When.
    pub at: Timestamp,
    /// The message, cut short.
    pub message: Arc<str>,
}

/// Claims remembered: Events are written by anybody who may, and must not fill memory.
const MAX_ERRORS: usize = 20_000;

/// How many of them one namespace may fill.
const MAX_ERRORS_OF_NAMESPACE: usize = 2_000;

/// Provisioning errors by the claim as its Event names it: an Event that names the uid of a claim elsewhere is of none.
#[derive(Debug, Default)]
pub struct ProvisioningErrors {
    of_claims: HashMap<ObjectKey, ProvisioningError>,
    /// How many there are of each namespace.
    of_namespaces: HashMap<SharedStr, usize>,
}

impl ProvisioningErrors {
    /// Notes an error, if it is news.
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

    /// The latest error of one claim.
    pub fn of(&self, claim: &ObjectKey) -> Option<&ProvisioningError> {
        self.of_claims.get(claim)
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.of_claims.is_empty()
    }

    /// Forgets claims for which `keep` says no.
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
