//! The current state: the task that owns the model, and its view for readers.

mod store;
pub mod view;

pub use store::{Store, start};
pub use view::View;
