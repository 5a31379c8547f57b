//! Rights of the daemon and of its clients.

mod accounts;
mod webhook_access;
