//! Time of each step from a 640×480 RGB-D frame to the inputs of the vision graph, one core.
//!
//! `cargo bench -p egogrid-runtime --bench perception`; p50 is `median.point_estimate` (nanoseconds) in
//! `target/criterion/<name>/new/estimates.json`. Budget: `whole frame, 224 px` at most 1 ms.

use criterion::{Criterion, criterion_group, criterion_main};
use egogrid_runtime::camera::{CameraIntrinsics, DepthImage, DepthKind, RgbImage};
use egogrid_runtime::perception::arithmetic::Arithmetic;
use egogrid_runtime::perception::depth::{DepthCells, EmptyCells, EmptyFill, SensorRules};
use egogrid_runtime::perception::ego3d::{Ego3d, Ego3dSpec, PointFrame};
use egogrid_runtime::perception::jpeg::JpegRoundTrip;
use egogrid_runtime::perception::lanczos::LanczosPlan;
use egogrid_runtime::perception::pixel_norm::{PixelInput, PixelTable};
use egogrid_runtime::perception::resize_area::AreaPlan;
use egogrid_runtime::perception::resize_pillow::BicubicPlan;
use egogrid_runtime::perception::square::Strategy;
use egogrid_runtime::perception::towers::{Preprocessing, Tower, TowerInput};
use std::error::Error;

const NATIVE_PX: [u32; 2] = [640, 480];
const RESCALE: f64 = 0.00392156862745098;

/// Everything that one model size needs, made once.
struct Inputs {
    pixels: PixelInput,
    depth: DepthCells,
    ego3d: Ego3d,
    camera: CameraIntrinsics,
    pixel_values: Vec<f32>,
    points_m: Vec<f32>,
    encoding: Vec<f32>,
}

impl Inputs {
    fn new(side_px: u32) -> Result<Self, Box<dyn Error>> {
        let patches = side_px / 14;
        let spec = Ego3dSpec {
            image_px: [side_px; 2],
            patch_rows: patches,
            patch_cols: patches,
            samples_per_patch_side: 2,
            frequency_count: 8,
            frame: PointFrame::Camera,
            center_m: [0.0, 0.0, 2.0],
            scale_m: 2.0,
            arithmetic: Arithmetic::F32,
        };
        let (pixels, ego3d) =
            (PixelInput::new(spec.image_px, PixelTable::new(RESCALE, Arithmetic::F32)?), Ego3d::new(spec)?);
        let rules = SensorRules::new([0.1, 5.0], EmptyCells::new(0.1, EmptyFill::NearestValid)?)?;
        let [rows, cols] = ego3d.cells();
        let native =
            CameraIntrinsics::from_matrix([623.588, 0.0, 319.501, 0.0, 623.588, 239.545, 0.0, 0.0, 1.0], NATIVE_PX)?;
        Ok(Self {
            pixel_values: vec![0.0; pixels.values_len()],
            points_m: vec![0.0; ego3d.points_len()],
            encoding: vec![0.0; ego3d.encoding_len()],
            depth: DepthCells::new(rows, cols, rules)?,
            camera: native.resized(spec.image_px),
            pixels,
            ego3d,
        })
    }

    fn whole_frame(&mut self, rgb: &RgbImage, depth: &DepthImage) -> Result<(), Box<dyn Error>> {
        self.pixels.write(rgb, &mut self.pixel_values)?;
        let (cells, _report) = self.depth.average(depth)?;
        self.ego3d.back_project(cells, self.camera, None, &mut self.points_m)?;
        self.ego3d.encode(&self.points_m, &mut self.encoding)?;
        Ok(())
    }
}

fn noise(index: u32) -> u32 {
    let h = (index ^ (index >> 16)).wrapping_mul(0x7FEB_352D);
    h ^ (h >> 15)
}

/// A noisy picture, and a tilted plane with about one pixel in sixteen missing.
fn frame() -> Result<(RgbImage, DepthImage), Box<dyn Error>> {
    let [width, height] = NATIVE_PX;
    let rgb: Vec<u8> = (0..3 * width * height).map(|i| noise(i) as u8).collect();
    let depth_m = |i: u32| if noise(i) & 0xf00 == 0 { 0.0 } else { 0.5 + (i / width) as f32 / 200.0 };
    let depth_m: Vec<f32> = (0..width * height).map(depth_m).collect();
    Ok((RgbImage::new(width, height, rgb)?, DepthImage::new(width, height, DepthKind::Sensor, depth_m)?))
}

