//! One scripted sequence of events, played against the simulated actors and against the real parts that they stand for.

mod ground;
mod observe;
mod person;
mod script;

pub use ground::Ground;
pub use person::{CLAIM, CONTENT, Person, SNAPSHOT, bound, created, gone, ready, refused};
pub use script::{MISSED, Stage, play};
