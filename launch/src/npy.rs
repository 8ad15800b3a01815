//! NumPy files: shape and values, with a limit on how much is read.

use anyhow::{Context, anyhow, bail};
use npyz::{DType, NpyFile, TypeChar};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// Element types that are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// `float32` or `float64`.
    Float,
    /// `uint16`.
    U16,
}

/// Reads a row-major array of floats.
///
/// # Errors
/// Not a .npy file, another element type, Fortran order, or more than `values_max` values.
pub fn read_f64(path: &Path, values_max: usize) -> anyhow::Result<(Vec<u64>, Vec<f64>)> {
    let (shape, values, element) = read(path, values_max)?;
    if element != Element::Float {
        bail!("{}: uint16; expected float32 or float64", path.display());
    }
    Ok((shape, values))
}

/// Reads a row-major array of floats or 16-bit integers.
///
/// # Errors
/// As [`read_f64`].
pub fn read(path: &Path, values_max: usize) -> anyhow::Result<(Vec<u64>, Vec<f64>, Element)> {
    let name = || path.display().to_string();
    let file = File::open(path).with_context(name)?;
    let npy = NpyFile::new(BufReader::new(file)).with_context(|| format!("{}: not a .npy file", path.display()))?;
    let shape = npy.shape().to_vec();
    let count = shape.iter().try_fold(1u64, |count, side| count.checked_mul(*side));
    if count.is_none_or(|count| count > values_max as u64) {
        bail!("{}: shape {shape:?}; at most {values_max} values are read", path.display());
    }
    if npy.order() != npyz::Order::C {
        bail!("{}: Fortran order; save it with numpy.ascontiguousarray", path.display());
    }
    let dtype = npy.dtype();
    let DType::Plain(kind) = &dtype else { bail!("{}: structured array; expected plain numbers", path.display()) };
    let (values, element) = match (kind.type_char(), kind.size_field()) {
        (TypeChar::Float, 4) => {
            (npy.into_vec::<f32>().with_context(name)?.into_iter().map(f64::from).collect(), Element::Float)
        }
        (TypeChar::Float, 8) => (npy.into_vec::<f64>().with_context(name)?, Element::Float),
        (TypeChar::Uint, 2) => {
            (npy.into_vec::<u16>().with_context(name)?.into_iter().map(f64::from).collect(), Element::U16)
        }
        _ => return Err(anyhow!("{}: dtype {kind}; expected float32, float64 or uint16", path.display())),
    };
    Ok((shape, values, element))
}
