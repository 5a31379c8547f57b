//! volsync-locksmith: see what a jammed CSI driver holds up, and carry the unjamming out.
pub mod api;
pub mod demo;
