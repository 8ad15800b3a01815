//! Promises that need no official data: round trips, every invalid input an error, nothing panics.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use egogrid_action_grids::adapt::{AdaptError, AxisOrder, CellSplit, Interpolation, adapt_cells};
use egogrid_action_grids::fit::{self, ActionGaussians, FitError, Gaussian, GridShape, Grids};
use egogrid_action_grids::quantization::quantization;
use egogrid_action_grids::{
    Action, ActionError, ActionGrid, ActionTokenizer, BinEdges, CellDecode, DecodeError, EdgesError, EncodeError,
    FoundKind, GridError, NormStats, NormStatsFile, NormalizedAction, RowStats, StatisticsTable, StatsError,
    TokenError, TokenKind, TokenTable, TokenizerError,
};
use proptest::prelude::*;

/// Nothing like the released sizes, and no two alike.
const SHAPE: GridShape = GridShape { translation: [3, 7, 2], rotation: [5, 1, 4] };
const BEGIN_ID: u32 = 900;
const END_ID: u32 = 7;

fn tokenizer_of(grids: Grids) -> ActionTokenizer {
    let counts = [grids.translation.cell_count(), grids.rotation.cell_count(), 2];
    let table = TokenTable::contiguous(BEGIN_ID, counts, END_ID).unwrap();
    ActionTokenizer::new(grids.translation, grids.rotation, table).unwrap()
}

fn gaussians(mu: f64, sigma: f64) -> ActionGaussians {
    let axis = Gaussian { mu, sigma };
    ActionGaussians { theta: axis, phi: axis, r: axis, roll: axis, pitch: axis, yaw: axis }
}

fn fitted() -> ActionTokenizer {
    tokenizer_of(fit::from_gaussians(&gaussians(0.3, 0.4), 0.0, &SHAPE).unwrap())
}

fn uniform() -> ActionTokenizer {
    tokenizer_of(fit::uniform(&SHAPE).unwrap())
}

/// Decode then encode is the identity on the grid's own axes: in xyz it is false, because corners are clipped.
#[test]
fn every_cell_center_locates_its_own_cell() {
    for tokenizer in [uniform(), fitted()] {
        for grid in [tokenizer.translation_grid(), tokenizer.rotation_grid()] {
            for cell in 0..grid.cell_count() {
                assert_eq!(grid.locate(grid.center(cell).unwrap()), Ok(cell), "cell {cell}");
            }
            let (cell, cell_count) = (grid.cell_count(), grid.cell_count());
            assert_eq!(grid.center(cell), Err(GridError::NoSuchCell { cell, cell_count }));
        }
    }
}

#[test]
fn every_id_is_one_cell_or_one_error() {
    let tokenizer = fitted();
    let table = tokenizer.table();
    let all_ids = (0..2_000).chain([u32::MAX]);
    for token in all_ids {
        for kind in TokenKind::SLOTS {
            match table.cell(kind, token) {
                Ok(cell) => {
                    assert_eq!((table.token(kind, cell), table.kind_of(token)), (Ok(token), FoundKind::Action(kind)))
                }
                Err(error) => {
                    let found = table.kind_of(token);
                    assert_eq!(error, TokenError::WrongKind { token, found, expected: kind });
                    assert_ne!(found, FoundKind::Action(kind));
                }
            }
        }
    }
    assert!(table.token(TokenKind::Gripper, 2).is_err(), "one past the end must not clamp");
}

#[test]
fn a_chunk_is_full_and_then_ends() {
    let tokenizer = fitted();
    let action = NormalizedAction::new([0.1, 0.2, 0.3, 0.4, -0.5, 0.6, 1.0]).unwrap();
    let full: Vec<u32> = [tokenizer.encode(&action).unwrap(); 2].concat();
    let with = |rest: &[u32]| [&full[..], rest].concat();
    assert_eq!(tokenizer.decode_chunk(&full, 2).unwrap().len(), 2);
    assert_eq!(tokenizer.decode_chunk(&with(&[END_ID]), 2).unwrap().len(), 2);
    for index in 0..6 {
        let early = [&full[..index], &[END_ID]].concat();
        assert_eq!(tokenizer.decode_chunk(&early, 2), Err(DecodeError::EarlyEnd { index, expected: 6 }));
        let short = DecodeError::ChunkTooShort { found: index, expected: 6 };
        assert_eq!(tokenizer.decode_chunk(&full[..index], 2), Err(short));
    }
    for (rest, index, token) in
        [(vec![full[0]], 6, full[0]), (vec![END_ID, 3], 7, 3), (vec![END_ID, END_ID], 7, END_ID)]
    {
        let long = DecodeError::ChunkTooLong { token, index, expected: 6 };
        assert_eq!(tokenizer.decode_chunk(&with(&rest), 2), Err(long));
    }
    for chunk_len in [0, usize::MAX] {
        assert_eq!(tokenizer.decode_chunk(&full, chunk_len), Err(DecodeError::ChunkLen { chunk_len }));
    }
}