fn bench(criterion: &mut Criterion) -> Result<(), Box<dyn Error>> {
    let (rgb, depth) = frame()?;
    for side_px in [224, 112] {
        let mut group = criterion.benchmark_group(format!("{side_px} px"));
        let mut inputs = Inputs::new(side_px)?;
        inputs.whole_frame(&rgb, &depth)?; // the first frame makes the plan; it also proves that the rest cannot fail
        let mut bytes = vec![0; 3 * (side_px * side_px) as usize];
        let (mut bicubic, mut area) =
            (BicubicPlan::new(NATIVE_PX, [side_px; 2])?, AreaPlan::new(NATIVE_PX, [side_px; 2])?);
        group.bench_function("bicubic to bytes", |b| b.iter(|| bicubic.resize(&rgb, &mut bytes)));
        group.bench_function("inter_area to bytes", |b| b.iter(|| area.resize(&rgb, &mut bytes)));
        group.bench_function("pixel_values", |b| b.iter(|| inputs.pixels.write(&rgb, &mut inputs.pixel_values)));
        group.bench_function("depth cells", |b| b.iter(|| inputs.depth.average(&depth).is_ok()));
        let (cells, _report) = inputs.depth.average(&depth)?;
        let mut back_project = || inputs.ego3d.back_project(cells, inputs.camera, None, &mut inputs.points_m);
        group.bench_function("back-projection", |b| b.iter(&mut back_project));
        group.bench_function("encoding", |b| b.iter(|| inputs.ego3d.encode(&inputs.points_m, &mut inputs.encoding)));
        group.bench_function("whole frame", |b| b.iter(|| inputs.whole_frame(&rgb, &depth).is_ok()));
        group.finish();
    }
    let half = BicubicPlan::new([224, 224], [112, 112])?;
    let picture = RgbImage::new(224, 224, (0..3 * 224 * 224).map(|i| noise(i) as u8).collect::<Vec<_>>())?;
    let (mut half, mut bytes) = (half, vec![0; 3 * 112 * 112]);
    criterion.bench_function("bicubic 224 to 112", |b| b.iter(|| half.resize(&picture, &mut bytes)));
    Ok(())
}

/// OpenVLA's pixels from the native picture: processor, and all that the evaluation scripts put before it.
fn bench_towers(criterion: &mut Criterion) -> Result<(), Box<dyn Error>> {
    let (rgb, _) = frame()?;
    let towers =
        [Tower { mean: [0.484, 0.455, 0.406], std: [0.229, 0.224, 0.225] }, Tower { mean: [0.5; 3], std: [0.5; 3] }];
    let mut group = criterion.benchmark_group("towers 224 px");
    let evaluation = Preprocessing::Evaluation { center_crop: true };
    for (name, preprocessing) in [("processor", Preprocessing::Processor), ("evaluation", evaluation)] {
        let mut input = TowerInput::new(224, Strategy::Resize, preprocessing, &towers)?;
        let mut pixel_values = vec![0.0; input.values_len()];
        input.write(&rgb, &mut pixel_values)?;
        group.bench_function(name, |b| b.iter(|| input.write(&rgb, &mut pixel_values)));
    }
    let mut jpeg = JpegRoundTrip::new(NATIVE_PX)?;
    let mut decoded = vec![0; rgb.data().len()];
    group.bench_function("jpeg round trip", |b| b.iter(|| jpeg.run(rgb.data(), &mut decoded)));
    let mut lanczos = LanczosPlan::new(NATIVE_PX, [224, 224])?;
    let mut square = vec![0; 3 * 224 * 224];
    group.bench_function("lanczos3", |b| b.iter(|| lanczos.resize(rgb.data(), &mut square)));
    group.finish();
    Ok(())
}

fn run(criterion: &mut Criterion) {
    if let Err(refused) = bench(criterion).and_then(|()| bench_towers(criterion)) {
        eprintln!("no benchmark: {refused}");
        std::process::exit(1);
    }
}

criterion_group!(benches, run);
criterion_main!(benches);
