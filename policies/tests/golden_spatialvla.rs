//! The golden checkpoint gives what the official code gives: same ids, same actions, every stage on the way.
//!
//! Expected values: `tests/fixtures/spatialvla_golden` (the official code). Weights: `tests/fixtures/spatialvla_golden_bundle`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::tensors::{assert_close, bytes, f32s, f64s, i64s};
use common::{environment, fixture, golden_bundle};
use egogrid_policies::bundle::Bundle;
use egogrid_policies::registry::LoadOptions;
use egogrid_policies::spatialvla::SpatialVla;
use egogrid_policies::{StageOutput, Watch};
use egogrid_runtime::camera::{DepthImage, DepthKind, Frame, RgbImage, Stamp};
use egogrid_runtime::execution::{Flavour, GraphOptions};
use egogrid_runtime::observation::Observation;
use egogrid_runtime::perception::depth::{EmptyCells, SensorRules};
use egogrid_runtime::policy::{ActionChunk, Policy, PolicyError};
use egogrid_runtime::schedule::{CommittedPrefix, Token};
use egogrid_runtime::stage::Stage;
use safetensors::SafeTensors;
use std::collections::BTreeMap;
use std::fs;

const CASES: [usize; 5] = [0, 1, 2, 3, 4];
const FULL_CASES: [usize; 4] = [1, 2, 3, 4];
const FLAVOURS: [Flavour; 2] = [Flavour::Cpu, Flavour::Static];

struct Case {
    observation: Observation,
    stats_key: String,
    tensors: Vec<u8>,
}

impl Case {
    fn load(number: usize, bundle: &Bundle) -> Self {
        let path = |end: &str| fixture("spatialvla_golden/cases").join(format!("case{number}.{end}"));
        let about: serde_json::Value = serde_json::from_slice(&fs::read(path("json")).unwrap()).unwrap();
        let text = |key: &str| about[key].as_str().unwrap().to_owned();
        let tensors = fs::read(path("safetensors")).unwrap();
        let picture = image::open(path("png")).unwrap().into_rgb8();
        let size_px = [picture.width(), picture.height()];
        let rgb = RgbImage::new(size_px[0], size_px[1], picture.into_raw()).unwrap();
        let depth = DepthImage::new(224, 224, DepthKind::Dense, f32s(&tensors, "depth_224")).unwrap();
        let stats_key = text("unnorm_key");
        let intrinsics = Some(bundle.intrinsics(&stats_key).unwrap().intrinsics.resized(size_px));
        let frame = Frame { stamp: Stamp::default(), rgb, depth: Some(depth), intrinsics, base_from_camera: None };
        let observation = Observation { sequence: number as u64, frame, instruction: text("prompt"), state: None };
        Self { observation, stats_key, tensors }
    }

    fn token_ids(&self) -> Vec<u32> {
        let ids = i64s(&self.tensors, "generated_ids");
        ids.into_iter().map(|id| u32::try_from(id).unwrap()).collect()
    }
}

fn load(bundle: &Bundle, stats_key: &str) -> SpatialVla {
    load_as(Flavour::Cpu, bundle, stats_key)
}

/// Both sets of graphs run on the processor.
fn load_as(flavour: Flavour, bundle: &Bundle, stats_key: &str) -> SpatialVla {
    let graph = GraphOptions { flavour: Some(flavour), ..GraphOptions::default() };
    let options = LoadOptions { stats_key: stats_key.to_owned(), graph, preprocessing: None };
    SpatialVla::load(&environment(), bundle, &options, rules()).unwrap()
}

/// The golden depth is dense, so that none of this applies.
fn rules() -> SensorRules {
    SensorRules::new([0.0, 10.0], EmptyCells::refused()).unwrap()
}

/// Runs a case and keeps what every stage put out.
fn watched(policy: &mut SpatialVla, case: &Case) -> (Result<ActionChunk, PolicyError>, BTreeMap<String, Vec<f32>>) {
    let mut seen = BTreeMap::new();
    let mut see = |output: StageOutput<'_>| {
        let values = match output {
            StageOutput::TextIds(ids) => ids.iter().map(|id| *id as f32).collect(),
            StageOutput::TokenIds(ids) => ids.iter().map(|id| *id as f32).collect(),
            StageOutput::Normalized(_) | StageOutput::Actions(_) => Vec::new(),
            StageOutput::PixelValues(values)
            | StageOutput::Estimator(_, values)
            | StageOutput::PatchDepth(values)
            | StageOutput::PointsXyz(values)
            | StageOutput::FreqEncoding(values)
            | StageOutput::Vision(_, values)
            | StageOutput::StepLogits(_, values) => values.to_vec(),
        };
        seen.insert(output.name(), values);
    };
    let result = policy.infer_watched(&case.observation, Watch::with(&mut see));
    (result, seen)
}

