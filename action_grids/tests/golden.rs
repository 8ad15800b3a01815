//! Promises kept against data of the official code, `fixtures/README.md`: ids, values, edges, chunks, embeddings.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use egogrid_action_grids::adapt::{AxisOrder, CellSplit, Interpolation, adapt_cells, adapt_tokens};
use egogrid_action_grids::fit::{self, AXIS_NAMES, ActionGaussians, GridShape, Grids};
use egogrid_action_grids::{
    ActionGrid, ActionTokenizer, BinEdges, DecodeError, FoundKind, NormalizedAction, StatisticsTable, TokenKind,
    TokenTable,
};
use safetensors::SafeTensors;
use serde::Deserialize;

const GRID_NAMES: [&str; 10] = [
    "released",
    "uniform",
    "bridge_minsigma0.0",
    "bridge_minsigma0.5",
    "fractal_minsigma0.0",
    "fractal_minsigma0.5",
    "spatialvla_plus_minsigma0.0",
    "spatialvla_plus_minsigma0.5",
    "narrow_minsigma0.0",
    "offrange_minsigma0.0",
];
const SHAPE: GridShape = GridShape { translation: [16, 32, 8], rotation: [16, 16, 16] };
/// Of the tiny checkpoint that made `cases.json`.
const ACTION_BEGIN_ID: u32 = 1667;
const END_ID: u32 = 1;
const CHUNK_LEN: usize = 4;

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)).unwrap()
}

fn f64s(file: &SafeTensors<'_>, name: &str) -> Vec<f64> {
    file.tensor(name).unwrap().data().as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect()
}

