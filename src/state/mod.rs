//! The state at one moment: the task that owns the model, and the view of it that readers get.

mod store;
pub mod view;

pub use store::{Store, start};
pub use view::View;
