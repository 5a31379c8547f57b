//! Patches that need nothing but the object: document in, changed document out.

mod json;
mod merge;
mod strategic;

pub use json::{Operation, apply as json};
pub use merge::apply as merge;
pub use strategic::apply as strategic;
