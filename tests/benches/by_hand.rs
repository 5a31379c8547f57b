//! The playbook by hand: a part of it is done, and timed by what the API server was asked; what the whole takes follows.

use std::process::Command;

use jiff::Timestamp;

use crate::server::Ground;
use crate::testbed::{Event, Identity};

/// Whose requests those by hand are.
const PERSON: &str = "person";

/// The person, who logs in as pods do: a certificate costs something with each request.
pub async fn person(ground: &Ground) -> Identity {
    ground.service_account(PERSON).await
}

/// Does a step of `tests/benches/by-hand`, with a number where it is not 0; says when it began and ended.
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

/// Everything the person has asked for until now.
pub async fn requests(ground: &Ground) -> Vec<Event> {
    ground.requests_of(PERSON).await
}

/// Seconds that `all` take where the first few were `written` so: what comes before the first of them counts once.
pub fn of_all(written: &[f64], all: usize) -> f64 {
    let (first, last) = (written[0], written[written.len() - 1]);
    let each = (last - first) / (written.len() - 1) as f64;
    first + each * (all - 1) as f64
}
