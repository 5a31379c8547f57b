//! A cluster with nothing real behind it: the actors around an API server, and the states they are led into.
//!
//! [`world`] stands in for everything that acts on storage objects except the API server, the controller
//! manager and the snapshot controller. [`scenario`] builds known states through it. [`apiserver`] is an API server
//! in this process, held to a real one by a contract that tests run on both.

mod cluster;
pub mod scenario;
pub mod show;

pub use cluster::Cluster;
pub use locksmith_demo_apiserver as apiserver;
pub use locksmith_demo_world as world;
