//! Sub-cell depth: the official mean on dense maps, a mean over valid pixels only on sensors, and nothing made up
//! silently.

#![allow(clippy::unwrap_used)]

mod perception_support;

use egogrid_runtime::camera::{DepthImage, DepthKind};
use egogrid_runtime::perception::depth::{
    CELLS_MAX, DepthCells, DepthError, DepthOrigin, EmptyCells, EmptyFill, SensorRules,
};
use perception_support::{CASES, golden_f32, worst};
use proptest::prelude::*;

const RANGE_M: [f32; 2] = [0.1, 5.0];

fn rules(empty_share_max: f32) -> SensorRules {
    SensorRules::new(RANGE_M, EmptyCells::new(empty_share_max, EmptyFill::NearestValid).unwrap()).unwrap()
}

fn sensor(width_px: u32, height_px: u32, data_m: Vec<f32>) -> DepthImage {
    DepthImage::new(width_px, height_px, DepthKind::Sensor, data_m).unwrap()
}

fn averaged(cells: &mut DepthCells, depth: &DepthImage) -> Vec<f32> {
    cells.average(depth).unwrap().0.depth_m.to_vec()
}

#[test]
fn dense_depth_is_bit_equal_to_the_official_mean_in_every_golden_case() {
    let mut cells = DepthCells::new(32, 32, rules(0.0)).unwrap();
    for case in CASES {
        let depth = DepthImage::new(224, 224, DepthKind::Dense, golden_f32(case, "depth_224")).unwrap();
        let (found, report) = cells.average(&depth).unwrap();
        assert_eq!(worst(found.depth_m, &golden_f32(case, "patch_depth")), 0.0, "case {case}");
        assert_eq!((report.cells, report.cells_empty, report.cells_filled, report.invalid_share), (1024, 0, 0, 0.0));
    }
}

#[test]
fn an_estimate_is_averaged_like_a_dense_map_and_named_what_it_is() {
    let mut cells = DepthCells::new(32, 32, rules(0.0)).unwrap();
    let estimate = golden_f32(3, "depth_224");
    let (found, report) = cells.average_estimated(224, &estimate).unwrap();
    assert_eq!(worst(found.depth_m, &golden_f32(3, "patch_depth")), 0.0, "negative depth included");
    assert_eq!((report.origin, report.origin.name(), report.cells_empty), (DepthOrigin::Estimated, "estimated", 0));
    for (width_px, values) in [(224, &estimate[1..]), (0, &estimate[..]), (224, &[][..])] {
        let refused = cells.average_estimated(width_px, values).unwrap_err();
        assert!(matches!(refused, DepthError::WrongLength { found, .. } if found == values.len()), "{refused}");
    }
    let mut broken = estimate;
    broken[0] = f32::NAN;
    let refused = cells.average_estimated(224, &broken).unwrap_err();
    assert!(matches!(refused, DepthError::NotFinite { row: 0, col: 0, .. }), "{refused}");
}

#[test]
fn dense_depth_with_a_value_that_is_not_finite_is_refused_by_its_cell() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut data_m = vec![1.0; 8 * 8];
        data_m[5 * 8 + 2] = bad;
        let depth = DepthImage::new(8, 8, DepthKind::Dense, data_m).unwrap();
        let refused = DepthCells::new(4, 4, rules(0.5)).unwrap().average(&depth).unwrap_err();
        assert!(matches!(refused, DepthError::NotFinite { row: 2, col: 1, .. }), "{refused}");
    }
}

#[test]
fn every_kind_of_hole_is_left_out_of_a_sensor_mean() {
    let mut cells = DepthCells::new(1, 1, rules(0.0)).unwrap();
    for hole in [0.0, -0.0, -1.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0999, 5.0001, 1e-42] {
        let (found, report) = cells.average(&sensor(4, 1, vec![1.0, hole, 2.0, hole])).unwrap();
        assert_eq!(found.depth_m, [1.5], "hole {hole}");
        assert_eq!((report.cells_empty, report.invalid_share), (0, 0.5), "hole {hole}");
    }
    for valid in RANGE_M {
        assert_eq!(averaged(&mut cells, &sensor(1, 1, vec![valid])), [valid], "both ends of the range count");
    }
}

