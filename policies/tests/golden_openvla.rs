//! The golden OpenVLA checkpoint gives what the official code gives: same ids, same actions, every stage on the way.
//!
//! Expected values: `tests/fixtures/openvla_golden` (the official code). Weights: `tests/fixtures/openvla_golden_bundle`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::tensors::{assert_close, bytes, f32s, f64s, i64s, largest_difference};
use common::{environment, fixture, openvla_bundle, rewrite, rewrite_manifest};
use egogrid_policies::bundle::Bundle;
use egogrid_policies::bundle::manifest::PreprocessingSpec;
use egogrid_policies::openvla::OpenVla;
use egogrid_policies::registry::LoadOptions;
use egogrid_policies::{StageOutput, Watch};
use egogrid_runtime::camera::{Frame, RgbImage, Stamp};
use egogrid_runtime::execution::{Flavour, GraphOptions};
use egogrid_runtime::observation::Observation;
use egogrid_runtime::policy::{ActionChunk, Policy, PolicyError};
use egogrid_runtime::stage::Stage;
use std::collections::BTreeMap;
use std::fs;

const CASES: [usize; 5] = [0, 1, 2, 3, 4];
/// Those whose file holds the logits of every step.
const STEP_CASES: [usize; 2] = [3, 4];
const FEATURES: f32 = 5e-5;
const LOGITS: f32 = 2e-4;
/// The released checkpoint's, exactly bfloat16, as the golden one has them.
const TOWERS: [([f32; 3], [f32; 3]); 2] =
    [([31.0 / 64.0, 233.0 / 512.0, 13.0 / 32.0], [117.0 / 512.0, 229.0 / 1024.0, 115.0 / 512.0]), ([0.5; 3], [0.5; 3])];

struct Case {
    observation: Observation,
    stats_key: String,
    tensors: Vec<u8>,
}

impl Case {
    fn load(number: usize) -> Self {
        let path = |end: &str| fixture("openvla_golden/cases").join(format!("case{number}.{end}"));
        let about: serde_json::Value = serde_json::from_slice(&fs::read(path("json")).unwrap()).unwrap();
        let text = |key: &str| about[key].as_str().unwrap().to_owned();
        let picture = image::open(path("png")).unwrap().into_rgb8();
        let rgb = RgbImage::new(picture.width(), picture.height(), picture.into_raw()).unwrap();
        let frame = Frame { stamp: Stamp::default(), rgb, depth: None, intrinsics: None, base_from_camera: None };
        let observation = Observation { sequence: number as u64, frame, instruction: text("instruction"), state: None };
        Self { observation, stats_key: text("unnorm_key"), tensors: fs::read(path("safetensors")).unwrap() }
    }

    fn token_ids(&self) -> Vec<u32> {
        let ids = i64s(&self.tensors, "generated_ids");
        ids.into_iter().map(|id| u32::try_from(id).unwrap()).collect()
    }
}

fn load(bundle: &Bundle, stats_key: &str) -> OpenVla {
    load_as(Flavour::Cpu, bundle, stats_key)
}

/// Both sets of graphs run on the processor.
fn load_as(flavour: Flavour, bundle: &Bundle, stats_key: &str) -> OpenVla {
    let graph = GraphOptions { flavour: Some(flavour), ..GraphOptions::default() };
    let options = LoadOptions { stats_key: stats_key.to_owned(), graph, preprocessing: None };
    OpenVla::load(&environment(), bundle, &options).unwrap()
}

type Seen = BTreeMap<String, Vec<f32>>;

/// Runs a case and keeps what every stage put out.
fn watched(policy: &mut OpenVla, case: &Case) -> (Result<ActionChunk, PolicyError>, Seen) {
    let mut seen = BTreeMap::new();
    let mut see = |output: StageOutput<'_>| {
        let values = match output {
            StageOutput::TextIds(ids) => ids.iter().map(|id| *id as f32).collect(),
            StageOutput::TokenIds(ids) => ids.iter().map(|id| *id as f32).collect(),
            StageOutput::PixelValues(values) | StageOutput::Vision(_, values) | StageOutput::StepLogits(_, values) => {
                values.to_vec()
            }
            _ => Vec::new(),
        };
        seen.insert(output.name(), values);
    };
    let result = policy.infer_watched(&case.observation, Watch::with(&mut see));
    (result, seen)
}

