//! `egogrid dataset write`: recordings to a LeRobot dataset. Read twice: first what there is, then the values. Those in lockstep
//! are written here, those in real time in `live`.
//!
//! One row per picture; its action is everything that was sent until the next picture. So a policy that executes several steps of
//! a chunk gives fewer rows per second, and each of them a larger motion.

use super::moments::{Moments, Step, composed};
use super::rig::{Rig, RigCamera, camera_of};
use super::{ffmpeg_path, live, refused};
use crate::assemble;
use crate::cli::{Common, DatasetWriteArgs};
use crate::commands::infer::CameraFile;
use crate::commands::print_json;
use crate::commands::replay::source::RecordedRun;
use crate::exit::{CommandError, CommandResult};
use anyhow::{Context, anyhow, bail};
use egogrid_action_grids::action::DIM_NAMES;
use egogrid_runtime::observation::{EndEffectorState, Observation};
use egogrid_sim_bridge::dataset::{DatasetFigures, DatasetWriter, EpisodeEnd, Layout, Row};
use egogrid_sim_bridge::message::EpisodeMark;
use indicatif::ProgressBar;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// Where the end effector is in the base, how it is turned, and its gripper; joints follow.
pub(super) const STATE_NAMES: [&str; 8] = ["x", "y", "z", "qx", "qy", "qz", "qw", "gripper"];

/// What there is, before anything is written.
#[derive(Default)]
struct Survey {
    run: Option<RecordedRun>,
    camera: Option<String>,
    size_px: Option<[u32; 2]>,
    depth_px: Option<[u32; 2]>,
    joints: Option<usize>,
    lens: Option<CameraFile>,
    lens_varies: bool,
    /// Steps after each picture that another one followed.
    steps: BTreeSet<usize>,
    episodes: Vec<Found>,
}

/// One episode of the recordings.
#[derive(Debug, Default, Clone)]
struct Found {
    moments: u64,
    last_steps: usize,
    outcome: String,
    /// In words.
    left_out: Option<String>,
}

pub(super) fn run(common: &Common, args: &DatasetWriteArgs) -> CommandResult {
    let ffmpeg = ffmpeg_path(common)?;
    if is_real_time(args).map_err(CommandError::usage)? {
        return live::run(args, &ffmpeg);
    }
    if args.fps.is_some() {
        return Err(CommandError::usage(anyhow!("--fps: in lockstep the rate follows from the steps; leave it out")));
    }
    let (survey, bytes, cut) = survey(args).map_err(CommandError::usage)?;
    let (layout, rig) = survey.layout(args).map_err(CommandError::usage)?;
    let writer = DatasetWriter::create(&args.dataset, &ffmpeg, layout.clone()).map_err(refused)?;
    let bar = ProgressBar::new(bytes).with_style(assemble::style("{bar:30} {bytes}/{total_bytes}  {msg}  {eta} left"));
    let figures = fill(args, &survey, &layout, writer, &rig, &bar);
    bar.finish_and_clear();
    let figures = figures.map_err(CommandError::usage)?;
    print(args, &survey, &layout, figures, &cut);
    Ok(())
}

/// What ran first decides: a robot has times, a simulator in lockstep has steps.
fn is_real_time(args: &DatasetWriteArgs) -> anyhow::Result<bool> {
    let mut moments = Moments::open(&args.recordings);
    while let Some(step) = moments.next()? {
        if let Step::Run(run) = step {
            return Ok(run.session != 0);
        }
    }
    Ok(false)
}

fn survey(args: &DatasetWriteArgs) -> anyhow::Result<(Survey, u64, Vec<String>)> {
    let mut survey = Survey::default();
    let mut moments = Moments::open(&args.recordings);
    let mut open: Option<Found> = None;
    while let Some(step) = moments.next()? {
        match step {
            Step::Run(run) => survey.run(*run)?,
            Step::Begin(_) => {
                survey.end(open.take(), "it has no end in the recording", args);
                open = Some(Found::default());
            }
            Step::Gap(why) => {
                if let Some(found) = &mut open {
                    found.left_out.get_or_insert_with(|| why.to_owned());
                }
            }
            Step::Moment(moment) => {
                let Some(found) = &mut open else { continue };
                if found.moments > 0 {
                    survey.steps.insert(found.last_steps);
                }
                found.moments += 1;
                found.last_steps = moment.actions.len();
                survey.moment(&moment.camera, &moment.observation)?;
            }
            Step::End(mark) => {
                if let Some(found) = &mut open {
                    found.outcome = mark.outcome;
                }
                survey.end(open.take(), "", args);
            }
        }
    }
    survey.end(open.take(), "it has no end in the recording", args);
    let bytes = moments.position();
    Ok((survey, bytes, moments.cut))
}