#[test]
fn every_stage_of_every_case_is_the_official_one() {
    for flavour in FLAVOURS {
        every_stage_of_every_case_is_the_official_one_as(flavour);
    }
}

fn every_stage_of_every_case_is_the_official_one_as(flavour: Flavour) {
    let bundle = Bundle::open(&golden_bundle()).unwrap();
    let mut policy = load_as(flavour, &bundle, "bridge_orig/1.0.0");
    for number in CASES {
        let case = Case::load(number, &bundle);
        policy.use_statistics(&bundle, &case.stats_key).unwrap();
        let (result, seen) = watched(&mut policy, &case);
        let expected = |name: &str| f32s(&case.tensors, name);
        let close = |stage: &str, name: &str, tolerance: f32| {
            assert_close(&format!("{flavour} case {number} {stage}"), &seen[stage], &expected(name), tolerance)
        };

        let pixels = bytes(&case.tensors, "resized_u8");
        let (area, found) = (224 * 224, &seen["pixel_values"]);
        for (at, value) in found.iter().enumerate() {
            let byte = pixels[at % area * 3 + at / area];
            assert_eq!(
                *value,
                (f64::from(byte) * 0.003_921_568_627_450_98) as f32,
                "{flavour} case {number} pixel {at}"
            );
        }
        let prompt: Vec<f32> = i64s(&case.tensors, "in.input_ids")[256..].iter().map(|id| *id as f32).collect();
        assert_eq!(seen["text_ids"], prompt, "{flavour} case {number}");
        close("patch_depth_m", "patch_depth", 1e-5);
        close("points_xyz", "xyz", 1e-5);
        close("freq_encoding", "freq_encoding", 1e-3);
        close("siglip_last_hidden", "siglip_last_hidden", 1e-3);
        close("pos_embed_3d", "pos_embed_3d", 1e-3);
        close("image_features", "image_features", 1e-3);
        let file = SafeTensors::deserialize(&case.tensors).unwrap();
        let steps = (0..12).filter(|step| {
            file.tensor(&format!("step{step}_logits")).is_ok() && seen.contains_key(&format!("step{step}_logits"))
        });
        let mut compared = 0;
        for step in steps {
            let name = format!("step{step}_logits");
            close(&name, &name, 1e-3);
            compared += 1;
        }
        assert!(compared >= 2, "{flavour} case {number}: {compared} steps");
        let ids = result.map_or_else(|error| error.token_ids().to_vec(), |chunk| chunk.token_ids);
        assert_eq!(ids, case.token_ids()[..ids.len()], "{flavour} case {number}");
    }
}

#[test]
fn full_cases_give_the_official_twelve_ids_and_actions() {
    for flavour in FLAVOURS {
        full_cases_give_the_official_twelve_ids_and_actions_as(flavour);
    }
}

fn full_cases_give_the_official_twelve_ids_and_actions_as(flavour: Flavour) {
    let bundle = Bundle::open(&golden_bundle()).unwrap();
    let mut policy = load_as(flavour, &bundle, "bridge_orig/1.0.0");
    for number in FULL_CASES {
        let case = Case::load(number, &bundle);
        policy.use_statistics(&bundle, &case.stats_key).unwrap();
        let chunk = policy.infer(&case.observation).unwrap();
        assert_eq!(chunk.token_ids, case.token_ids()[..12], "{flavour} case {number}");
        for (name, found) in [
            ("normalized_actions", chunk.normalized.iter().flat_map(|row| row.values().to_vec()).collect::<Vec<_>>()),
            ("actions", chunk.actions.iter().flat_map(|row| row.values().to_vec()).collect()),
        ] {
            let expected = f64s(&case.tensors, name);
            assert_eq!(found.len(), expected.len());
            let largest =
                found.iter().zip(&expected).map(|(found, expected)| (found - expected).abs()).fold(0.0, f64::max);
            assert!(largest <= 1e-6, "{flavour} case {number} {name}: {largest}");
        }
        assert_eq!(chunk.sequence, number as u64);
        assert_eq!((chunk.confidence.len(), chunk.runner_up.len(), chunk.points_xyz_m.len()), (12, 12, 1024));
        for (position, (probability, (runner_up, second))) in chunk.confidence.iter().zip(&chunk.runner_up).enumerate()
        {
            assert!(
                *probability >= *second && *probability + *second <= 1.0001,
                "{flavour} case {number} token {position}"
            );
            assert_ne!(chunk.token_ids[position], *runner_up);
        }
        let stages: Vec<Stage> = chunk.times.iter().map(|(stage, _)| stage).collect();
        let expected = Stage::ALL[..9].iter().filter(|stage| **stage != Stage::Estimate);
        assert!(stages.iter().eq(expected), "every stage is timed, and the estimator did not run: {stages:?}");
    }
}

