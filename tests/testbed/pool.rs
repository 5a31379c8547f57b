//! Control planes that tests use one after another, each as if it had just been started.

use std::ops::Deref;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use kube::CustomResourceExt;
use locksmith::api::hold::SnapshotHold;
use locksmith::api::remediation::Remediation;

use super::store::Baseline;
use super::{Options, Testbed};

/// Idle control planes with their baselines. They end with the test process.
static IDLE: Mutex<Vec<(Testbed, Baseline)>> = Mutex::new(Vec::new());

/// A control plane for the duration of a test.
pub struct PooledTestbed {
    /// `None` once dropped.
    testbed: Option<Testbed>,
    /// `None` for one outside the pool.
    baseline: Option<Baseline>,
}

impl PooledTestbed {
    /// Takes a control plane from the pool, or starts one. It serves the product's own kinds too; its audit log is empty.
    pub async fn take() -> Self {
        loop {
            let idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some((testbed, mut baseline)) = idle else {
                break;
            };
            let store = testbed.store();
            if store.reset(&mut baseline).await {
                testbed.audit.forget();
                return Self {
                    testbed: Some(testbed),
                    baseline: Some(baseline),
                };
            }
        }
        let options = Options {
            crds: vec![Remediation::crd(), SnapshotHold::crd()],
            ..Options::default()
        };
        let testbed = Box::pin(Testbed::start(options)).await;
        let baseline = testbed.store().baseline();
        Self {
            testbed: Some(testbed),
            baseline: Some(baseline),
        }
    }

    /// Starts one outside the pool, which ends with the test.
    pub async fn dedicated(options: Options) -> Self {
        Self {
            testbed: Some(Box::pin(Testbed::start(options)).await),
            baseline: None,
        }
    }
}

impl Deref for PooledTestbed {
    type Target = Testbed;

    fn deref(&self) -> &Testbed {
        self.testbed.as_ref().expect("it is there until the drop")
    }
}

impl Drop for PooledTestbed {
    fn drop(&mut self) {
        let (Some(testbed), Some(baseline)) = (self.testbed.take(), self.baseline.take()) else {
            return;
        };
        // A test that fails may leave anything behind.
        if !std::thread::panicking() && !testbed.altered.load(Ordering::Relaxed) {
            let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
            idle.push((testbed, baseline));
        }
    }
}