#[test]
fn signs_of_zero_choose_the_azimuth() {
    let tokenizer = uniform();
    let bins = |xyz: [f64; 3]| {
        let [x, y, z] = xyz;
        let token = tokenizer.encode(&NormalizedAction::new([x, y, z, 0.0, 0.0, 0.0, 0.0]).unwrap()).unwrap()[0];
        tokenizer.translation_grid().bins(token - BEGIN_ID).unwrap()
    };
    // 7 azimuth bins: 0 is in the middle one, π in the last, -π in the first; polar angle 0 is up, π down.
    assert_eq!(bins([0.0, 0.0, 0.0]), [0, 3, 0]);
    assert_eq!(bins([-0.0, 0.0, 0.0]), [0, 6, 0]);
    assert_eq!(bins([-0.0, -0.0, 0.0]), [0, 0, 0]);
    assert_eq!(bins([0.0, 0.0, -0.0]), [2, 3, 0]);
}

#[test]
fn a_grid_of_one_cell_works() {
    let axis = || BinEdges::new(vec![-1.0, 1.0]).unwrap();
    let rotation = ActionGrid::new([axis(), axis(), axis()]).unwrap();
    let grids = Grids { translation: fit::uniform(&SHAPE).unwrap().translation, rotation };
    assert_eq!(grids.shape(), GridShape { translation: [3, 7, 2], rotation: [1; 3] });
    let tokenizer = tokenizer_of(grids);
    let tokens = tokenizer.encode(&NormalizedAction::new([0.5, 0.1, 0.2, 0.9, -1.0, 1.0, 0.0]).unwrap()).unwrap();
    assert_eq!(tokens[1], BEGIN_ID + 42);
    assert_eq!(tokenizer.decode(&tokens).unwrap().rotation(), [0.0; 3]);
}

#[test]
fn what_cannot_be_an_axis_is_refused() {
    let refused = |edges: &[f64]| BinEdges::new(edges.to_vec()).unwrap_err();
    assert_eq!(refused(&[1.0]), EdgesError::Count { found: 1 });
    assert!(matches!(refused(&[0.0, f64::NAN, 1.0]), EdgesError::NotFinite { index: 1, .. }));
    assert_eq!(refused(&[0.0, f64::INFINITY]), EdgesError::NotFinite { index: 1, value: f64::INFINITY });
    assert_eq!(refused(&[0.0, 2.0, 1.0]), EdgesError::Unsorted { index: 2, value: 1.0, before: 2.0 });
    assert_eq!(refused(&[3.0, 3.0, 3.0]), EdgesError::NoWidth { value: 3.0 });
    assert!(serde_json::from_str::<BinEdges>("[0.0, 2.0, 1.0]").is_err());
    assert_eq!(serde_json::from_str::<BinEdges>("[0.0, 1.0, 1.0, 2.0]").unwrap().bin_count(), 3);
}

#[test]
fn what_cannot_be_a_token_table_is_refused() {
    assert_eq!(TokenTable::contiguous(9, [4, 0, 2], 1), Err(TokenError::EmptyBlock { kind: TokenKind::Rotation }));
    assert_eq!(
        TokenTable::contiguous(u32::MAX - 5, [4, 4, 2], 1),
        Err(TokenError::Overflow { kind: TokenKind::Rotation })
    );
    let inside = TokenError::EndInBlock { end_id: 14, kind: TokenKind::Rotation };
    assert_eq!(TokenTable::contiguous(9, [4, 4, 2], 14), Err(inside));
    let overlap = TokenError::Overlap { first: TokenKind::Translation, second: TokenKind::Gripper };
    assert_eq!(TokenTable::new([10..20, 20..30, 5..11], 1), Err(overlap));
    let Grids { translation, rotation } = fit::uniform(&SHAPE).unwrap();
    let table = TokenTable::contiguous(9, [42, 21, 2], 1).unwrap();
    let mismatch = TokenizerError::CellCount { kind: TokenKind::Rotation, tokens: 21, cells: 20 };
    assert_eq!(ActionTokenizer::new(translation, rotation, table), Err(mismatch));
}

