//! The chart and the manifests on a real API server, and the check of an installation.

mod chart;
mod check;
mod manifests;
