//! OpenVLA's evaluation path is TensorFlow's, bit for bit: `tests/fixtures/openvla_golden/preprocess` (pictures of the
//! official run) and `fixtures/evaluation` (made-up pictures of many sizes, as hashes).

#![allow(clippy::unwrap_used)]

mod perception_support;

use egogrid_runtime::camera::RgbImage;
use egogrid_runtime::perception::center_crop::CenterCrop;
use egogrid_runtime::perception::evaluation::EvaluationPlan;
use egogrid_runtime::perception::jpeg::JpegRoundTrip;
use egogrid_runtime::perception::lanczos::LanczosPlan;
use egogrid_runtime::perception::resize::ResizeError;
use perception_support::{CASES, buffer, expected, made_up, openvla_dir, openvla_picture, sha256, size_px};
use proptest::prelude::*;

const MODEL_PX: [u32; 2] = [224, 224];

fn decoded(picture: &RgbImage) -> Vec<u8> {
    let mut target = buffer(size_px(picture), 0);
    JpegRoundTrip::new(size_px(picture)).unwrap().run(picture.data(), &mut target).unwrap();
    target
}

fn float_sha256(values: &[f32]) -> String {
    sha256(&values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())
}

/// Where two pictures differ first, or nothing.
fn difference(found: &[u8], expected: &[u8]) -> Option<(usize, usize)> {
    assert_eq!(found.len(), expected.len());
    let count = found.iter().zip(expected).filter(|(a, b)| a != b).count();
    found.iter().zip(expected).position(|(a, b)| a != b).map(|at| (at, count))
}

#[test]
fn every_stage_of_the_official_run_is_reproduced_to_the_last_bit() {
    let digests: serde_json::Value =
        serde_json::from_slice(&std::fs::read(openvla_dir().join("preprocess/sha256.json")).unwrap()).unwrap();
    for case in CASES {
        let picture = openvla_picture(&format!("cases/case{case}.png"));
        let official = |stage: &str| openvla_picture(&format!("preprocess/case{case}_{stage}.png"));
        let jpeg = decoded(&picture);
        assert_eq!(difference(&jpeg, official("jpeg").data()), None, "case {case}");

        let mut lanczos = LanczosPlan::new(size_px(&picture), MODEL_PX).unwrap();
        let digest = float_sha256(lanczos.values(&jpeg).unwrap());
        assert_eq!(digest, digests[format!("case{case}.lanczos3_float")], "case {case}");
        let mut resized = buffer(MODEL_PX, 0);
        lanczos.resize(&jpeg, &mut resized).unwrap();
        assert_eq!(difference(&resized, official("lanczos3").data()), None, "case {case}");

        let crop = CenterCrop::new(MODEL_PX).unwrap();
        assert_eq!(
            float_sha256(&crop.values(&resized).unwrap()),
            digests[format!("case{case}.crop_float")],
            "case {case}"
        );
        let mut cropped = buffer(MODEL_PX, 0);
        crop.crop(&resized, &mut cropped).unwrap();
        assert_eq!(difference(&cropped, official("crop").data()), None, "case {case}");

        let whole = |center_crop| {
            let mut plan = EvaluationPlan::new(size_px(&picture), MODEL_PX, center_crop).unwrap();
            plan.run(picture.data()).unwrap().to_vec()
        };
        assert_eq!((whole(false), whole(true)), (resized, cropped), "case {case}");
    }
}

/// Odd sizes, sizes below a block, and checkerboards that overflow libjpeg's 16 bits.
#[test]
fn made_up_pictures_of_many_sizes_are_tensorflows_to_the_last_bit() {
    for (name, picture, side, digests) in expected(include_str!("fixtures/evaluation/expected.txt")) {
        let jpeg = decoded(&picture);
        assert_eq!(sha256(&jpeg), digests[0], "jpeg of {name}");
        let mut lanczos = LanczosPlan::new(size_px(&picture), [side; 2]).unwrap();
        assert_eq!(float_sha256(lanczos.values(&jpeg).unwrap()), digests[1], "lanczos3 of {name}");
        let mut plan = EvaluationPlan::new(size_px(&picture), [side; 2], true).unwrap();
        assert_eq!(sha256(plan.run(picture.data()).unwrap()), digests[2], "crop of {name}");
    }
}

#[test]
fn a_used_plan_forgets_the_picture_before() {
    for source_px in [[97, 31], [31, 97], [3, 3], [224, 224]] {
        let [first, second] = [1, 2].map(|seed| made_up("noise", seed, source_px[0], source_px[1]));
        let mut used = EvaluationPlan::new(source_px, [64, 64], true).unwrap();
        used.run(first.data()).unwrap();
        let mut fresh = EvaluationPlan::new(source_px, [64, 64], true).unwrap();
        assert_eq!(used.run(second.data()).unwrap(), fresh.run(second.data()).unwrap(), "{source_px:?}");
    }
}

#[test]
fn wrong_sizes_are_refused_and_nothing_is_written() {
    for side in [0, 8193] {
        for source_px in [[side, 5], [5, side]] {
            assert!(matches!(JpegRoundTrip::new(source_px), Err(ResizeError::BadSide { .. })));
            assert!(matches!(LanczosPlan::new(source_px, [5, 5]), Err(ResizeError::BadSide { .. })));
            assert!(matches!(LanczosPlan::new([5, 5], source_px), Err(ResizeError::BadSide { .. })));
            assert!(matches!(CenterCrop::new(source_px), Err(ResizeError::BadSide { .. })));
            assert!(matches!(EvaluationPlan::new(source_px, [5, 5], false), Err(ResizeError::BadSide { .. })));
        }
    }
    let (short, mut target) = ([7; 74], [9; 75]);
    let wrong = Err(ResizeError::Length { expected: 75, found: 74 });
    assert_eq!(JpegRoundTrip::new([5, 5]).unwrap().run(&short, &mut target), wrong);
    assert_eq!(LanczosPlan::new([5, 5], [5, 5]).unwrap().resize(&short, &mut target), wrong);
    assert_eq!(CenterCrop::new([5, 5]).unwrap().crop(&short, &mut target), wrong);
    assert!(EvaluationPlan::new([5, 5], [9, 9], true).unwrap().run(&short).is_err());
    assert!(target.iter().all(|byte| *byte == 9));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A picture of one gray stays that gray to one level, at any size, through all of it.
    #[test]
    fn one_gray_stays_one_gray_at_any_size(
        source_px in [1u32..120, 1u32..120], side in 1u32..120, gray in any::<u8>(), center_crop in any::<bool>(),
    ) {
        let picture = vec![gray; 3 * (source_px[0] * source_px[1]) as usize];
        let mut plan = EvaluationPlan::new(source_px, [side; 2], center_crop).unwrap();
        let result = plan.run(&picture).unwrap();
        prop_assert_eq!(result.len(), 3 * (side * side) as usize);
        prop_assert!(result.iter().all(|byte| byte.abs_diff(gray) <= 1), "{:?}", result);
    }
}
