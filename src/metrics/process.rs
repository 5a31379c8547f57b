//! Resources of this process, by the names that the client libraries of Prometheus export: from `/proc` on Linux (proc(5)),
//! absent elsewhere.

use std::fmt;
use std::fs;

use super::families as f;
use super::family::Encoder;

/// Clock ticks per second in `/proc` (USER_HZ): 100 on every platform that the program is built for.
const TICKS_PER_SECOND: f64 = 100.0;

/// The resources at one moment; a value that cannot be read is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Resources {
    /// CPU time in user and kernel mode, in seconds.
    pub(super) cpu: Option<f64>,
    /// Start, in seconds since 1970.
    pub(super) start: Option<f64>,
    /// Resident memory, in bytes.
    pub(super) resident: Option<u64>,
    /// Virtual memory, in bytes.
    pub(super) mapped: Option<u64>,
    /// Number of open file descriptors.
    pub(super) open_fds: Option<u64>,
    /// Limit on open file descriptors.
    pub(super) max_fds: Option<u64>,
}

impl Resources {
    /// Reads the resources.
    pub(super) fn read() -> Self {
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        let open = fs::read_dir("/proc/self/fd").ok();
        Self {
            // The listing itself opens one.
            open_fds: open.and_then(|open| open.count().checked_sub(1)?.try_into().ok()),
            ..Self::parse(
                &text("/proc/self/stat"),
                &text("/proc/self/status"),
                &text("/proc/self/limits"),
                &text("/proc/stat"),
            )
        }
    }

    /// Parses the files of the process, and `/proc/stat` of the machine.
    fn parse(stat: &str, status: &str, limits: &str, machine: &str) -> Self {
        // The second field is the name of the program in parentheses, which may contain both spaces and parentheses.
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let fields: Vec<_> = after_name.split_whitespace().collect();
        // Numbered from 1, as in proc(5).
        let ticks = |field: usize| fields.get(field - 3)?.parse::<f64>().ok();
        let seconds = |field| Some(ticks(field)? / TICKS_PER_SECOND);
        let boot: Option<f64> = after(machine, "btime").and_then(|text| text.parse().ok());
        let kibibytes = |name| Some(after(status, name)?.parse::<u64>().ok()? * 1024);
        Self {
            cpu: seconds(14)
                .zip(seconds(15))
                .map(|(user, kernel)| user + kernel),
            start: boot.zip(seconds(22)).map(|(boot, since)| boot + since),
            resident: kibibytes("VmRSS:"),
            mapped: kibibytes("VmSize:"),
            open_fds: None,
            max_fds: after(limits, "Max open files").and_then(|text| text.parse().ok()),
        }
    }
}

/// The word after `name` at the beginning of a line.
fn after<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()
}

pub(super) fn encode(resources: &Resources, to: &mut Encoder<'_>) -> fmt::Result {
    let Resources {
        cpu,
        start,
        resident,
        mapped,
        open_fds,
        max_fds,
    } = *resources;
    to.counter(&f::PROCESS_CPU, cpu)?;
    to.gauge(&f::PROCESS_START, start)?;
    to.gauge(&f::PROCESS_RESIDENT, resident)?;
    to.gauge(&f::PROCESS_VIRTUAL, mapped)?;
    to.gauge(&f::PROCESS_OPEN_FDS, open_fds)?;
    to.gauge(&f::PROCESS_MAX_FDS, max_fds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_linux_are_parsed() {
        let stat =
            "12 (lock) (smith) S 1 12 12 0 -1 4194560 90 0 0 0 250 150 0 0 20 0 5 0 12345 9 8 1";
        let status = "Name:\tlocksmith\nVmPeak:\t  300 kB\nVmSize:\t  200 kB\nVmRSS:\t   100 kB\n";
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max open files            1024                 524288               files\n";
        let machine = "cpu  1 2 3\nbtime 1800000000\nprocesses 7\n";
        let expected = Resources {
            cpu: Some(4.0),
            start: Some(1_800_000_123.45),
            resident: Some(100 << 10),
            mapped: Some(200 << 10),
            open_fds: None,
            max_fds: Some(1024),
        };
        assert_eq!(Resources::parse(stat, status, limits, machine), expected);
        assert_eq!(Resources::parse("", "", "", ""), Resources::default());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn own_resources_are_plausible() {
        let before = Resources::read();
        let file = fs::File::open("/proc/self/stat").unwrap();
        let now = jiff::Timestamp::now().as_second();
        let started = before.start.unwrap();
        assert!(before.resident.unwrap() > 1 << 20 && before.mapped >= before.resident);
        assert!(before.open_fds.unwrap() >= 3 && before.max_fds > before.open_fds);
        #[allow(clippy::cast_precision_loss)]
        let age = now as f64 - started;
        assert!((-5.0..86_400.0).contains(&age), "{age}");
        assert!(before.cpu.is_some());
        drop(file);
    }
}
