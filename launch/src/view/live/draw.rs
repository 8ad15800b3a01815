//! One robot's messages as rerun entities.
//!
//! From: messages in the order they came, and the newest pictures when it is time for them. To: the entities that `layouts` arranges.
//! Timelines: `t` is when a message came, `look` counts the policy's looks.

use super::super::event::Seen;
use super::super::log::LogError;
use super::super::panels::Panels;
use super::super::scene::{Scene, camera_path, transformed};
use super::super::tokens::TokenSpace;
use super::explain::{self, Explain};
use super::layouts::{self, Use};
use super::plan::Plan;
use super::robot::Robot;
use super::words;
use egogrid_runtime::camera::{DepthImage, Frame, RgbImage};
use egogrid_runtime::perception::depth::SensorRules;
use egogrid_sim_bridge::convert::wire_to_points;
use egogrid_sim_bridge::endpoint::Heard;
use egogrid_sim_bridge::message::{
    ActionChunk, Command, EpisodeMark, PointCloud2, PolicyLook, PolicyStatus, RosString, RunInfo, StageTime,
};
use rerun::{BarChart, LineStrips2D, Points3D, Radius, RecordingStream, Scalars, SeriesLines, TextDocument, TextLog};
use std::borrow::Cow;
use std::time::{Duration, Instant};

const PATCH_RGB: [u8; 4] = [255, 255, 255, 60];
const SAMPLED_RGB: [u8; 3] = [0, 230, 190];

/// What the view is told besides the robot's messages.
pub(super) struct Knows {
    /// Grids of the policy; without them there is no token view.
    pub(super) tokens: Option<TokenSpace>,
    /// `[rows, columns]` of the policy's patches.
    pub(super) patches: Option<[u32; 2]>,
    pub(super) layout: Use,
    /// How long the layout waits for what it arranges.
    pub(super) layout_wait: Duration,
    /// Says why, on request.
    pub(super) explain: Option<Explain>,
}

/// One message, heard or recorded.
pub(super) struct Told<'a> {
    /// As a recording calls it: `/egogrid/<robot>/…`.
    pub(super) topic: &'a str,
    /// When it came, nanoseconds since the UNIX epoch.
    pub(super) log_ns: u64,
    pub(super) payload: Cow<'a, [u8]>,
}

impl<'a> From<&'a Heard> for Told<'a> {
    fn from(heard: &'a Heard) -> Self {
        Self { topic: &heard.topic.name, log_ns: heard.log_ns, payload: heard.payload() }
    }
}

impl Told<'_> {
    /// What is behind the robot's name.
    fn rest(&self) -> &str {
        self.topic.splitn(4, '/').nth(3).unwrap_or_default()
    }
}

/// What has been drawn, and what it was drawn of.
pub(super) struct Draw {
    stream: RecordingStream,
    knows: Knows,
    robot: Robot,
    scene: Scene,
    panels: Panels,
    plan: Plan,
    points: Option<(Vec<[f32; 3]>, bool)>,
    looks: i64,
    episode: Option<u32>,
    at_ns: i64,
    mode: String,
    status: String,
    /// Which depth counts, as the embodiment of the run says.
    rules: Option<SensorRules>,
    /// The camera that is drawn, and how large.
    drawn: Option<(&'static str, [u32; 2])>,
    first_picture: Option<Instant>,
    /// For a camera with depth, with a pose.
    laid_out: Option<(bool, bool)>,
}

impl Draw {
    pub(super) fn new(stream: RecordingStream, knows: Knows) -> Result<Self, LogError> {
        // Only what is set below: wall clock and log counter would be two more timelines to choose from.
        stream.set_log_time_enabled(false);
        stream.set_log_tick_enabled(false);
        let (scene, panels) = (Scene::new(Default::default(), None), Panels::default());
        scene.statics(&stream)?;
        panels.statics(&stream)?;
        if let Some(tokens) = &knows.tokens {
            tokens.statics(&stream)?;
        }
        for (path, name) in [
            ("command/age_ms", "exposure to command"),
            ("command/hold", "gate holds"),
            ("looks/took_ms", "look"),
            ("looks/age_ms", "exposure to answer"),
        ] {
            stream.log_static(path, &SeriesLines::new().with_names([name]))?;
        }
        Ok(Self {
            stream,
            knows,
            robot: Robot::default(),
            scene,
            panels,
            plan: Plan::default(),
            points: None,
            looks: 0,
            episode: None,
            at_ns: 0,
            mode: String::new(),
            status: String::new(),
            rules: None,
            drawn: None,
            first_picture: None,
            laid_out: None,
        })
    }

