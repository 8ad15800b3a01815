//! `egogrid infer`: one observation from files, through the same policy that drives a robot.

use crate::assemble;
use crate::cli::{Common, InferArgs};
use crate::commands::print_json;
use crate::exit::{CommandError, CommandResult};
use crate::npy::{self, Element};
use anyhow::{Context, anyhow, bail};
use egogrid_action_grids::ACTION_DIMS;
use egogrid_policies::bundle::Bundle;
use egogrid_policies::registry::LoadOptions;
use egogrid_runtime::camera::{CameraIntrinsics, DepthImage, DepthKind, Frame, RgbImage, SIDE_PX_MAX, Stamp};
use egogrid_runtime::embodiment::DepthConfig;
use egogrid_runtime::observation::Observation;
use egogrid_runtime::perception::depth::SensorRules;
use egogrid_runtime::policy::{ActionChunk, PolicyError};
use egogrid_runtime::stage::StageTimes;
use image::{ColorType, DynamicImage, ImageReader, RgbImage as RgbBuffer};
use nalgebra::{Isometry3, Matrix3, Rotation3, Translation3, UnitQuaternion};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::Path;

/// Schema of `--camera`, and of a camera in a dataset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CameraFile {
    pub(crate) width_px: u32,
    pub(crate) height_px: u32,
    pub(crate) matrix: [[f64; 3]; 3],
    pub(crate) base_from_camera: Option<[[f64; 4]; 4]>,
}

/// Runs the command.
///
/// # Errors
/// Exit code 3 when the policy has no whole chunk for this observation.
pub fn run(common: &Common, args: &InferArgs) -> CommandResult {
    let bundle = assemble::bundle(&args.bundle)?;
    assemble::warn_of_precision(&bundle);
    let stats_key = assemble::stats_key(&bundle, args.stats.as_deref())?;
    let observation = observation(args, &bundle, &stats_key)?;
    let environment = assemble::environment(common)?;
    let rules = depth_rules(args)?;
    let preprocessing = args.preprocessing.as_deref().map(str::parse).transpose().map_err(CommandError::usage)?;
    let options = LoadOptions { stats_key, graph: assemble::graph_options(common)?, preprocessing };
    let mut policy = assemble::policy_with(&environment, &bundle, &options, rules, false)?;
    match policy.infer(&observation) {
        Ok(chunk) => {
            if args.json {
                print_json(&answer(&chunk));
            } else {
                print(&chunk);
            }
            Ok(())
        }
        Err(error) => {
            if args.json {
                print_json(&json!({
                    "error": { "kind": error.kind(), "token_ids": error.token_ids(), "message": error.to_string() }
                }));
            }
            Err(match error {
                PolicyError::Missing { .. } | PolicyError::Unwanted { .. } | PolicyError::Observation { .. } => {
                    CommandError::usage(error)
                }
                _ => CommandError::check(error),
            })
        }
    }
}

fn depth_rules(args: &InferArgs) -> CommandResult<SensorRules> {
    let mut depth = DepthConfig { empty_share_max: args.empty_share_max, ..DepthConfig::default() };
    if let Some(range_m) = &args.depth_range_m {
        depth.range_m = <[f32; 2]>::try_from(range_m.as_slice()).map_err(|_| {
            CommandError::usage(anyhow!("--depth-range-m wants two numbers like 0.2,4, found {range_m:?}"))
        })?;
    }
    depth.checked().map_err(CommandError::usage)
}

fn observation(args: &InferArgs, bundle: &Bundle, stats_key: &str) -> CommandResult<Observation> {
    let rgb = read_rgb(&args.image).map_err(CommandError::usage)?;
    let (stamp, instruction) = (Stamp { ns: 0 }, args.instruction.clone());
    if !bundle.family().uses_geometry() {
        refuse_geometry(args, bundle)?;
        let frame = Frame { stamp, rgb, depth: None, intrinsics: None, base_from_camera: None };
        return Ok(Observation { sequence: 0, frame, instruction, state: None });
    }
    let image_px = [bundle.manifest().image.width_px, bundle.manifest().image.height_px];
    let depth = args.depth.as_deref().map(|path| read_depth(path, &args.depth_kind, image_px));
    let depth = depth.transpose().map_err(CommandError::usage)?;
    let (intrinsics, base_from_camera) = match &args.camera {
        Some(path) => camera(assemble::toml_file(path)?)
            .with_context(|| path.display().to_string())
            .map_err(CommandError::usage)?,
        None => {
            let stored = bundle.intrinsics(stats_key).map_err(CommandError::usage)?;
            tracing::info!(key = stored.key, "intrinsics from the bundle");
            // The checkpoint's matrix belongs to its training camera; another size is the same lens, resized.
            (stored.intrinsics.resized([rgb.width_px(), rgb.height_px()]), None)
        }
    };
    Ok(Observation {
        sequence: 0,
        frame: Frame { stamp, rgb, depth, intrinsics: Some(intrinsics), base_from_camera },
        instruction,
        state: None,
    })
}

