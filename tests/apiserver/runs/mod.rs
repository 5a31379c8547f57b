//! Runs of a playbook, from the alert or the command line to the verdict.

pub mod approval;
mod command_line;
mod evidence;
mod gate_history;
mod guarded_writes;
mod jam;
mod layouts;
mod modes;
mod races;
mod size_limits;
mod status;
mod withdrawn_alert;