    /// Payloads that could not be read so far.
    pub(super) fn unreadable(&self) -> u64 {
        self.robot.unreadable
    }

    /// Pictures wait for their turn and may be older than what has been drawn: they are drawn now.
    fn at(&mut self, told: &Told<'_>) {
        self.at_ns = self.at_ns.max(i64::try_from(told.log_ns).unwrap_or(i64::MAX));
        self.stream.set_timestamp_nanos_since_epoch("t", self.at_ns);
    }

    /// Goes back: what comes next is drawn where it belongs, although later things have been drawn already.
    pub(super) fn back_to(&mut self, log_ns: u64) {
        self.at_ns = i64::try_from(log_ns).unwrap_or(i64::MAX);
    }

    /// One message that is no picture.
    pub(super) fn message(&mut self, told: &Told<'_>) -> Result<(), LogError> {
        self.at(told);
        let (payload, rest) = (&told.payload, told.rest());
        match rest {
            "state" => {
                self.robot.state(payload);
                self.state()
            }
            "command" | "command_dry_run" => match self.robot.read::<Command>(payload) {
                Some(command) => self.command(&command),
                None => Ok(()),
            },
            "look" => match self.robot.read::<PolicyLook>(payload) {
                Some(look) => self.look(&look),
                None => Ok(()),
            },
            "status" => match self.robot.read::<PolicyStatus>(payload) {
                Some(status) => self.status(&status),
                None => Ok(()),
            },
            "action" => match self.robot.read::<ActionChunk>(payload) {
                Some(chunk) => chunk
                    .reasons
                    .iter()
                    .try_for_each(|reason| self.say("WARN", format!("gate, step {}: {}", reason.step, reason.detail))),
                None => Ok(()),
            },
            "episode" => match self.robot.read::<EpisodeMark>(payload) {
                Some(mark) => {
                    self.episode = Some(mark.episode);
                    self.say("INFO", words::episode(&mark))
                }
                None => Ok(()),
            },
            "instruction" => match self.robot.read::<RosString>(payload) {
                Some(instruction) => self.say("INFO", format!("instruction: {}", instruction.data)),
                None => Ok(()),
            },
            "run_info" => match self.robot.read::<RunInfo<'_>>(payload) {
                Some(info) => self.run_info(&info),
                None => Ok(()),
            },
            _ => {
                if let Some((camera, part)) = rest.strip_prefix("camera/").and_then(|rest| rest.split_once('/')) {
                    self.robot.camera(camera, part, payload);
                }
                Ok(())
            }
        }
    }

    /// The newest pictures, one of `shrink` pixels of each side.
    pub(super) fn pictures(&mut self, told: &[Told<'_>], shrink: u32) -> Result<(), LogError> {
        for one in told {
            self.at(one);
            let (payload, rest) = (&one.payload, one.rest());
            if let Some((camera, part)) = rest.strip_prefix("camera/").and_then(|rest| rest.split_once('/')) {
                self.robot.camera(camera, part, payload);
            } else if let Some(cloud) = self.robot.read::<PointCloud2<'_>>(payload) {
                let in_base = cloud.header.frame_id == "base";
                self.points = wire_to_points(&cloud).ok().map(|points| (points, in_base));
            }
        }
        let frames: Vec<Frame> = self.robot.cameras.values().filter_map(|camera| camera.frame()).collect();
        // The policy sees the first one; the world is drawn from it.
        if let Some(frame) = frames.into_iter().next() {
            let frame = shrunk(frame, shrink);
            let seen = Seen { index: self.looks, frame, state: self.robot.state.clone() };
            // Depth may come later, and where the camera is only the first look says: a moment for them, and again when there is more.
            let has = (seen.frame.depth.is_some(), seen.frame.base_from_camera.is_some());
            let first = *self.first_picture.get_or_insert_with(Instant::now);
            let due = match self.laid_out {
                None => has == (true, true) || first.elapsed() >= self.knows.layout_wait,
                Some(before) => (!before.0 && has.0) || (!before.1 && has.1),
            };
            if due {
                layouts::send(&self.stream, self.knows.layout, &seen, self.knows.tokens.is_some())?;
                self.laid_out = Some(has);
            }
            self.scene.seen(&self.stream, &seen, self.episode)?;
            self.panels.seen(&self.stream, &seen)?;
            self.patches(&seen.frame)?;
            self.sampled(&seen.frame)?;
            let size_px = [seen.frame.rgb.width_px(), seen.frame.rgb.height_px()];
            self.drawn = Some((camera_path(&seen.frame), size_px));
        }
        Ok(())
    }

