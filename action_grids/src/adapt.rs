//! Token embeddings of an old grid, re-interpolated for a new one.
//!
//! From: an embedding matrix, `[cells, width]` row-major, and two grids of the same shape. To: `egogrid grid adapt`.
