//! The daemon: wires what looks, what decides and what writes, and ends them in order.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kube::{Client, Config as ClusterConfig};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::{Config, Mode};
use crate::controller::{self, Controller};
use crate::intake::Desk;
use crate::kube_io::{self, Writer};
use crate::metrics::Own;
use crate::model::Sym;
use crate::server::{self, Server};
use crate::watch::{self as watching, Patterns};

/// How long requests under way may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

/// What a daemon is started with.
pub struct AppOptions {
    /// The cluster.
    pub cluster: ClusterConfig,
    /// The checked configuration.
    pub config: Config,
    /// Where the address the server listens on is written once it does, for whoever chose port 0.
    pub port_file: Option<PathBuf>,
}
