//! Pictures resize exactly as Pillow and OpenCV do it. `fixtures/resize` says how the expected hashes were made.

#![allow(clippy::unwrap_used)]

mod perception_support;

use egogrid_runtime::camera::RgbImage;
use egogrid_runtime::perception::arithmetic::Arithmetic;
use egogrid_runtime::perception::pixel_norm::{PixelInput, PixelTable};
use egogrid_runtime::perception::resize::ResizeError;
use egogrid_runtime::perception::resize_area::AreaPlan;
use egogrid_runtime::perception::resize_pillow::BicubicPlan;
use perception_support::{CASES, buffer, golden_bytes, golden_picture, made_up, sha256, size_px};
use proptest::prelude::*;

const RESCALE: f64 = 0.00392156862745098;

struct Case {
    name: String,
    picture: RgbImage,
    target_px: [u32; 2],
    bicubic: String,
    area: String,
}

fn cases() -> Vec<Case> {
    let parsed = include_str!("fixtures/resize/expected.txt").lines().map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let [kind, numbers @ .., bicubic, area] = words.as_slice() else { panic!("{line}") };
        let [seed, width, height, target_width, target_height] = numbers else { panic!("{line}") };
        let number = |word: &str| word.parse::<u32>().unwrap();
        let picture = match kind.strip_suffix(".png") {
            Some(_) => golden_picture(kind),
            None => made_up(kind, number(seed), number(width), number(height)),
        };
        Case {
            name: line[..line.len() - 130].to_owned(),
            picture,
            target_px: [number(target_width), number(target_height)],
            bicubic: (*bicubic).to_owned(),
            area: (*area).to_owned(),
        }
    });
    parsed.collect()
}

#[test]
fn bicubic_is_bit_equal_to_pillow_on_golden_and_made_up_pictures() {
    for case in cases() {
        let mut plan = BicubicPlan::new(size_px(&case.picture), case.target_px).unwrap();
        let mut target = buffer(case.target_px, 0);
        plan.resize(&case.picture, &mut target).unwrap();
        assert_eq!(sha256(&target), case.bicubic, "{}", case.name);
    }
}

#[test]
fn inter_area_is_bit_equal_to_opencv_on_golden_and_made_up_pictures() {
    for case in cases() {
        let mut plan = AreaPlan::new(size_px(&case.picture), case.target_px).unwrap();
        let mut target = buffer(case.target_px, 0);
        plan.resize(&case.picture, &mut target).unwrap();
        assert_eq!(sha256(&target), case.area, "{}", case.name);
    }
}

#[test]
fn pixel_values_are_the_float32_of_the_float64_product_channels_first() {
    let mut input = PixelInput::new([224, 224], PixelTable::new(RESCALE, Arithmetic::F32).unwrap());
    let mut pixel_values = vec![f32::NAN; input.values_len()];
    for case in CASES {
        let picture = golden_picture(&format!("case{case}.png")); // five sizes: five plans
        input.write(&picture, &mut pixel_values).unwrap();
        let resized = golden_bytes(case, "resized_u8");
        for (at, value) in pixel_values.iter().enumerate() {
            let (channel, pixel) = (at / (224 * 224), at % (224 * 224));
            let expected = (f64::from(resized[3 * pixel + channel]) * RESCALE) as f32;
            assert_eq!(value.to_bits(), expected.to_bits(), "case {case}, channel {channel}, pixel {pixel}");
        }
    }
}

#[test]
fn a_used_plan_forgets_the_frame_before() {
    for [source_px, target_px] in [[[97, 131], [64, 48]], [[48, 48], [112, 112]], [[64, 48], [32, 16]]] {
        let [first, second] = [1, 2].map(|seed| made_up("noise", seed, source_px[0], source_px[1]));
        let (mut used, mut fresh) = (buffer(target_px, 0u8), buffer(target_px, 0u8));
        let mut plan = BicubicPlan::new(source_px, target_px).unwrap();
        plan.resize(&first, &mut used).unwrap();
        plan.resize(&second, &mut used).unwrap();
        BicubicPlan::new(source_px, target_px).unwrap().resize(&second, &mut fresh).unwrap();
        assert_eq!(used, fresh, "bicubic {source_px:?} -> {target_px:?}");
        let mut plan = AreaPlan::new(source_px, target_px).unwrap();
        plan.resize(&first, &mut used).unwrap();
        plan.resize(&second, &mut used).unwrap();
        AreaPlan::new(source_px, target_px).unwrap().resize(&second, &mut fresh).unwrap();
        assert_eq!(used, fresh, "area {source_px:?} -> {target_px:?}");
    }
}

#[test]
fn bfloat16_pixels_keep_eight_bits() {
    let table = PixelTable::new(RESCALE, Arithmetic::Bf16Emulation).unwrap();
    assert_eq!(
        [0, 1, 128, 254, 255].map(|byte| table.value(byte)),
        [0.0, 0.003_936_767_6, 0.503_906_25, 0.996_093_75, 1.0]
    );
}

#[test]
fn wrong_sizes_are_refused_and_nothing_is_written() {
    for sides in [[[0, 5], [5, 5]], [[5, 5], [5, 0]], [[8193, 5], [5, 5]], [[5, 5], [5, 8193]]] {
        assert!(matches!(BicubicPlan::new(sides[0], sides[1]), Err(ResizeError::BadSide { .. })), "{sides:?}");
        assert!(matches!(AreaPlan::new(sides[0], sides[1]), Err(ResizeError::BadSide { .. })), "{sides:?}");
    }
    let picture = made_up("noise", 0, 6, 4);
    let mut target = vec![7; 3 * 25];
    let other_source = Err(ResizeError::OtherSource { expected: [4, 6], found: [6, 4] });
    assert_eq!(BicubicPlan::new([4, 6], [5, 5]).unwrap().resize(&picture, &mut target), other_source);
    assert_eq!(AreaPlan::new([4, 6], [5, 5]).unwrap().resize(&picture, &mut target), other_source);
    let short = Err(ResizeError::Length { expected: 75, found: 74 });
    assert_eq!(BicubicPlan::new([6, 4], [5, 5]).unwrap().resize(&picture, &mut target[..74]), short);
    assert_eq!(AreaPlan::new([6, 4], [5, 5]).unwrap().resize(&picture, &mut target[..74]), short);
    assert!(target.iter().all(|&byte| byte == 7));
    for rescale in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(PixelTable::new(rescale, Arithmetic::F32).is_err(), "{rescale}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A picture of one colour stays that colour: the weights of every window sum to one, in every way of resizing.
    #[test]
    fn one_colour_stays_one_colour_at_any_size(
        source_px in [1u32..150, 1u32..150], target_px in [1u32..150, 1u32..150], colour in any::<[u8; 3]>(),
    ) {
        let pixels: Vec<u8> = colour.into_iter().cycle().take(3 * (source_px[0] * source_px[1]) as usize).collect();
        let picture = RgbImage::new(source_px[0], source_px[1], pixels).unwrap();
        let expected: Vec<u8> = colour.into_iter().cycle().take(3 * (target_px[0] * target_px[1]) as usize).collect();
        let mut target = buffer(target_px, 0);
        BicubicPlan::new(source_px, target_px).unwrap().resize(&picture, &mut target).unwrap();
        prop_assert_eq!(&target, &expected);
        target.fill(0);
        AreaPlan::new(source_px, target_px).unwrap().resize(&picture, &mut target).unwrap();
        prop_assert_eq!(&target, &expected);
    }
}
