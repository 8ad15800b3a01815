//! A deployment file: one robot, its cameras, its policy and how they run together. See `launch/deployments`.
//!
//! From: TOML, where unknown keys are errors and nothing that protects anybody has a default. To: [`Deployment`], checked.
//! Every error names file, line and key, what was found and what is allowed. Paths are relative to the file.

use crate::assemble;
use crate::exit::{CommandError, CommandResult};
use anyhow::anyhow;
use egogrid_runtime::clock::ControlRate;
use egogrid_runtime::observation_set::{CameraSpec, SetRules};
use egogrid_runtime::safety::Bound;
use egogrid_runtime::schedule::ScheduleConfig;
use egogrid_sim_bridge::limits::IMAGE_SIDE_PX_MAX;
use egogrid_sim_bridge::session::{Keys, KeysConfig, RobotName, SessionConfig, SessionError};
use nalgebra::{Isometry3, Matrix3, Rotation3, Translation3, UnitQuaternion};
use serde::Deserialize;
use std::fmt::{Debug, Display};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How far a rotation matrix may be from one: room for rounding in the file.
const ROTATION_SLACK: f64 = 1e-4;
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
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct CameraConfig {
    name: String,
    size_px: [u32; 2],
    depth: bool,
    frozen_frames: Bound<u32>,
    dark_mean_min: Bound<f64>,
    /// `[4, 4]`, rows; of a camera that does not move.
    base_from_camera: Option<[[f64; 4]; 4]>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct PicturesConfig {
    join_ms: f64,
    age_ms_max: f64,
    silent_ms_max: f64,
    future_ms_max: f64,
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
}

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
            schedule: self.schedule,
            pictures: pictures(self.cameras, &self.pictures, file)?,
            wire,
            priority,
            lock_memory: self.realtime.lock_memory,
            realtime_required: self.realtime.required,
            dry_run: self.operations.dry_run,
            metrics,
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

fn pictures(cameras: Vec<CameraConfig>, config: &PicturesConfig, file: &File<'_>) -> CommandResult<SetRules> {
    const SECTION: &str = "pictures";
    if cameras.is_empty() {
        return Err(file.wrong("cameras", "name", cameras.len(), "at least one [[cameras]]"));
    }
    let mut specs: Vec<CameraSpec> = Vec::new();
    for camera in cameras {
        let camera = camera.checked(file)?;
        if specs.iter().any(|known| known.name == camera.name) {
            return Err(file.wrong("cameras", "name", camera.name, "a name that no other camera has"));
        }
        specs.push(camera);
    }
    Ok(SetRules {
        cameras: specs,
        join_max: file.ms(SECTION, "join_ms", config.join_ms, 0.0..=1000.0)?,
        age_max: file.ms(SECTION, "age_ms_max", config.age_ms_max, 1.0..=MS_MAX)?,
        silent_max: file.ms(SECTION, "silent_ms_max", config.silent_ms_max, 1.0..=MS_MAX)?,
        future_max: file.ms(SECTION, "future_ms_max", config.future_ms_max, 0.0..=1000.0)?,
    })
}

impl CameraConfig {
    fn checked(self, file: &File<'_>) -> CommandResult<CameraSpec> {
        const SECTION: &str = "cameras";
        // The same rule as for robots: it is part of a key.
        RobotName::new(&self.name)
            .map_err(|_| file.wrong(SECTION, "name", &self.name, "1 to 64 of a-z, 0-9, _ and -"))?;
        if !self.size_px.iter().all(|side| (1..=IMAGE_SIDE_PX_MAX).contains(side)) {
            let allowed = format!("[width, height], each 1 to {IMAGE_SIDE_PX_MAX}");
            return Err(file.wrong(SECTION, "size_px", self.size_px, allowed));
        }
        let frozen_frames = match self.frozen_frames {
            Bound::At(frames) if frames >= 2 => Some(frames),
            Bound::At(frames) => {
                return Err(file.wrong(
                    SECTION,
                    "frozen_frames",
                    frames,
                    "2 or more, or { unbounded = \"why pictures may repeat\" }",
                ));
            }
            Bound::Unbounded(_) => None,
        };
        let dark_mean_min = match self.dark_mean_min {
            Bound::At(mean) if (0.0..=255.0).contains(&mean) => Some(mean),
            Bound::At(mean) => {
                return Err(file.wrong(
                    SECTION,
                    "dark_mean_min",
                    mean,
                    "0 to 255, or { unbounded = \"why it may be dark\" }",
                ));
            }
            Bound::Unbounded(_) => None,
        };
        let base_from_camera = match self.base_from_camera {
            None => None,
            Some(rows) => Some(rigid(&rows).ok_or_else(|| {
                file.wrong(
                    SECTION,
                    "base_from_camera",
                    rows,
                    "4 rows of a rotation and a translation in metres, the last 0 0 0 1",
                )
            })?),
        };
        Ok(CameraSpec {
            name: self.name,
            size_px: self.size_px,
            depth: self.depth,
            frozen_frames,
            dark_mean_min,
            base_from_camera,
        })
    }
}

/// Rows of a homogeneous matrix; `None` if it is no rigid motion.
fn rigid(rows: &[[f64; 4]; 4]) -> Option<Isometry3<f64>> {
    let rotation = Matrix3::from_fn(|row, column| rows[row][column]);
    let error = (rotation * rotation.transpose() - Matrix3::identity()).norm();
    // Written so that NaN fails.
    let right = error <= ROTATION_SLACK && rotation.determinant() > 0.0 && rows[3] == [0.0, 0.0, 0.0, 1.0];
    let translation = Translation3::new(rows[0][3], rows[1][3], rows[2][3]);
    let finite = translation.vector.iter().all(|value| value.is_finite());
    let turned = || UnitQuaternion::from_rotation_matrix(&Rotation3::from_matrix(&rotation));
    (right && finite).then(|| Isometry3::from_parts(translation, turned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn shipped() -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deployments/metaworld.toml");
        std::fs::read_to_string(path).unwrap()
    }

    fn read(text: &str) -> Result<Deployment, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("arm.toml");
        std::fs::write(&path, text).unwrap();
        Deployment::read(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn the_shipped_deployment_is_one() {
        let deployment = read(&shipped()).unwrap();
        assert_eq!(deployment.keys.robot().as_str(), "sim0");
        assert!(deployment.pictures.cameras[0].base_from_camera.is_some());
        assert!(deployment.bundle.ends_with("../../policies/shipped/metaworld/bundle"));
    }

    /// What is written instead of a line, and what the error says besides file and line.
    #[test]
    fn every_error_names_file_line_key_and_what_is_allowed() {
        let cases = [
            ("name = \"sim0\"", "name = \"Arm 1\"", "robot.name", "a-z"),
            ("control_hz = ", "control_hz = 501.0", "robot.control_hz", "1 to 500"),
            ("control_hz = ", "control_hz = nan", "robot.control_hz", "1 to 500"),
            ("deadline_ms = ", "deadline_ms = 0.0", "policy.deadline_ms", "1 to 60000 ms"),
            ("deadline_ms = ", "deadline_ms = 100.0\ninstruction = \" \"", "policy.instruction", "waits for one"),
            ("join_ms = ", "join_ms = -1.0", "pictures.join_ms", "0 to 1000 ms"),
            ("age_ms_max = ", "age_ms_max = inf", "pictures.age_ms_max", "1 to 60000 ms"),
            ("size_px = ", "size_px = [0, 224]", "cameras.size_px", "1 to 4096"),
            ("frozen_frames = ", "frozen_frames = 1", "cameras.frozen_frames", "2 or more"),
            ("dark_mean_min = ", "dark_mean_min = 300.0", "cameras.dark_mean_min", "0 to 255"),
            ("listen = ", "listen = [\"tcp/0.0.0.0:7447\"]", "wire.listen", "not on loopback"),
            ("listen = ", "listen = [\"tls/0.0.0.0:7447\"]", "wire.listen", "needs `tls`"),
            ("priority = ", "priority = 0", "realtime.priority", "1 to 99"),
            ("dry_run = ", "dry_run = false\nmetrics = \"0.0.0.0:9464\"", "operations.metrics", "on loopback"),
            ("dry_run = ", "dry_run = false\nmetrics = \"[::]:9464\"", "operations.metrics", "on loopback"),
            ("dry_run = ", "dry_run = false\nmetrics = \"localhost\"", "operations.metrics", "127.0.0.1:9464"),
            ("dry_run = ", "dry_run = false\nmetric = \"127.0.0.1:9464\"", "metric", "dry_run"),
            (
                "deadline_ms = ",
                "deadline_ms = 100.0\nswap_from = \"none\"",
                "policy.swap_from",
                "a directory that exists",
            ),
            ("deadline_ms = ", "deadline_mss = 3.0", "deadline_mss", "deadline_ms"),
            ("depth = ", "depth = 3", "depth", "boolean"),
            ("strategy = ", "strategy = { kind = \"magic\" }", "strategy", "overlap"),
        ];
        for (begins, instead, key, allowed) in cases {
            let text = shipped();
            let line = 1 + text.lines().position(|line| line.starts_with(begins)).unwrap();
            let changed: Vec<&str> =
                text.lines().map(|old| if old.starts_with(begins) { instead } else { old }).collect();
            let error = read(&changed.join("\n")).unwrap_err();
            let line = line + usize::from(instead.contains('\n'));
            let names_line = error.contains(&format!("arm.toml:{line}:")) || error.contains(&format!("line {line}"));
            assert!(error.contains("arm.toml") && names_line, "{instead}: {error}");
            assert!(error.contains(key) && error.contains(allowed), "{instead}: {error}");
        }
    }

    /// Tables at the end of the file, and what the error says with the line of the last one.
    #[test]
    fn wrong_keys_and_names_are_named_with_their_line() {
        for (added, says) in [
            ("[keys]\nstate = \"/arm/state\"", ["keys.state", "/front/image_raw is front/image_raw"]),
            ("[keys]\n\"camera/back/image\" = \"a\"", ["keys.\"camera/back/image\"", "no such topic"]),
            (
                "[keys]\nstate = { key = \"a\", type = \"geometry_msgs/PoseStamped\", frame = \"b\" }",
                ["keys.state", "gripper"],
            ),
            ("[keys]\nstate = { key = \"a\", kind = \"b\" }", ["kind", "type"]),
        ] {
            let text = format!("{}\n{added}", shipped());
            let error = read(&text).unwrap_err();
            let line = text.lines().count();
            assert!(
                error.contains(&format!(":{line}:")) || error.contains(&format!("line {line}")),
                "{added}: {error}"
            );
            assert!(says.iter().all(|what| error.contains(what)), "{added}: {error}");
        }
        let mapped = format!("{}\n[keys]\n\"camera/front/image\" = \"front/image_raw\"", shipped());
        assert_eq!(read(&mapped).unwrap().keys.key("camera/front/image"), "front/image_raw");
    }

    #[test]
    fn beyond_this_machine_a_deployment_needs_certificates_beside_it_and_names_of_its_own_cameras() {
        let tls = "listen = [\"tls/0.0.0.0:7447\"]\n\
                   tls = { root_ca_certificate = \"pki/ca.pem\", certificate = \"pki/d.pem\", private_key = \"pki/d.key\" }\n\
                   access = { robots = [\"arm\"], cameras = { front = [\"front-camera\"] } }";
        let with = |wire: &str| shipped().replace("listen = [\"tcp/127.0.0.1:7447\"]", wire);
        let deployment = read(&with(tls)).unwrap();
        assert!(deployment.wire.tls.unwrap().private_key.parent().unwrap().is_absolute());
        let error = read(&with(&tls.replace("{ front", "{ back"))).unwrap_err();
        assert!(error.contains("\"back\"") && error.contains("names of [[cameras]]: front"), "{error}");
        let error = read(&with(&tls.replace("[\"arm\"]", "[\"a*\"]"))).unwrap_err();
        assert!(error.contains("access.robots") && error.contains("a*"), "{error}");
    }

    #[test]
    fn a_matrix_that_mirrors_or_stretches_is_no_pose_of_a_camera() {
        let good = [[0.0, -1.0, 0.0, 0.1], [1.0, 0.0, 0.0, 0.2], [0.0, 0.0, 1.0, 0.3], [0.0, 0.0, 0.0, 1.0]];
        assert!(rigid(&good).is_some());
        for (row, column, value) in [(2, 2, -1.0), (0, 1, -1.1), (0, 3, f64::NAN), (1, 0, f64::NAN), (3, 3, 2.0)] {
            let mut bad = good;
            bad[row][column] = value;
            assert!(rigid(&bad).is_none(), "{bad:?}");
        }
    }
}
