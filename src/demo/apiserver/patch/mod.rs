//! Strategic merge patches. Merge patches (RFC 7386) and JSON patches (RFC 6902) are those of the crate json-patch.

mod strategic;

pub use strategic::apply as strategic;
