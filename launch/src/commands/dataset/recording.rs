//! `egogrid dataset recording`: a dataset back to a recording, that Foxglove shows and `egogrid dataset write` takes again.
//!
//! A recording in lockstep, one step for each row. What a policy answered is not in a dataset: each look says so (`not_recorded`).

use super::eyes::{Eyes, Named};
use super::rig::Rig;
use super::write::STATE_NAMES;
use super::{open, refused};
use crate::assemble;
use crate::cli::{Common, DatasetRecordingArgs};
use crate::commands::print_json;
use crate::commands::replay::source::NOT_RECORDED;
use crate::exit::{CommandError, CommandResult};
use crate::recording::LockstepFile;
use anyhow::{Context, anyhow};
use egogrid_action_grids::{ACTION_DIMS, Action};
use egogrid_runtime::camera::Stamp;
use egogrid_runtime::observation::{EndEffectorState, Observation};
use egogrid_sim_bridge::codec::Message;
use egogrid_sim_bridge::convert::{
    LookFacts, LookFailureFacts, PolicyLabel, look_to_wire, stamp_to_wire, step_to_wire,
};
use egogrid_sim_bridge::dataset::{Dataset, Episode, Rows};
use egogrid_sim_bridge::limits::PROTOCOL_VERSION;
use egogrid_sim_bridge::message::{ActionChunk, EpisodeMark, Header, RosString, RunInfo};
use egogrid_sim_bridge::session::RobotName;
use indicatif::ProgressBar;
use nalgebra::{Isometry3, Quaternion, Translation3, UnitQuaternion};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// As the demo calls its robot.
const ROBOT: &str = "sim0";

struct Recorder<'a> {
    file: LockstepFile,
    camera: String,
    label: PolicyLabel,
    dataset: &'a Dataset,
    eyes: &'a Eyes,
    action: &'a str,
    /// Rows so far, which is the time.
    rows: u64,
}

pub(super) fn run(common: &Common, args: &DatasetRecordingArgs) -> CommandResult {
    let dataset = open(&args.dataset)?;
    let rig = Rig::read(dataset.root())?;
    let named =
        Named { picture: args.picture.as_deref(), depth: args.depth.as_deref(), camera: args.camera.as_deref() };
    let eyes = Eyes::of(common, &dataset, &rig, named)?;
    let feature = dataset.info().feature(dataset.root(), &args.action).map_err(refused)?;
    if feature.values() != ACTION_DIMS {
        return Err(CommandError::usage(anyhow!(
            "feature {:?} has {} numbers, and a robot's motion {ACTION_DIMS}: x, y, z, roll, pitch, yaw, gripper",
            args.action,
            feature.values()
        )));
    }
    if args.out.exists() {
        return Err(CommandError::usage(anyhow!("{}: there is a file already; name another one", args.out.display())));
    }
    let about = [("robot", ROBOT), ("version", env!("CARGO_PKG_VERSION")), ("made_of", "a LeRobot dataset")];
    let about = about.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let robot = RobotName::new(ROBOT).map_err(CommandError::usage)?;
    let file = LockstepFile::create(args.out.clone(), robot, about).map_err(CommandError::usage)?;
    let source = |key: &str| rig.source.get(key).cloned().unwrap_or_default();
    let label = PolicyLabel {
        policy_id: source("policy_id"),
        bundle_sha256: source("bundle_sha256"),
        stats_key: source("stats_key"),
    };
    let camera = eyes.picture.rsplit('.').next().unwrap_or(&eyes.picture).to_owned();
    let recorder = Recorder { file, camera, label, dataset: &dataset, eyes: &eyes, action: &args.action, rows: 0 };
    let bar =
        ProgressBar::new(dataset.info().frames).with_style(assemble::style("{bar:30} {pos}/{len} rows  {eta} left"));
    let rows = recorder.all(&bar)?;
    bar.finish_and_clear();
    if args.json {
        print_json(&json!({ "recording": args.out, "episodes": dataset.episodes().len(), "rows": rows }));
    } else {
        println!("{}: {} episodes, {rows} rows", args.out.display(), dataset.episodes().len());
    }
    Ok(())
}

