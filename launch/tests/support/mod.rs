//! The built binary and what it prints; files that tests make.

#![allow(dead_code)] // each test binary uses a part

pub(crate) mod daemon;
pub(crate) mod peer;

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

pub(crate) fn egogrid(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_egogrid")).args(args).env("EGOGRID_ROOT", root()).output().unwrap()
}

pub(crate) fn stdout_json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {:?}\n{}", String::from_utf8_lossy(&output.stdout), stderr(output)))
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Writes `values` as a version 1.0 .npy file.
pub(crate) fn write_npy(path: &Path, shape: &[usize], values: &[f32]) {
    let shape: Vec<String> = shape.iter().map(usize::to_string).collect();
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({},), }}", shape.join(", "));
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
    bytes.extend(header.bytes());
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    fs::write(path, bytes).unwrap();
}