#[test]
fn zero_is_a_hole_even_where_the_range_begins_at_zero() {
    let rules = SensorRules::new([0.0, 5.0], EmptyCells::refused()).unwrap();
    let mut cells = DepthCells::new(1, 1, rules).unwrap();
    assert_eq!(averaged(&mut cells, &sensor(3, 1, vec![0.0, 2.0, -0.0])), [2.0]);
}

#[test]
fn a_pixel_on_a_cell_border_counts_with_the_part_that_lies_inside() {
    let mut cells = DepthCells::new(1, 2, rules(0.0)).unwrap(); // 3 pixels in 2 cells: 1 + 1/2 each
    assert_eq!(averaged(&mut cells, &sensor(3, 1, vec![1.0, 4.0, 2.5])), [2.0, 3.0]);
    assert_eq!(averaged(&mut cells, &sensor(3, 1, vec![1.0, 0.0, 2.5])), [1.0, 2.5]);
    let mut finer = DepthCells::new(1, 4, rules(0.0)).unwrap(); // more cells than pixels: 3/4 pixel each
    assert_eq!(averaged(&mut finer, &sensor(3, 1, vec![1.0, 4.0, 2.5])), [1.0, 3.0, 3.5, 2.5]);
}

#[test]
fn empty_cells_are_refused_above_the_limit_and_counted_below_it() {
    let data_m = vec![1.0, 2.0, 0.0, 4.0, 0.0, 0.0, 0.0, 3.0, 5.0];
    let depth = sensor(3, 3, data_m);
    let (mut strict, mut just_enough) =
        (DepthCells::new(3, 3, rules(0.44)).unwrap(), DepthCells::new(3, 3, rules(0.45)).unwrap());
    assert_eq!(
        strict.average(&depth).unwrap_err(),
        DepthError::TooManyEmpty { cells_empty: 4, cells: 9, share_max: 0.44, range_m: RANGE_M }
    );
    let (found, report) = just_enough.average(&depth).unwrap();
    assert_eq!(found.depth_m, [1.0, 2.0, 2.0, 4.0, 2.0, 5.0, 4.0, 3.0, 5.0], "nearest; among equals the first");
    assert_eq!((report.cells_empty, report.cells_filled, report.fill_distance_cells_max), (4, 4, 1.0));
    let none_allowed = DepthCells::new(3, 3, SensorRules::new(RANGE_M, EmptyCells::refused()).unwrap())
        .unwrap()
        .average(&depth)
        .unwrap_err();
    assert!(none_allowed.to_string().contains("4 of 9 depth sub-cells"), "{none_allowed}");
}

#[test]
fn a_frame_without_one_valid_pixel_is_refused_whatever_the_limit() {
    let refused = DepthCells::new(2, 2, rules(0.999)).unwrap().average(&sensor(4, 4, vec![f32::NAN; 16])).unwrap_err();
    assert!(matches!(refused, DepthError::TooManyEmpty { cells_empty: 4, cells: 4, .. }), "{refused}");
}

#[test]
fn rules_that_are_not_numbers_in_order_are_refused() {
    for range_m in [[f32::NAN, 1.0], [0.0, f32::NAN], [0.0, f32::INFINITY], [1.0, 1.0], [2.0, 1.0], [-1.0, 1.0]] {
        assert!(
            matches!(SensorRules::new(range_m, EmptyCells::refused()), Err(DepthError::BadRange { .. })),
            "{range_m:?}"
        );
    }
    for share in [-0.01, 1.0, f32::NAN] {
        assert!(matches!(EmptyCells::new(share, EmptyFill::NearestValid), Err(DepthError::BadShare { .. })), "{share}");
    }
    for [rows, cols] in [[0, 1], [1, 0], [CELLS_MAX, 2], [u32::MAX, u32::MAX]] {
        assert!(matches!(DepthCells::new(rows, cols, rules(0.0)), Err(DepthError::BadCells { .. })), "{rows}x{cols}");
    }
}

/// Depth images with holes, and the grid they are averaged to.
fn holed() -> impl Strategy<Value = (u32, u32, Vec<Option<f32>>, [u32; 2])> {
    let sizes = (1u32..40, 1u32..40, [1u32..12, 1u32..12]);
    sizes.prop_flat_map(|(width, height, grid)| {
        let pixel = proptest::option::weighted(0.7, RANGE_M[0]..RANGE_M[1]);
        (Just(width), Just(height), proptest::collection::vec(pixel, (width * height) as usize), Just(grid))
    })
}

