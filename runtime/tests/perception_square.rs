//! OpenVLA's processor makes squares exactly as the official one does: `tests/fixtures/openvla_golden` (official run) and
//! `fixtures/square` (made-up pictures of many sizes by Pillow 10.4, as hashes).

#![allow(clippy::unwrap_used, clippy::excessive_precision)] // bfloat16 numbers are written out

mod perception_support;

use egogrid_runtime::camera::RgbImage;
use egogrid_runtime::perception::resize::ResizeError;
use egogrid_runtime::perception::square::{SquarePlan, Strategy};
use egogrid_runtime::perception::towers::{Preprocessing, Tower, TowerInput};
use perception_support::{CASES, buffer, expected, made_up, openvla_dir, openvla_picture, sha256, size_px};
use proptest::prelude::*;

/// The released checkpoint's, rounded to bfloat16 as its file has them.
const TOWERS: [Tower; 2] = [
    Tower { mean: [0.484375, 0.455078125, 0.40625], std: [0.228515625, 0.2236328125, 0.224609375] },
    Tower { mean: [0.5; 3], std: [0.5; 3] },
];

fn square(picture: &RgbImage, side: u32, strategy: Strategy) -> Vec<u8> {
    let mut target = buffer([side; 2], 0);
    SquarePlan::new(size_px(picture), side, strategy).unwrap().run(picture.data(), &mut target).unwrap();
    target
}

/// Case 4 is 97x301: wider and shorter, where Pillow 13 begins with the rows and Pillow 10.4 with the columns.
#[test]
fn the_official_processors_squares_are_reproduced_with_every_strategy() {
    for case in CASES {
        let picture = openvla_picture(&format!("cases/case{case}.png"));
        let file = std::fs::read(openvla_dir().join(format!("cases/case{case}.safetensors"))).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&file).unwrap();
        let resized = tensors.tensor("resized_u8").unwrap();
        assert!(square(&picture, 224, Strategy::Resize) == resized.data(), "case {case}: resize");
        for (strategy, name) in [(Strategy::Letterbox { fill: [127; 3] }, "letterbox"), (Strategy::Crop, "resize_crop")]
        {
            let official = openvla_picture(&format!("preprocess/case{case}_{name}.png"));
            assert!(square(&picture, 224, strategy) == official.data(), "case {case}: {name}");
        }
    }
}

#[test]
fn made_up_pictures_of_many_sizes_are_pillows_to_the_last_bit() {
    for (name, picture, side, digests) in expected(include_str!("fixtures/square/expected.txt")) {
        let strategies = [Strategy::Resize, Strategy::Letterbox { fill: [127, 100, 3] }, Strategy::Crop];
        for (strategy, digest) in strategies.into_iter().zip(digests) {
            assert_eq!(sha256(&square(&picture, side, strategy)), digest, "{strategy:?} of {name}");
        }
    }
}

/// By the definition in float32, for every byte of a picture that holds them all.
#[test]
fn pixel_values_are_the_official_float32_numbers_once_per_tower() {
    let bytes: Vec<u8> = (0..16 * 16).flat_map(|pixel| [pixel as u8, 255 - pixel as u8, (pixel * 7) as u8]).collect();
    let picture = RgbImage::new(16, 16, bytes.clone()).unwrap();
    let mut input = TowerInput::new(16, Strategy::Resize, Preprocessing::Processor, &TOWERS).unwrap();
    let mut values = vec![f32::NAN; input.values_len()];
    input.write(&picture, &mut values).unwrap();
    for (at, value) in values.iter().enumerate() {
        let (channel, pixel) = (at / 256, at % 256);
        let (tower, colour) = (TOWERS[channel / 3], channel % 3);
        let expected = (f32::from(bytes[3 * pixel + colour]) / 255.0 - tower.mean[colour]) / tower.std[colour];
        assert_eq!(value.to_bits(), expected.to_bits(), "channel {channel}, pixel {pixel}");
    }
}

