//! Several observations in one pass are answered as each of them alone: the same ids, whatever stands beside them and wherever they stand.
//!
//! The shipped checkpoint with batched graphs, exported here. Needs the Python environment (`EGOGRID_PYTHON` or `.venv`) and ONNX Runtime.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{SHIPPED, environment, exported_with, golden_bundle};
use egogrid_policies::bundle::Bundle;
use egogrid_policies::registry::{LoadOptions, load_batched, load_with_depth};
use egogrid_runtime::camera::{CameraIntrinsics, DepthImage, DepthKind, Frame, RgbImage, Stamp};
use egogrid_runtime::execution::GraphOptions;
use egogrid_runtime::observation::Observation;
use egogrid_runtime::perception::depth::{EmptyCells, SensorRules};
use egogrid_runtime::policy::{BatchPolicy, Policy, PolicyError};
use nalgebra::{Isometry3, Translation3, UnitQuaternion};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const BATCH: usize = 3;
const SIDE_PX: u32 = 64;
/// Prompts of different lengths, known sentences and others.
const INSTRUCTIONS: [&str; 4] =
    ["close the drawer", "press the button from the top", "open the window", "open the door now please"];

fn options() -> LoadOptions {
    LoadOptions { stats_key: "metaworld_mt5/1.0.0".to_owned(), graph: GraphOptions::default(), preprocessing: None }
}

fn rules() -> SensorRules {
    SensorRules::new([0.0, 10.0], EmptyCells::refused()).unwrap()
}

fn both() -> (Box<dyn Policy>, Box<dyn BatchPolicy>) {
    let bundle = Bundle::open(&exported_with(SHIPPED, "fp32", &["--batch", "3"])).unwrap();
    let single = load_with_depth(&environment(), &bundle, &options(), rules()).unwrap();
    let batched = load_batched(&environment(), &bundle, &options(), rules()).unwrap();
    assert_eq!((batched.batch_max(), batched.spec()), (BATCH, single.spec()));
    (single, batched)
}

/// A scene of boxes in random colours on a slope.
fn observation(seed: u64) -> Observation {
    let (mut random, count) = (StdRng::seed_from_u64(seed), (SIDE_PX * SIDE_PX) as usize);
    let (mut rgb, mut depth_m) = (vec![120u8; 3 * count], vec![0.0f32; count]);
    for (index, depth) in depth_m.iter_mut().enumerate() {
        *depth = 1.3 - 0.4 * (index / SIDE_PX as usize) as f32 / SIDE_PX as f32;
    }
    for _ in 0..6 {
        let [left, top] = [0, 1].map(|_| random.random_range(0..SIDE_PX as usize - 16));
        let (colour, nearer) = ([0, 1, 2].map(|_| random.random::<u8>()), random.random_range(0.0..0.3));
        for at in (top..top + 16).flat_map(|row| (left..left + 16).map(move |column| row * SIDE_PX as usize + column)) {
            rgb[3 * at..][..3].copy_from_slice(&colour);
            depth_m[at] -= nearer;
        }
    }
    let focal_px = f64::from(SIDE_PX);
    let middle_px = f64::from(SIDE_PX - 1) / 2.0;
    let matrix = [focal_px, 0.0, middle_px, 0.0, focal_px, middle_px, 0.0, 0.0, 1.0];
    let intrinsics = CameraIntrinsics::from_matrix(matrix, [SIDE_PX; 2]).unwrap();
    let pose = Isometry3::from_parts(
        Translation3::new(0.6, 0.2, 0.9),
        UnitQuaternion::from_euler_angles(-2.2, 0.1, 0.4 + random.random_range(0.0..0.1)),
    );
    let frame = Frame {
        stamp: Stamp::default(),
        rgb: RgbImage::new(SIDE_PX, SIDE_PX, rgb).unwrap(),
        depth: Some(DepthImage::new(SIDE_PX, SIDE_PX, DepthKind::Dense, depth_m).unwrap()),
        intrinsics: Some(intrinsics),
        base_from_camera: Some(pose),
    };
    let instruction = INSTRUCTIONS[seed as usize % INSTRUCTIONS.len()].to_owned();
    Observation { sequence: seed, frame, instruction, state: None }
}

#[test]
fn everybody_gets_the_answer_that_they_would_get_alone() {
    let (mut single, mut batched) = both();
    let observations: Vec<Observation> = (0..60).map(observation).collect();
    let mut answered = 0;
    // Full passes, and such with places that nobody takes.
    for (number, some) in observations.chunks(BATCH).enumerate() {
        let some: Vec<&Observation> = some.iter().take(1 + number % BATCH).collect();
        let together = batched.infer_batch(&some);
        assert_eq!(together.len(), some.len());
        for (observation, found) in some.iter().zip(together) {
            match (single.infer(observation), found) {
                (Ok(alone), Ok(found)) => {
                    assert_eq!(found.token_ids, alone.token_ids, "observation {}", observation.sequence);
                    assert_eq!((&found.actions, found.sequence), (&alone.actions, observation.sequence));
                    assert_eq!(found.points_xyz_m, alone.points_xyz_m);
                    for (found, alone) in found.confidence.iter().zip(&alone.confidence) {
                        assert!((found - alone).abs() < 1e-4, "{found} and {alone}");
                    }
                    answered += 1;
                }
                (Err(alone), Err(found)) => assert_eq!(found.kind(), alone.kind()),
                (alone, found) => panic!("observation {}: {alone:?} alone, {found:?} together", observation.sequence),
            }
        }
    }
    assert!(answered >= 30, "only {answered} answers: this says little");
}

#[test]
fn an_answer_depends_neither_on_its_place_nor_on_its_neighbours() {
    let (_, mut batched) = both();
    let observations: Vec<Observation> = (0..4).map(observation).collect();
    let mut told = |order: [usize; BATCH]| {
        let some = order.map(|index| &observations[index]);
        batched.infer_batch(&some).into_iter().map(Result::unwrap).collect::<Vec<_>>()
    };
    let first = told([0, 1, 2]);
    for (order, place) in [([0, 3, 3], 0), ([1, 0, 2], 1), ([2, 3, 0], 2), ([0, 0, 0], 2)] {
        let found = &told(order)[place];
        assert_eq!((&found.token_ids, &found.confidence), (&first[0].token_ids, &first[0].confidence), "{order:?}");
    }
}

#[test]
fn who_is_refused_costs_the_others_nothing() {
    let (mut single, mut batched) = both();
    let mut some: Vec<Observation> = (0..3).map(observation).collect();
    some[1].frame.depth = None;
    let answers = batched.infer_batch(&some.iter().collect::<Vec<_>>());
    assert!(matches!(answers[1], Err(PolicyError::Missing { what: "depth", .. })), "{:?}", answers[1]);
    for index in [0, 2] {
        assert_eq!(answers[index].as_ref().unwrap().token_ids, single.infer(&some[index]).unwrap().token_ids);
    }
    let many: Vec<Observation> = (0..=BATCH as u64).map(observation).collect();
    assert!(batched.infer_batch(&many.iter().collect::<Vec<_>>()).iter().all(Result::is_err));
    assert!(batched.infer_batch(&[]).is_empty());
}

#[test]
fn a_bundle_without_such_graphs_says_how_to_make_them() {
    let bundle = Bundle::open(&golden_bundle()).unwrap();
    let options = LoadOptions { stats_key: bundle.statistics().keys().next().unwrap().to_owned(), ..options() };
    let error = load_batched(&environment(), &bundle, &options, rules()).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("--batch N"), "{error}");
}
