//! `locksmith demo`: an incident and its repair on an embedded cluster, in under a minute.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Instant;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::progress::print;
use crate::demo::show::{Options, Plot, Show};
use crate::run_progress::Line;

/// Play an incident and its repair; needs no cluster and no network
///
/// Starts an API server in this process, jams its CSI driver and fires an alert, which the daemon handles. Keeps running until
/// Ctrl-C, so that you can inspect it with kubectl and a browser.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Scenario to play
    #[arg(long, value_name = "SCENARIO", value_enum, default_value_t)]
    scenario: Plot,
    /// Speed factor; 0.5 is half as fast
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = speed)]
    speed: f64,
    /// Exit at the end of the scenario: with 0 if it went as expected, 2 if not
    #[arg(long)]
    exit: bool,
    /// Address the daemon listens on; port 0 picks a free port
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

/// At lower speeds nobody has the patience; at higher ones, leases expire on a busy machine.
const SPEEDS: std::ops::RangeInclusive<f64> = 0.05..=2.0;

fn speed(text: &str) -> Result<f64, String> {
    let speed: f64 = text.parse().map_err(|_| "must be a number".to_owned())?;
    if SPEEDS.contains(&speed) {
        Ok(speed)
    } else {
        Err(format!(
            "must be from {} to {}",
            SPEEDS.start(),
            SPEEDS.end()
        ))
    }
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let begun = Instant::now();
    let (lines, mut received) = mpsc::channel(64);
    let mut printer = tokio::spawn(async move {
        while let Some(line) = received.recv().await {
            print(begun.elapsed(), &line)?;
        }
        anyhow::Ok(())
    });
    let options = Options {
        plot: args.scenario,
        speed: args.speed,
        listen: args.listen,
    };
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let played = tokio::select! {
        played = play(options, args.exit, lines) => played,
        // It could not print.
        ended = &mut printer => return ended?.map(|()| ExitCode::SUCCESS),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    // Every sender has been dropped, so the printer ends once it has printed all lines.
    printer.await??;
    played.map(|()| ExitCode::SUCCESS)
}

async fn play(options: Options, exit: bool, lines: mpsc::Sender<Line>) -> anyhow::Result<()> {
    let mut show = Box::pin(Show::begin(options, lines.clone())).await?;
    show.tell(&lines).await?;
    if exit {
        return Ok(show.end().await?);
    }
    lines.send(show.stays_up()).await?;
    Err(show.stay(&lines).await.into())
}
