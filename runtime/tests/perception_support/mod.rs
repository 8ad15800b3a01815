//! Golden pictures and tensors for the perception tests: `tests/fixtures/spatialvla_golden`, see the README there.

#![allow(dead_code, clippy::unwrap_used)] // every test binary uses its own part

use egogrid_runtime::camera::RgbImage;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

pub(crate) const CASES: std::ops::Range<usize> = 0..5;

fn golden_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/spatialvla_golden")
}

pub(crate) fn golden_picture(file: &str) -> RgbImage {
    picture_at(&golden_dir().join("cases").join(file))
}

/// A picture of `tests/fixtures/openvla_golden`, see the README there. Alpha is dropped, gray replicated.
pub(crate) fn openvla_picture(file: &str) -> RgbImage {
    picture_at(&openvla_dir().join(file))
}

pub(crate) fn openvla_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/openvla_golden")
}

fn picture_at(path: &Path) -> RgbImage {
    let picture = image::open(path).unwrap().to_rgb8();
    RgbImage::new(picture.width(), picture.height(), picture.into_raw()).unwrap()
}

/// The recipe of `fixtures/recipe.py`.
pub(crate) fn made_up(kind: &str, seed: u32, width: u32, height: u32) -> RgbImage {
    let hash = |index: u32| {
        let h = index.wrapping_add(seed.wrapping_mul(0x9E37_79B1));
        let h = (h ^ (h >> 16)).wrapping_mul(0x7FEB_352D);
        let h = (h ^ (h >> 15)).wrapping_mul(0x846C_A68B);
        ((h ^ (h >> 16)) >> 24) as u8
    };
    let side = 1 + seed % 5;
    let pixels = (0..height).flat_map(|y| (0..width).flat_map(move |x| (0..3).map(move |c| (y, x, c))));
    let bytes = pixels.map(|(y, x, c)| match kind {
        "noise" => hash((y * width + x) * 3 + c),
        "checkers" if (x / side + y / side).is_multiple_of(2) => 0,
        "checkers" => 255,
        _ if hash(((y / 7) * 1000 + x / 5) * 3 + c) < 128 => 0,
        _ => 255,
    });
    RgbImage::new(width, height, bytes.collect::<Vec<u8>>()).unwrap()
}

pub(crate) fn size_px(picture: &RgbImage) -> [u32; 2] {
    [picture.width_px(), picture.height_px()]
}

/// Buffer for a picture of `size_px` (width, height).
pub(crate) fn buffer<T: Clone>(size_px: [u32; 2], value: T) -> Vec<T> {
    vec![value; 3 * size_px[0] as usize * size_px[1] as usize]
}

/// One line of an `expected.txt`: a made-up picture, a side, and what follows.
pub(crate) fn expected(text: &'static str) -> impl Iterator<Item = (String, RgbImage, u32, Vec<&'static str>)> {
    text.lines().map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<u32>().unwrap();
        let picture = made_up(words[0], number(1), number(2), number(3));
        (words[..5].join(" "), picture, number(4), words[5..].to_vec())
    })
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