/// The official code pads this chunk with a rotation to the very end of its range. We hold.
#[test]
fn a_generation_that_ends_early_is_an_error_with_all_of_its_ids() {
    let bundle = Bundle::open(&golden_bundle()).unwrap();
    let case = Case::load(0, &bundle);
    let error = load(&bundle, &case.stats_key).infer(&case.observation).unwrap_err();
    let PolicyError::EarlyEnd { token_ids, expected: 12, eos_id: 1 } = error else { panic!("{error}") };
    assert_eq!(token_ids, case.token_ids());
    assert_eq!((token_ids.len(), token_ids.last()), (10, Some(&1)));
}

#[test]
fn an_inference_depends_on_nothing_but_its_observation() {
    for flavour in FLAVOURS {
        an_inference_depends_on_nothing_but_its_observation_as(flavour);
    }
}

fn an_inference_depends_on_nothing_but_its_observation_as(flavour: Flavour) {
    let bundle = Bundle::open(&golden_bundle()).unwrap();
    let cases: Vec<Case> = CASES.iter().map(|number| Case::load(*number, &bundle)).collect();
    let mut policy = load_as(flavour, &bundle, "bridge_orig/1.0.0");
    let ids = |policy: &mut SpatialVla, case: &Case| match policy.infer(&case.observation) {
        Ok(chunk) => chunk.token_ids,
        Err(error) => error.token_ids().to_vec(),
    };
    let first: Vec<Vec<u32>> = cases.iter().map(|case| ids(&mut policy, case)).collect();
    for order in [[4, 3, 2, 1, 0], [0, 0, 2, 2, 4], [1, 4, 0, 3, 1]] {
        for number in order {
            assert_eq!(ids(&mut policy, &cases[number]), first[number], "{flavour} case {number} after others");
        }
    }
    policy.reset();
    assert_eq!(ids(&mut policy, &cases[1]), first[1]);
}

#[test]
fn one_thread_gives_the_same_ids_as_two() {
    let bundle = Bundle::open(&golden_bundle()).unwrap();
    let case = Case::load(3, &bundle);
    for threads in [1, 2] {
        let graph = GraphOptions { threads, ..GraphOptions::default() };
        let options = LoadOptions { stats_key: case.stats_key.clone(), graph, preprocessing: None };
        let mut policy = SpatialVla::load(&environment(), &bundle, &options, rules()).unwrap();
        assert_eq!(policy.infer(&case.observation).unwrap().token_ids, case.token_ids()[..12], "{threads} threads");
    }
}

#[test]
fn what_a_frame_lacks_is_named_and_the_policy_goes_on() {
    let bundle = Bundle::open(&golden_bundle()).unwrap();
    let case = Case::load(1, &bundle);
    let mut policy = load(&bundle, &case.stats_key);
    let mut without_intrinsics = case.observation.clone();
    without_intrinsics.frame.intrinsics = None;
    let error = policy.infer(&without_intrinsics).unwrap_err();
    assert!(matches!(error, PolicyError::Missing { .. }) && error.to_string().contains("intrinsics"), "{error}");
    let mut other_size = case.observation.clone();
    other_size.frame.intrinsics = other_size.frame.intrinsics.map(|intrinsics| intrinsics.resized([640, 480]));
    let error = policy.infer(&other_size).unwrap_err();
    assert!(matches!(error, PolicyError::Observation { .. }), "intrinsics of another size: {error}");
    assert_eq!(policy.infer(&case.observation).unwrap().token_ids, case.token_ids()[..12]);
}

