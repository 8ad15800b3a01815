//! Promises kept across crates: see `layering.rs` and `end_to_end/`.