impl Survey {
    fn run(&mut self, run: RecordedRun) -> anyhow::Result<()> {
        if run.session != 0 {
            bail!("some of the recordings are in real time and some in lockstep; write a dataset of each");
        }
        if let Some(first) = &self.run
            && (first.control_hz, &first.embodiment) != (run.control_hz, &run.embodiment)
        {
            bail!("the recordings are of different robots or rates; write a dataset of each");
        }
        self.run.get_or_insert(run);
        Ok(())
    }

    fn moment(&mut self, camera: &str, observation: &Observation) -> anyhow::Result<()> {
        let frame = &observation.frame;
        let size_px = [frame.rgb.width_px(), frame.rgb.height_px()];
        let depth_px = frame.depth.as_ref().map(|depth| [depth.width_px(), depth.height_px()]);
        let joints = observation.state.as_ref().map(|state| state.joints_rad.len());
        let first = self.camera.is_none();
        if first {
            (self.camera, self.size_px) = (Some(camera.to_owned()), Some(size_px));
            (self.depth_px, self.joints, self.lens) = (depth_px, joints, camera_of(frame));
        }
        if (self.camera.as_deref(), self.size_px, self.depth_px, self.joints)
            != (Some(camera), Some(size_px), depth_px, joints)
        {
            bail!("pictures, depth or state change within the recordings; write a dataset of each kind");
        }
        self.lens_varies |= self.lens != camera_of(frame);
        Ok(())
    }

    fn end(&mut self, found: Option<Found>, unfinished: &str, args: &DatasetWriteArgs) {
        let Some(mut found) = found else { return };
        if !unfinished.is_empty() {
            found.left_out.get_or_insert_with(|| unfinished.to_owned());
        }
        if found.moments == 0 {
            found.left_out.get_or_insert_with(|| "the policy never looked".to_owned());
        }
        if args.successes && found.outcome != "success" {
            found.left_out.get_or_insert_with(|| "it did not succeed (--successes)".to_owned());
        }
        self.episodes.push(found);
    }

    fn layout(&self, args: &DatasetWriteArgs) -> anyhow::Result<(Layout, Rig)> {
        let run = self.run.as_ref().context("no recording says what ran (run_info); is it one of Egogrid?")?;
        let (Some(camera), Some(size_px)) = (&self.camera, self.size_px) else {
            bail!("there is no look with its picture in the recordings");
        };
        if self.episodes.iter().all(|found| found.left_out.is_some()) {
            let why: BTreeSet<&str> = self.episodes.iter().filter_map(|found| found.left_out.as_deref()).collect();
            bail!("none of {} episodes can be written: {why:?}", self.episodes.len());
        }
        let longest = self.steps.iter().chain(self.episodes.iter().map(|found| &found.last_steps)).max();
        let steps = longest.copied().unwrap_or(1).max(1);
        if self.steps.iter().any(|found| *found != steps) || self.steps.len() > 1 {
            bail!(
                "between two pictures {:?} steps were sent, and a dataset has an even rate; record with --strategy chunk \
                 and a fixed --steps-executed",
                self.steps
            );
        }
        let embodiment: toml::Table = run.embodiment.parse().context("the recorded embodiment")?;
        let name = embodiment.get("name").and_then(toml::Value::as_str).unwrap_or("unnamed");
        let joints = (0..self.joints.unwrap_or(0)).map(|joint| format!("joint_{joint}"));
        let state = self.joints.map(|_| STATE_NAMES.map(str::to_owned).into_iter().chain(joints).collect());
        let layout = Layout {
            fps: run.control_hz / steps as f64,
            robot_type: args.robot_type.clone().unwrap_or_else(|| name.to_owned()),
            camera: (camera.clone(), size_px),
            depth_px: self.depth_px,
            state: state.unwrap_or_default(),
            action: DIM_NAMES.map(str::to_owned).to_vec(),
            outcomes: true,
        };
        let depth = self.depth_px.map(|_| layout.depth());
        let lens = if self.lens_varies { None } else { self.lens.clone() };
        let recordings: Vec<String> = args
            .recordings
            .iter()
            .map(|path| path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned()))
            .collect();
        let source = [
            ("recordings", recordings.join(" ")),
            ("policy_id", run.policy_id.clone()),
            ("bundle_sha256", run.bundle_sha256.clone()),
            ("stats_key", run.stats_key.clone()),
            ("control_hz", run.control_hz.to_string()),
            ("steps_per_row", steps.to_string()),
        ];
        let source = source.map(|(key, value)| (key.to_owned(), value)).into();
        let cameras = BTreeMap::from([(layout.film(), RigCamera { camera: lens, depth })]);
        Ok((layout, Rig { cameras, source }))
    }
}

