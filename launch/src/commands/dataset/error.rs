//! `egogrid dataset error`: open loop. At each recorded picture the policy is asked, and its answer compared with what was done.
//!
//! Nothing is executed, so an error does not add up as on a robot: a small figure here is needed for success, and does not prove it.

use super::moments::composed;
use super::report::{Report, Trace};
use super::rig::Rig;
use super::{ffmpeg_path, open, plot, refused};
use crate::assemble;
use crate::cli::{Common, DatasetErrorArgs};
use crate::commands::infer::{CameraFile, camera};
use crate::commands::print_json;
use crate::exit::{CommandError, CommandResult};
use anyhow::{Context, anyhow};
use egogrid_policies::bundle::Bundle;
use egogrid_policies::registry::LoadOptions;
use egogrid_runtime::camera::{CameraIntrinsics, Frame, RgbImage, Stamp};
use egogrid_runtime::embodiment::DepthConfig;
use egogrid_runtime::observation::Observation;
use egogrid_runtime::policy::{ActionChunk, Policy, PolicyError, PolicySpec};
use egogrid_sim_bridge::dataset::{Dataset, Dtype, Episode, FilmReader, Rows, png_depth, png_rgb};
use indicatif::ProgressBar;
use nalgebra::Isometry3;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

/// Which features the policy looks at, and through which camera.
struct Setup {
    picture: String,
    is_film: bool,
    depth: Option<String>,
    lens: Option<(CameraIntrinsics, Option<Isometry3<f64>>)>,
    lens_px: Option<[u32; 2]>,
    /// That of the checkpoint, where nothing else is known: the same lens at any size.
    training_lens: Option<CameraIntrinsics>,
    /// Policy steps in one row of the dataset.
    steps_per_row: usize,
    ffmpeg: PathBuf,
}

pub(super) fn run(common: &Common, args: &DatasetErrorArgs) -> CommandResult {
    let dataset = open(&args.dataset)?;
    let bundle = assemble::bundle(&args.bundle)?;
    assemble::warn_of_precision(&bundle);
    let stats_key = assemble::stats_key(&bundle, args.stats.as_deref())?;
    let stats = bundle.statistics().get(&stats_key).map_err(CommandError::usage)?.clone();
    let depth = DepthConfig { empty_share_max: args.empty_share_max, ..DepthConfig::default() };
    let rules = depth.checked().map_err(CommandError::usage)?;
    let environment = assemble::environment(common)?;
    let options =
        LoadOptions { stats_key: stats_key.clone(), graph: assemble::graph_options(common)?, preprocessing: None };
    let mut policy = assemble::policy_with(&environment, &bundle, &options, rules, false)?;
    let setup = Setup::of(common, args, &dataset, &bundle, &stats_key, policy.spec())?;
    let feature = dataset.info().feature(dataset.root(), &args.action).map_err(refused)?;
    if feature.values() != stats.dims() {
        return Err(CommandError::usage(anyhow!(
            "feature {:?} has {} numbers, and actions of {stats_key:?} have {}; name another feature (--action) or key (--stats)",
            args.action,
            feature.values(),
            stats.dims()
        )));
    }
    let horizon = usize::from(policy.spec().chunk_len) / setup.steps_per_row;
    let mut report = Report::new(&dataset, &bundle, &stats_key, &stats, horizon, setup.steps_per_row, &feature.names);
    let episodes = args.episodes.map_or(dataset.episodes().len(), |most| usize::try_from(most).unwrap_or(usize::MAX));
    let episodes = &dataset.episodes()[..episodes.min(dataset.episodes().len())];
    let rows_all = episodes.iter().map(Episode::length).sum();
    let bar = ProgressBar::new(rows_all).with_style(assemble::style("{bar:30} {pos}/{len} rows  {eta} left"));
    let features: Vec<&str> =
        [Some(args.action.as_str()), setup.depth.as_deref(), setup.table_picture()].into_iter().flatten().collect();
    let mut reader = dataset.rows(&features).map_err(refused)?;
    for episode in episodes {
        let rows = reader.episode(episode).map_err(refused)?;
        look_at(args, &dataset, episode, &rows, &setup, policy.as_mut(), &mut report, &bar)?;
    }
    bar.finish_and_clear();
    let report = report.finished();
    if let Some(out) = &args.out {
        let text = serde_json::to_string_pretty(&report).map_err(CommandError::usage)?;
        let svg = out.with_extension("svg");
        for (path, text) in [(out.as_path(), text), (svg.as_path(), plot::svg(&report))] {
            std::fs::write(path, text).with_context(|| path.display().to_string()).map_err(CommandError::usage)?;
        }
        eprintln!("written: {}, {}", out.display(), svg.display());
    }
    if args.json {
        print_json(&report);
    } else {
        report.print();
    }
    Ok(())
}

