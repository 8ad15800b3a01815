//! Tensors of golden files by name, and how far apart two are.

use safetensors::SafeTensors;

pub fn bytes<'a>(file: &'a [u8], name: &str) -> &'a [u8] {
    SafeTensors::deserialize(file).unwrap().tensor(name).unwrap_or_else(|error| panic!("{name}: {error}")).data()
}

pub fn f32s(file: &[u8], name: &str) -> Vec<f32> {
    bytes(file, name).as_chunks().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect()
}

pub fn f64s(file: &[u8], name: &str) -> Vec<f64> {
    bytes(file, name).as_chunks().0.iter().map(|chunk| f64::from_le_bytes(*chunk)).collect()
}

pub fn i64s(file: &[u8], name: &str) -> Vec<i64> {
    bytes(file, name).as_chunks().0.iter().map(|chunk| i64::from_le_bytes(*chunk)).collect()
}

pub fn largest_difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(found, expected)| (found - expected).abs()).fold(0.0, f32::max)
}

pub fn assert_close(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    let largest = largest_difference(found, expected);
    assert!(largest <= tolerance, "{what}: largest difference {largest}, allowed {tolerance}");
}
