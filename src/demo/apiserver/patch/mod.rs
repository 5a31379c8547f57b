//! Strategic merge patches. Merge patches (RFC 7386) and JSON patches (RFC 6902) are applied by the crate json-patch.

mod strategic;

pub use strategic::apply as strategic;
