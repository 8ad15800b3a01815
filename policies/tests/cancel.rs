//! An inference can be ended from another thread, and the policy is as good as new afterwards.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::tensors::f32s;
use common::{environment, fixture, golden_bundle};
use egogrid_policies::bundle::Bundle;
use egogrid_policies::registry::LoadOptions;
use egogrid_policies::spatialvla::SpatialVla;
use egogrid_policies::{StageOutput, Watch};
use egogrid_runtime::camera::{DepthImage, DepthKind, Frame, RgbImage, Stamp};
use egogrid_runtime::execution::{Cancel, Flavour, GraphOptions};
use egogrid_runtime::observation::Observation;
use egogrid_runtime::perception::depth::{EmptyCells, SensorRules};
use egogrid_runtime::policy::{Policy, PolicyError};
use egogrid_runtime::stage::Stage;
use std::fs;

fn policy(flavour: Flavour) -> (SpatialVla, Cancel, Observation) {
    let environment = environment();
    let cancel = environment.cancel().unwrap();
    let bundle = Bundle::open(&golden_bundle()).unwrap();
    let case = |end: &str| fixture("spatialvla_golden/cases").join(format!("case1.{end}"));
    let about: serde_json::Value = serde_json::from_slice(&fs::read(case("json")).unwrap()).unwrap();
    let tensors = fs::read(case("safetensors")).unwrap();
    let stats_key = about["unnorm_key"].as_str().unwrap().to_owned();
    let graph = GraphOptions { flavour: Some(flavour), cancel: Some(cancel.clone()), ..GraphOptions::default() };
    let options = LoadOptions { stats_key: stats_key.clone(), graph, preprocessing: None };
    let rules = SensorRules::new([0.0, 10.0], EmptyCells::refused()).unwrap();
    let policy = SpatialVla::load(&environment, &bundle, &options, rules).unwrap();
    let picture = image::open(case("png")).unwrap().into_rgb8();
    let size_px = [picture.width(), picture.height()];
    let frame = Frame {
        stamp: Stamp::default(),
        rgb: RgbImage::new(size_px[0], size_px[1], picture.into_raw()).unwrap(),
        depth: Some(DepthImage::new(224, 224, DepthKind::Dense, f32s(&tensors, "depth_224")).unwrap()),
        intrinsics: Some(bundle.intrinsics(&stats_key).unwrap().intrinsics.resized(size_px)),
        base_from_camera: None,
    };
    let instruction = about["prompt"].as_str().unwrap().to_owned();
    (policy, cancel, Observation { sequence: 0, frame, instruction, state: None })
}

#[test]
fn a_cancelled_inference_ends_where_it_is_and_the_next_one_is_whole() {
    for flavour in [Flavour::Cpu, Flavour::Static] {
        let (mut policy, cancel, observation) = policy(flavour);
        let whole = policy.infer(&observation).unwrap().token_ids;

        cancel.cancel();
        let ended = policy.infer(&observation).unwrap_err();
        assert!(matches!(ended, PolicyError::Cancelled { stage: Stage::Vision }), "{flavour}: {ended}");
        cancel.clear();
        assert_eq!(policy.infer(&observation).unwrap().token_ids, whole, "{flavour}");

        // In the middle of the answer.
        let mut see = |output: StageOutput<'_>| {
            if matches!(output, StageOutput::StepLogits(2, _)) {
                cancel.cancel();
            }
        };
        let ended = policy.infer_watched(&observation, Watch::with(&mut see)).unwrap_err();
        assert!(matches!(ended, PolicyError::Cancelled { stage: Stage::Decode }), "{flavour}: {ended}");
        assert_eq!(ended.kind(), "cancelled");
        cancel.clear();
        assert_eq!(policy.infer(&observation).unwrap().token_ids, whole, "{flavour}");
    }
}
