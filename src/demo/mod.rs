//! The demonstration: a cluster inside this process.
pub mod apiserver;
