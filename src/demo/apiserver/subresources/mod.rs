//! What is served below an object, and the questions that are never stored.

pub mod logs;
mod pods;
mod reviews;
mod scale;

pub use reviews::review;
