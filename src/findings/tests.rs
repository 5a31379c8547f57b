//! One file a detector, named as it is.

mod claim;
mod deletion;
mod doubts;
mod due;
mod forged;
mod hostile;
mod lock;
mod snapshot;
mod source;
