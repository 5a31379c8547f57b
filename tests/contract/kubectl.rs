//! The real `kubectl` against the embedded server.