/// What the user gives is used, or refused.
fn refuse_geometry(args: &InferArgs, bundle: &Bundle) -> CommandResult {
    let given = [
        ("--depth", args.depth.is_some()),
        ("--camera", args.camera.is_some()),
        ("--depth-kind", args.depth_kind != "auto"),
        ("--depth-range-m", args.depth_range_m.is_some()),
        ("--empty-share-max", args.empty_share_max != 0.0),
    ];
    match given.into_iter().find(|(_, given)| *given) {
        Some((option, _)) => Err(CommandError::usage(anyhow!(
            "{option}: a policy of family {} looks at the picture only, neither at depth nor at the camera; leave it out",
            bundle.family()
        ))),
        None => Ok(()),
    }
}

fn read_rgb(path: &Path) -> anyhow::Result<RgbImage> {
    let name = || path.display().to_string();
    let mut reader = ImageReader::open(path).with_context(name)?.with_guessed_format().with_context(name)?;
    let mut limits = image::Limits::default();
    limits.max_image_width = Some(SIDE_PX_MAX);
    limits.max_image_height = Some(SIDE_PX_MAX);
    reader.limits(limits);
    let picture = reader.decode().with_context(name)?;
    let rgb = official_rgb(path, picture)?;
    Ok(RgbImage::new(rgb.width(), rgb.height(), rgb.into_raw())?)
}

/// To RGB as the official code does it (Pillow's `convert("RGB")`): gray three times, alpha dropped and not composited. Said on stderr.
fn official_rgb(path: &Path, picture: DynamicImage) -> anyhow::Result<RgbBuffer> {
    let done = match picture.color() {
        ColorType::Rgb8 => None,
        ColorType::L8 => Some("gray: the value is taken for red, green and blue"),
        ColorType::La8 => {
            Some("gray with alpha: the value is taken for red, green and blue, and alpha is dropped, not composited")
        }
        ColorType::Rgba8 => Some("an alpha channel: it is dropped, not composited, as in the official code"),
        other => bail!("{}: {other:?}; expected a picture of 8 bits per channel: convert it first", path.display()),
    };
    if let Some(done) = done {
        eprintln!("{}: {done}", path.display());
    }
    Ok(picture.into_rgb8())
}

/// `kind` as on the command line; `image_px` is the size of the picture inside the model.
fn read_depth(path: &Path, kind: &str, image_px: [u32; 2]) -> anyhow::Result<DepthImage> {
    let values_max = (SIDE_PX_MAX as usize).pow(2);
    let (width_px, height_px, depth_m): (u32, u32, Vec<f32>) = if path.extension().is_some_and(|end| end == "npy") {
        let (shape, values, element) = npy::read(path, values_max)?;
        // Leading axes of one are what a batch of one picture has.
        let sides: Vec<u64> = shape.iter().copied().skip_while(|side| *side == 1).collect();
        let [height, width] = sides.as_slice() else {
            bail!("{}: shape {shape:?}; expected [height, width]", path.display());
        };
        let unit_m = if element == Element::U16 { 1e-3 } else { 1.0 };
        (u32::try_from(*width)?, u32::try_from(*height)?, values.iter().map(|value| (value * unit_m) as f32).collect())
    } else {
        let picture =
            ImageReader::open(path)?.with_guessed_format()?.decode().with_context(|| path.display().to_string())?;
        let DynamicImage::ImageLuma16(picture) = picture else {
            bail!("{}: {:?}; expected a 16-bit gray PNG in millimetres, or .npy", path.display(), picture.color());
        };
        let (width, height) = picture.dimensions();
        (width, height, picture.into_raw().into_iter().map(|mm| f32::from(mm) * 1e-3).collect())
    };
    let negative = depth_m.iter().any(|value| *value < 0.0 && value.is_finite());
    let kind = match kind {
        "dense" => DepthKind::Dense,
        "auto" if negative && [width_px, height_px] == image_px => {
            eprintln!(
                "{}: negative depths at the model's own size: an estimator's map, used as it is (--depth-kind dense)",
                path.display()
            );
            DepthKind::Dense
        }
        _ if negative => bail!(
            "{}: holds negative depths, which no sensor measures; if it comes from an estimator, say --depth-kind dense",
            path.display()
        ),
        _ => DepthKind::Sensor,
    };
    Ok(DepthImage::new(width_px, height_px, kind, depth_m)?)
}

