//! Two replicas, each killed and begun again by chance, each behind an API server that has a bad time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::support::daemon::Daemon;
use crate::support::fault_plan::Troubles;
use crate::support::fault_proxy::Proxy;
use crate::support::stage::{Settings, Stage};

use super::OTHER;

/// How long the API server has a bad time, and then a good one: a run that meets trouble all the time never gets far.
const WAVE: Duration = Duration::from_secs(8);
/// How long one lives, in milliseconds.
const LIFE: std::ops::Range<u64> = 4_000..30_000;
/// How long one is dead. Sometimes longer than the other waits to take the Lease over.
const DEATH: std::ops::Range<u64> = 100..3_000;
const LONG_DEATH: Duration = Duration::from_secs(17);

/// What a replica is to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Order {
    /// Live and die, in mode act.
    Act,
    /// The same in mode observe.
    Observe,
    /// Be dead, with no request under way.
    Rest,
    /// Live on in mode act, and have no trouble.
    Last,
}

/// Both of them.
pub struct Replicas {
    each: Vec<Replica>,
    kills: Arc<AtomicUsize>,
    addresses: Arc<Mutex<Vec<Option<String>>>>,
}

struct Replica {
    orders: watch::Sender<Order>,
    /// The order that is carried out.
    obeys: watch::Receiver<Order>,
    troubles: Arc<Troubles>,
    _task: AbortOnDropHandle<()>,
}

impl Replicas {
    /// Starts both, in mode act, and returns when both are up.
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
            let troubles = Troubles::in_waves(chance.u64(..), WAVE);
            let proxy = Proxy::start(user, troubles.script());
            let (orders, ordered) = watch::channel(Order::Act);
            let (obey, obeys) = watch::channel(Order::Rest);
            let life = Life {
                number,
                proxy,
                troubles: troubles.clone(),
                chance: chance.fork(),
                act: act.clone(),
                observe: observe.clone(),
                kills: kills.clone(),
                addresses: addresses.clone(),
            };
            each.push(Replica {
                orders,
                obeys,
                troubles,
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

    /// Gives both an order, and returns when it is carried out.
    pub async fn all(&self, order: Order) {
        for replica in &self.each {
            replica.orders.send_replace(order);
        }
        for replica in &self.each {
            let mut obeys = replica.obeys.clone();
            obeys.wait_for(|obeyed| *obeyed == order).await.unwrap();
        }
    }

    /// How many deaths there were.
    pub fn kills(&self) -> usize {
        self.kills.load(Ordering::Relaxed)
    }

    /// How many requests went wrong.
    pub fn faults(&self) -> usize {
        let had = self.each.iter().map(|replica| replica.troubles.had());
        had.map(|had| had.values().sum::<usize>()).sum()
    }

    /// Where those alive listen.
    pub fn addresses(&self) -> Arc<Mutex<Vec<Option<String>>>> {
        self.addresses.clone()
    }
}

/// One replica's lives.
struct Life {
    number: usize,
    proxy: Proxy,
    troubles: Arc<Troubles>,
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
            self.troubles.calm(order == Order::Last);
            if order == Order::Rest {
                self.troubles.idle().await;
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
                // Whatever it is, it is read again.
                orders.mark_changed();
            }
        }
    }

    fn reachable_at(&self, address: Option<String>) {
        self.addresses.lock().unwrap()[self.number] = address;
    }
}
