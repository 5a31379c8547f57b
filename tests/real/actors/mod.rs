//! One scripted sequence of events, played against the simulated actors and against the real parts that they stand for.

mod ground;
mod observe;
mod script;

pub use ground::Ground;
pub use script::{Stage, play};
