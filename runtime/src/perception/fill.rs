//! Nearest-neighbour fill of sub-cells that have no depth of their own.
//!
//! From: [`super::depth`], `[rows, cols]` metres and which of them are valid. To: the same array without holes.

/// Gives every cell that is not valid the value of its nearest valid one (distance between centres; among equals the
/// first in row-major order), and says how far away the farthest of those was, in cells. Cells are left alone when none
/// is valid.
pub(super) fn fill_from_nearest(values: &mut [f32], valid: &[bool], cols: usize) -> f32 {
    let mut farthest_squared = 0;
    for cell in 0..values.len() {
        if valid[cell] {
            continue;
        }
        if let Some((squared, from)) = nearest_valid(valid, cols, cell) {
            values[cell] = values[from];
            farthest_squared = farthest_squared.max(squared);
        }
    }
    (farthest_squared as f32).sqrt()
}

/// Squared distance and index. Looks at square rings of growing radius and stops when no farther ring can be nearer.
fn nearest_valid(valid: &[bool], cols: usize, cell: usize) -> Option<(usize, usize)> {
    let rows = valid.len() / cols;
    let (row, col) = (cell / cols, cell % cols);
    let mut best: Option<(usize, usize)> = None;
    for radius in 1..rows.max(cols) {
        if best.is_some_and(|(squared, _)| radius * radius > squared) {
            break;
        }
        for y in row.saturating_sub(radius)..=(row + radius).min(rows - 1) {
            let whole_line = y.abs_diff(row) == radius;
            // Inside the ring only its two end points are new.
            let step = if whole_line { 1 } else { 2 * radius };
            for x in
                (0..=2 * radius).step_by(step).filter_map(|dx| (col + dx).checked_sub(radius)).filter(|&x| x < cols)
            {
                let found = (y.abs_diff(row).pow(2) + x.abs_diff(col).pow(2), y * cols + x);
                if valid[found.1] && best.is_none_or(|best| found < best) {
                    best = Some(found);
                }
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Every pattern of holes on a small grid, against looking at all cells.
    #[test]
    fn the_fill_is_the_nearest_valid_cell_for_every_pattern() {
        let (rows, cols) = (3, 4);
        for pattern in 1u32..1 << (rows * cols) {
            let valid: Vec<bool> = (0..rows * cols).map(|cell| pattern >> cell & 1 == 1).collect();
            let mut values: Vec<f32> =
                (0..rows * cols).map(|cell| if valid[cell] { cell as f32 } else { f32::NAN }).collect();
            let distance = fill_from_nearest(&mut values, &valid, cols);
            let mut farthest = 0;
            for (cell, &value) in values.iter().enumerate() {
                let squared = |other: usize| {
                    (other / cols).abs_diff(cell / cols).pow(2) + (other % cols).abs_diff(cell % cols).pow(2)
                };
                let nearest = (0..rows * cols)
                    .filter(|&other| valid[other])
                    .min_by_key(|&other| (squared(other), other))
                    .unwrap();
                assert_eq!(value, nearest as f32, "pattern {pattern:b}, cell {cell}");
                farthest = farthest.max(squared(nearest));
            }
            assert_eq!(distance, (farthest as f32).sqrt(), "pattern {pattern:b}");
        }
    }
}
