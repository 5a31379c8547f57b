//! Rights: those of the daemon, and those of its callers.

mod accounts;
mod webhook_access;
