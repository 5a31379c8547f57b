//! Speed of searching a provisioner's log for operation locks, compared with `grep -F` for the same words.

use std::fmt::Write as _;
use std::hint::black_box;
use std::process::{Command, Stdio};

use locksmith::csi::LockPatterns;

use crate::figures::{Row, Spread, size};

/// Number of lines.
fn lines() -> usize {
    size(1_000_000)
}

/// One line in this number reports a lock, as in a jam with many retries.
const ONE_IN: usize = 1_000;
const TIMES: usize = 9;

/// Typical lines of csi-provisioner and ceph-csi.
fn log() -> String {
    let mut log = String::new();
    for at in 0..lines() {
        let (id, second) = (at % 977, at % 60);
        let line = match at % 5 {
            _ if at.is_multiple_of(ONE_IN) => format!(
                "E1124 03:10:{second:02}.422327       1 utils.go:271] ID: {id} Req-ID: pvc-{at:08x}-4b0c-4d5e-9f6a-7f1e8a2b3c4d GRPC error: rpc error: code = Aborted desc = an operation with the given Volume ID pvc-{at:08x}-4b0c-4d5e-9f6a-7f1e8a2b3c4d already exists"
            ),
            0 => format!(
                "I1124 03:10:{second:02}.326159       1 utils.go:240] ID: {id} GRPC call: /csi.v1.Identity/Probe"
            ),
            1 => format!(
                "I1124 03:10:{second:02}.326187       1 utils.go:241] ID: {id} GRPC request: {{}}"
            ),
            2 => format!(
                "I1124 03:10:{second:02}.331840       1 omap.go:89] ID: {id} Req-ID: pvc-{at:08x}-4b0c-4d5e-9f6a-7f1e8a2b3c4d got omap values: (pool=\"replicapool\", namespace=\"\", name=\"csi.volumes.default\"): map[]"
            ),
            3 => format!(
                "I1124 03:10:{second:02}.402412       1 rbd_util.go:352] ID: {id} Req-ID: pvc-{at:08x}-4b0c-4d5e-9f6a-7f1e8a2b3c4d rbd: create replicapool/csi-vol-{at:08x}-9f6a size 5120M (features: [layering]) using mon 10.43.1.{second}:6789"
            ),
            _ => format!(
                "I1124 03:10:{second:02}.512000       1 controller.go:1366] provision \"team-{id:03}/application-{at}\" class \"ceph-block\": started"
            ),
        };
        writeln!(log, "{line}").unwrap();
    }
    log
}

pub fn bench() -> Vec<Row> {
    let log = log();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &log).unwrap();
    let patterns = LockPatterns::new(&[]).unwrap();
    let found = log.lines().filter_map(|line| patterns.find(line)).count();
    assert_eq!(found, lines().div_ceil(ONE_IN));

    let ours = Spread::times(TIMES, || {
        black_box(log.lines().filter_map(|line| patterns.find(line)).count());
    });
    let grep = Spread::times(TIMES, || {
        let mut grep = Command::new("grep");
        grep.args(["-c", "-F"]);
        for word in [
            "already exists",
            "already in progress",
            "is in progress for",
        ] {
            grep.args(["-e", word]);
        }
        let counted = grep
            .arg(file.path())
            .env("LC_ALL", "C")
            .stderr(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8(counted.stdout).unwrap().trim(),
            found.to_string()
        );
    });
    let gigabytes = log.len() as f64 / 1e9;
    println!(
        "{} lines, {gigabytes:.3} GB, {found} locks; one core; median (fastest, slowest)",
        lines()
    );
    for (name, took) in [("locksmith", ours), ("grep -F", grep)] {
        println!(
            "{name:>10}  {:.2} GB/s ({:.2}, {:.2})",
            gigabytes / took.median,
            gigabytes / took.least,
            gigabytes / took.most
        );
    }
    let ratio = grep.median / ours.median;
    println!("     ratio  {ratio:.2}");
    vec![Row::new(
        "provisioner logs searched for locks, one core",
        format!("{:.1} GB/s", gigabytes / ours.median),
        &format!("grep -F: {:.1} GB/s", gigabytes / grep.median),
        &format!("{ratio:.1} times as fast"),
    )]
}
