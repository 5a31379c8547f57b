//! One file a detector, named as it is.

mod claim;
mod lock;
mod snapshot;
mod source;