impl Setup {
    fn of(
        common: &Common,
        args: &DatasetErrorArgs,
        dataset: &Dataset,
        bundle: &Bundle,
        stats_key: &str,
        spec: &PolicySpec,
    ) -> CommandResult<Self> {
        let rig = Rig::read(dataset.root())?;
        let picture = picture_feature(args.picture.as_deref(), dataset, &rig)?;
        let described = rig.cameras.get(&picture);
        let geometry = bundle.family().uses_geometry();
        let depth = args.depth.clone().or_else(|| described.and_then(|camera| camera.depth.clone()));
        let file: Option<CameraFile> = match &args.camera {
            Some(path) => Some(assemble::toml_file(path)?),
            None => described.and_then(|described| described.camera.clone()),
        };
        let lens_px = file.as_ref().map(|file| [file.width_px, file.height_px]);
        let lens = file.map(camera).transpose().map_err(CommandError::usage)?;
        let training_lens = if geometry && lens.is_none() {
            let stored = bundle.intrinsics(stats_key).map_err(CommandError::usage)?;
            eprintln!("the dataset does not say what its camera is like: intrinsics of {} from the bundle", stored.key);
            Some(stored.intrinsics)
        } else {
            None
        };
        let is_film = dataset.info().features.get(&picture).is_some_and(|feature| feature.dtype == Dtype::Video);
        Ok(Self {
            is_film,
            picture,
            depth: depth.filter(|_| geometry),
            lens: lens.filter(|_| geometry),
            lens_px: lens_px.filter(|_| geometry),
            training_lens,
            steps_per_row: steps_per_row(dataset.info().fps, spec)?,
            ffmpeg: if is_film { ffmpeg_path(common)? } else { PathBuf::new() },
        })
    }

    /// The picture, where it is in the table.
    fn table_picture(&self) -> Option<&str> {
        if self.is_film { None } else { Some(&self.picture) }
    }
}

fn picture_feature(asked: Option<&str>, dataset: &Dataset, rig: &Rig) -> CommandResult<String> {
    let info = dataset.info();
    if let Some(name) = asked {
        let feature = info.feature(dataset.root(), name).map_err(refused)?;
        if feature.dtype.is_picture() {
            return Ok(name.to_owned());
        }
        return Err(CommandError::usage(anyhow!("feature {name:?} is {}, expected a picture", feature.dtype.name())));
    }
    let depths: Vec<&str> = rig.cameras.values().filter_map(|camera| camera.depth.as_deref()).collect();
    let pictures = info.features.iter().filter(|(name, feature)| {
        feature.dtype.is_picture() && feature.shape.contains(&3) && !depths.contains(&name.as_str())
    });
    let pictures: Vec<&str> = pictures.map(|(name, _)| name.as_str()).collect();
    match pictures.as_slice() {
        [only] => Ok((*only).to_owned()),
        _ => Err(CommandError::usage(anyhow!("this dataset has the pictures {pictures:?}; choose one with --picture"))),
    }
}

/// A whole number, or the two cannot be compared.
fn steps_per_row(fps: f64, spec: &PolicySpec) -> CommandResult<usize> {
    let Some(control_hz) = spec.control_hz.map(f64::from) else { return Ok(1) };
    let steps = (control_hz / fps).round();
    if (control_hz / fps - steps).abs() > 0.01 * steps || !(1.0..=f64::from(spec.chunk_len)).contains(&steps) {
        return Err(CommandError::usage(anyhow!(
            "the dataset has {fps} rows per second, and policy {} {control_hz} steps per second in chunks of {}; \
             expected 1 to {} whole steps in a row",
            spec.id,
            spec.chunk_len,
            spec.chunk_len
        )));
    }
    Ok(steps as usize)
}

/// The pictures of one episode, in order.
enum Pictures<'a> {
    Film(FilmReader),
    Table(VecDeque<&'a [u8]>),
}

