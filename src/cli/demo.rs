//! `locksmith demo`: the main job, in a minute, without a cluster.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Instant;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::log::{self, LogFormat};
use super::progress::print;
use crate::demo::show::{Options, Plot, Show};
use crate::run_progress::Line;

/// Play the main job on an embedded cluster: no cluster and no network needed
///
/// A cluster in this process is led into a jam, an alert fires, and the daemon repairs it. It stays up to be looked at with
/// kubectl and a browser until Ctrl-C.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What happens
    #[arg(long, value_name = "SCENARIO", value_enum, default_value_t)]
    scenario: Plot,
    /// How many times as fast; 0.5 is half as fast
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = speed)]
    speed: f64,
    /// End when the story does; exits with 0 when it went as it should, with 2 when not
    #[arg(long)]
    exit: bool,
    /// Where the daemon listens; port 0 is any free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

/// Below this, leases run out on a busy machine; above, nobody has the patience.
const SPEEDS: std::ops::RangeInclusive<f64> = 0.05..=2.0;

fn speed(text: &str) -> Result<f64, String> {
    let speed: f64 = text.parse().map_err(|_| "is not a number".to_owned())?;
    if SPEEDS.contains(&speed) {
        Ok(speed)
    } else {
        Err(format!(
            "is not within {} and {}",
            SPEEDS.start(),
            SPEEDS.end()
        ))
    }
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    log::start(LogFormat::Pretty, "off");
    let begun = Instant::now();
    let (lines, mut received) = mpsc::channel(64);
    let printer = tokio::spawn(async move {
        while let Some(line) = received.recv().await {
            print(begun.elapsed(), &line);
        }
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
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    // Everything that tells has ended; what was told is printed to its end.
    printer.await?;
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
