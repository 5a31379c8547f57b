//! Subresources, and reviews, which are never stored.

pub mod logs;
mod pods;
mod reviews;
mod scale;

pub use reviews::review;
