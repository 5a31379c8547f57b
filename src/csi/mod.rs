//! Facts about CSI drivers: the messages of their locks, and where these are logged. Pure.

mod errors;
mod presets;

pub use errors::{ErrorClass, LockPatterns, PatternError};
pub use presets::{Preset, is_csi, preset};
