//! Clients in the tenant's pods, without a token: harmful connections, and malformed posts of every kind.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use locksmith::server::MAX_BODY;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::faults::hostile_clients::{HARMS, harm, post, said, status};
use crate::support::daemon::notification;
use crate::support::stage::DRIVER;

/// Number of connections per kind of harm: 20 of them post a body byte by byte.
const OF_EACH: usize = 20;
/// Number of senders of posts.
const SENDERS: usize = 4;
/// Pause between two posts of a sender, or two connections of a slot.
const PAUSE: Duration = Duration::from_millis(100);

/// All clients; dropping this ends them.
pub struct Clients {
    answers: Arc<Mutex<BTreeMap<u16, usize>>>,
    opened: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Clients {
    /// Starts them against the server at `address`.
    pub fn start(address: &str, chance: &mut Rng) -> Self {
        let answers = Arc::new(Mutex::new(BTreeMap::new()));
        let opened = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        for kind in HARMS {
            for _ in 0..OF_EACH {
                let (address, opened) = (address.to_owned(), opened.clone());
                tasks.spawn(async move {
                    loop {
                        harm(address.clone(), kind, opened.clone()).await;
                        tokio::time::sleep(PAUSE).await;
                    }
                });
            }
        }
        for _ in 0..SENDERS {
            let (address, answers) = (address.to_owned(), answers.clone());
            let mut chance = chance.fork();
            tasks.spawn(async move {
                loop {
                    let answer = send(&address, &body(&mut chance)).await;
                    *answers.lock().unwrap().entry(answer).or_default() += 1;
                    tokio::time::sleep(PAUSE).await;
                }
            });
        }
        Self {
            answers,
            opened,
            _tasks: tasks,
        }
    }

    /// Number of responses to posts by status; 0 means no response.
    pub fn answers(&self) -> BTreeMap<u16, usize> {
        self.answers.lock().unwrap().clone()
    }

    /// Number of hostile connections so far.
    pub fn opened(&self) -> usize {
        self.opened.load(std::sync::atomic::Ordering::Relaxed)
    }
}

async fn send(address: &str, bytes: &[u8]) -> u16 {
    let Ok(mut stream) = TcpStream::connect(address).await else {
        return 0;
    };
    // If the server refuses early, the rest cannot be sent.
    let _ = stream.write_all(bytes).await;
    said(&mut stream).await.map_or(0, |answer| status(&answer))
}

fn body(chance: &mut Rng) -> Vec<u8> {
    let alert = notification("LocksmithOperationLocked", &[("driver", DRIVER)]).to_string();
    let wrong = "Authorization: Bearer wrong\r\n";
    match chance.u32(..6) {
        0 => post("", &alert),
        1 => post(wrong, &alert),
        2 => post("", &"[".repeat(100_000)),
        3 => post(wrong, &"x".repeat(MAX_BODY + 1)),
        4 => post("", r#"{"version": "4", "groupKey": "", "alerts": {}}"#),
        _ => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
    }
}