    fn patches(&self, frame: &Frame) -> Result<(), LogError> {
        let Some([rows, columns]) = self.knows.patches else { return Ok(()) };
        let [width, height] = [frame.rgb.width_px(), frame.rgb.height_px()].map(|px| px as f32);
        let across = (1..rows).map(|row| height * row as f32 / rows as f32).map(|y| vec![[0.0, y], [width, y]]);
        let down =
            (1..columns).map(|column| width * column as f32 / columns as f32).map(|x| vec![[x, 0.0], [x, height]]);
        let lines: Vec<Vec<[f32; 2]>> = across.chain(down).collect();
        let [r, g, b, a] = PATCH_RGB;
        let style = LineStrips2D::new(lines).with_colors([rerun::Color::from_unmultiplied_rgba(r, g, b, a)]);
        self.stream.log(format!("{}/patches", camera_path(frame)), &style.with_radii([Radius::new_ui_points(0.5)]))?;
        Ok(())
    }

    /// Where the policy sampled depth.
    fn sampled(&mut self, frame: &Frame) -> Result<(), LogError> {
        let Some((points, in_base)) = self.points.take() else { return Ok(()) };
        let (path, points) = match (in_base, &frame.base_from_camera) {
            (true, _) => ("world/ego3d", points),
            (false, Some(pose)) => ("world/ego3d", transformed(pose, &points)),
            (false, None) => ("camera_frame/ego3d", points),
        };
        let style = Points3D::new(points).with_colors([SAMPLED_RGB]).with_radii([Radius::new_ui_points(2.0)]);
        self.stream.log(path, &style)?;
        Ok(())
    }

    /// Explanations that are there, and something new to explain.
    pub(super) fn explain(&mut self) -> Result<(), LogError> {
        let Some(explain) = &mut self.knows.explain else { return Ok(()) };
        explain.give(&self.robot, self.rules);
        let (answer, drawn) = (explain.answer(), self.drawn);
        match (answer, &self.knows.explain, drawn) {
            (Some(Ok(explained)), Some(explain), Some((camera, size_px))) => {
                explain.draw(&self.stream, &explained, self.knows.tokens.as_ref(), camera, size_px)?;
                explain::told(&explained).map_or(Ok(()), |text| self.say("WARN", text))
            }
            (Some(Err(text)), ..) => self.say("WARN", text),
            _ => Ok(()),
        }
    }

    /// Looks explained, and left out.
    pub(super) fn explanations(&self) -> [u64; 2] {
        self.knows.explain.as_ref().map_or([0; 2], Explain::counts)
    }

    fn state(&mut self) -> Result<(), LogError> {
        let Some(state) = &self.robot.state else { return Ok(()) };
        self.stream.log("gripper/measured", &Scalars::single(state.gripper))?;
        Ok(())
    }

    fn command(&mut self, command: &Command) -> Result<(), LogError> {
        self.stream.log("gripper/command", &Scalars::single(command.gripper))?;
        self.stream.log("command/hold", &Scalars::single(f64::from(u8::from(command.hold))))?;
        if let Some(age_ms) = command.age_ms {
            self.stream.log("command/age_ms", &Scalars::single(age_ms))?;
        }
        self.plan.command(&self.stream, command, self.robot.state.as_ref())
    }

    fn look(&mut self, look: &PolicyLook) -> Result<(), LogError> {
        self.looks = self.looks.saturating_add(1);
        self.stream.set_time_sequence("look", self.looks);
        self.robot.look(look);
        self.stream.log("looks/took_ms", &Scalars::single(look.took_ms))?;
        self.stream.log("looks/age_ms", &Scalars::single(look.age_ms))?;
        self.stages(&look.stages)?;
        if !look.failure.is_empty() {
            return self
                .say("ERROR", format!("look {}: no chunk ({}): {}", look.look, look.failure, look.failure_detail));
        }
        if let Some(text) = self.knows.explain.as_mut().and_then(|explain| explain.look(look)) {
            self.say("ERROR", text)?;
        }
        let confidence: Vec<f32> = look.tokens.iter().map(|token| token.confidence).collect();
        self.stream.log("confidence", &BarChart::new(confidence).with_color([90, 200, 120]))?;
        if let Some(tokens) = &self.knows.tokens {
            tokens.tokens(&self.stream, &look.tokens)?;
        }
        self.stream
            .log("decision", &TextDocument::from_markdown(words::decision(look, self.knows.tokens.is_some())))?;
        self.plan.look(&self.stream, look)
    }

