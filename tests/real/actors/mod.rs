//! One scripted sequence of events, played with the simulated actors and with the real parts that they replace.

mod ground;
mod observe;
mod person;
mod script;

pub use ground::Ground;
pub use person::{CLAIM, CONTENT, Person, SNAPSHOT, bound, created, gone, ready, refused};
pub use script::{MISSED, Stage, play};