/// Lens and pose, checked.
pub(crate) fn camera(file: CameraFile) -> anyhow::Result<(CameraIntrinsics, Option<Isometry3<f64>>)> {
    let [[a, b, c], [d, e, f], [g, h, i]] = file.matrix;
    let intrinsics = CameraIntrinsics::from_matrix([a, b, c, d, e, f, g, h, i], [file.width_px, file.height_px])?;
    Ok((intrinsics, file.base_from_camera.map(|pose| isometry(&pose)).transpose()?))
}

/// A rigid 4×4 matrix, checked: rounding is allowed, a mirror or a scale is not.
fn isometry(pose: &[[f64; 4]; 4]) -> anyhow::Result<Isometry3<f64>> {
    let rotation = Matrix3::from_fn(|row, col| pose[row][col]);
    let rigid = (rotation * rotation.transpose() - Matrix3::identity()).amax() < 1e-6 && rotation.determinant() > 0.0;
    if !rigid || pose[3] != [0.0, 0.0, 0.0, 1.0] || !pose.iter().flatten().all(|value| value.is_finite()) {
        return Err(anyhow!("base_from_camera is not a rigid 4x4 matrix [[R, t], [0, 0, 0, 1]]: {pose:?}"));
    }
    let rotation = UnitQuaternion::from_rotation_matrix(&Rotation3::from_matrix(&rotation));
    Ok(Isometry3::from_parts(Translation3::new(pose[0][3], pose[1][3], pose[2][3]), rotation))
}

/// Milliseconds per stage, by name.
pub(crate) fn stages_ms(times: &StageTimes) -> Value {
    let stages: serde_json::Map<String, Value> =
        times.iter().map(|(stage, spent)| (stage.name().to_owned(), json!(spent.as_secs_f64() * 1e3))).collect();
    Value::Object(stages)
}

fn depth_source(chunk: &ActionChunk) -> &'static str {
    chunk.depth.map_or("none", |depth| depth.origin.name())
}

fn answer(chunk: &ActionChunk) -> Value {
    json!({
        "token_ids": chunk.token_ids,
        "normalized": chunk.normalized,
        "actions": chunk.actions,
        "confidence": chunk.confidence,
        "stages_ms": stages_ms(&chunk.times),
        "depth_source": depth_source(chunk),
        // Null where the actions are end-effector deltas, which a robot can be sent.
        "not_a_delta": chunk.deltas().err().map(|error| error.to_string()),
        "depth": chunk.depth.map(|depth| json!({
            "cells": depth.cells, "cells_empty": depth.cells_empty, "cells_filled": depth.cells_filled, "invalid_share": depth.invalid_share,
        })),
    })
}

/// What the numbers of a row are called: those of one arm with one gripper, else their place.
fn columns(dims: usize) -> Vec<String> {
    const ONE_ARM: [&str; ACTION_DIMS] = ["x m", "y m", "z m", "roll rad", "pitch rad", "yaw rad", "gripper"];
    if dims == ACTION_DIMS {
        ONE_ARM.map(str::to_owned).to_vec()
    } else {
        (0..dims).map(|dim| format!("[{dim}]")).collect()
    }
}

fn print(chunk: &ActionChunk) {
    let dims = chunk.actions.first().map_or(0, |row| row.values().len());
    let columns: String = columns(dims).iter().map(|name| format!(" {name:>9}")).collect();
    println!("{:>4} {columns}   {:<22} confidence", "step", "tokens");
    let tokens_per_action = chunk.token_ids.len() / chunk.actions.len().max(1);
    for (step, action) in chunk.actions.iter().enumerate() {
        let values: String = action.values().iter().map(|value| format!(" {value:>9.5}")).collect();
        let range = step * tokens_per_action..(step + 1) * tokens_per_action;
        let tokens = chunk.token_ids.get(range.clone()).map(|ids| format!("{ids:?}"));
        let confidence = chunk.confidence.get(range).map(|p| format!("{p:.2?}"));
        println!("{step:>4} {values}   {:<22} {}", tokens.unwrap_or_default(), confidence.unwrap_or_default());
    }
    if let Err(error) = chunk.deltas() {
        println!("no robot command: {error}");
    }
    let stages: Vec<String> =
        chunk.times.iter().map(|(stage, spent)| format!("{stage} {:.2}", spent.as_secs_f64() * 1e3)).collect();
    println!("ms: {}   depth: {}", stages.join("  "), depth_source(chunk));
}
