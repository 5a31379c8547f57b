//! The demo's simulated actors on a real API server.

pub mod ground;
mod jam;
mod kubelet;
mod layouts;
mod volsync;
