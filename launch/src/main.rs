//! The `egogrid` binary.
fn main() {}