#[test]
fn decode_points_replace_midpoints_and_leave_the_tokens() {
    let grids = fit::uniform(&SHAPE).unwrap();
    let actions: Vec<_> =
        [0.10, 0.14, -0.9].iter().map(|&x| NormalizedAction::new([x, 0.01, 0.02, x, 0.1, 0.3, 1.0]).unwrap()).collect();
    let [translation, rotation] = fit::cell_points(&grids, &actions).unwrap();
    let plain = tokenizer_of(grids);
    let with_points = plain.clone().with_cell_decode(translation, rotation).unwrap();
    let tokens = actions.iter().map(|action| plain.encode(action).unwrap()).collect::<Vec<_>>();
    assert_eq!(tokens[0], tokens[1]);
    for (action, tokens) in actions.iter().zip(&tokens) {
        assert_eq!(&with_points.encode(action).unwrap(), tokens);
    }
    let mean = with_points.decode(&tokens[0]).unwrap();
    for (found, expected) in mean.values().iter().zip([0.12, 0.01, 0.02, 0.12, 0.1, 0.3, 1.0]) {
        assert!((found - expected).abs() < 1e-15);
    }
    let unused = [BEGIN_ID, BEGIN_ID + 42, BEGIN_ID + 62];
    assert_eq!(with_points.decode(&unused), plain.decode(&unused), "cells without data keep their midpoint");
    let better = quantization(&with_points, &actions).unwrap().translation_distance.mean;
    assert!(better < quantization(&plain, &actions).unwrap().translation_distance.mean);

    let points = |count, value| CellDecode::Points(vec![[value; 3]; count]);
    let refused = |translation| plain.clone().with_cell_decode(translation, CellDecode::Midpoint).unwrap_err();
    assert!(matches!(refused(points(41, 0.0)), TokenizerError::PointCount { found: 41, expected: 42, .. }));
    assert!(matches!(refused(points(42, 1.5)), TokenizerError::Point { cell: 0, .. }));
    assert!(matches!(refused(points(42, f64::NAN)), TokenizerError::Point { .. }));
}

#[test]
fn quantile_bins_hold_equal_shares_even_where_data_repeats() {
    let value = |index: i32| if index % 2 == 0 { 0.0 } else { f64::from(index - 400) / 1000.0 };
    let actions: Vec<_> =
        (0..800).map(|i| NormalizedAction::new([0.3, 0.2, 0.1, value(i), value(i), value(i), 0.0]).unwrap()).collect();
    let shape = GridShape { translation: [2, 2, 2], rotation: [8, 4, 2] };
    let empty_bins = |share: f64| {
        let grids = fit::from_quantiles(&actions, share, &shape).unwrap();
        let roll = grids.rotation.axes()[0].as_slice().to_vec();
        assert_eq!([roll[0], roll[8]], [-1.0, 1.0]);
        roll.windows(2).filter(|pair| pair[0] == pair[1]).count()
    };
    assert_eq!([empty_bins(0.0), empty_bins(0.01)], [2, 0]);
    assert_eq!(fit::from_quantiles(&actions, 1.5, &shape), Err(FitError::WidthShare { share: 1.5 }));
    assert!(fit::from_quantiles(&actions, f64::NAN, &shape).is_err());
    assert_eq!(fit::from_quantiles(&[], 0.0, &shape), Err(FitError::NoActions));
}

#[test]
fn gaussians_are_those_of_the_data() {
    let rows = [[0.0, 0.0, 0.5, 0.1, 0.2, 0.3, 0.0], [0.0, 0.0, -0.5, 0.3, 0.2, -0.3, 1.0]];
    let actions = rows.map(|row| NormalizedAction::new(row).unwrap());
    let found = fit::gaussians_of(&actions).unwrap();
    let half_pi = std::f64::consts::FRAC_PI_2;
    for (found, (mu, sigma)) in
        found.axes().iter().zip([(half_pi, half_pi), (0.0, 0.0), (0.5, 0.0), (0.2, 0.1), (0.2, 0.0), (0.0, 0.3)])
    {
        assert!((found.mu - mu).abs() < 1e-15 && (found.sigma - sigma).abs() < 1e-15, "{found:?}");
    }
    assert!(matches!(fit::from_gaussians(&found, 0.0, &SHAPE), Err(FitError::Gaussian { axis: "phi", .. })));
    assert!(fit::from_gaussians(&found, 0.1, &SHAPE).is_ok());
    let outside = [NormalizedAction::new([0.0, 1.5, 0.0, 0.0, 0.0, 0.0, 0.0]).unwrap()];
    assert_eq!(fit::gaussians_of(&outside), Err(FitError::OutsideCube { index: 0, dim: "y", value: 1.5 }));
}

