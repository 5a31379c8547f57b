//! Claims for which the API server answered 404.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use crate::api::SharedStr;

/// Consecutive uncached GETs of a claim that ended in 404.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Absence {
    /// Time of the first.
    pub first: Timestamp,
    /// Time of the latest.
    pub last: Timestamp,
    /// Number of them.
    pub count: u32,
}

/// Longest time between two consecutive answers. Claims are read at least every 30 s, or every few minutes in a namespace
/// with thousands of suspects. After a longer gap, the claim may have existed in between.
const MAX_GAP: SignedDuration = SignedDuration::from_mins(15);

impl Absence {
    /// Whether there are enough answers: a single one may fall between deletion and re-creation.
    pub fn counts(&self) -> bool {
        const NEEDED: u32 = 2;
        self.count >= NEEDED
    }
}

/// Absences by namespace and claim name.
#[derive(Debug, Default)]
pub struct Absences(HashMap<(SharedStr, SharedStr), Absence>);

impl Absences {
    /// Adds an answer of 404.
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

    /// Any other answer ends the series: the claim exists, or could not be read.
    pub fn not_missing(&mut self, namespace: SharedStr, name: SharedStr) {
        self.0.remove(&(namespace, name));
    }

    /// Removes the claims for which `keep`, given namespace and name, returns false.
    pub fn retain(&mut self, keep: impl Fn(&SharedStr, &SharedStr) -> bool) {
        self.0.retain(|(namespace, name), _| keep(namespace, name));
    }

    /// Namespace and name of every missing claim.
    pub fn iter(&self) -> impl Iterator<Item = (&SharedStr, &SharedStr)> {
        self.0.keys().map(|(namespace, name)| (namespace, name))
    }

    /// The absence of one claim.
    pub fn of(&self, namespace: &SharedStr, name: &SharedStr) -> Option<Absence> {
        self.0.get(&(namespace.clone(), name.clone())).copied()
    }
}