#[test]
fn instructions_that_are_none_are_refused_and_the_next_one_works() {
    let bundle = Bundle::open(&golden_bundle()).unwrap();
    let case = Case::load(1, &bundle);
    let mut policy = load(&bundle, &case.stats_key);
    let long = "pick ".repeat(200);
    let huge = "x".repeat(1 << 20);
    let refused = [
        "",
        " \n\t",
        "<image>",
        &long,
        &huge,
        "go <image> there",
        "<image><image>go",
        "stop <eos>",
        "<bos>",
        "do <ACTION00000>",
    ];
    for instruction in refused {
        let observation = Observation { instruction: instruction.to_owned(), ..case.observation.clone() };
        let error = policy.infer(&observation).unwrap_err();
        let PolicyError::Observation { stage: Stage::Preprocess, source } = &error else {
            panic!("{instruction:.40}: {error}")
        };
        assert!(!source.to_string().is_empty());
    }
    assert_eq!(policy.infer(&case.observation).unwrap().token_ids, case.token_ids()[..12]);
}

/// Its own beginning changes nothing: the rest is decoded from the same tokens, so ids and probabilities are the same.
#[test]
fn an_answer_that_is_told_its_own_beginning_is_the_same_answer() {
    let bundle = Bundle::open(&golden_bundle()).unwrap();
    let mut policy = load(&bundle, "bridge_orig/1.0.0");
    assert!(policy.spec().commits);
    for number in FULL_CASES {
        let case = Case::load(number, &bundle);
        policy.use_statistics(&bundle, &case.stats_key).unwrap();
        let free = policy.infer(&case.observation).unwrap();
        let tokens: Vec<Token> = free.token_ids.iter().map(|id| Token { id: *id, confidence: 0.0 }).collect();
        for steps in 0..4 {
            let committed = CommittedPrefix::of(&tokens[..3 * steps], steps);
            let told = policy.infer_committed(&case.observation, &committed).unwrap();
            assert_eq!(told.token_ids, free.token_ids, "case {number}, {steps} steps");
            assert_eq!(told.confidence, free.confidence);
            assert_eq!(told.runner_up, free.runner_up);
            assert_eq!(told.actions, free.actions);
        }
    }
}

/// Another beginning is kept, weighed as what it is here, and what follows is decoded after it.
#[test]
fn an_answer_continues_the_beginning_that_it_is_told() {
    let bundle = Bundle::open(&golden_bundle()).unwrap();
    let mut policy = load(&bundle, "bridge_orig/1.0.0");
    let case = Case::load(1, &bundle);
    policy.use_statistics(&bundle, &case.stats_key).unwrap();
    let free = policy.infer(&case.observation).unwrap();
    let other = [free.token_ids[0] + 1, free.token_ids[1] + 1, free.token_ids[2]];
    let tokens = other.map(|id| Token { id, confidence: 0.9 });
    let mut logits: Vec<Vec<f32>> = Vec::new();
    let mut see = |output: StageOutput<'_>| {
        if let StageOutput::StepLogits(_, values) = output {
            logits.push(values.to_vec());
        }
    };
    let told = policy.infer_from(&case.observation, &tokens, Watch::with(&mut see)).unwrap();
    assert_eq!(told.token_ids[..3], other);
    assert_eq!(told.token_ids.len(), free.token_ids.len());
    for (position, id) in told.token_ids.iter().enumerate() {
        let largest = logits[position].iter().copied().fold(f32::MIN, f32::max);
        let sum: f64 = logits[position].iter().map(|logit| f64::from(logit - largest).exp()).sum();
        let expected = f64::from(logits[position][*id as usize] - largest).exp() / sum;
        assert!((f64::from(told.confidence[position]) - expected).abs() < 1e-6, "position {position}");
        assert_eq!(position >= 3, logits[position][*id as usize] == largest, "greedy from where it is free");
    }
    assert_eq!(told.runner_up[0].0, free.token_ids[0], "what it would have said");
}

#[test]
fn a_beginning_that_is_none_is_refused_and_the_policy_goes_on() {
    let bundle = Bundle::open(&golden_bundle()).unwrap();
    let mut policy = load(&bundle, "bridge_orig/1.0.0");
    let case = Case::load(1, &bundle);
    policy.use_statistics(&bundle, &case.stats_key).unwrap();
    let free = policy.infer(&case.observation).unwrap();
    let ids = &free.token_ids;
    for wrong in [vec![ids[1]], vec![ids[0], ids[0]], vec![1], vec![u32::MAX], ids.clone()] {
        let tokens: Vec<Token> = wrong.iter().map(|id| Token { id: *id, confidence: 0.5 }).collect();
        let error = policy.infer_committed(&case.observation, &CommittedPrefix::of(&tokens, 1)).unwrap_err();
        assert_eq!(error.kind(), "cannot_commit", "{wrong:?}: {error}");
    }
    assert_eq!(policy.infer(&case.observation).unwrap().token_ids, free.token_ids);
}
