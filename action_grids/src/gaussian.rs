//! The normal distribution and its inverse, float64.
//!
//! From and to: `fit`. Accuracy: within a few units in the last place of the true value, tails included, which
//! keeps fitted edges within 1e-12 of scipy's `ndtr`/`ndtri` (see `tests/golden.rs`).
