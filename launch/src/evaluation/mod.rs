//! Evaluation: what is run, what came of it, and what may be concluded.

pub mod statistics;
