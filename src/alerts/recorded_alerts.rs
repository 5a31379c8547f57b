//! The alerts that a Remediation records, limited in number and size. Pure.

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::payload::{Alert, AlertStatus};
use crate::api::remediation::AlertRef;
use crate::api::short_hash;

/// Most alerts that a Remediation lists: it records which alerts requested it, it does not count them.
pub(super) const MAX_ALERTS: usize = 50;

/// Longest name of an alert that is recorded, in bytes; the rest is cut off. Alertmanager sets no limit.
const MAX_ALERTNAME: usize = 200;

/// Longest fingerprint that is recorded: Alertmanager's have 16 digits.
const MAX_FINGERPRINT: usize = 64;

/// The alert as a Remediation records it, limited in size.
pub(super) fn reference(alert: &Alert) -> AlertRef {
    let name = alert.labels.get("alertname").map_or("", String::as_str);
    let sent = alert.fingerprint.as_deref().filter(|sent| {
        (1..=MAX_FINGERPRINT).contains(&sent.len()) && sent.bytes().all(|c| c.is_ascii_graphic())
    });
    AlertRef {
        alertname: beginning(name).to_owned(),
        fingerprint: sent.map_or_else(|| fingerprint(alert), str::to_owned),
        starts_at: alert.starts_at,
        resolved_at: None,
    }
}

/// The alerts of `alerts` that no longer fire.
pub(super) fn resolved(alerts: &[Alert]) -> Vec<AlertRef> {
    let resolved = |alert: &&Alert| alert.status == AlertStatus::Resolved;
    alerts.iter().filter(resolved).map(reference).collect()
}

/// The alerts of a run with `firing` added to `known`, or `None` if nothing changes: a new one is added while there is
/// room, and a silenced one fires again.
pub(super) fn with_firing(known: &[AlertRef], firing: &[AlertRef]) -> Option<Vec<AlertRef>> {
    let mut all = known.to_vec();
    let mut changed = false;
    for alert in firing {
        if let Some(known) = all.iter_mut().find(|known| known.is_same(alert)) {
            changed |= known.resolved_at.take().is_some();
        } else if all.len() < MAX_ALERTS {
            all.push(alert.clone());
            changed = true;
        }
    }
    changed.then_some(all)
}

/// The alerts of a run with those of `known` that are among `resolved` marked, or `None` if nothing changes.
pub(super) fn with_resolved(
    known: &[AlertRef],
    resolved: &[AlertRef],
    now: Timestamp,
) -> Option<Vec<AlertRef>> {
    let mut all = known.to_vec();
    let mut changed = false;
    for alert in all.iter_mut().filter(|alert| alert.resolved_at.is_none()) {
        if resolved.iter().any(|resolved| resolved.is_same(alert)) {
            alert.resolved_at = Some(now);
            changed = true;
        }
    }
    changed.then_some(all)
}

/// The beginning of a name, at most [`MAX_ALERTNAME`] bytes.
fn beginning(name: &str) -> &str {
    let ends = name.char_indices().map(|(at, c)| at + c.len_utf8());
    let end = ends.take_while(|end| *end <= MAX_ALERTNAME).last();
    &name[..end.unwrap_or(0)]
}

/// The identity of an alert: a hash of its labels, if Alertmanager sends none of its own.
fn fingerprint(alert: &Alert) -> String {
    let mut digest = Sha256::new();
    for part in alert.labels.iter().flat_map(|(name, value)| [name, value]) {
        digest.update(part);
        digest.update([0]);
    }
    short_hash(digest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixture::at;

    #[test]
    fn alerts_without_fingerprint_are_identified_by_labels() {
        let of = |driver: &str| {
            let alert = Alert {
                status: AlertStatus::Firing,
                labels: [("driver".to_owned(), driver.to_owned())].into(),
                starts_at: at(-5),
                fingerprint: None,
            };
            reference(&alert).fingerprint
        };
        assert_eq!(of("a"), of("a"));
        assert_ne!(of("a"), of("b"));
    }

    #[test]
    fn resolved_alert_is_marked_until_it_fires_again() {
        let alert = |fingerprint: &str, minute: i64| AlertRef {
            alertname: "LocksmithRestoreStuck".to_owned(),
            fingerprint: fingerprint.to_owned(),
            starts_at: at(minute),
            resolved_at: None,
        };
        let known = [alert("a", -5), alert("b", -5)];
        let resolved = with_resolved(&known, &[alert("a", -5), alert("b", -60)], at(0)).unwrap();
        let marks: Vec<_> = resolved.iter().map(|alert| alert.resolved_at).collect();
        assert_eq!(marks, [Some(at(0)), None], "of b, an earlier firing ended");
        assert_eq!(with_resolved(&resolved, &[alert("a", -5)], at(1)), None);
        assert_eq!(with_firing(&known, &[alert("a", -5)]), None);
        let again = with_firing(&resolved, &[alert("a", -5)]);
        assert_eq!(again.unwrap(), known);
        assert_eq!(with_firing(&known, &[alert("b", -1)]).unwrap().len(), 3);
    }
}
