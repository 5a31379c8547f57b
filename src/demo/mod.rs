//! A cluster with nothing real behind it: the actors around an API server, and the states they are led into.
//!
//! [`world`] stands in for everything that acts on storage objects except the API server, the controller
//! manager and the snapshot controller. [`scenario`] builds known states through it. Tests and the demo use both.

pub mod scenario;
pub mod world;
