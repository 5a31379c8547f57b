//! Hostile clients against the program as a process: the response to each, its cost, and that metrics and a run continue
//! meanwhile.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use locksmith::api::remediation::{Phase, Remediation};
use locksmith::server::MAX_BODY;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::daemon::{Daemon, notification};
use crate::support::stage::{DRIVER, PATIENCE, Settings, Stage};
use crate::testbed::figure;

const CONNECTIONS: usize = 1000;

/// Maximum growth of the resident memory, in KiB.
const GROWTH: u64 = 64 * 1024;

/// Everything that the server sends until it closes the connection, or `None` if it does not in time.
pub async fn said(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    // A reset is an end, too; unread data is lost.
    let read = stream.read_to_end(&mut bytes);
    tokio::time::timeout(PATIENCE, read).await.ok()?.ok();
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Status of a response; 0 for none.
pub fn status(answer: &str) -> u16 {
    let status = answer
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3));
    status.and_then(|status| status.parse().ok()).unwrap_or(0)
}

/// Sends these bytes; returns the status of the response.
async fn answered(daemon: &Daemon, bytes: &[u8]) -> u16 {
    let mut stream = TcpStream::connect(daemon.address()).await.unwrap();
    // If the server refuses early, the rest cannot be sent.
    let _ = stream.write_all(bytes).await;
    status(&said(&mut stream).await.expect("an end"))
}

