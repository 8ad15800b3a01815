//! Recordings of a robot in real time to a dataset: first the times of everything, then the pictures that were chosen by them.
//!
//! From: the topics of one camera, `state` and `command`. To: [`DatasetWriter`]. Memory holds stamps, commands and a few pictures.

use super::refused;
use super::rig::{Rig, RigCamera, camera_of};
use super::timeline::{Commanded, PlannedRow, Timeline};
use super::write::{STATE_NAMES, state_numbers};
use crate::assemble;
use crate::cli::DatasetWriteArgs;
use crate::commands::print_json;
use crate::commands::replay::source::{files, rest_of};
use crate::exit::{CommandError, CommandResult};
use anyhow::{Context, anyhow, bail};
use egogrid_action_grids::action::DIM_NAMES;
use egogrid_runtime::camera::{DepthImage, RgbImage, SIDE_PX_MAX};
use egogrid_sim_bridge::codec::{Message, decode};
use egogrid_sim_bridge::convert::{wire_to_depth, wire_to_observation, wire_to_rgb, wire_to_stamp, wire_to_state};
use egogrid_sim_bridge::dataset::{DatasetFigures, DatasetWriter, EpisodeEnd, Layout, Row};
use egogrid_sim_bridge::message::{Command, EndEffectorState, EpisodeMark, Image, PolicyLook, RunInfo, Time};
use egogrid_sim_bridge::recording::{ReadError, ReadProblem, RecordedMessage, RecordingReader};
use indicatif::ProgressBar;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Pictures that wait for their turn or their depth.
const WAITING_MAX: usize = 64;

/// The times of everything, and what is the same in all of it.
#[derive(Default)]
struct Survey {
    robot_type: Option<String>,
    source: BTreeMap<String, String>,
    camera: Option<String>,
    lens: RigCamera,
    size_px: Option<[u32; 2]>,
    depth_px: Option<[u32; 2]>,
    joints: Option<usize>,
    episode: Option<u32>,
    timelines: Vec<Timeline>,
    /// Recordings that end early, in words.
    cut: Vec<String>,
    bytes: u64,
}

pub(super) fn run(args: &DatasetWriteArgs, ffmpeg: &Path) -> CommandResult {
    let fps = args.fps.ok_or_else(|| {
        CommandError::usage(anyhow!(
            "it was recorded in real time: say how many rows per second, at most as many as the camera has pictures (--fps)"
        ))
    })?;
    if args.successes {
        return Err(CommandError::usage(anyhow!(
            "--successes: nobody knows how episodes in real time ended; leave it out"
        )));
    }
    // The camera that the policy saw first: which one it is, the looks say.
    let camera = first_look(args).map_err(CommandError::usage)?;
    let survey = survey(args, camera).map_err(CommandError::usage)?;
    let layout = survey.layout(args, fps).map_err(CommandError::usage)?;
    let (mut parts, mut gaps) = (Vec::new(), BTreeMap::new());
    let Survey { timelines, lens, source, cut, bytes, .. } = survey;
    for mut timeline in timelines {
        let plan = timeline.plan(fps, layout.depth_px.is_some(), !layout.state.is_empty());
        plan.gaps.into_iter().for_each(|(lacks, rows)| *gaps.entry(lacks).or_insert(0) += rows);
        parts.extend(plan.parts.into_iter().map(|part| (timeline.task.clone(), part)));
    }
    if parts.is_empty() {
        return Err(CommandError::usage(anyhow!(
            "no two rows in a row have a picture, a state and a command; rows that could not be: {gaps:?}; was it a dry run, or is \
             --fps {fps} above the camera's rate?"
        )));
    }
    let writer = DatasetWriter::create(&args.dataset, ffmpeg, layout.clone()).map_err(refused)?;
    let bar = ProgressBar::new(bytes).with_style(assemble::style("{bar:30} {bytes}/{total_bytes}  {eta} left"));
    let rig = Rig { cameras: BTreeMap::from([(layout.film(), lens)]), source };
    let figures = fill(args, &layout, writer, parts, &rig, &bar);
    bar.finish_and_clear();
    print(args, fps, figures.map_err(CommandError::usage)?, &gaps, &cut);
    Ok(())
}

