//! Runs from end to end, against a cluster in memory and a clock of its own.

mod attempts;
mod chaos;
mod decisions;
mod failures;
mod handover;
mod playbook;
mod progress;
mod sim;
mod verdict;
