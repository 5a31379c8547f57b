//! A simulated cluster: actors around an API server, and scenarios that they are led into.
//!
//! [`world`] simulates everything that acts on storage objects except the API server, the controller manager and the
//! snapshot controller. [`scenario`] creates known states in it. [`apiserver`] is an API server in this process; a contract
//! that tests run on both keeps it equal to a real one.

mod cluster;
pub mod scenario;
pub mod show;

pub use cluster::Cluster;
pub use locksmith_demo_apiserver as apiserver;
pub use locksmith_demo_world as world;