/// Every message of every recording, in order; files that are cut are noted.
fn messages(
    args: &DatasetWriteArgs,
    cut: &mut Vec<String>,
    take: &mut dyn FnMut(&RecordedMessage, u64) -> anyhow::Result<bool>,
) -> anyhow::Result<u64> {
    let mut before = 0;
    for recording in &args.recordings {
        for path in files(recording).with_context(|| recording.display().to_string())? {
            for message in RecordingReader::open(&path)? {
                match message {
                    Ok(message) => {
                        let what = || format!("{}: {} at byte {}", path.display(), message.topic, message.offset);
                        if !take(&message, before + message.offset).with_context(what)? {
                            return Ok(before);
                        }
                    }
                    Err(error @ ReadError { problem: ReadProblem::Cut { .. }, .. }) => cut.push(error.to_string()),
                    Err(error) => return Err(error.into()),
                }
            }
            before += std::fs::metadata(&path)?.len();
        }
    }
    Ok(before)
}

fn read<'a, T: Message<'a>>(message: &'a RecordedMessage) -> anyhow::Result<T> {
    if message.ros_type != T::ROS_TYPE {
        bail!(
            "it has type {:?}, and a dataset needs {}, which says where the gripper is",
            message.ros_type,
            T::ROS_TYPE
        );
    }
    Ok(decode(&message.payload)?)
}

/// Which camera the policy saw.
fn first_look(args: &DatasetWriteArgs) -> anyhow::Result<String> {
    let mut camera = None;
    messages(args, &mut Vec::new(), &mut |message, _| {
        if rest_of(&message.topic) == Some("look") {
            camera = read::<PolicyLook>(message)?.input.map(|input| input.camera);
        }
        Ok(camera.is_none())
    })?;
    camera.context("there is no look with its picture in the recordings")
}

fn survey(args: &DatasetWriteArgs, camera: String) -> anyhow::Result<Survey> {
    let mut survey = Survey { camera: Some(camera.clone()), ..Survey::default() };
    let mut cut = Vec::new();
    let (image, depth) = (format!("camera/{camera}/image"), format!("camera/{camera}/depth"));
    survey.bytes = messages(args, &mut cut, &mut |message, _| {
        match rest_of(&message.topic) {
            Some("run_info") => survey.run(&read(message)?, args)?,
            Some("episode") => survey.mark(&read(message)?),
            Some("look") => survey.look(&read(message)?)?,
            Some("command") => survey.command(&read(message)?)?,
            Some("state") => survey.state(read(message)?)?,
            Some(rest) if rest == image || rest == depth => survey.picture(&read(message)?, rest == depth)?,
            _ => {}
        }
        Ok(true)
    })?;
    survey.cut = cut;
    Ok(survey)
}

fn ns(stamp: Time) -> anyhow::Result<i64> {
    Ok(wire_to_stamp(stamp)?.ns)
}

impl Survey {
    fn run(&mut self, info: &RunInfo<'_>, args: &DatasetWriteArgs) -> anyhow::Result<()> {
        let embodiment: toml::Table =
            std::str::from_utf8(info.embodiment)?.parse().context("the recorded embodiment")?;
        let name = embodiment.get("name").and_then(toml::Value::as_str).unwrap_or("unnamed").to_owned();
        let robot = args.robot_type.clone().unwrap_or(name);
        if self.robot_type.get_or_insert_with(|| robot.clone()) != &robot {
            bail!("the recordings are of different robots; write a dataset of each");
        }
        let source = [
            ("policy_id", info.policy_id.clone()),
            ("bundle_sha256", info.bundle_sha256.clone()),
            ("stats_key", info.stats_key.clone()),
            ("control_hz", info.control_hz.to_string()),
        ];
        self.source.extend(source.map(|(key, value)| (key.to_owned(), value)));
        Ok(())
    }

    /// Each file begins with the newest mark: only another number is another episode.
    fn mark(&mut self, mark: &EpisodeMark) {
        if mark.outcome.is_empty() && self.episode.replace(mark.episode) != Some(mark.episode) {
            self.timelines.push(Timeline { task: mark.instruction.clone(), ..Timeline::default() });
        }
    }

