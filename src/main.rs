//! The `locksmith` program: arguments in, an exit code out.

use std::process::ExitCode;

use clap::Parser;
use locksmith::cli::{self, Cli};

fn main() -> ExitCode {
    // The TLS provider is chosen once per process, before any TLS.
    let installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    debug_assert!(installed.is_ok(), "nothing else installs one");
    cli::complete();
    let cli = Cli::parse();
    match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime.block_on(cli::run(cli)),
        Err(error) => {
            eprintln!("error: failed to start the runtime: {error}");
            ExitCode::from(cli::FAILED)
        }
    }
}
