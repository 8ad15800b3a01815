//! Everything that is not 3D: pictures, times, gripper, confidence, and where the run stands in words.
//!
//! From: what was seen and done. To: the entities `<camera>/rgb`, `<camera>/depth`, `time/*`, `gripper/*`,
//! `confidence` and `progress`.

use super::event::{Done, Episode, Outcome, Progress, Seen};
use super::log::LogError;
use super::scene::camera_path;
use egogrid_runtime::camera::{DepthImage, RgbImage};
use egogrid_runtime::stage::Stage;
use image::{ExtendedColorType, ImageEncoder, codecs::jpeg::JpegEncoder, codecs::png};
use rerun::components::{Colormap, InterpolationMode, MediaType};
use rerun::{BarChart, EncodedDepthImage, EncodedImage, RecordingStream, Scalars, SeriesLines, TextDocument};

/// Of the recorded picture, 1 to 100: a view for people, an eighth of the size of a PNG.
const JPEG_QUALITY: u8 = 88;
const OUTSIDE_RGB: [u8; 3] = [255, 120, 90];
const TOTAL_RGB: [u8; 3] = [230, 230, 230];
/// From the observation's arrival to the last action sent.
const TOTAL: &str = "time/total";
/// The sum of everything that is not an ONNX call.
const OUTSIDE: &str = "time/outside_onnx";

/// Remembers what was written last, so that a text that did not change is not written again.
#[derive(Debug, Default)]
pub(super) struct Panels {
    text: String,
}

impl Panels {
    pub(super) fn statics(&self, stream: &RecordingStream) -> Result<(), LogError> {
        for stage in Stage::ALL {
            stream.log_static(time_path(stage), &SeriesLines::new().with_names([stage.name()]))?;
        }
        let bold = |name| SeriesLines::new().with_names([name]).with_widths([2.0]);
        stream.log_static(TOTAL, &bold("total").with_colors([TOTAL_RGB]))?;
        stream.log_static(OUTSIDE, &bold("outside ONNX").with_colors([OUTSIDE_RGB]))?;
        for (path, name, rgb) in [("command", "command", [255, 190, 0]), ("measured", "measured", [90, 160, 255])] {
            let line = SeriesLines::new().with_names([name]).with_colors([rgb]);
            let line = line.with_interpolation_mode(InterpolationMode::StepAfter);
            stream.log_static(format!("gripper/{path}"), &line)?;
        }
        Ok(())
    }

    pub(super) fn seen(&self, stream: &RecordingStream, seen: &Seen) -> Result<(), LogError> {
        let camera = camera_path(&seen.frame);
        let picture = EncodedImage::new(jpeg(&seen.frame.rgb)?).with_media_type(MediaType::JPEG);
        stream.log(format!("{camera}/rgb"), &picture)?;
        if let Some(depth) = &seen.frame.depth {
            let (picture, nearest_m, farthest_m) = depth_png(depth)?;
            let picture = EncodedDepthImage::new(picture).with_media_type(MediaType::PNG).with_meter(1000.0);
            let range = [f64::from(nearest_m) * 1000.0, f64::from(farthest_m) * 1000.0];
            let style = picture.with_colormap(Colormap::Turbo).with_depth_range(range);
            stream.log(format!("{camera}/depth"), &style)?;
        }
        if let Some(state) = &seen.state {
            stream.log("gripper/measured", &Scalars::single(state.gripper))?;
        }
        Ok(())
    }

    pub(super) fn done(&self, stream: &RecordingStream, done: &Done) -> Result<(), LogError> {
        for (stage, spent) in done.times.iter() {
            stream.log(time_path(stage), &Scalars::single(1e3 * spent.as_secs_f64()))?;
        }
        stream.log(OUTSIDE, &Scalars::single(1e3 * done.times.outside_onnx().as_secs_f64()))?;
        stream.log(TOTAL, &Scalars::single(1e3 * done.latency.as_secs_f64()))?;
        if let Some(last) = done.sent.last() {
            stream.log("gripper/command", &Scalars::single(last.action().gripper()))?;
        }
        if let Ok(chunk) = &done.answer {
            let bars = BarChart::new(chunk.confidence.as_slice()).with_color([90, 200, 120]);
            stream.log("confidence", &bars)?;
        }
        Ok(())
    }

    pub(super) fn progress(&mut self, stream: &RecordingStream, progress: &Progress) -> Result<(), LogError> {
        let text = markdown(progress);
        if text != self.text {
            stream.log("progress", &TextDocument::from_markdown(text.as_str()))?;
            self.text = text;
        }
        Ok(())
    }
}

/// Two groups, because their scales differ by a hundred: `layout` shows each in its own view.
fn time_path(stage: Stage) -> String {
    if stage.is_onnx() { format!("time/onnx/{stage}") } else { format!("time/own/{stage}") }
}

fn markdown(progress: &Progress) -> String {
    let Some(episode) = &progress.episode else { return "no episode yet".to_owned() };
    let Progress { looks, steps, judged, successes, .. } = progress;
    let result = match &progress.outcome {
        None => "running".to_owned(),
        Some(outcome) => format!("**{outcome}**"),
    };
    let before = match &progress.previous {
        None => String::new(),
        Some((before, Outcome::Success)) => format!("\n\nbefore: {}, success", before.task),
        Some((before, outcome)) => format!("\n\nbefore: {}, {outcome}", before.task),
    };
    let Episode { task, instruction, seed, index } = episode.as_ref();
    format!(
        "## {instruction}\n\n{task}, seed {seed}, episode {index}\n\nlook {looks}, step {steps}: {result}\n\n\
         successes: {successes} of {judged}{before}"
    )
}

fn jpeg(picture: &RgbImage) -> Result<Vec<u8>, LogError> {
    let mut bytes = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY);
    encoder.write_image(picture.data(), picture.width_px(), picture.height_px(), ExtendedColorType::Rgb8)?;
    Ok(bytes)
}

/// 16-bit PNG in millimetres, 0 = no depth (65 m and beyond included), and the nearest and farthest depth in it.
fn depth_png(depth: &DepthImage) -> Result<(Vec<u8>, f32, f32), LogError> {
    let in_range = |m: f32| (m > 0.0 && m < 65.0).then_some(m);
    let (mut nearest_m, mut farthest_m) = (f32::INFINITY, 0.0_f32);
    let mut millimetres = Vec::with_capacity(2 * depth.data_m().len());
    for &value in depth.data_m() {
        let m = in_range(value).unwrap_or_default();
        if m > 0.0 {
            (nearest_m, farthest_m) = (nearest_m.min(m), farthest_m.max(m));
        }
        millimetres.extend_from_slice(&((1000.0 * m).round() as u16).to_ne_bytes());
    }
    let mut bytes = Vec::new();
    let (width_px, height_px) = (depth.width_px(), depth.height_px());
    let encoder = png::PngEncoder::new_with_quality(&mut bytes, png::CompressionType::Fast, png::FilterType::Sub);
    encoder.write_image(&millimetres, width_px, height_px, ExtendedColorType::L16)?;
    Ok((bytes, if farthest_m > 0.0 { nearest_m } else { 0.0 }, farthest_m.max(0.001)))
}
