//! A deployment file: one robot, its cameras, its policy and how they run together. See `launch/deployments`.
//!
//! From: TOML, where unknown keys are errors and nothing that protects anybody has a default. To: [`Deployment`], checked.
//! Every error names file, line and key, what was found and what is allowed. Paths are relative to the file.

mod cameras;
mod recording;

use crate::assemble;
use crate::exit::{CommandError, CommandResult};
use crate::view::live::Screen;
use anyhow::anyhow;
use cameras::{CameraConfig, PicturesConfig, pictures};
use egogrid_runtime::clock::ControlRate;
use egogrid_runtime::observation_set::SetRules;
use egogrid_runtime::safety::Bound;
use egogrid_runtime::schedule::ScheduleConfig;
use egogrid_sim_bridge::session::{Keys, KeysConfig, RobotName, SessionConfig, SessionError};
use recording::RecordingConfig;
use serde::Deserialize;
use std::fmt::{Debug, Display};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

const MS_MAX: f64 = 60_000.0;

/// What the file says.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    robot: RobotConfig,
    policy: PolicyConfig,
    schedule: ScheduleConfig,
    cameras: Vec<CameraConfig>,
    pictures: PicturesConfig,
    wire: SessionConfig,
    /// Absent: our own.
    #[serde(default)]
    keys: KeysConfig,
    realtime: RealtimeConfig,
    #[serde(default)]
    operations: OperationsConfig,
    /// Absent: nothing is recorded.
    recording: Option<RecordingConfig>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct RobotConfig {
    /// Part of every key.
    name: String,
    embodiment: PathBuf,
    control_hz: f64,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyConfig {
    bundle: PathBuf,
    /// Absent: it waits for one on the wire.
    instruction: Option<String>,
    deadline_ms: f64,
    /// Absent: the policy is never another one.
    swap_from: Option<PathBuf>,
    /// Whether `look` says what each stage put out.
    #[serde(default)]
    sketch_stages: bool,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct RealtimeConfig {
    priority: Bound<u8>,
    lock_memory: bool,
    /// Whether a system that does not permit them is an error.
    required: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct OperationsConfig {
    #[serde(default)]
    dry_run: bool,
    /// Absent: there are none.
    metrics: Option<String>,
    /// Absent: there is none. A viewer's address, or a file.
    view: Option<String>,
}

pub use recording::Recording;

/// What the process trusts.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// Whose keys, and which.
    pub keys: Keys,
    /// File of the robot's bounds.
    pub embodiment: PathBuf,
    /// How often the control thread ticks.
    pub rate: ControlRate,
    /// Directory of the policy.
    pub bundle: PathBuf,
    /// What to do at first.
    pub instruction: Option<String>,
    /// Longest look.
    pub deadline: Duration,
    /// Whether `look` says what each stage put out.
    pub sketch_stages: bool,
    /// Directory of the bundles that may take over, absolute.
    pub swap_from: Option<PathBuf>,
    /// Not yet checked against the policy.
    pub schedule: ScheduleConfig,
    /// Cameras; the policy sees the first.
    pub pictures: SetRules,
    /// Loopback, or beyond it with certificates and an access list.
    pub wire: SessionConfig,
    /// `SCHED_FIFO` priority of the control thread; `None`: an ordinary thread.
    pub priority: Option<u8>,
    /// Whether memory is to be locked.
    pub lock_memory: bool,
    /// Whether a refusal of the two is an error.
    pub realtime_required: bool,
    /// Commands go to `command_dry_run`.
    pub dry_run: bool,
    /// Where Prometheus reads metrics: loopback.
    pub metrics: Option<SocketAddr>,
    /// Where the live view goes.
    pub view: Option<Screen>,
    /// Where everything is recorded, and how much of it is kept.
    pub recording: Option<Recording>,
    /// The file as it was read, for recordings.
    pub text: String,
}

impl Deployment {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// Missing, unreadable, or a value that cannot be meant.
    pub fn read(path: &Path) -> CommandResult<Self> {
        let text = assemble::small_text(path)?;
        let config: Config = toml::from_str(&text)
            .map_err(|error| CommandError::usage(anyhow!("{}: {}", path.display(), error.to_string().trim_end())))?;
        let file = File { path, text: &text };
        config.checked(&file)
    }
}

/// Where a value came from, for errors.
struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl File<'_> {
    /// `section.key` is wrong.
    fn wrong(&self, section: &str, key: &str, found: impl Debug, allowed: impl Display) -> CommandError {
        let (path, line) = (self.path.display(), line_of(self.text, section, key));
        CommandError::usage(anyhow!("{path}:{line}: {section}.{key} is {found:?}; expected {allowed}"))
    }

    /// `section.key`, as the checker that knows it best has put it.
    fn refused(&self, section: &str, key: &str, error: impl Display) -> CommandError {
        let (path, line) = (self.path.display(), line_of(self.text, section, key));
        CommandError::usage(anyhow!("{path}:{line}: {section}.{key}: {error}"))
    }

    fn ms(&self, section: &str, key: &str, ms: f64, allowed: RangeInclusive<f64>) -> CommandResult<Duration> {
        if allowed.contains(&ms) {
            return Ok(Duration::from_secs_f64(ms * 1e-3));
        }
        Err(self.wrong(section, key, ms, format!("{} to {} ms", allowed.start(), allowed.end())))
    }

    /// Relative to the file.
    fn beside(&self, path: &Path) -> PathBuf {
        self.path.parent().unwrap_or(Path::new(".")).join(path)
    }
}

/// The line of `key` in the first table called `section`, counted from 1; the section's own, or 1, if it is written otherwise.
fn line_of(text: &str, section: &str, key: &str) -> usize {
    let is_section = |line: &str| {
        let table = line.split('#').next().unwrap_or_default().trim();
        table.starts_with('[') && table.trim_matches(['[', ']']).trim() == section
    };
    let mut lines = text.lines().enumerate().skip_while(|(_, line)| !is_section(line));
    let Some((first, _)) = lines.next() else { return 1 };
    let mut inside = lines.take_while(|(_, line)| !line.trim().starts_with('['));
    let is_key =
        |line: &str| line.trim_start().strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='));
    inside.find(|(_, line)| is_key(line)).map_or(first, |(number, _)| number) + 1
}

impl Config {
    fn checked(self, file: &File<'_>) -> CommandResult<Deployment> {
        let robot = RobotName::new(&self.robot.name).map_err(|error| file.refused("robot", "name", error))?;
        let rate =
            ControlRate::new(self.robot.control_hz).map_err(|error| file.refused("robot", "control_hz", error))?;
        let deadline = file.ms("policy", "deadline_ms", self.policy.deadline_ms, 1.0..=MS_MAX)?;
        if let Some(text) = self.policy.instruction.as_ref().filter(|text| text.trim().is_empty()) {
            return Err(file.wrong(
                "policy",
                "instruction",
                text,
                "what to do, or no such line: then it waits for one on the wire",
            ));
        }
        let swap_from = self.policy.swap_from.map(|dir| directory(file, &dir)).transpose()?;
        let metrics = self.operations.metrics.map(|address| loopback(file, &address)).transpose()?;
        let cameras: Vec<&str> = self.cameras.iter().map(|camera| camera.name.as_str()).collect();
        let wire = wire(self.wire, &cameras, file)?;
        let keys = self.keys.checked(&robot, &cameras).map_err(|error| {
            let quoted = if error.topic.contains('/') { format!("\"{}\"", error.topic) } else { error.topic.clone() };
            file.refused("keys", &quoted, error)
        })?;
        let priority = match self.realtime.priority {
            Bound::At(priority) if (1..=99).contains(&priority) => Some(priority),
            Bound::At(priority) => {
                return Err(file.wrong(
                    "realtime",
                    "priority",
                    priority,
                    "1 to 99, or { unbounded = \"why an ordinary thread is enough\" }",
                ));
            }
            Bound::Unbounded(_) => None,
        };
        Ok(Deployment {
            keys,
            embodiment: file.beside(&self.robot.embodiment),
            rate,
            bundle: file.beside(&self.policy.bundle),
            instruction: self.policy.instruction,
            deadline,
            swap_from,
            sketch_stages: self.policy.sketch_stages,
            schedule: self.schedule,
            pictures: pictures(self.cameras, &self.pictures, file)?,
            wire,
            priority,
            lock_memory: self.realtime.lock_memory,
            realtime_required: self.realtime.required,
            dry_run: self.operations.dry_run,
            metrics,
            view: self.operations.view.map(|view| screen(file, &view)).transpose()?,
            recording: self.recording.map(|recording| recording.checked(file)).transpose()?,
            text: file.text.to_owned(),
        })
    }
}

/// Where bundles to change to lie.
fn directory(file: &File<'_>, dir: &Path) -> CommandResult<PathBuf> {
    let found = file.beside(dir).canonicalize().ok().filter(|path| path.is_dir());
    found.ok_or_else(|| file.wrong("policy", "swap_from", dir, "a directory that exists; each bundle in it has a name"))
}

/// Metrics say what a robot does, and to anybody who asks.
fn loopback(file: &File<'_>, address: &str) -> CommandResult<SocketAddr> {
    let found = address.parse().ok().filter(|address: &SocketAddr| address.ip().is_loopback());
    let allowed =
        "ADDRESS:PORT on loopback, e.g. 127.0.0.1:9464; beyond this machine put a proxy with a login in front";
    found.ok_or_else(|| file.wrong("operations", "metrics", address, allowed))
}

/// A viewer that runs, or a file beside the deployment's.
fn screen(file: &File<'_>, view: &str) -> CommandResult<Screen> {
    if view.starts_with("rerun+http") {
        return Ok(Screen::Viewer(view.to_owned()));
    }
    let allowed = "the address of a viewer, e.g. \"rerun+http://127.0.0.1:9876/proxy\", or a file F.rrd";
    let path = Path::new(view);
    let is_file = path.extension().is_some_and(|ending| ending == "rrd");
    is_file.then(|| Screen::File(file.beside(path))).ok_or_else(|| file.wrong("operations", "view", view, allowed))
}

/// Endpoints and what protects them; files are relative to the deployment's, and read when the session opens.
fn wire(config: SessionConfig, cameras: &[&str], file: &File<'_>) -> CommandResult<SessionConfig> {
    config.checked().map_err(|error| {
        let (section, key) = match &error {
            SessionError::Unused { unused } => ("wire", *unused),
            SessionError::CertificateName { role, .. } => ("wire.access", role.split('.').next().unwrap_or_default()),
            SessionError::NobodyMay => ("wire", "access"),
            _ if config.listen.is_empty() => ("wire", "connect"),
            _ => ("wire", "listen"),
        };
        file.refused(section, key, &error)
    })?;
    let names = config.access.iter().flat_map(|access| access.cameras.keys());
    if let Some(unknown) = names.into_iter().find(|name| !cameras.contains(&name.as_str())) {
        let expected = format!("names of [[cameras]]: {}", cameras.join(", "));
        return Err(file.wrong("wire.access", "cameras", unknown, expected));
    }
    let tls = config.tls.as_ref().map(|tls| tls.beside(file.path.parent().unwrap_or(Path::new("."))));
    Ok(SessionConfig { tls, ..config })
}

#[cfg(test)]
mod tests;