fn hole() -> impl Strategy<Value = f32> {
    prop_oneof![Just(0.0), Just(f32::NAN), Just(f32::INFINITY), Just(f32::NEG_INFINITY), -9.0f32..0.099, 5.001f32..1e30]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever stands in an invalid pixel: depth and report are the same, bit for bit.
    #[test]
    fn holes_never_move_a_mean((width, height, pixels, grid) in holed(), holes in [hole(), hole()]) {
        let mut cells = DepthCells::new(grid[0], grid[1], rules(0.9)).unwrap();
        let [a, b] = holes.map(|hole| {
            let depth = sensor(width, height, pixels.iter().map(|pixel| pixel.unwrap_or(hole)).collect());
            cells.average(&depth).map(|(depth, report)| (depth.depth_m.to_vec(), report))
        });
        prop_assert_eq!(a, b);
    }

    /// A flat wall stays flat to the last bit, whatever the sizes and however many holes.
    #[test]
    fn a_flat_wall_stays_flat((width, height, pixels, grid) in holed(), wall_m in RANGE_M[0]..RANGE_M[1]) {
        let mut cells = DepthCells::new(grid[0], grid[1], rules(0.9)).unwrap();
        let depth = sensor(width, height, pixels.iter().map(|pixel| pixel.map_or(0.0, |_| wall_m)).collect());
        if let Ok((depth, _)) = cells.average(&depth) {
            prop_assert!(depth.depth_m.iter().all(|&found| found == wall_m), "{:?}", depth.depth_m);
        }
    }

    /// The mean that is defined pixel by pixel, in the slowest possible way.
    #[test]
    fn the_mean_is_the_area_weighted_mean_of_the_valid_pixels((width, height, pixels, grid) in holed()) {
        let mut cells = DepthCells::new(grid[0], grid[1], rules(0.0)).unwrap();
        let depth = sensor(width, height, pixels.iter().map(|pixel| pixel.unwrap_or(0.0)).collect());
        let Ok((found, report)) = cells.average(&depth) else { return Ok(()) };
        let share = |cell: u32, cells: u32, side: u32, at: u32| {
            let (begin, end) = (f64::from(cell * side) / f64::from(cells), f64::from((cell + 1) * side) / f64::from(cells));
            (end.min(f64::from(at + 1)) - begin.max(f64::from(at))).max(0.0)
        };
        for (cell, &mean) in (0..).zip(found.depth_m) {
            let (row, col) = (cell / grid[1], cell % grid[1]);
            let weighted = (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).filter_map(|(x, y)| {
                let weight = share(row, grid[0], height, y) * share(col, grid[1], width, x);
                pixels[(y * width + x) as usize].map(|depth| (weight, weight * f64::from(depth)))
            });
            let (weight, sum) = weighted.fold((0.0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1));
            prop_assert!((f64::from(mean) - sum / weight).abs() < 1e-6, "cell {cell}");
        }
        let invalid = pixels.iter().filter(|pixel| pixel.is_none()).count() as f32 / pixels.len() as f32;
        prop_assert!((report.invalid_share - invalid).abs() < 1e-6);
    }

    /// Any bits as depth, either kind: a result with finite numbers or an error, never a panic.
    #[test]
    fn any_bits_are_averaged_or_refused(
        (width, height, grid) in (1u32..30, 1u32..30, [1u32..12, 1u32..12]),
        bits in proptest::collection::vec(any::<u32>(), 900), dense in any::<bool>(),
    ) {
        let kind = if dense { DepthKind::Dense } else { DepthKind::Sensor };
        let data_m: Vec<f32> = bits.into_iter().take((width * height) as usize).map(f32::from_bits).collect();
        let depth = DepthImage::new(width, height, kind, data_m).unwrap();
        if let Ok((found, report)) = DepthCells::new(grid[0], grid[1], rules(0.9)).unwrap().average(&depth) {
            prop_assert!(found.depth_m.iter().all(|depth_m| depth_m.is_finite()));
            prop_assert!((0.0..=1.0).contains(&report.invalid_share));
        }
    }
}
