//! Formats durations, sizes and kinds for people. Pure.

use std::time::Duration;

use jiff::Timestamp;

use crate::api::{ObjectKey, ObjectKind};

/// The time from `from` to `to` as kubectl prints ages, see [`duration`]. `0s` if `to` is earlier.
pub fn span(from: Timestamp, to: Timestamp) -> String {
    duration(Duration::try_from(to.duration_since(from)).unwrap_or_default())
}

/// `time` with two or three significant figures: `95s`, `3m10s`, `42m`, `5h12m`, `3d4h`, `2y1d`.
///
/// The same as kubectl's AGE column (`HumanDuration` in k8s.io/apimachinery/pkg/util/duration). Configured durations are
/// printed as they are written instead, by [`crate::config::Duration`].
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    let two = |major: u64, unit: char, minor: u64, small: char| {
        if minor == 0 {
            format!("{major}{unit}")
        } else {
            format!("{major}{unit}{minor}{small}")
        }
    };
    if seconds < 2 * 60 {
        format!("{seconds}s")
    } else if minutes < 10 {
        two(minutes, 'm', seconds % 60, 's')
    } else if hours < 3 {
        format!("{minutes}m")
    } else if hours < 8 {
        two(hours, 'h', minutes % 60, 'm')
    } else if hours < 2 * 24 {
        format!("{hours}h")
    } else if days < 8 {
        two(days, 'd', hours % 24, 'h')
    } else if days < 2 * 365 {
        format!("{days}d")
    } else if days < 8 * 365 {
        two(days / 365, 'y', days % 365, 'd')
    } else {
        format!("{}y", days / 365)
    }
}

/// Size in the largest unit that fits, in Kubernetes notation: `512Mi`, `1.5Gi`. `-` for none.
pub fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 5] = [
        (1 << 50, "Pi"),
        (1 << 40, "Ti"),
        (1 << 30, "Gi"),
        (1 << 20, "Mi"),
        (1 << 10, "Ki"),
    ];
    if bytes == 0 {
        return "-".to_owned();
    }
    let Some((unit, name)) = UNITS.into_iter().find(|(unit, _)| bytes >= *unit) else {
        return bytes.to_string();
    };
    let tenths = u128::from(bytes) * 10 / u128::from(unit);
    match (tenths / 10, tenths % 10) {
        (whole, 0) => format!("{whole}{name}"),
        (whole, tenth) => format!("{whole}.{tenth}{name}"),
    }
}

/// A number with its noun: `1 claim`, `2 claims`.
pub fn count(number: usize, noun: &str) -> String {
    let plural = match number {
        1 => "",
        _ if noun.ends_with('s') => "es",
        _ => "s",
    };
    format!("{number} {noun}{plural}")
}

/// The short name of the kind in kubectl.
pub fn kind(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::PersistentVolumeClaim => "pvc",
        ObjectKind::PersistentVolume => "pv",
        ObjectKind::VolumeSnapshot => "vs",
        ObjectKind::VolumeSnapshotContent => "vsc",
        ObjectKind::ReplicationSource => "replicationsource",
        ObjectKind::Deployment => "deploy",
        ObjectKind::StatefulSet => "sts",
        ObjectKind::DaemonSet => "ds",
        ObjectKind::Lease => "lease",
        ObjectKind::Pod => "pod",
        ObjectKind::Remediation => "remediation",
        ObjectKind::SnapshotHold => "snapshothold",
        ObjectKind::VolumeSnapshotClass => "vsclass",
    }
}

/// An object as `kubectl -o name` prints it.
pub fn kubectl_name(kind: ObjectKind, name: &str) -> String {
    format!("{}/{name}", resource(kind))
}

/// The resource as `kubectl -o name` prints it, in front of the name of an object.
pub fn resource(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::PersistentVolumeClaim => "persistentvolumeclaim",
        ObjectKind::PersistentVolume => "persistentvolume",
        ObjectKind::VolumeSnapshot => "volumesnapshot.snapshot.storage.k8s.io",
        ObjectKind::VolumeSnapshotContent => "volumesnapshotcontent.snapshot.storage.k8s.io",
        ObjectKind::VolumeSnapshotClass => "volumesnapshotclass.snapshot.storage.k8s.io",
        ObjectKind::ReplicationSource => "replicationsource.volsync.backube",
        ObjectKind::Deployment => "deployment.apps",
        ObjectKind::StatefulSet => "statefulset.apps",
        ObjectKind::DaemonSet => "daemonset.apps",
        ObjectKind::Lease => "lease.coordination.k8s.io",
        ObjectKind::Pod => "pod",
        ObjectKind::Remediation => "remediation.locksmith.dev",
        ObjectKind::SnapshotHold => "snapshothold.locksmith.dev",
    }
}

