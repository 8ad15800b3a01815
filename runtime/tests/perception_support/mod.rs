//! Golden pictures and tensors for the perception tests: `tests/fixtures/spatialvla_golden`, see the README there.

#![allow(dead_code, clippy::unwrap_used)] // every test binary uses its own part

use egogrid_runtime::camera::RgbImage;
use sha2::{Digest, Sha256};
use std::path::PathBuf;

pub(crate) const CASES: std::ops::Range<usize> = 0..5;

fn golden_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/spatialvla_golden")
}

pub(crate) fn golden_picture(file: &str) -> RgbImage {
    let picture = image::open(golden_dir().join("cases").join(file)).unwrap().to_rgb8();
    RgbImage::new(picture.width(), picture.height(), picture.into_raw()).unwrap()
}

/// Bytes of one tensor of one case.
pub(crate) fn golden_bytes(case: usize, tensor: &str) -> Vec<u8> {
    let file = std::fs::read(golden_dir().join(format!("cases/case{case}.safetensors"))).unwrap();
    safetensors::SafeTensors::deserialize(&file).unwrap().tensor(tensor).unwrap().data().to_vec()
}

pub(crate) fn golden_f32(case: usize, tensor: &str) -> Vec<f32> {
    golden_bytes(case, tensor).as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

pub(crate) fn golden_json(file: &str) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(golden_dir().join(file)).unwrap()).unwrap()
}

/// Largest difference of two equally long slices.
pub(crate) fn worst(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
