//! Facts about CSI drivers: the messages of their locks, and the containers that log them. Pure.

mod errors;
mod presets;

pub use errors::{ErrorClass, LockPatterns, PatternError};
pub use presets::{Preset, is_csi, preset};