    /// Each stage by itself, and stacked: the sum of all stages up to it.
    fn stages(&self, stages: &[StageTime]) -> Result<(), LogError> {
        let mut sum_ms = 0.0;
        for StageTime { stage, ms } in stages {
            sum_ms += ms;
            self.stream.log(format!("time/stacked/{stage}"), &Scalars::single(sum_ms))?;
        }
        Ok(())
    }

    fn status(&mut self, status: &PolicyStatus) -> Result<(), LogError> {
        for StageTime { stage, ms } in &status.timings {
            let group = if stage.starts_with("tick") { "ticks" } else { "ages" };
            self.stream.log(format!("{group}/{stage}"), &Scalars::single(*ms))?;
        }
        for count in &status.counts {
            self.stream.log(format!("counts/{}", count.name), &Scalars::single(count.count as f64))?;
        }
        if status.mode != self.mode {
            let level = if status.mode == "running" { "INFO" } else { "WARN" };
            self.say(level, words::mode(status))?;
            self.mode.clone_from(&status.mode);
        }
        let text = words::status(status);
        if text != self.status {
            self.stream.log("progress", &TextDocument::from_markdown(text.as_str()))?;
            self.status = text;
        }
        Ok(())
    }

    /// How the view itself keeps up.
    pub(super) fn view(&self, left: super::mailbox::Left, shrink: u32, rate_hz: f64) -> Result<(), LogError> {
        for (name, value) in [
            ("pictures_left_out", left.pictures as f64),
            ("messages_left_out", left.messages as f64),
            ("unreadable", self.robot.unreadable as f64),
            ("explanations_left_out", self.explanations()[1] as f64),
            ("picture_shrunk_by", f64::from(shrink)),
            ("pictures_hz_max", rate_hz),
        ] {
            self.stream.log(format!("view/{name}"), &Scalars::single(value))?;
        }
        Ok(())
    }

    fn run_info(&mut self, info: &RunInfo<'_>) -> Result<(), LogError> {
        let robot = words::robot(info.embodiment);
        self.rules = robot.as_ref().map(|robot| robot.depth);
        self.plan.units = robot.as_ref().map(|robot| robot.units);
        if let Some(robot) = robot {
            self.scene.workspace(&self.stream, robot.limits.workspace_m())?;
        }
        self.stream.log("run_info", &TextDocument::from_markdown(words::run(info)))?;
        let digest = info.bundle_sha256.get(..12).unwrap_or_default();
        self.say("INFO", format!("{} ({}, {}, bundle {digest})", info.policy_id, info.precision, info.provider))
    }

    fn say(&self, level: &str, text: String) -> Result<(), LogError> {
        Ok(self.stream.log("log", &TextLog::new(text).with_level(level))?)
    }

    /// Hands over what is left.
    pub(super) fn flush(&self, wait_max: Duration) -> Result<(), LogError> {
        Ok(self.stream.flush_with_timeout(wait_max)?)
    }
}

/// Every `step`-th pixel of each side, with the lens of that size; as it is for 1, or where nothing would be left.
fn shrunk(frame: Frame, step: u32) -> Frame {
    let size_px = [frame.rgb.width_px() / step, frame.rgb.height_px() / step];
    if step == 1 || size_px.contains(&0) {
        return frame;
    }
    let rgb = pixels::<3, u8>(frame.rgb.data(), frame.rgb.width_px(), size_px, step);
    let Ok(rgb) = RgbImage::new(size_px[0], size_px[1], rgb) else { return frame };
    let depth = frame.depth.as_ref().filter(|depth| depth.width_px() == frame.rgb.width_px()).and_then(|depth| {
        let data = pixels::<1, f32>(depth.data_m(), depth.width_px(), size_px, step);
        DepthImage::new(size_px[0], size_px[1], depth.kind(), data).ok()
    });
    Frame { rgb, depth, intrinsics: frame.intrinsics.map(|lens| lens.resized(size_px)), ..frame }
}

fn pixels<const N: usize, T: Copy>(data: &[T], width_px: u32, [width, height]: [u32; 2], step: u32) -> Vec<T> {
    let mut taken = Vec::with_capacity(width as usize * height as usize * N);
    for row in 0..height {
        for column in 0..width {
            let at = N * ((row * step) as usize * width_px as usize + (column * step) as usize);
            taken.extend_from_slice(&data[at..at + N]);
        }
    }
    taken
}
