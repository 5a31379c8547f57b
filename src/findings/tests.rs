//! One file a detector, named as it is.

mod claim;
mod forged;
mod lock;
mod snapshot;
mod source;
