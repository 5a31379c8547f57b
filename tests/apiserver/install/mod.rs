//! The chart and the manifests on a real API server.

mod chart;
mod manifests;