    fn look(&mut self, look: &PolicyLook) -> anyhow::Result<()> {
        if self.lens.camera.is_none()
            && let Some(input) = &look.input
        {
            if ![input.width, input.height].iter().all(|side| (1..=SIDE_PX_MAX).contains(side)) {
                bail!("the policy saw {}x{} px, expected sides of 1 to {SIDE_PX_MAX}", input.width, input.height);
            }
            // Only the lens and the pose are wanted: of a picture of that size.
            let pixels = vec![0; input.width as usize * input.height as usize * 3];
            let rgb = RgbImage::new(input.width, input.height, pixels)?;
            self.lens.camera = camera_of(&wire_to_observation(look, input, rgb, None)?.frame);
        }
        if let Some(timeline) = self.timelines.last_mut()
            && timeline.task.is_empty()
        {
            timeline.task.clone_from(&look.instruction);
        }
        Ok(())
    }

    fn command(&mut self, command: &Command) -> anyhow::Result<()> {
        let Some(timeline) = self.timelines.last_mut() else { return Ok(()) };
        let (linear, angular) = (command.twist.linear, command.twist.angular);
        let valid_ms = command.valid_ms;
        if !(0.0..=1e6).contains(&valid_ms) {
            bail!("a command is valid for {valid_ms} ms");
        }
        timeline.commands.push(Commanded {
            at_ns: ns(command.header.stamp)?,
            valid_ns: (valid_ms * 1e6) as i64,
            linear_m_s: [linear.x, linear.y, linear.z],
            angular_rad_s: [angular.x, angular.y, angular.z],
            gripper: command.gripper,
        });
        Ok(())
    }

    fn state(&mut self, state: EndEffectorState) -> anyhow::Result<()> {
        let at_ns = ns(state.header.stamp)?;
        let state = wire_to_state(state)?;
        let joints = state.joints_rad.len();
        if *self.joints.get_or_insert(joints) != joints {
            bail!("{joints} joints, and {:?} before", self.joints);
        }
        if let Some(timeline) = self.timelines.last_mut() {
            timeline.states.push((at_ns, state_numbers(&state)));
        }
        Ok(())
    }

    fn picture(&mut self, image: &Image<'_>, depth: bool) -> anyhow::Result<()> {
        let size_px = [image.width, image.height];
        let known = if depth { &mut self.depth_px } else { &mut self.size_px };
        if *known.get_or_insert(size_px) != size_px {
            bail!("{size_px:?} px, and {known:?} before; write a dataset of each size");
        }
        let at_ns = ns(image.header.stamp)?;
        if let Some(timeline) = self.timelines.last_mut() {
            if depth { &mut timeline.depths_ns } else { &mut timeline.pictures_ns }.push(at_ns);
        }
        Ok(())
    }

    fn layout(&self, args: &DatasetWriteArgs, fps: f64) -> anyhow::Result<Layout> {
        let robot_type = self.robot_type.clone().or_else(|| args.robot_type.clone());
        let camera = self.camera.clone().context("no camera")?;
        let size_px = self.size_px.with_context(|| format!("camera {camera:?} has no picture in the recordings"))?;
        let joints = (0..self.joints.unwrap_or(0)).map(|joint| format!("joint_{joint}"));
        let state = self.joints.map(|_| STATE_NAMES.map(str::to_owned).into_iter().chain(joints).collect());
        Ok(Layout {
            fps,
            robot_type: robot_type
                .context("no recording says what ran (run_info); name the robot with --robot-type")?,
            camera: (camera, size_px),
            depth_px: self.depth_px,
            state: state.unwrap_or_default(),
            action: DIM_NAMES.map(str::to_owned).to_vec(),
            outcomes: false,
        })
    }
}

/// Pictures that have come, by stamp, until their row is written.
struct Waiting<'a> {
    writer: DatasetWriter,
    parts: std::vec::IntoIter<(String, Vec<PlannedRow>)>,
    open: Option<(String, std::vec::IntoIter<PlannedRow>)>,
    next: Option<PlannedRow>,
    wanted: BTreeSet<i64>,
    layout: &'a Layout,
    pictures: BTreeMap<i64, RgbImage>,
    depths: BTreeMap<i64, DepthImage>,
}

