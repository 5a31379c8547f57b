//! Control planes that one test after another uses, each as if it had just been started.

use std::ops::Deref;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use kube::CustomResourceExt;
use locksmith::api::hold::SnapshotHold;
use locksmith::api::remediation::Remediation;

use super::store::Baseline;
use super::{Options, Testbed};

/// Those that no test uses now, with what they stored before the first one. They end with the test process.
static IDLE: Mutex<Vec<(Testbed, Baseline)>> = Mutex::new(Vec::new());

/// A control plane for the time of a test.
pub struct Lent {
    /// `None` once dropped.
    testbed: Option<Testbed>,
    /// `None` for one that no other test gets.
    baseline: Option<Baseline>,
}

impl Lent {
    /// One that serves the product's own kinds too and stores what a new one does; its audit log is empty.
    pub async fn standard() -> Self {
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

    /// One of its own, which ends with the test.
    pub async fn special(options: Options) -> Self {
        Self {
            testbed: Some(Box::pin(Testbed::start(options)).await),
            baseline: None,
        }
    }
}

impl Deref for Lent {
    type Target = Testbed;

    fn deref(&self) -> &Testbed {
        self.testbed.as_ref().expect("it is there until the drop")
    }
}

impl Drop for Lent {
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
