//! volsync-locksmith.
fn main() {}
