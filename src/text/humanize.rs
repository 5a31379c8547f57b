//! Spans of time, sizes and kinds as people read them, in a terminal and in a browser. Pure.

use jiff::Timestamp;

use crate::api::{ObjectKey, ObjectKind};

/// How long from `from` until `to`, in at most two units: `45s`, `42m`, `1h35m`, `3d4h`.
pub fn span(from: Timestamp, to: Timestamp) -> String {
    let seconds = to.duration_since(from).as_secs().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let two = |major: i64, unit: char, minor: i64, small: char| {
        if minor == 0 {
            format!("{major}{unit}")
        } else {
            format!("{major}{unit}{minor}{small}")
        }
    };
    if minutes == 0 {
        format!("{seconds}s")
    } else if hours == 0 {
        format!("{minutes}m")
    } else if days == 0 {
        two(hours, 'h', minutes % 60, 'm')
    } else if days < 10 {
        two(days, 'd', hours % 24, 'h')
    } else {
        format!("{days}d")
    }
}

/// A size in the largest unit that fits, as Kubernetes writes it: `512Mi`, `1.5Gi`. `-` for none.
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

/// `1 claim`, `2 claims`.
pub fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// The kind as kubectl takes it for short.
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

/// The object as kubectl takes it: `pvc/prowlarr`.
pub fn object(object: &ObjectKey) -> String {
    format!("{}/{}", kind(object.kind), object.name)
}

/// The object with its namespace, where it has one: `media/pvc/prowlarr`.
pub fn place(key: &ObjectKey) -> String {
    if key.namespace.is_empty() {
        object(key)
    } else {
        format!("{}/{}", key.namespace, object(key))
    }
}

/// A message without what would steer a terminal or turn its text round: anybody may have written it.
pub fn plain(text: &str) -> String {
    text.replace(steers, " ")
}

/// Whether a character does something instead of being shown: controls, line and paragraph ends, and those that turn the
/// direction of text (Unicode, bidirectional formatting).
pub fn steers(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(-5, "0s")]
    #[case(59, "59s")]
    #[case(60, "1m")]
    #[case(3599, "59m")]
    #[case(3600, "1h")]
    #[case(5700, "1h35m")]
    #[case(2 * 86400, "2d")]
    #[case(3 * 86400 + 4 * 3600, "3d4h")]
    #[case(10 * 86400 + 4 * 3600, "10d")]
    fn spans(#[case] seconds: i64, #[case] text: &str) {
        let from = Timestamp::from_second(1_790_000_000).unwrap();
        let to = Timestamp::from_second(1_790_000_000 + seconds).unwrap();
        assert_eq!(span(from, to), text);
    }

    #[rstest]
    #[case(0, "-")]
    #[case(1023, "1023")]
    #[case(512 << 20, "512Mi")]
    #[case(3 << 29, "1.5Gi")]
    #[case(1_000_000_000, "953.6Mi")]
    #[case(u64::MAX, "16383.9Pi")]
    fn sizes(#[case] bytes: u64, #[case] text: &str) {
        assert_eq!(size(bytes), text);
    }

    #[test]
    fn a_message_cannot_steer_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\nc"), "a [2Jb c");
        assert_eq!(plain("a\u{9b}2Jb\u{202e}c\u{2028}d\u{7f}"), "a 2Jb c d ");
    }
}
