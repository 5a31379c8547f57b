//! One file per detector, with its name.

mod claim;
mod deletion;
mod doubts;
mod due;
mod forged;
mod hostile;
mod lock;
mod slow_calls;
mod snapshot;
mod source;
