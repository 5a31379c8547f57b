//! Known states of a [`World`](super::world::World).
