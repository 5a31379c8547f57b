//! Failing API servers, hostile clients and broken clusters.

mod chaos;
mod faulty_api_server;
pub mod hostile_clients;
