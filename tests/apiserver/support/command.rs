//! The program's commands, as a process.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Runs `locksmith` as the cluster's administrator, without a terminal.
pub async fn locksmith(kubeconfig: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_locksmith"));
    let kubeconfig: PathBuf = kubeconfig.to_owned();
    command
        .args(args)
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .env("NO_COLOR", "1");
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

/// Both outputs.
pub fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}
