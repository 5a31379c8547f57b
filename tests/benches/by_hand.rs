//! The manual playbook: a part of it is performed and timed by the audit log, and extrapolated to the whole.

use std::process::Command;

use jiff::Timestamp;

use crate::server::Ground;
use crate::testbed::{Event, Identity};

/// User of the manual requests.
const PERSON: &str = "person";

/// The person, who logs in with a token like a pod: a certificate makes each request slower.
pub async fn person(ground: &Ground) -> Identity {
    ground.service_account(PERSON).await
}

/// Performs a step of `tests/benches/by-hand`, with a number unless it is 0; returns its start and end.
pub async fn run(person: &Identity, step: &str, number: usize) -> [Timestamp; 2] {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/benches/by-hand");
    let mut script = Command::new(script);
    script.arg(step).env("KUBECONFIG", person.kubeconfig());
    if number > 0 {
        script.arg(number.to_string());
    }
    let begun = Timestamp::now();
    let done = tokio::task::spawn_blocking(move || script.status().unwrap());
    assert!(done.await.unwrap().success(), "{step}");
    [begun, Timestamp::now()]
}

/// All requests of the person so far.
pub async fn requests(ground: &Ground) -> Vec<Event> {
    ground.requests_of(PERSON).await
}

/// Seconds for `all` writes, extrapolated from the times of the first ones, `written`; time before the first counts once.
pub fn of_all(written: &[f64], all: usize) -> f64 {
    let (first, last) = (written[0], written[written.len() - 1]);
    let each = (last - first) / (written.len() - 1) as f64;
    first + each * (all - 1) as f64
}