impl Recorder<'_> {
    fn all(mut self, bar: &ProgressBar) -> CommandResult<u64> {
        let features = &self.dataset.info().features;
        let known = |name: &str| features.contains_key(name).then_some(name.to_owned());
        let state =
            features.get("observation.state").filter(|state| state.names.starts_with(&STATE_NAMES.map(str::to_owned)));
        let state = state.map(|_| "observation.state".to_owned());
        let columns: Vec<String> = [Some(self.action.to_owned()), state, known("next.success")]
            .into_iter()
            .flatten()
            .chain(self.eyes.columns().map(str::to_owned))
            .collect();
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        let dataset = self.dataset;
        let mut reader = dataset.rows(&columns).map_err(refused)?;
        self.run_info().map_err(CommandError::usage)?;
        for episode in dataset.episodes() {
            let rows = reader.episode(episode).map_err(refused)?;
            self.episode(episode, &rows, bar)?;
        }
        let rows = self.rows;
        self.file.finish().map_err(CommandError::usage)?;
        Ok(rows)
    }

    fn put<'m, T: Message<'m>>(&mut self, rest: &str, message: &T, latched: bool) -> anyhow::Result<()> {
        self.file.put(rest, message, latched, self.log_ns())
    }

    /// The rows are the time.
    fn log_ns(&self) -> u64 {
        (self.rows as f64 / self.dataset.info().fps * 1e9).round() as u64
    }

    fn run_info(&mut self) -> anyhow::Result<()> {
        let info = self.dataset.info();
        // What a reader wants of the robot is its name.
        let name = info.robot_type.clone().unwrap_or_else(|| "unnamed".to_owned());
        let embodiment = toml::to_string(&BTreeMap::from([("name", name)]))?;
        let PolicyLabel { policy_id, bundle_sha256, stats_key } = self.label.clone();
        let run = RunInfo {
            header: Header::default(),
            protocol: PROTOCOL_VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            session: 0,
            policy_id,
            bundle_sha256,
            stats_key,
            precision: String::new(),
            provider: String::new(),
            control_hz: info.fps,
            clock_offset_s: 0.0,
            deployment: &[],
            embodiment: embodiment.as_bytes(),
        };
        self.put("run_info", &run, true)
    }

    fn mark(&mut self, episode: &Episode, task: &str, outcome: &str) -> anyhow::Result<()> {
        let mark = EpisodeMark {
            header: Header::default(),
            episode: u32::try_from(episode.index)?,
            task: String::new(),
            seed: 0,
            instruction: task.to_owned(),
            outcome: outcome.to_owned(),
            detail: String::new(),
        };
        self.put("episode", &mark, true)?;
        self.put("instruction", &RosString { data: task.to_owned() }, true)
    }

    fn episode(&mut self, episode: &Episode, rows: &Rows, bar: &ProgressBar) -> CommandResult {
        let task = rows.tasks.first().cloned().unwrap_or_default();
        self.mark(episode, &task, "").map_err(CommandError::usage)?;
        let eyes = self.eyes;
        let mut pictures = eyes.pictures(self.dataset, episode, rows)?;
        for row in 0..rows.length {
            let stamp = Stamp { ns: (row as f64 / self.dataset.info().fps * 1e9).round() as i64 };
            let frame = eyes.frame(rows, row, pictures.next()?, stamp)?;
            let state = rows.numbers.get("observation.state").map(|state| state_of(state.row(row))).transpose();
            let state = state.map_err(CommandError::usage)?;
            let instruction = rows.tasks.get(row).cloned().unwrap_or_default();
            let observation = Observation { sequence: row as u64, frame, instruction, state };
            let action = rows.numbers.get(self.action).map_or(&[][..], |action| action.row(row));
            let what = || format!("episode {}, row {row}", episode.index);
            self.row(episode, &observation, action).with_context(what).map_err(CommandError::usage)?;
            self.rows += 1;
            bar.inc(1);
        }
        let success = rows.numbers.get("next.success").map(|success| success.values.last() == Some(&1.0));
        let outcome = match success {
            Some(true) => "success",
            Some(false) => "failure",
            None => "unknown",
        };
        self.mark(episode, &task, outcome).map_err(CommandError::usage)
    }

    fn row(&mut self, episode: &Episode, observation: &Observation, action: &[f64]) -> anyhow::Result<()> {
        let (camera, log_ns) = (self.camera.clone(), self.log_ns());
        let stamp = stamp_to_wire(observation.frame.stamp)?;
        self.file.seen(&observation.frame, &camera, observation.state.as_ref(), log_ns)?;
        let label = self.label.clone();
        let detail = "made of a dataset, which does not hold what the policy answered".to_owned();
        let facts = LookFacts {
            at: observation.frame.stamp,
            look: self.rows,
            sequence: observation.sequence,
            episode: u32::try_from(episode.index)?,
            policy: &label,
            camera: &camera,
            observation: Some(observation),
            committed: &[],
            result: Err(LookFailureFacts { kind: NOT_RECORDED, detail, token_ids: &[] }),
            took: Duration::ZERO,
            age: Duration::ZERO,
            dropped: 0,
        };
        self.put("look", &look_to_wire(&facts)?, false)?;
        let values = <[f64; ACTION_DIMS]>::try_from(action).map_err(|_| anyhow!("{} numbers", action.len()))?;
        let chunk = ActionChunk {
            header: Header { stamp, frame_id: "base".to_owned() },
            observed: stamp,
            sequence: observation.sequence,
            policy_id: label.policy_id.clone(),
            control_hz: self.dataset.info().fps,
            steps: vec![step_to_wire(&Action::try_from(values)?)],
            confidence: Vec::new(),
            reasons: Vec::new(),
        };
        self.put("action", &chunk, false)
    }
}

/// As in [`STATE_NAMES`], and the joints.
fn state_of(numbers: &[f64]) -> anyhow::Result<EndEffectorState> {
    let [x, y, z, qx, qy, qz, qw, gripper, joints_rad @ ..] = numbers else {
        return Err(anyhow!("a state of {} numbers, expected at least {}", numbers.len(), STATE_NAMES.len()));
    };
    let turn = Quaternion::new(*qw, *qx, *qy, *qz);
    // Float32 rounds; anything else is no rotation.
    if (turn.norm() - 1.0).abs() > 1e-3 {
        return Err(anyhow!("a quaternion of length {}, expected 1", turn.norm()));
    }
    let base_from_ee = Isometry3::from_parts(Translation3::new(*x, *y, *z), UnitQuaternion::new_normalize(turn));
    Ok(EndEffectorState { base_from_ee, gripper: *gripper, joints_rad: joints_rad.to_vec() })
}
