//! One file per detector, with its name.

mod claim;
mod deletion;
mod doubts;
mod due;
mod forged;
mod hostile;
mod lock;
mod snapshot;
mod source;