/// As in `STATE_NAMES`, and the joints.
pub(super) fn state_numbers(state: &EndEffectorState) -> Vec<f64> {
    let (position, turn) = (state.base_from_ee.translation.vector, state.base_from_ee.rotation.coords);
    let mut numbers = vec![position.x, position.y, position.z, turn.x, turn.y, turn.z, turn.w, state.gripper];
    numbers.extend_from_slice(&state.joints_rad);
    numbers
}

fn fill(
    args: &DatasetWriteArgs,
    survey: &Survey,
    layout: &Layout,
    mut writer: DatasetWriter,
    rig: &Rig,
    bar: &ProgressBar,
) -> anyhow::Result<DatasetFigures> {
    let mut moments = Moments::open(&args.recordings);
    let mut episodes = survey.episodes.iter();
    let mut open: Option<(EpisodeMark, bool)> = None;
    while let Some(step) = moments.next()? {
        bar.set_position(moments.position());
        match step {
            Step::Run(_) | Step::Gap(_) => {}
            Step::Begin(mark) => {
                let found = episodes.next().context("the recordings have changed since they were read first")?;
                open = Some((mark, found.left_out.is_none()));
            }
            Step::Moment(moment) => {
                let Some((_, true)) = &open else { continue };
                let Observation { frame, state, .. } = &moment.observation;
                let state = match state {
                    Some(state) if !layout.state.is_empty() => state_numbers(state),
                    _ => Vec::new(),
                };
                let action = composed(&moment.actions)?;
                let row = Row { picture: &frame.rgb, depth: frame.depth.as_ref(), state: &state, action: &action };
                writer.add(&row)?;
            }
            Step::End(mark) => {
                if let Some((begun, true)) = open.take() {
                    let success = Some(mark.outcome == "success");
                    writer.end_episode(&EpisodeEnd { task: begun.instruction, success })?;
                }
            }
        }
    }
    Ok(writer.finish(&serde_json::to_value(rig)?)?)
}

fn print(args: &DatasetWriteArgs, survey: &Survey, layout: &Layout, figures: DatasetFigures, cut: &[String]) {
    let mut left_out: BTreeMap<&str, u64> = BTreeMap::new();
    for why in survey.episodes.iter().filter_map(|found| found.left_out.as_deref()) {
        *left_out.entry(why).or_default() += 1;
    }
    let DatasetFigures { episodes, rows, depth_beyond } = figures;
    if args.json {
        print_json(&json!({
            "dataset": args.dataset, "episodes": episodes, "rows": rows, "fps": layout.fps,
            "left_out": left_out, "depth_beyond": depth_beyond, "cut": cut, "camera_moves": survey.lens_varies,
        }));
        return;
    }
    println!("{}: {episodes} episodes, {rows} rows at {} Hz", args.dataset.display(), layout.fps);
    left_out.iter().for_each(|(why, count)| println!("{count} episodes left out: {why}"));
    cut.iter().for_each(|what| println!("{what}"));
    if depth_beyond > 0 {
        println!("{depth_beyond} readings of depth are farther than 65.535 m and written as none");
    }
    if survey.lens_varies {
        println!("the camera moves: its pose is not in meta/egogrid.json");
    }
}