impl Waiting<'_> {
    /// The next row to write, an episode's end included.
    fn advance(&mut self) -> anyhow::Result<()> {
        while self.next.is_none() {
            if let Some((task, rows)) = &mut self.open {
                self.next = rows.next();
                if self.next.is_none() {
                    let task = std::mem::take(task);
                    self.writer.end_episode(&EpisodeEnd { task, success: None })?;
                    self.open = None;
                }
                continue;
            }
            let Some((task, rows)) = self.parts.next() else { return Ok(()) };
            self.open = Some((task, rows.into_iter()));
        }
        Ok(())
    }

    /// Rows whose pictures are all there.
    fn write(&mut self) -> anyhow::Result<()> {
        while let Some(row) = &self.next {
            let Some(picture) = self.pictures.get(&row.picture_ns) else { break };
            let depth = row.depth_ns.map(|at_ns| self.depths.get(&at_ns));
            if depth.is_some_and(|depth| depth.is_none()) {
                break;
            }
            let depth = depth.flatten();
            self.writer.add(&Row { picture, depth, state: &row.state, action: &row.action })?;
            let (picture_ns, depth_ns) = (row.picture_ns, row.depth_ns);
            self.pictures = self.pictures.split_off(&(picture_ns + 1));
            if let Some(depth_ns) = depth_ns {
                self.depths = self.depths.split_off(&(depth_ns + 1));
            }
            self.next = None;
            self.advance()?;
        }
        if self.pictures.len() > WAITING_MAX || self.depths.len() > WAITING_MAX {
            bail!("a picture and its depth are more than {WAITING_MAX} pictures apart in {:?}", self.layout.camera.0);
        }
        Ok(())
    }
}

fn fill(
    args: &DatasetWriteArgs,
    layout: &Layout,
    writer: DatasetWriter,
    parts: Vec<(String, Vec<PlannedRow>)>,
    rig: &Rig,
    bar: &ProgressBar,
) -> anyhow::Result<DatasetFigures> {
    let rows = || parts.iter().flat_map(|(_, rows)| rows);
    let wanted = rows().map(|row| row.picture_ns).chain(rows().filter_map(|row| row.depth_ns)).collect();
    let mut waiting = Waiting {
        writer,
        parts: parts.into_iter(),
        open: None,
        next: None,
        wanted,
        layout,
        pictures: BTreeMap::new(),
        depths: BTreeMap::new(),
    };
    waiting.advance()?;
    let (image, depth) = (format!("camera/{}/image", layout.camera.0), format!("camera/{}/depth", layout.camera.0));
    messages(args, &mut Vec::new(), &mut |message, position| {
        bar.set_position(position);
        let rest = rest_of(&message.topic);
        let is_depth = rest == Some(&depth);
        if is_depth || rest == Some(&image) {
            let picture: Image<'_> = read(message)?;
            let at_ns = ns(picture.header.stamp)?;
            if waiting.wanted.contains(&at_ns) {
                if is_depth {
                    waiting.depths.insert(at_ns, wire_to_depth(&picture)?);
                } else {
                    waiting.pictures.insert(at_ns, wire_to_rgb(&picture)?);
                }
                waiting.write()?;
            }
        }
        Ok(true)
    })?;
    if let Some(row) = &waiting.next {
        bail!(
            "the picture exposed at {} ns, or its depth, is not where it was when the recordings were read first",
            row.picture_ns
        );
    }
    let mut rig = rig.clone();
    if let Some(camera) = rig.cameras.get_mut(&layout.film()) {
        camera.depth = layout.depth_px.map(|_| layout.depth());
    }
    Ok(waiting.writer.finish(&serde_json::to_value(&rig)?)?)
}

fn print(args: &DatasetWriteArgs, fps: f64, figures: DatasetFigures, gaps: &BTreeMap<&str, u64>, cut: &[String]) {
    let DatasetFigures { episodes, rows, depth_beyond } = figures;
    if args.json {
        print_json(&json!({
            "dataset": args.dataset, "episodes": episodes, "rows": rows, "fps": fps,
            "rows_left_out": gaps, "depth_beyond": depth_beyond, "cut": cut,
        }));
        return;
    }
    println!("{}: {episodes} episodes, {rows} rows at {fps} Hz", args.dataset.display());
    gaps.iter().for_each(|(lacks, rows)| println!("{rows} rows left out: {lacks}"));
    cut.iter().for_each(|what| println!("{what}"));
    if depth_beyond > 0 {
        println!("{depth_beyond} readings of depth are farther than 65.535 m and written as none");
    }
}
