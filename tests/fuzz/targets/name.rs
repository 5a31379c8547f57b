//! Names from objects: of look-ups, of held sources, of a driver's leases, and as shown to people.

use locksmith::api::hold::POLICY_NAME;
use locksmith::api::is_object_name;
use locksmith::holds::policy::{DryRunResult, Proof};
use locksmith::model::{is_random_identity, lease_names};
use locksmith::text::humanize;
use locksmith::{csi, holds};

pub fn run(data: &[u8]) {
    let text = super::text(data);
    // Two names, separated by NUL.
    let (first, second) = text.split_once('\0').unwrap_or((&text, ""));
    becomes_one_segment_of_a_path(first);
    becomes_the_names_of_two_leases(first, second);
    steers_no_terminal(&text);
    let place = holds::place(first, second);
    if !first.contains('/') {
        let read = holds::parse_place(&place).expect("a place has two parts");
        assert_eq!((&*read.0, &*read.1), (first, second));
    }
    if let Some(preset) = csi::preset(first) {
        assert!(!first.is_empty() && preset.container != Some(""));
    }
    let proof = Proof {
        held: vec![DryRunResult::Refused(text.clone().into_owned())],
        free: DryRunResult::Accepted,
    };
    // A refusal by another policy proves no hold.
    assert!(proof.refuted().is_some() || text.contains(POLICY_NAME));
}

/// An accepted name cannot end its path segment, escape it or start a query.
fn becomes_one_segment_of_a_path(name: &str) {
    if !is_object_name(name) {
        return;
    }
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'.');
    assert!((1..=253).contains(&name.len()) && name.bytes().all(plain));
    assert!(!name.starts_with(['.', '-']) && !name.ends_with(['.', '-']));
    assert!(!name.contains(".."));
}

/// Both leases have names that the API server accepts, and a random identity for the driver is recognised.
fn becomes_the_names_of_two_leases(driver: &str, identity: &str) {
    // The API server refuses a class without a driver.
    if driver.is_empty() {
        return;
    }
    let (provisioner, snapshotter) = lease_names(driver);
    for lease in [&provisioner, &snapshotter] {
        let plain = |c: u8| c.is_ascii_alphanumeric() || c == b'-';
        assert!(lease.bytes().all(plain) && !lease.ends_with('-'), "{lease}");
    }
    assert!(snapshotter.ends_with(&*provisioner));
    assert!(is_random_identity(
        &format!("1717000000000-8081-{provisioner}"),
        driver
    ));
    if is_random_identity(identity, driver) {
        assert!(identity.starts_with(|c: char| c.is_ascii_digit()));
        assert!(identity.ends_with(&*provisioner));
    }
}

fn steers_no_terminal(text: &str) {
    let shown = humanize::plain(text);
    assert!(!shown.contains(humanize::steers), "{shown:?}");
    assert_eq!(shown.chars().count(), text.chars().count());
}
