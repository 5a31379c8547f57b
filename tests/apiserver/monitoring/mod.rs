//! Prometheus and Alertmanager with the shipped rules and dashboards, and the daemon.

mod alert_flood;
mod alert_to_healed;
mod dashboards;
mod exposition;
mod other_cluster;
mod service;
mod test_alert;
