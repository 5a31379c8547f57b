//! Attacks of a tenant; `soak/attack` tries them all at once.

mod tenant;
