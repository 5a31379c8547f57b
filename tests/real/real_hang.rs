//! A restore that hangs again after the restart: the run must not end Succeeded.

use std::collections::BTreeSet;

use crate::PATIENCE;
use crate::healing::{Outcome, config, heal, sees};
use crate::jam::{Hangs, jam};
use crate::layout::{Layout, Pace};
use crate::stack::Stack;
use crate::testbed::figure;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real stack: ./tests/run"]
async fn restore_that_hangs_again_fails_the_run() {
    let stack = Stack::start(Layout::CLASSIC_V6, Pace::SHORT, BTreeSet::new()).await;
    let jam = jam(&stack, Hangs::OneForEver).await;
    let daemon = stack.locksmith(&config("12s")).await;
    sees(&daemon).await;
    let run = heal(&stack, &daemon, PATIENCE).await;
    let outcome = Outcome::read(&stack, &jam, run).await;
    figure(&format!(
        "real stack, one restore hangs again: {}; {} of 4 claims Bound",
        outcome.run.summary(),
        outcome.bound
    ));
    assert_eq!(outcome.bound, 3);
    assert_eq!(outcome.run.phase(), "Failed", "{:#}", outcome.run.status);
}
