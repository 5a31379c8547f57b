//! Prometheus, Alertmanager and the shipped rules and dashboards, beside the daemon.

mod alert_flood;
mod alert_to_healed;
mod dashboards;
mod exposition;
mod other_cluster;