/// `(byte / 255 - mean) / std` in float32, once per tower, channels first.
fn official_pixels(case: &Case) -> Vec<f32> {
    let resized = bytes(&case.tensors, "resized_u8");
    let channel = |mean: f32, std: f32, colour: usize| {
        let values = resized.iter().skip(colour).step_by(3);
        values.map(move |byte| (f32::from(*byte) / 255.0 - mean) / std).collect::<Vec<f32>>()
    };
    TOWERS.iter().flat_map(|(mean, std)| (0..3).flat_map(|i| channel(mean[i], std[i], i)).collect::<Vec<_>>()).collect()
}

fn official_prompt(case: &Case) -> Vec<f32> {
    i64s(&case.tensors, "input_ids_with_29871").iter().map(|id| *id as f32).collect()
}

#[test]
fn every_stage_of_every_case_is_the_official_one() {
    for flavour in [Flavour::Cpu, Flavour::Static] {
        every_stage_of_every_case_is_the_official_one_as(flavour);
    }
}

fn every_stage_of_every_case_is_the_official_one_as(flavour: Flavour) {
    let bundle = Bundle::open(&openvla_bundle()).unwrap();
    let mut policy = load_as(flavour, &bundle, "bridge_orig");
    for number in CASES {
        let case = Case::load(number);
        policy.use_statistics(&bundle, &case.stats_key).unwrap();
        let (result, seen) = watched(&mut policy, &case);
        let chunk = result.unwrap();
        assert_eq!(seen["text_ids"], official_prompt(&case), "{flavour} case {number}");
        assert!(seen["pixel_values"] == official_pixels(&case), "{flavour} case {number}: pixel_values");
        let close = |stage: &str, name: &str, tolerance: f32| {
            assert_close(
                &format!("{flavour} case {number} {stage}"),
                &seen[stage],
                &f32s(&case.tensors, name),
                tolerance,
            );
        };
        close("patch_features", "patch_features", FEATURES);
        close("image_features", "projected", FEATURES);
        close("step0_logits", "first_step_logits", LOGITS);
        if STEP_CASES.contains(&number) {
            for (step, expected) in f32s(&case.tensors, "step_logits").chunks_exact(32064).enumerate() {
                let stage = format!("step{step}_logits");
                assert_close(&format!("{flavour} case {number} {stage}"), &seen[&stage], expected, LOGITS);
            }
        }
        assert_eq!(chunk.token_ids, case.token_ids(), "{flavour} case {number}");
        assert_eq!(chunk.confidence.len(), chunk.token_ids.len());
        assert_eq!(chunk.runner_up.len(), chunk.token_ids.len());
        assert_eq!([chunk.actions.len(), chunk.normalized.len()], [1, 1]);
        assert_eq!(chunk.normalized[0].values(), f64s(&case.tensors, "normalized_action"), "{flavour} case {number}");
        assert_eq!(chunk.actions[0].values(), f64s(&case.tensors, "action"), "{flavour} case {number}");
        assert_eq!(chunk.depth, None);
    }
}

/// Where a robot's action cannot be made of it there is none: case 3 has five numbers, case 2 a gripper of -0.79.
#[test]
fn only_end_effector_deltas_become_robot_actions() {
    let bundle = Bundle::open(&openvla_bundle()).unwrap();
    for (number, refused) in [(0, None), (1, None), (2, Some("-0.79")), (3, Some("5 dimensions")), (4, None)] {
        let case = Case::load(number);
        let chunk = load(&bundle, &case.stats_key).infer(&case.observation).unwrap();
        match (chunk.deltas(), refused) {
            (Ok(deltas), None) => assert_eq!(deltas[0].values().to_vec(), chunk.actions[0].values()),
            (Err(error), Some(words)) => {
                assert!(error.to_string().contains(words), "{error}");
                assert_eq!(error.token_ids(), chunk.token_ids);
            }
            (other, _) => panic!("case {number}: {other:?}"),
        }
    }
}