#[test]
fn statistics_turn_normalized_into_physical_and_back() {
    let q01 = [-0.02, -0.03, -0.04, -0.1, -0.2, -0.3, 0.0];
    let q99 = [0.03, 0.04, 0.05, 0.1, 0.2, 0.3, 1.0];
    let mask = [true, true, false, true, true, true, false];
    let stats = NormStats::new(q01, q99, mask).unwrap();
    let normalized = NormalizedAction::new([-1.0, 1.0, 0.7, 0.0, 0.5, -0.5, 1.0]).unwrap();
    let action = stats.unnormalize(&normalized).unwrap();
    for (found, expected) in action.values().iter().zip([-0.02, 0.04, 0.7, 0.0, 0.1, -0.15, 1.0]) {
        assert!((found - expected).abs() < 1e-15, "z is masked out: {found} for {expected}");
    }
    let back = stats.normalize_clipped(&action).unwrap();
    for (found, expected) in back.values().iter().zip(normalized.values()) {
        assert!((found - expected).abs() < 1e-6, "the training formula's 1e-8 and no more: {found} for {expected}");
    }
    let beyond = NormalizedAction::new([3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]).unwrap();
    assert!((stats.unnormalize(&beyond).unwrap().translation_m()[0] - 0.08).abs() < 1e-15, "never clamped");
    let gripper = NormalizedAction::new([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0]).unwrap();
    assert_eq!(stats.unnormalize(&gripper), Err(ActionError::Gripper { value: -1.0 }));

    let turned = NormStats::new(q99, q01, mask);
    assert_eq!(turned, Err(StatsError::Unsorted { dim: "x".into(), q01: 0.03, q99: -0.02 }));
    assert!(matches!(NormStats::new([f64::NAN; 7], q99, mask), Err(StatsError::NotFinite { field: "q01", .. })));
    let file = NormStatsFile { q01: q01[..6].to_vec(), q99: q99.to_vec(), mask: mask.to_vec(), min: None, max: None };
    assert_eq!(RowStats::try_from(&file), Err(StatsError::Length { field: "q99", found: 7, expected: 6 }));
}

#[test]
fn a_dimension_without_spread_is_zero_in_training_and_its_value_at_run_time() {
    let q = [0.1; 7];
    let stats = NormStats::new(q, q, [true; 7]).unwrap();
    let action = Action::try_from(q).unwrap();
    let normalized = stats.normalize_clipped(&action).unwrap();
    assert_eq!(normalized.values(), &[0.0; 7]);
    assert_eq!(stats.unnormalize(&normalized), Ok(action));
}

#[test]
fn unknown_statistics_list_the_known_ones() {
    let file = r#"{"b/1": {"action": {"q01": [0,0,0,0,0,0,0], "q99": [1,1,1,1,1,1,1],
        "mask": [true,true,true,true,true,true,false], "mean": [0]}, "num_transitions": 3}}"#;
    let table: StatisticsTable = serde_json::from_str(file).unwrap();
    assert_eq!(table.keys().collect::<Vec<_>>(), ["b/1"]);
    assert!(table.get("b/1").is_ok());
    let unknown = StatsError::UnknownDataset { wanted: "a".into(), known: vec!["b/1".into()] };
    assert_eq!(table.get("a"), Err(unknown));
    let turned = file.replace("\"q01\": [0", "\"q01\": [2");
    let message = serde_json::from_str::<StatisticsTable>(&turned).unwrap_err().to_string();
    assert!(message.contains("b/1") && message.contains("q99 1 below q01 2"), "{message}");
}

