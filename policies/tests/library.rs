//! In a process of its own: what happens when the first library that is tried is not one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use egogrid_runtime::execution::{Environment, ExecutionError};

#[test]
fn a_file_that_is_no_library_is_refused_and_the_right_one_loads_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("libonnxruntime.so");
    std::fs::write(&text, "not a library").unwrap();
    let error = Environment::load(&text).unwrap_err();
    assert!(matches!(error, ExecutionError::LibraryRefused { .. }) && error.is_missing(), "{error}");
    assert!(error.to_string().contains("1.31"), "the version that is needed: {error}");
    assert!(common::environment().build_info().contains("ORT"));
}
