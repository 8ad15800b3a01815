//! Grids from a robot's data: Gaussian, equal-mass or uniform edges, and how good a grid is.
//!
//! From: normalized actions (`[actions][7]`) or `mu`/`sigma` per dimension. To: `tokenizer`, `egogrid grid fit`.
//! Source: SpatialVLA, arXiv:2501.15830, adaptive action grids.