/// The head's rows of the fourth token of case 0 and of `id` change places, so that `id` comes in its place.
fn with_fourth_token(dir: &std::path::Path, id: usize) -> Bundle {
    let checkpoint = fs::read(fixture("openvla_golden/ckpt/model.safetensors")).unwrap();
    let head = bytes(&checkpoint, "language_model.lm_head.weight");
    let row_bytes = head.len() / 32064;
    let row = |id: usize| &head[id * row_bytes..][..row_bytes];
    let [fourth, other] = [row(31800), row(id)];
    rewrite(&openvla_bundle(), dir, "weights.bin", |weights| {
        let mut weights = weights.to_vec();
        let at = |row: &[u8]| weights.windows(row.len()).position(|window| window == row).unwrap();
        let [fourth_at, other_at] = [at(fourth), at(other)];
        weights[fourth_at..][..row_bytes].copy_from_slice(other);
        weights[other_at..][..row_bytes].copy_from_slice(fourth);
        weights
    });
    Bundle::open(dir).unwrap()
}

/// The official code goes on after both and commands a motion, `behaviours.json`.
#[test]
fn an_early_end_and_a_token_of_another_kind_are_errors_with_their_ids_and_the_policy_goes_on() {
    let case = Case::load(0);
    let before = &case.token_ids()[..3];
    for id in [2, 500, 31743, 32000, 32063] {
        let dir = tempfile::tempdir().unwrap();
        let bundle = with_fourth_token(dir.path(), id);
        let mut policy = load(&bundle, &case.stats_key);
        let error = policy.infer(&case.observation).unwrap_err();
        let all = [before, &[id as u32]].concat();
        assert_eq!(error.token_ids(), all);
        match &error {
            PolicyError::EarlyEnd { expected: 7, eos_id: 2, .. } => assert_eq!(id, 2),
            PolicyError::WrongKind { position: 3, found, expected, .. } => {
                assert!(*found as usize == id && expected.contains("31744 to 31999"), "{error}");
            }
            other => panic!("{other}"),
        }
        assert!(policy.infer(&case.observation).is_err(), "the same again");
    }
}

#[test]
fn an_answer_does_not_depend_on_what_was_asked_before() {
    for flavour in [Flavour::Cpu, Flavour::Static] {
        an_answer_does_not_depend_on_what_was_asked_before_as(flavour);
    }
}

fn an_answer_does_not_depend_on_what_was_asked_before_as(flavour: Flavour) {
    let bundle = Bundle::open(&openvla_bundle()).unwrap();
    let cases = CASES.map(Case::load);
    let mut policy = load_as(flavour, &bundle, "bridge_orig");
    let mut ids = |number: usize| {
        policy.use_statistics(&bundle, &cases[number].stats_key).unwrap();
        policy.infer(&cases[number].observation).unwrap().token_ids
    };
    for order in [[4, 3, 2, 1, 0], [0, 0, 2, 2, 4], [3, 4, 3, 1, 0]] {
        for number in order {
            assert_eq!(ids(number), cases[number].token_ids(), "{flavour} case {number} after others");
        }
    }
    policy.reset();
    policy.use_statistics(&bundle, &cases[1].stats_key).unwrap();
    assert_eq!(policy.infer(&cases[1].observation).unwrap().token_ids, cases[1].token_ids());
}

#[test]
fn one_thread_gives_the_same_ids_as_two() {
    let bundle = Bundle::open(&openvla_bundle()).unwrap();
    let case = Case::load(4);
    for threads in [1, 2] {
        let graph = GraphOptions { threads, ..GraphOptions::default() };
        let options = LoadOptions { stats_key: case.stats_key.clone(), graph, preprocessing: None };
        let mut policy = OpenVla::load(&environment(), &bundle, &options).unwrap();
        assert_eq!(policy.infer(&case.observation).unwrap().token_ids, case.token_ids(), "{threads} threads");
    }
}

