//! Runs from end to end, against a cluster in memory and a clock of its own.

mod again;
mod chaos;
mod handover;
mod moments;
mod playbook;
mod progress;
mod sim;
mod trouble;
mod verdict;
