//! The current state: the task that owns the model, its view for readers, and the history of views.

pub mod history;
mod recorder;
mod store;
pub mod view;

pub use recorder::Recorder;
pub use store::{Store, start};
pub use view::View;