fn f32s(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    file.tensor(name).unwrap().data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

fn grids(file: &SafeTensors<'_>, name: &str) -> Grids {
    let axis = |axis: &str| BinEdges::new(f64s(file, &format!("{name}.edges.{axis}"))).unwrap();
    let [theta, phi, r, roll, pitch, yaw] = AXIS_NAMES.map(axis);
    Grids {
        translation: ActionGrid::new([theta, phi, r]).unwrap(),
        rotation: ActionGrid::new([roll, pitch, yaw]).unwrap(),
    }
}

fn tokenizer(Grids { translation, rotation }: Grids) -> ActionTokenizer {
    let counts = [translation.cell_count(), rotation.cell_count(), 2];
    ActionTokenizer::new(translation, rotation, TokenTable::contiguous(ACTION_BEGIN_ID, counts, END_ID).unwrap())
        .unwrap()
}

fn actions(file: &SafeTensors<'_>) -> Vec<NormalizedAction> {
    let rows = f32s(file, "actions");
    rows.as_chunks::<7>().0.iter().map(|row| NormalizedAction::new(row.map(f64::from)).unwrap()).collect()
}

#[test]
fn every_official_id_is_reproduced_on_every_grid() {
    let bytes = fixture("grids.safetensors");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let actions = actions(&file);
    assert_eq!(actions.len(), 2000);
    for name in GRID_NAMES {
        let tokenizer = tokenizer(grids(&file, name));
        let cells = file.tensor(&format!("{name}.cells")).unwrap();
        let expected = cells.data().as_chunks::<2>().0.iter().map(|bytes| u32::from(u16::from_le_bytes(*bytes)));
        let expected: Vec<u32> = expected.map(|cell| ACTION_BEGIN_ID + cell).collect();
        for (index, (action, expected)) in actions.iter().zip(expected.as_chunks::<3>().0).enumerate() {
            assert_eq!(&tokenizer.encode_clipped(action).unwrap(), expected, "{name}, action {index}");
            let inside = action.outside_cube().is_none();
            assert_eq!(tokenizer.encode(action).is_ok(), inside, "{name}, action {index}");
        }
    }
}

#[test]
fn every_cell_of_every_grid_decodes_to_the_official_value() {
    let bytes = fixture("grids.safetensors");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut worst = 0.0_f64;
    for name in GRID_NAMES {
        let tokenizer = tokenizer(grids(&file, name));
        let table = f64s(&file, &format!("{name}.decode_table"));
        assert_eq!(table.len(), 4096 * 7);
        for (row, expected) in (0..).zip(table.as_chunks::<7>().0) {
            let begin = ACTION_BEGIN_ID;
            let decoded = tokenizer.decode(&[begin + row, begin + 4096 + row, begin + 8192 + row % 2]).unwrap();
            for (found, expected) in decoded.values().iter().zip(expected) {
                worst = worst.max((found - expected).abs());
            }
        }
    }
    println!("largest difference of a decoded value: {worst:e}");
    assert!(worst <= 1e-12, "{worst:e}");
}

/// Skips the empty cells at the saturated ends, of which these grids have none.
#[test]
fn every_cell_center_of_every_grid_locates_its_own_cell() {
    let bytes = fixture("grids.safetensors");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    for name in GRID_NAMES {
        let Grids { translation, rotation } = grids(&file, name);
        for grid in [translation, rotation] {
            for cell in 0..grid.cell_count() {
                assert_eq!(grid.locate(grid.center(cell).unwrap()), Ok(cell), "{name}, cell {cell}");
            }
            assert!(grid.center(grid.cell_count()).is_err(), "{name}: one past the end must not clamp");
        }
    }
}

#[derive(Deserialize)]
struct GaussianGrid {
    sigma_min: f64,
    axes: ActionGaussians,
}

#[test]
fn fitted_edges_are_the_official_ones() {
    let bytes = fixture("grids.safetensors");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let gaussians: BTreeMap<String, GaussianGrid> = serde_json::from_slice(&fixture("gaussians.json")).unwrap();
    assert_eq!(gaussians.len(), 9, "all grids but the uniform one");
    for (name, GaussianGrid { sigma_min, axes }) in gaussians {
        assert_edges_agree(&name, &fit::from_gaussians(&axes, sigma_min, &SHAPE).unwrap(), &grids(&file, &name), 1e-12);
    }
    assert_edges_agree("uniform", &fit::uniform(&SHAPE).unwrap(), &grids(&file, "uniform"), 0.0);
}

fn assert_edges_agree(name: &str, found: &Grids, expected: &Grids, bound: f64) {
    let edges = |grids: &Grids| [grids.translation.axes(), grids.rotation.axes()].map(|axes| axes.clone()).concat();
    let mut worst = 0.0_f64;
    for (found, expected) in edges(found).iter().zip(&edges(expected)) {
        assert_eq!(found.bin_count(), expected.bin_count());
        for (found, expected) in found.as_slice().iter().zip(expected.as_slice()) {
            worst = worst.max((found - expected).abs());
        }
    }
    println!("{name}: largest difference of an edge {worst:e}");
    assert!(worst <= bound, "{name}: {worst:e}");
}

#[derive(Deserialize)]
struct Case {
    unnorm_key: String,
    generated_ids: Vec<u32>,
    actions: Vec<[f64; 7]>,
}

fn cases() -> (ActionTokenizer, StatisticsTable, BTreeMap<String, Case>) {
    let bytes = fixture("grids.safetensors");
    let tokenizer = tokenizer(grids(&SafeTensors::deserialize(&bytes).unwrap(), "released"));
    let statistics = serde_json::from_slice(&fixture("statistics.json")).unwrap();
    (tokenizer, statistics, serde_json::from_slice(&fixture("cases.json")).unwrap())
}

#[test]
fn whole_generations_become_the_official_physical_actions() {
    let (tokenizer, statistics, cases) = cases();
    for name in ["case1", "case2", "case3", "case4"] {
        let Case { unnorm_key, generated_ids, actions } = &cases[name];
        assert_eq!(generated_ids.last(), Some(&END_ID));
        let chunk = tokenizer.decode_chunk(generated_ids, CHUNK_LEN).unwrap();
        assert_eq!(chunk.len(), actions.len());
        for (normalized, expected) in chunk.iter().zip(actions) {
            let action = statistics.get(unnorm_key).unwrap().one_arm().unwrap().unnormalize(normalized).unwrap();
            for (found, expected) in action.values().iter().zip(expected) {
                assert!((found - expected).abs() <= 1e-12, "{name}: {found} for {expected}");
            }
        }
    }
}

/// Where the official code pads with id 0 and clips to the next cell, which are large motions, there is no action.
#[test]
fn what_the_official_code_pads_or_clips_is_an_error_here() {
    let (tokenizer, _, cases) = cases();
    let early = tokenizer.decode_chunk(&cases["case0"].generated_ids, CHUNK_LEN);
    assert_eq!(early, Err(DecodeError::EarlyEnd { index: 9, expected: 12 }));

    let odd = &cases["odd_ids"].generated_ids;
    let gripper = FoundKind::Action(TokenKind::Gripper);
    let wrong = DecodeError::WrongKind { index: 0, token: 9860, found: gripper, expected: TokenKind::Translation };
    assert_eq!(tokenizer.decode_chunk(odd, CHUNK_LEN), Err(wrong));
    for step in odd.as_chunks::<3>().0 {
        assert!(matches!(tokenizer.decode(step), Err(DecodeError::WrongKind { .. })), "{step:?}");
    }
    let text =
        DecodeError::WrongKind { index: 1, token: 5, found: FoundKind::NotAction, expected: TokenKind::Rotation };
    assert_eq!(tokenizer.decode(&[ACTION_BEGIN_ID, 5, 0]), Err(text));

    let short = &cases["case1"].generated_ids[..11];
    assert_eq!(tokenizer.decode_chunk(short, CHUNK_LEN), Err(DecodeError::ChunkTooShort { found: 11, expected: 12 }));
}

#[test]
fn official_embedding_adaption_is_reproduced_with_its_triangulation() {
    let (bytes, grid_bytes) = (fixture("adaption.safetensors"), fixture("grids.safetensors"));
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let grid_file = SafeTensors::deserialize(&grid_bytes).unwrap();
    let (old, new) = (grids(&grid_file, "released"), grids(&grid_file, "bridge_minsigma0.0"));
    let (before, after) = (f32s(&file, "before"), f32s(&file, "after"));
    let splits = |name: &str| CellSplit::parse_all(file.tensor(&format!("splits.{name}")).unwrap().data()).unwrap();
    let (translation, rotation) = (splits("translation"), splits("rotation"));

    let order = AxisOrder::OfficialMeshgridXy;
    let replayed = adapt_tokens(&old, &new, &before, 4, order, Some([&translation, &rotation])).unwrap();
    let (worst, _) = differences(&replayed, &after);
    println!("official order, Qhull's triangulation: largest difference {worst:e}");
    assert!(worst <= 1e-6, "{worst:e}");

    // Without the triangulation only the order can be right: these figures are what is reachable then.
    for (name, order) in [("official", order), ("ij", AxisOrder::Ij)] {
        let adapted = adapt_tokens(&old, &new, &before, 4, order, None).unwrap();
        let (worst, rms) = differences(&adapted, &after);
        println!("{name} order, trilinear: largest difference {worst:.3}, root mean square {rms:.3}");
        assert!((name == "official") == (rms < 0.5), "{name}: {rms}");
    }
}

/// Largest and root mean square.
fn differences(found: &[f32], expected: &[f32]) -> (f64, f64) {
    assert_eq!(found.len(), expected.len());
    let differences = found.iter().zip(expected).map(|(found, expected)| f64::from((found - expected).abs()));
    let worst = differences.clone().fold(0.0, f64::max);
    (worst, (differences.map(|d| d * d).sum::<f64>() / found.len() as f64).sqrt())
}

/// The default mode is exact for what is linear on each axis, and close for what bends: here the position itself.
#[test]
fn adapting_in_axis_order_keeps_a_smooth_field_in_place() {
    let (bytes, grid_bytes) = (fixture("adaption.safetensors"), fixture("grids.safetensors"));
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let grid_file = SafeTensors::deserialize(&grid_bytes).unwrap();
    let (old, new) = (grids(&grid_file, "released"), grids(&grid_file, "bridge_minsigma0.0"));
    let splits = CellSplit::parse_all(file.tensor("splits.translation").unwrap().data()).unwrap();
    let (old, new) = (old.translation, new.translation);
    let ends = [0, 1].map(|end| old.axes().each_ref().map(|axis| axis.center(end * (axis.bin_count() - 1)).unwrap()));
    // Outside the outermost midpoints every mode repeats the last embedding.
    let inner = |center: [f64; 3]| (0..3).all(|axis| (ends[0][axis]..=ends[1][axis]).contains(&center[axis]));
    let inner: Vec<bool> = (0..new.cell_count()).map(|cell| inner(new.center(cell).unwrap())).collect();
    let rms = |field: &dyn Fn([f64; 3]) -> f64, order, interpolation| {
        let on = |grid: &ActionGrid| -> Vec<f32> {
            (0..grid.cell_count()).map(|cell| field(grid.center(cell).unwrap()) as f32).collect()
        };
        let (found, expected) = (adapt_cells(&old, &new, &on(&old), 1, order, interpolation).unwrap(), on(&new));
        let keep = |values: Vec<f32>| -> Vec<f32> {
            values.into_iter().zip(&inner).filter_map(|(value, &inner)| inner.then_some(value)).collect()
        };
        differences(&keep(found), &keep(expected)).1
    };

    let per_axis = |[theta, phi, r]: [f64; 3]| 1.0 + theta - 2.0 * phi + 3.0 * r + 4.0 * theta * phi * r;
    assert!(rms(&per_axis, AxisOrder::Ij, Interpolation::Trilinear) < 1e-5);
    let position = |[theta, phi, r]: [f64; 3]| r * theta.sin() * phi.cos();
    let trilinear = rms(&position, AxisOrder::Ij, Interpolation::Trilinear);
    let tetrahedra = rms(&position, AxisOrder::Ij, Interpolation::Tetrahedra(&splits));
    let scrambled = rms(&position, AxisOrder::OfficialMeshgridXy, Interpolation::Tetrahedra(&splits));
    println!(
        "x of the new cells, root mean square error: trilinear {trilinear:.4}, tetrahedra {tetrahedra:.4}, official {scrambled:.4}"
    );
    assert!(trilinear < tetrahedra && 10.0 * tetrahedra < scrambled);
}