/// Each of these moves the official logits, `mutations.json`; here each moves the pixels that the vision graph gets.
#[test]
fn typical_mistakes_of_the_pixels_are_differences() {
    let rounded = |towers: &[Tower]| {
        let picture = openvla_picture("cases/case2.png");
        let mut input = TowerInput::new(224, Strategy::Resize, Preprocessing::Processor, towers).unwrap();
        let mut values = vec![0.0; input.values_len()];
        input.write(&picture, &mut values).unwrap();
        values
    };
    let right = rounded(&TOWERS);
    let fp32 = Tower { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
    assert!(right != rounded(&[fp32, TOWERS[1]]), "mean and std of float32");
    assert!(right != rounded(&[TOWERS[1], TOWERS[0]]), "towers in the other order");
}

#[test]
fn a_used_plan_forgets_the_picture_before_and_another_size_makes_another() {
    let strategies = [Strategy::Resize, Strategy::Letterbox { fill: [1, 2, 3] }, Strategy::Crop];
    for strategy in strategies {
        for preprocessing in [Preprocessing::Processor, Preprocessing::Evaluation { center_crop: true }] {
            let mut used = TowerInput::new(32, strategy, preprocessing, &TOWERS).unwrap();
            let [mut found, mut expected] = [vec![0.0; used.values_len()], vec![0.0; used.values_len()]];
            for (seed, [width, height]) in [[40, 30], [40, 30], [30, 40], [32, 32]].into_iter().enumerate() {
                let picture = made_up("noise", seed as u32, width, height);
                used.write(&picture, &mut found).unwrap();
                let mut fresh = TowerInput::new(32, strategy, preprocessing, &TOWERS).unwrap();
                fresh.write(&picture, &mut expected).unwrap();
                assert!(found == expected, "{strategy:?} {preprocessing:?} {width}x{height}");
            }
        }
    }
}

#[test]
fn what_cannot_be_is_refused() {
    for side in [0, 8193] {
        assert!(matches!(SquarePlan::new([side, 5], 5, Strategy::Crop), Err(ResizeError::BadSide { .. })));
        assert!(matches!(SquarePlan::new([5, 5], side, Strategy::Crop), Err(ResizeError::BadSide { .. })));
    }
    // 224 * 8192 columns in between.
    assert!(matches!(SquarePlan::new([8192, 1], 224, Strategy::Crop), Err(ResizeError::BadSide { .. })));
    assert!(SquarePlan::new([8192, 1], 8, Strategy::Letterbox { fill: [0; 3] }).is_ok());
    let mut input = TowerInput::new(8, Strategy::Resize, Preprocessing::Processor, &TOWERS).unwrap();
    let short = input.write(&made_up("noise", 0, 5, 5), &mut [0.0; 7]);
    assert_eq!(short, Err(ResizeError::Length { expected: 6 * 64, found: 7 }));
    for std in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let wrong = Tower { mean: [0.5; 3], std: [0.5, std, 0.5] };
        let refused = TowerInput::new(8, Strategy::Resize, Preprocessing::Processor, &[TOWERS[0], wrong]);
        assert_eq!(refused.unwrap_err().tower, 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Where a letterbox puts no border the picture's own colour is, and nothing else appears anywhere.
    #[test]
    fn one_colour_stays_one_colour_with_every_strategy(
        source_px in [1u32..150, 1u32..150], side in 1u32..64, colour in any::<[u8; 3]>(),
    ) {
        let pixels = colour.repeat((source_px[0] * source_px[1]) as usize);
        let picture = RgbImage::new(source_px[0], source_px[1], pixels).unwrap();
        let expected = colour.repeat((side * side) as usize);
        for strategy in [Strategy::Resize, Strategy::Crop, Strategy::Letterbox { fill: colour }] {
            prop_assert_eq!(&square(&picture, side, strategy), &expected, "{:?}", strategy);
        }
    }
}