/// `deploy.py` skips what the evaluation scripts do first; which of them a checkpoint was tuned for is a choice.
#[test]
fn another_preprocessing_can_be_asked_for_and_changes_the_pixels() {
    let bundle = Bundle::open(&openvla_bundle()).unwrap();
    let case = Case::load(2);
    for preprocessing in PreprocessingSpec::ALL {
        let graph = GraphOptions::default();
        let options = LoadOptions { stats_key: case.stats_key.clone(), graph, preprocessing: Some(preprocessing) };
        let mut policy = OpenVla::load(&environment(), &bundle, &options).unwrap();
        let (_, seen) = watched(&mut policy, &case);
        let stage = match preprocessing {
            PreprocessingSpec::Processor => None,
            PreprocessingSpec::Evaluation => Some("lanczos3"),
            PreprocessingSpec::EvaluationCenterCrop => Some("crop"),
        };
        let expected = stage.map_or_else(
            || official_pixels(&case)[..224 * 224].to_vec(),
            |stage| {
                let path = fixture("openvla_golden/preprocess").join(format!("case2_{stage}.png"));
                let red = image::open(path).unwrap().into_rgb8().into_raw().into_iter().step_by(3);
                red.map(|byte| (f32::from(byte) / 255.0 - TOWERS[0].0[0]) / TOWERS[0].1[0]).collect()
            },
        );
        assert!(seen["pixel_values"][..224 * 224] == expected, "{preprocessing}");
    }
}

/// What each mistake does to the first step's logits in the official code, per case: `mutations.json`.
fn official_effect(mistake: &str, case: usize) -> f64 {
    let file = fs::read(fixture("openvla_golden/mutations.json")).unwrap();
    let mutations: serde_json::Value = serde_json::from_slice(&file).unwrap();
    mutations[mistake][case][0].as_f64().unwrap()
}

/// Each mistake is made on purpose, through a manifest that asks for it. The stage that shows it must differ from the
/// official one, and the logits must move as far as the same mistake moves them in the official code.
#[test]
fn typical_mistakes_show_at_their_stage_and_move_the_logits_as_in_the_official_code() {
    const DINO: &str = "{ mean = [0.484375, 0.455078125, 0.40625], std = [0.228515625, 0.2236328125, 0.224609375] }";
    const SIGLIP: &str = "{ mean = [0.5, 0.5, 0.5], std = [0.5, 0.5, 0.5] }";
    const FP32: &str = "{ mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225] }";
    let (both, swapped) = (format!("{DINO}, {SIGLIP}"), format!("{SIGLIP}, {DINO}"));
    let mistakes = [
        ("fp32 ImageNet mean/std instead of the bf16-rounded ones", "pixel_values", (DINO, FP32)),
        (
            "6-channel halves swapped (SigLIP-normalised image to DINOv2)",
            "pixel_values",
            (both.as_str(), swapped.as_str()),
        ),
        // The prompt's last id as the final one: nothing is appended.
        ("no token 29871 appended", "text_ids", ("final_id = 29871", "final_id = 29936")),
    ];
    for (mistake, stage, change) in mistakes {
        let dir = tempfile::tempdir().unwrap();
        rewrite_manifest(&openvla_bundle(), dir.path(), change.0, change.1);
        let bundle = Bundle::open(dir.path()).unwrap();
        for number in [0, 1, 2, 3] {
            let case = Case::load(number);
            let (_, seen) = watched(&mut load(&bundle, &case.stats_key), &case);
            let official = if stage == "text_ids" { official_prompt(&case) } else { official_pixels(&case) };
            assert_ne!(seen[stage], official, "{mistake}: case {number} does not show it");
            let moved = largest_difference(&seen["step0_logits"], &f32s(&case.tensors, "first_step_logits"));
            let expected = official_effect(mistake, number);
            assert!((f64::from(moved) - expected).abs() < 1e-3, "{mistake}: case {number} moved {moved}, {expected}");
            assert!(moved > 100.0 * LOGITS, "the tolerance would not notice {mistake}");
        }
    }
}

#[test]
fn an_instruction_that_is_not_lowered_is_another_prompt() {
    let dir = tempfile::tempdir().unwrap();
    rewrite_manifest(&openvla_bundle(), dir.path(), "lowercase = true", "lowercase = false");
    let bundle = Bundle::open(dir.path()).unwrap();
    for number in [1, 3] {
        let case = Case::load(number);
        let (_, seen) = watched(&mut load(&bundle, &case.stats_key), &case);
        assert_ne!(seen["text_ids"], official_prompt(&case), "case {number}");
        let moved = largest_difference(&seen["step0_logits"], &f32s(&case.tensors, "first_step_logits"));
        assert!(moved > 100.0 * LOGITS, "case {number}: {moved}");
    }
}