/// The object in kubectl's notation: `pvc/prowlarr`.
pub fn object(object: &ObjectKey) -> String {
    format!("{}/{}", kind(object.kind), object.name)
}

/// The object with its namespace, if it has one: `media/pvc/prowlarr`.
pub fn place(key: &ObjectKey) -> String {
    if key.namespace.is_empty() {
        object(key)
    } else {
        format!("{}/{}", key.namespace, object(key))
    }
}

/// A message without characters that control a terminal or change the direction of text: it may come from a tenant.
pub fn plain(text: &str) -> String {
    text.replace(steers, " ")
}

/// Whether a character has an effect instead of being shown: controls, line and paragraph separators, and bidirectional
/// formatting (Unicode).
pub fn steers(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    /// kubectl's own cases in milliseconds, without those before zero (apimachinery 0.36, duration_test.go).
    #[rstest]
    #[case(1_000, "1s")]
    #[case(70_000, "70s")]
    #[case(190_000, "3m10s")]
    #[case(4_200_000, "70m")]
    #[case(169_200_000, "47h")]
    #[case(176_400_000, "2d1h")]
    #[case(698_400_000, "8d")]
    #[case(31_708_800_000, "367d")]
    #[case(63_162_000_000, "2y1d")]
    #[case(252_295_200_000, "8y")]
    #[case(0, "0s")]
    #[case(999, "0s")]
    #[case(119_999, "119s")]
    #[case(120_000, "2m")]
    #[case(121_000, "2m1s")]
    #[case(599_999, "9m59s")]
    #[case(600_000, "10m")]
    #[case(601_000, "10m")]
    #[case(10_799_999, "179m")]
    #[case(10_800_000, "3h")]
    #[case(10_860_000, "3h1m")]
    #[case(28_799_999, "7h59m")]
    #[case(28_800_000, "8h")]
    #[case(32_340_000, "8h")]
    #[case(172_799_999, "47h")]
    #[case(172_800_000, "2d")]
    #[case(176_400_000, "2d1h")]
    #[case(691_199_999, "7d23h")]
    #[case(691_200_000, "8d")]
    #[case(774_000_000, "8d")]
    #[case(63_071_999_999, "729d")]
    #[case(63_072_000_000, "2y")]
    #[case(63_154_800_000, "2y")]
    #[case(63_158_340_000, "2y")]
    #[case(63_158_399_999, "2y")]
    #[case(63_158_400_000, "2y1d")]
    #[case(94_608_000_000, "3y")]
    #[case(126_144_000_000, "4y")]
    #[case(157_680_000_000, "5y")]
    #[case(189_216_000_000, "6y")]
    #[case(220_752_000_000, "7y")]
    #[case(252_287_999_999, "7y364d")]
    #[case(252_288_000_000, "8y")]
    #[case(283_737_600_000, "8y")]
    #[case(283_824_000_000, "9y")]
    fn duration_is_as_kubectl_prints_it(#[case] milliseconds: u64, #[case] text: &str) {
        assert_eq!(duration(Duration::from_millis(milliseconds)), text);
    }

    #[test]
    fn span_into_the_past_is_zero() {
        let second = |second: i64| Timestamp::from_second(1_790_000_000 + second).unwrap();
        assert_eq!(span(second(0), second(190)), "3m10s");
        assert_eq!(span(second(5), second(0)), "0s");
    }

    #[rstest]
    #[case(0, "-")]
    #[case(1023, "1023")]
    #[case(512 << 20, "512Mi")]
    #[case(3 << 29, "1.5Gi")]
    #[case(1_000_000_000, "953.6Mi")]
    #[case(u64::MAX, "16383.9Pi")]
    fn sizes_have_the_largest_unit(#[case] bytes: u64, #[case] text: &str) {
        assert_eq!(size(bytes), text);
    }

    #[test]
    fn message_cannot_control_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\nc"), "a [2Jb c");
        assert_eq!(plain("a\u{9b}2Jb\u{202e}c\u{2028}d\u{7f}"), "a 2Jb c d ");
    }
}
