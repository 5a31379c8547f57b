//! Formats a message as a line of klog.

use k8s_openapi::jiff::{Timestamp, tz::TimeZone};

/// An error at `place`, a source file and line: `E0623 08:10:51.326159       1 controllerserver.go:645] …`.
///
/// klog pads the process id, 1 in a container, to seven columns.
pub(super) fn error(at: Timestamp, place: &str, message: &str) -> String {
    let at = at.to_zoned(TimeZone::UTC);
    format!(
        "E{}       1 {place}] {message}",
        at.strftime("%m%d %H:%M:%S%.6f")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_has_klogs_format() {
        let at: Timestamp = "2026-06-23T08:10:51.326159Z".parse().unwrap();
        assert_eq!(
            error(at, "controllerserver.go:645", "ID: 19 Req-ID: pvc-1 failed"),
            "E0623 08:10:51.326159       1 controllerserver.go:645] ID: 19 Req-ID: pvc-1 failed"
        );
    }

    #[test]
    fn microseconds_keep_leading_zeros() {
        let at: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        assert_eq!(
            error(at, "main.go:1", "down"),
            "E0102 03:04:05.000000       1 main.go:1] down"
        );
    }
}