/// Pixels are compared without any tolerance, so that neither another filter nor a rounding can hide.
#[test]
fn another_filter_and_pixels_rounded_to_bfloat16_differ_from_the_official_pixels() {
    use image::imageops::{FilterType, resize};
    let case = Case::load(2);
    let rgb = &case.observation.frame.rgb;
    let native = image::RgbImage::from_raw(rgb.width_px(), rgb.height_px(), rgb.data().to_vec()).unwrap();
    let resized = bytes(&case.tensors, "resized_u8");
    for filter in [FilterType::Triangle, FilterType::Lanczos3] {
        assert_ne!(resize(&native, 224, 224, filter).into_raw(), resized, "{filter:?}");
    }
    let official = official_pixels(&case);
    let rounded: Vec<f32> = official.iter().map(|value| f32::from_bits(value.to_bits() & 0xffff_0000)).collect();
    assert!(largest_difference(&official, &rounded) > 1e-3);
}

/// Prompts under the stand-in tokenizer, ids of the official `LlamaTokenizerFast`.
#[test]
fn instructions_become_the_official_ids() {
    let file = fs::read(fixture("openvla_golden/standin_tokenizer_ids.json")).unwrap();
    let prompts: Vec<serde_json::Value> = serde_json::from_slice(&file).unwrap();
    let bundle = Bundle::open(&openvla_bundle()).unwrap();
    let mut policy = load(&bundle, "bridge_orig");
    let mut case = Case::load(0);
    let mut compared = 0;
    for prompt in &prompts {
        let text = prompt["prompt"].as_str().unwrap();
        let inner =
            text.strip_prefix("In: What action should the robot take to ").and_then(|t| t.strip_suffix("?\nOut:"));
        let Some(instruction) = inner.filter(|instruction| !instruction.trim().is_empty()) else { continue };
        let mut ids: Vec<f32> =
            prompt["input_ids"].as_array().unwrap().iter().map(|id| id.as_f64().unwrap() as f32).collect();
        if ids.last() != Some(&29871.0) {
            ids.push(29871.0);
        }
        instruction.clone_into(&mut case.observation.instruction);
        let (_, seen) = watched(&mut policy, &case);
        assert_eq!(seen["text_ids"], ids, "{text}");
        compared += 1;
    }
    assert!(compared >= 5, "only {compared} prompts of this template");
}

#[test]
fn instructions_that_are_none_are_refused_and_the_next_one_works() {
    let bundle = Bundle::open(&openvla_bundle()).unwrap();
    let case = Case::load(1);
    let mut policy = load(&bundle, &case.stats_key);
    let (long, huge) = ("pick up ".repeat(200), "x".repeat(1 << 20));
    for instruction in ["", " \n\t", &long, &huge, "stop </s>", "<s>go"] {
        let observation = Observation { instruction: instruction.to_owned(), ..case.observation.clone() };
        let error = policy.infer(&observation).unwrap_err();
        let PolicyError::Observation { stage: Stage::Preprocess, source } = &error else {
            panic!("{instruction:.40}: {error}")
        };
        assert!(!source.to_string().is_empty());
    }
    assert_eq!(policy.infer(&case.observation).unwrap().token_ids, case.token_ids());
}

/// Exactly as long as the cache allows is taken, one token more is not.
#[test]
fn the_longest_prompt_that_fits_is_taken_and_one_token_more_is_not() {
    let bundle = Bundle::open(&openvla_bundle()).unwrap();
    let mut case = Case::load(0);
    let mut policy = load(&bundle, &case.stats_key);
    let tokens_max = bundle.manifest().prompt.text_tokens_max as usize;
    let mut longest = 0;
    for words in 1..200 {
        case.observation.instruction = vec!["x"; words].join(" ");
        let (result, seen) = watched(&mut policy, &case);
        match result {
            Err(PolicyError::Observation { stage: Stage::Preprocess, source }) => {
                assert!(source.to_string().contains(&tokens_max.to_string()), "{source}");
                break;
            }
            _ => longest = seen["text_ids"].len(),
        }
    }
    assert!((tokens_max - 3..=tokens_max).contains(&longest), "{longest} of {tokens_max}");
}