impl Pictures<'_> {
    fn next(&mut self) -> CommandResult<RgbImage> {
        let picture = match self {
            Self::Film(film) => film.next().transpose().map_err(refused)?,
            Self::Table(files) => {
                let picture = files.pop_front().map(png_rgb).transpose();
                picture.map_err(|what| CommandError::usage(anyhow!("a picture in the table: {what}")))?
            }
        };
        picture.ok_or_else(|| CommandError::usage(anyhow!("fewer pictures than rows")))
    }
}

#[allow(clippy::too_many_arguments)] // one episode of everything above
fn look_at(
    args: &DatasetErrorArgs,
    dataset: &Dataset,
    episode: &Episode,
    rows: &Rows,
    setup: &Setup,
    policy: &mut dyn Policy,
    report: &mut Report,
    bar: &ProgressBar,
) -> CommandResult {
    let mut pictures = if setup.is_film {
        let (path, from_s) = dataset.film(episode, &setup.picture).map_err(refused)?;
        let fps = dataset.info().fps;
        Pictures::Film(FilmReader::start(&setup.ffmpeg, &path, from_s, fps, episode.length()).map_err(refused)?)
    } else {
        let files = rows.pictures.get(&setup.picture).into_iter().flatten();
        Pictures::Table(files.map(Vec::as_slice).collect())
    };
    let recorded = rows.numbers.get(&args.action).cloned().unwrap_or_default();
    let mut trace = Trace::default();
    policy.reset();
    for row in 0..rows.length {
        let rgb = pictures.next()?;
        bar.inc(1);
        if !(row as u64).is_multiple_of(args.every) {
            continue;
        }
        let observation = observation(setup, rows, row, rgb, dataset.root())?;
        match policy.infer(&observation).and_then(|chunk| predicted(&chunk, setup.steps_per_row)) {
            Ok(predicted) => {
                for (step, action) in predicted.iter().enumerate().take_while(|(step, _)| row + step < rows.length) {
                    report.add(step, action, recorded.row(row + step));
                }
                if let Some(first) = predicted.into_iter().next() {
                    trace.add(row, recorded.row(row), first);
                }
            }
            Err(
                error @ (PolicyError::Missing { .. } | PolicyError::Unwanted { .. } | PolicyError::Observation { .. }),
            ) => {
                return Err(CommandError::usage(
                    anyhow::Error::new(error).context(format!("episode {}, row {row}", episode.index)),
                ));
            }
            Err(error) => report.failed(error.kind()),
        }
    }
    report.trace(episode.index, trace);
    Ok(())
}

/// The answer in rows of the dataset.
fn predicted(chunk: &ActionChunk, steps_per_row: usize) -> Result<Vec<Vec<f64>>, PolicyError> {
    if steps_per_row == 1 {
        return Ok(chunk.actions.iter().map(|row| row.values().to_vec()).collect());
    }
    let deltas = chunk.deltas()?;
    // Chunks of at least one step are always composed.
    let rows = deltas.chunks_exact(steps_per_row).filter_map(|steps| composed(steps).ok());
    Ok(rows.map(|row| row.to_vec()).collect())
}

fn observation(setup: &Setup, rows: &Rows, row: usize, rgb: RgbImage, root: &Path) -> CommandResult<Observation> {
    let found = [rgb.width_px(), rgb.height_px()];
    if let Some(expected) = setup.lens_px.filter(|expected| *expected != found) {
        return Err(CommandError::usage(anyhow!(
            "the camera is of {expected:?} px, and the pictures are of {found:?}"
        )));
    }
    let file = setup.depth.as_ref().and_then(|depth| rows.pictures.get(depth)).and_then(|files| files.get(row));
    let depth = file.map(|file| png_depth(file)).transpose();
    let depth = depth.map_err(|what| CommandError::usage(anyhow!("{}: depth of row {row}: {what}", root.display())))?;
    let (intrinsics, base_from_camera) = setup.lens.unzip();
    let intrinsics = intrinsics.or_else(|| setup.training_lens.map(|lens| lens.resized(found)));
    let frame = Frame { stamp: Stamp { ns: 0 }, rgb, depth, intrinsics, base_from_camera: base_from_camera.flatten() };
    let instruction = rows.tasks.get(row).cloned().unwrap_or_default();
    Ok(Observation { sequence: row as u64, frame, instruction, state: None })
}
