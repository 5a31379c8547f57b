//! Two replicas, each of which is killed and restarted at random, behind proxies that inject faults.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::support::daemon::Daemon;
use crate::support::fault_plan::FaultPlan;
use crate::support::fault_proxy::Proxy;
use crate::support::stage::{Settings, Stage};

use super::OTHER;

/// Duration of each phase with faults, and of each without: a run that always meets faults makes no progress.
const WAVE: Duration = Duration::from_secs(8);
/// Lifetime of a replica, in milliseconds.
const LIFE: std::ops::Range<u64> = 4_000..30_000;
/// Time until it is restarted, in milliseconds; sometimes longer than the other one waits to take over the Lease.
const DEATH: std::ops::Range<u64> = 100..3_000;
const LONG_DEATH: Duration = Duration::from_secs(17);

/// The state that a replica is ordered into.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Order {
    /// Run in mode act, and be killed at random.
    Act,
    /// The same in mode observe.
    Observe,
    /// Be stopped, without a pending request.
    Rest,
    /// Run in mode act, without kills and faults.
    Last,
}

/// Both replicas.
pub struct Replicas {
    each: Vec<Replica>,
    kills: Arc<AtomicUsize>,
    addresses: Arc<Mutex<Vec<Option<String>>>>,
}

struct Replica {
    orders: watch::Sender<Order>,
    /// The current order.
    obeys: watch::Receiver<Order>,
    faults: Arc<FaultPlan>,
    _task: AbortOnDropHandle<()>,
}

impl Replicas {
    /// Starts both in mode act; returns once both are ready.
    pub async fn start(stage: &Stage, settings: Settings, chance: &mut Rng) -> Self {
        let kills = Arc::new(AtomicUsize::new(0));
        let addresses = Arc::new(Mutex::new(vec![None, None]));
        let second = stage.testbed.user(OTHER, Some("system:masters")).await;
        let act = settings.yaml();
        let observe = Settings {
            mode: "observe",
            ..settings
        };
        let observe = observe.yaml();
        let mut each = Vec::new();
        for (number, user) in [stage.user(), &second].into_iter().enumerate() {
            let faults = FaultPlan::alternating(chance.u64(..), WAVE);
            let proxy = Proxy::start(user, faults.script());
            let (orders, ordered) = watch::channel(Order::Act);
            let (obey, obeys) = watch::channel(Order::Rest);
            let life = Life {
                number,
                proxy,
                faults: faults.clone(),
                chance: chance.fork(),
                act: act.clone(),
                observe: observe.clone(),
                kills: kills.clone(),
                addresses: addresses.clone(),
            };
            each.push(Replica {
                orders,
                obeys,
                faults,
                _task: AbortOnDropHandle::new(tokio::spawn(life.go_on(ordered, obey))),
            });
        }
        let both = Self {
            each,
            kills,
            addresses,
        };
        both.all(Order::Act).await;
        both
    }

    /// Gives both an order; returns once it is carried out.
    pub async fn all(&self, order: Order) {
        for replica in &self.each {
            replica.orders.send_replace(order);
        }
        for replica in &self.each {
            let mut obeys = replica.obeys.clone();
            obeys.wait_for(|obeyed| *obeyed == order).await.unwrap();
        }
    }

    /// Number of kills.
    pub fn kills(&self) -> usize {
        self.kills.load(Ordering::Relaxed)
    }

    /// Number of injected faults.
    pub fn faults(&self) -> usize {
        let injected = self.each.iter().map(|replica| replica.faults.injected());
        injected.map(|faults| faults.values().sum::<usize>()).sum()
    }

    /// Addresses of the running replicas.
    pub fn addresses(&self) -> Arc<Mutex<Vec<Option<String>>>> {
        self.addresses.clone()
    }
}

/// The lives of one replica.
struct Life {
    number: usize,
    proxy: Proxy,
    faults: Arc<FaultPlan>,
    chance: Rng,
    act: String,
    observe: String,
    kills: Arc<AtomicUsize>,
    addresses: Arc<Mutex<Vec<Option<String>>>>,
}

impl Life {
    async fn go_on(mut self, mut orders: watch::Receiver<Order>, obey: watch::Sender<Order>) {
        loop {
            let order = *orders.borrow_and_update();
            self.faults.set_enabled(order != Order::Last);
            if order == Order::Rest {
                self.faults.idle().await;
                obey.send_replace(order);
                if orders.changed().await.is_err() {
                    return;
                }
                continue;
            }
            let mode = if order == Order::Observe {
                &self.observe
            } else {
                &self.act
            };
            let name = format!("locksmith-{}", self.number);
            let mut daemon = Daemon::replica(&name, self.proxy.kubeconfig(), mode).await;
            self.reachable_at(Some(daemon.address().to_owned()));
            obey.send_replace(order);
            let lasts = Duration::from_millis(self.chance.u64(LIFE));
            let live = async {
                if order == Order::Last {
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(lasts).await;
            };
            let dies = tokio::select! {
                () = live => true,
                changed = orders.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    false
                }
            };
            self.reachable_at(None);
            daemon.kill();
            self.kills.fetch_add(1, Ordering::Relaxed);
            if dies {
                let death = if self.chance.u32(..8) == 0 {
                    LONG_DEATH
                } else {
                    Duration::from_millis(self.chance.u64(DEATH))
                };
                let _ = tokio::time::timeout(death, orders.changed()).await;
                // Any pending order is read again.
                orders.mark_changed();
            }
        }
    }

    fn reachable_at(&self, address: Option<String>) {
        self.addresses.lock().unwrap()[self.number] = address;
    }
}