#[test]
fn embeddings_of_an_unchanged_grid_stay_as_they_are() {
    let grid = fit::from_gaussians(&gaussians(0.3, 0.4), 0.0, &SHAPE).unwrap().translation;
    let rows: Vec<f32> = (0..grid.cell_count() * 2).map(|value| value as f32).collect();
    let boxes = 4 * 8 * 3;
    for split in 0..64 {
        let splits = CellSplit::parse_all(&vec![split; boxes]).unwrap();
        for mode in [Interpolation::Trilinear, Interpolation::Tetrahedra(&splits)] {
            for order in [AxisOrder::Ij, AxisOrder::OfficialMeshgridXy] {
                assert_eq!(adapt_cells(&grid, &grid, &rows, 2, order, mode).as_ref(), Ok(&rows), "split {split}");
            }
        }
    }
    let adapt = |new, rows: &[f32], mode| adapt_cells(&grid, new, rows, 2, AxisOrder::Ij, mode).unwrap_err();
    let splits = CellSplit::parse_all(&[0; 5]).unwrap();
    let mode = Interpolation::Tetrahedra(&splits);
    assert_eq!(adapt(&grid, &rows, mode), AdaptError::SplitCount { found: 5, expected: boxes });
    assert_eq!(adapt(&grid, &rows[1..], mode), AdaptError::Length { found: 83, cells: 42, width: 2 });
    let mut damaged = rows.clone();
    damaged[5] = f32::INFINITY;
    let plain = Interpolation::Trilinear;
    assert_eq!(adapt(&grid, &damaged, plain), AdaptError::NotFinite { row: 2, value: f32::INFINITY });
    let other = fit::uniform(&SHAPE).unwrap().rotation;
    assert_eq!(adapt(&other, &rows, mode), AdaptError::Shape { old: [3, 7, 2], new: [5, 1, 4] });
    assert_eq!(CellSplit::parse_all(&[0, 64]), Err(AdaptError::Split { index: 1, value: 64 }));
}

fn any_f64() -> impl Strategy<Value = f64> {
    prop_oneof![any::<f64>(), -2.0..2.0, Just(f64::NAN), Just(f64::INFINITY), Just(-0.0), Just(1.0), Just(-1.0)]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn seven_numbers_are_an_action_with_tokens_or_a_typed_error(values in prop::array::uniform7(any_f64())) {
        match NormalizedAction::new(values) {
            Err(ActionError::NotFinite { .. }) => prop_assert!(values.iter().any(|value| !value.is_finite())),
            Err(error) => prop_assert!(false, "{}", error),
            Ok(action) => for tokenizer in [uniform(), fitted()] {
                let inside = values.iter().all(|value| value.abs() <= 1.0);
                match tokenizer.encode(&action) {
                    Ok(tokens) => prop_assert!(inside && tokenizer.decode(&tokens).is_ok()),
                    Err(EncodeError::OutsideCube { .. }) => prop_assert!(!inside),
                    Err(error) => prop_assert!(false, "{}", error),
                }
                let clipped = tokenizer.encode_clipped(&action).unwrap();
                prop_assert_eq!(tokenizer.encode_clipped(&action.clipped()).unwrap(), clipped);
            },
        }
    }

    #[test]
    fn decoding_moves_no_axis_further_than_its_bin(values in prop::array::uniform7(-1.0..=1.0)) {
        let action = NormalizedAction::new(values).unwrap();
        for tokenizer in [uniform(), fitted()] {
            let decoded = tokenizer.decode(&tokenizer.encode(&action).unwrap()).unwrap();
            for (dim, edges) in tokenizer.rotation_grid().axes().iter().enumerate() {
                let [low, high] = edges.bounds(edges.locate(action.rotation()[dim]).unwrap()).unwrap();
                let moved = (decoded.rotation()[dim] - action.rotation()[dim]).abs();
                prop_assert!(moved <= 0.5 * (high - low) + 1e-12);
            }
            prop_assert_eq!(decoded.gripper(), f64::from(u8::from(action.gripper() >= 0.5)));
        }
    }

    #[test]
    fn any_three_ids_are_an_action_or_a_typed_error(tokens in prop::array::uniform3(prop_oneof![any::<u32>(), 895..970_u32])) {
        let tokenizer = fitted();
        let kinds = tokens.map(|token| tokenizer.table().kind_of(token));
        let right = kinds == TokenKind::SLOTS.map(FoundKind::Action);
        prop_assert_eq!(tokenizer.decode(&tokens).is_ok(), right);
        prop_assert_eq!(tokenizer.decode_chunk(&tokens, 1).is_ok(), right);
    }

    #[test]
    fn any_gaussian_gives_a_sorted_grid_or_a_typed_error(mu in any_f64(), sigma in any_f64(), floor in any_f64()) {
        if let Ok(grids) = fit::from_gaussians(&gaussians(mu, sigma), floor, &SHAPE) {
            for cell in 0..grids.translation.cell_count() {
                prop_assert!(grids.translation.center(cell).unwrap().iter().all(|value| value.is_finite()));
            }
        }
    }

    #[test]
    fn any_numbers_are_an_axis_that_locates_or_a_typed_error(edges in prop::collection::vec(any_f64(), 0..6), value in any_f64()) {
        if let Ok(axis) = BinEdges::new(edges) {
            let bin = axis.locate(value);
            prop_assert_eq!(bin.is_none(), value.is_nan());
            prop_assert!(bin.is_none_or(|bin| axis.center(bin).is_some()));
        }
    }
}
