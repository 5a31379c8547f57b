//! API servers, clients and clusters that misbehave.

mod chaos;
mod faulty_api_server;
pub mod hostile_clients;
