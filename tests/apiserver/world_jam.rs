//! The playbook's jam, built by the world's actors on a real control plane.

use std::time::{Duration, Instant};

use locksmith::demo::scenario::playbook_jam;
use locksmith::demo::world::{Timings, World, WorldConfig};

use crate::testbed::{Options, Testbed};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn jam_stands() {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_test_writer()
        .try_init()
        .ok();
    let testbed = Testbed::start(Options::default()).await;
    let start = Instant::now();
    let world = World::start(testbed.client(), WorldConfig::new(Timings::fast()))
        .await
        .unwrap();
    let jam = playbook_jam(&world, false).await;
    eprintln!("{:?} {jam:#?}", start.elapsed());
    eprintln!("{:?}", world.ceph().locks());
    if jam.is_err() {
        tokio::time::sleep(Duration::from_secs(
            std::env::var("HOLD")
                .ok()
                .and_then(|s| s.parse().ok())
                .unwrap_or(0),
        ))
        .await;
    }
    jam.unwrap();
}