pub fn post(headers: &str, body: &str) -> Vec<u8> {
    format!(
        "POST /webhook HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Attack: malformed bodies and headers of every kind, missing and wrong tokens, a repeated notification. Defence: each is
/// refused before it causes any cost, and a repeated notification has one run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
#[allow(clippy::too_many_lines, reason = "a table, and what is around it")]
async fn hostile_requests_are_refused() {
    let stage = Stage::jammed().await;
    let directory = tempfile::tempdir().unwrap();
    let tokens = directory.path().join("tokens");
    std::fs::write(&tokens, "secret\n").unwrap();
    let auth: &'static str =
        Box::leak(format!("{{tokenFile: {}}}", tokens.display()).into_boxed_str());
    let daemon = stage
        .daemon(&Settings {
            auth,
            ..Settings::default()
        })
        .await;
    let before = daemon.resident("VmRSS");
    let fires = notification("LocksmithOperationLocked", &[("driver", DRIVER)]).to_string();
    let known = "Authorization: Bearer secret\r\n";
    let chunked = {
        let head = format!(
            "POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n{known}\r\n"
        );
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
        [head.into_bytes(), chunk.repeat(64).into_bytes()].concat()
    };
    let flood = |count: usize, size: usize| {
        let value = "x".repeat(size);
        let headers: Vec<_> = (0..count).map(|n| format!("X-{n}: {value}\r\n")).collect();
        let headers = headers.concat();
        format!("GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n")
            .into_bytes()
    };
    let cases = [
        ("no token", post("", &fires), 401),
        (
            "a wrong token",
            post("Authorization: Bearer secreT\r\n", &fires),
            401,
        ),
        (
            "a token of another scheme",
            post("Authorization: Basic secret\r\n", &fires),
            401,
        ),
        (
            "a token of a megabyte",
            post(
                &format!("Authorization: Bearer {}\r\n", "x".repeat(1 << 20)),
                &fires,
            ),
            431,
        ),
        (
            "a body one byte too large",
            post(known, &"x".repeat(MAX_BODY + 1)),
            413,
        ),
        ("a body of chunks without end", chunked, 413),
        (
            "a length that is no number",
            b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n".to_vec(),
            400,
        ),
        ("no JSON", post(known, "\u{0}"), 400),
        (
            "JSON a hundred thousand deep",
            post(known, &"[".repeat(100_000)),
            400,
        ),
        (
            "a payload of version 5",
            post(known, r#"{"version": "5", "groupKey": "", "alerts": []}"#),
            400,
        ),
        (
            "a payload without version",
            post(known, r#"{"alerts": []}"#),
            400,
        ),
        (
            "alerts that are no list",
            post(known, r#"{"version": "4", "groupKey": "", "alerts": {}}"#),
            400,
        ),
        ("two hundred headers", flood(200, 10), 431),
        ("a header of a megabyte", flood(1, 1 << 20), 431),
        (
            "a path of a megabyte",
            format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(1 << 20)).into_bytes(),
            414,
        ),
        (
            "no HTTP",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
            400,
        ),
        ("a notification", post(known, &fires), 202),
        ("the same again", post(known, &fires), 202),
    ];
    let mut answers = Vec::new();
    for (what, bytes, expected) in cases {
        let found = answered(&daemon, &bytes).await;
        answers.push(format!("{what}: {found}"));
        assert!(
            found == expected
                || (matches!(expected, 413 | 414 | 431) && matches!(found, 0 | 400 | 431)),
            "{what}: {found} instead of {expected}"
        );
    }
    let runs = stage.list::<Remediation>().await;
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].spec.trigger.alerts.len(), 1);
    assert_eq!(stage.finished().await.phase, Phase::Succeeded);
    let grown = daemon.resident("VmHWM").saturating_sub(before);
    figure(&format!(
        "hostile requests: {}; {grown} KiB more at most",
        answers.join(", ")
    ));
    assert!(grown < GROWTH, "{grown} KiB");
}

/// Harmful use of a connection.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Harm {
    /// Sends nothing.
    Silent,
    /// Sends a byte of its headers from time to time, and never completes them.
    SlowHeaders,
    /// Announces a body, and sends a byte of it from time to time.
    SlowBody,
    /// Sends requests again and again, and reads no response.
    Deaf,
    /// Opens HTTP/2 streams and resets each immediately.
    Resets,
}

pub const HARMS: [Harm; 5] = [
    Harm::Silent,
    Harm::SlowHeaders,
    Harm::SlowBody,
    Harm::Deaf,
    Harm::Resets,
];

/// Pause between two bytes of a slow client.
const SLOW: Duration = Duration::from_millis(500);

/// Causes harm until the server closes the connection; returns the status it sent before.
pub async fn harm(address: String, harm: Harm, open: Arc<AtomicUsize>) -> (Harm, Option<u16>) {
    let Ok(stream) = TcpStream::connect(address).await else {
        return (harm, None);
    };
    open.fetch_add(1, Ordering::Relaxed);
    let (mut reads, mut writes) = stream.into_split();
    let doing = async move {
        match harm {
            Harm::Silent => std::future::pending().await,
            Harm::SlowHeaders => {
                writes.write_all(b"GET /metrics HTTP/1.1\r\nX: ").await?;
                loop {
                    writes.write_all(b"x").await?;
                    tokio::time::sleep(SLOW).await;
                }
            }
            Harm::SlowBody => {
                writes
                    .write_all(b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n")
                    .await?;
                loop {
                    writes.write_all(b"x").await?;
                    tokio::time::sleep(SLOW).await;
                }
            }
            Harm::Deaf => loop {
                writes
                    .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
                    .await?;
            },
            Harm::Resets => {
                writes
                    .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
                    .await?;
                for stream in (1_u32..20_000).step_by(2) {
                    // HEADERS with END_STREAM and END_HEADERS: GET / by the static table; then RST_STREAM, CANCEL.
                    let id = stream.to_be_bytes();
                    let mut frames = vec![0, 0, 3, 1, 5];
                    frames.extend(id);
                    frames.extend([0x82, 0x86, 0x84, 0, 0, 4, 3, 0]);
                    frames.extend(id);
                    frames.extend([0, 0, 0, 8]);
                    writes.write_all(&frames).await?;
                }
                std::future::pending().await
            }
        }
    };
    let doing = async {
        let failed: std::io::Result<std::convert::Infallible> = doing.await;
        // The server has closed the connection, which the reader notices.
        drop(failed);
        std::future::pending::<()>().await;
    };
    let reading = async {
        let mut bytes = Vec::new();
        if harm == Harm::Deaf {
            // Until the connection is closed.
            while reads.peek(&mut [0]).await.is_ok()
                && reads.as_ref().take_error().is_ok_and(|it| it.is_none())
            {
                if reads
                    .ready(tokio::io::Interest::ERROR)
                    .await
                    .is_ok_and(tokio::io::Ready::is_error)
                {
                    break;
                }
                tokio::time::sleep(SLOW).await;
            }
        } else {
            reads.read_to_end(&mut bytes).await.ok();
        }
        status(&String::from_utf8_lossy(&bytes))
    };
    let ended = tokio::select! {
        status = reading => Some(status),
        () = doing => None,
        () = tokio::time::sleep(PATIENCE) => None,
    };
    (harm, ended)
}

/// Attack: a thousand connections at once that are silent, slow, never read or reset HTTP/2 streams, during a run. Defence:
/// limits on connections, timeouts for headers, bodies and unread responses, and no HTTP/2.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn hostile_connections_do_not_disturb_metrics_or_a_run() {
    let stage = Stage::jammed().await;
    let daemon = stage.daemon(&Settings::default()).await;
    let before = daemon.resident("VmRSS");
    stage.fire(&daemon).await;
    let open = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|number| {
            let what = HARMS[number % HARMS.len()];
            tokio::spawn(harm(daemon.address().to_owned(), what, open.clone()))
        })
        .collect();
    let over = AtomicBool::new(false);
    let scraping = async {
        let mut scrapes = 0;
        while !over.load(Ordering::Relaxed) {
            assert!(daemon.metrics().await.contains_key("locksmith_leader"));
            scrapes += 1;
        }
        scrapes
    };
    let running = async {
        let status = stage.finished().await;
        over.store(true, Ordering::Relaxed);
        status
    };
    let (scrapes, run) = tokio::join!(scraping, running);
    assert_eq!(run.phase, Phase::Succeeded, "{run:#?}");
    let mut ends: BTreeMap<(Harm, Option<u16>), usize> = BTreeMap::new();
    for client in clients {
        *ends.entry(client.await.unwrap()).or_default() += 1;
    }
    assert_eq!(open.load(Ordering::Relaxed), CONNECTIONS);
    // Every connection has ended, by its timeout or its first malformed byte. A client that does not read does not notice;
    // that its connection ends is tested on the server's side (src/server/connection.rs).
    let heard = |(harm, ended): &(Harm, Option<u16>)| *harm == Harm::Deaf || ended.is_some();
    assert!(ends.keys().all(heard), "{ends:?}");
    let grown = daemon.resident("VmHWM").saturating_sub(before);
    figure(&format!(
        "{CONNECTIONS} hostile connections during a run: ends {ends:?}, {scrapes} scrapes answered, {before} KiB resident \
         and at most {grown} more"
    ));
    std::io::stdout().flush().unwrap();
    assert!(grown < GROWTH, "{grown} KiB");
    let alerts = json!({"version": "4", "groupKey": "{}", "alerts": []});
    assert_eq!(daemon.post(&alerts).await.0, 202);
}
