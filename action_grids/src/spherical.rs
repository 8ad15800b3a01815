//! Spherical coordinates of a normalized translation, and back.
//!
//! From: `NormalizedAction::translation` (`[x, y, z]`, unitless). To: the axes of the translation grid,
//! `[theta, phi, r]`: polar angle from +z in `[0, π]`, azimuth in `[-π, π]`, radius. Source: arXiv:2501.15830.

/// `[theta, phi, r]` of `[x, y, z]`. Signs of zero count: `(-0.0, 0.0)` has azimuth π, `(0.0, 0.0)` has 0.
pub fn from_cartesian([x, y, z]: [f64; 3]) -> [f64; 3] {
    // sqrt of the sum of squares and not `hypot`: the last bit decides cells on grids whose edges are round numbers.
    let in_plane = (x * x + y * y).sqrt();
    [in_plane.atan2(z), y.atan2(x), (x * x + y * y + z * z).sqrt()]
}

/// `[x, y, z]` of `[theta, phi, r]`; not limited to the unit cube.
pub fn to_cartesian([theta, phi, r]: [f64; 3]) -> [f64; 3] {
    let in_plane = r * theta.sin();
    [in_plane * phi.cos(), in_plane * phi.sin(), r * theta.cos()]
}
