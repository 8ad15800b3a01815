//! A recording to looks with what they saw: pictures are found again by stamp, and proved to be the same by checksum.
//!
//! From: MCAP files, in the order they were written. To: [`RecordedLook`]s, one at a time; memory holds a few pictures.

use anyhow::{Context, anyhow};
use egogrid_runtime::camera::{DepthImage, RgbImage};
use egogrid_runtime::embodiment::{Embodiment, EmbodimentConfig};
use egogrid_runtime::observation::Observation;
use egogrid_sim_bridge::codec::{Message, decode};
use egogrid_sim_bridge::convert::{depth_crc32, rgb_crc32, wire_to_depth, wire_to_observation, wire_to_rgb};
use egogrid_sim_bridge::message::{ActionChunk, EpisodeMark, Image, LookInput, PolicyLook, RunInfo, Time};
use egogrid_sim_bridge::recording::{ReadError, ReadProblem, RecordedMessage, RecordingReader};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

/// Pictures that are kept for a look to come: more than a policy can be behind.
const PICTURES_MAX: usize = 64;
const PICTURE_BYTES_MAX: usize = 256 << 20;

/// Failure of a look in a recording that was made of a dataset.
pub(crate) const NOT_RECORDED: &str = "not_recorded";

/// What ran when it was recorded.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RecordedRun {
    pub(crate) policy_id: String,
    pub(crate) bundle_sha256: String,
    pub(crate) stats_key: String,
    pub(crate) precision: String,
    pub(crate) provider: String,
    pub(crate) control_hz: f64,
    /// 0: in lockstep.
    pub(crate) session: u64,
    pub(crate) deployment: String,
    pub(crate) embodiment: String,
}

impl RecordedRun {
    /// The robot that was recorded.
    pub(crate) fn embodiment(&self) -> anyhow::Result<Embodiment> {
        let config: EmbodimentConfig = toml::from_str(&self.embodiment).context("the recorded embodiment")?;
        config.checked().context("the recorded embodiment")
    }
}

/// One look, with what it saw.
#[derive(Debug)]
pub(crate) struct RecordedLook {
    pub(crate) look: PolicyLook,
    /// Since the recording began.
    pub(crate) at_s: f64,
    pub(crate) saw: Saw,
}

#[derive(Debug)]
pub(crate) enum Saw {
    Observation(Box<Observation>),
    /// In words.
    Nothing(&'static str),
}

/// What a recording says, in order.
#[derive(Debug)]
pub(crate) enum Event {
    Run(Box<RecordedRun>),
    Episode(EpisodeMark),
    Look(Box<RecordedLook>),
    /// What left through the gate after the look before it.
    Sent(ActionChunk),
}

struct Picture {
    camera: String,
    depth: bool,
    stamp: Time,
    payload: Vec<u8>,
}

/// The events of one or several files.
pub(crate) struct Source {
    files: VecDeque<PathBuf>,
    reader: Option<RecordingReader>,
    pictures: VecDeque<Picture>,
    picture_bytes: usize,
    begun_ns: Option<u64>,
    bytes_before: u64,
    offset: u64,
    /// Files that end early, in words: fine up to there.
    cut: Vec<String>,
}

/// A recording, or all of a directory in the order they were begun.
pub(crate) fn files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let entries = std::fs::read_dir(path)?.collect::<Result<Vec<_>, _>>()?;
    let mut files: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "mcap"));
    if files.is_empty() {
        return Err(anyhow!("no .mcap file in {}; name a recording, or a directory of them", path.display()));
    }
    files.sort();
    Ok(files)
}

impl Source {
    /// `path`: a file, or a directory of them.
    pub(crate) fn open(path: &Path) -> anyhow::Result<(Self, u64)> {
        let files = files(path)?;
        let length =
            |path: &PathBuf| std::fs::metadata(path).map(|file| file.len()).context(path.display().to_string());
        let bytes = files.iter().map(length).sum::<anyhow::Result<u64>>()?;
        let source = Self {
            files: files.into(),
            reader: None,
            pictures: VecDeque::new(),
            picture_bytes: 0,
            begun_ns: None,
            bytes_before: 0,
            offset: 0,
            cut: Vec::new(),
        };
        Ok((source, bytes))
    }

    /// Bytes read so far, about.
    pub(crate) fn position(&self) -> u64 {
        self.bytes_before + self.offset
    }

    /// Files that end early, in words.
    pub(crate) fn cut(&self) -> &[String] {
        &self.cut
    }

    /// The next event; `None` at the end.
    pub(crate) fn next(&mut self) -> anyhow::Result<Option<Event>> {
        loop {
            let Some(reader) = &mut self.reader else {
                let Some(path) = self.files.pop_front() else { return Ok(None) };
                self.reader = Some(RecordingReader::open(&path)?);
                continue;
            };
            match reader.next() {
                Some(Ok(message)) => {
                    self.offset = message.offset;
                    if let Some(event) = self.message(message)? {
                        return Ok(Some(event));
                    }
                }
                // What a killed recorder leaves.
                Some(Err(error @ ReadError { problem: ReadProblem::Cut { .. }, .. })) => {
                    self.cut.push(error.to_string());
                    self.end_file();
                }
                Some(Err(error)) => return Err(error.into()),
                None => self.end_file(),
            }
        }
    }

    fn end_file(&mut self) {
        self.reader = None;
        self.bytes_before += self.offset;
        self.offset = 0;
    }

    fn message(&mut self, message: RecordedMessage) -> anyhow::Result<Option<Event>> {
        let begun_ns = *self.begun_ns.get_or_insert(message.log_ns);
        let Some(rest) = rest_of(&message.topic) else { return Ok(None) };
        let what = || format!("{} at byte {}", message.topic, message.offset);
        match rest {
            "run_info" => {
                let info: RunInfo<'_> = read(&message).with_context(what)?;
                Ok(Some(Event::Run(Box::new(RecordedRun::of(&info).with_context(what)?))))
            }
            "episode" => Ok(Some(Event::Episode(read(&message).with_context(what)?))),
            "action" => Ok(Some(Event::Sent(read(&message).with_context(what)?))),
            "look" => {
                let look: PolicyLook = read(&message).with_context(what)?;
                let at_s = message.log_ns.saturating_sub(begun_ns) as f64 * 1e-9;
                let saw = self.saw(&look).with_context(what)?;
                Ok(Some(Event::Look(Box::new(RecordedLook { look, at_s, saw }))))
            }
            _ => {
                if let Some((camera, part)) = rest.strip_prefix("camera/").and_then(|rest| rest.split_once('/')) {
                    let (camera, depth) = (camera.to_owned(), part == "depth");
                    if depth || part == "image" {
                        let image: Image<'_> = read(&message).with_context(what)?;
                        let stamp = image.header.stamp;
                        self.keep(Picture { camera, depth, stamp, payload: message.payload });
                    }
                }
                Ok(None)
            }
        }
    }

    fn keep(&mut self, picture: Picture) {
        self.picture_bytes += picture.payload.len();
        self.pictures.push_back(picture);
        while self.pictures.len() > PICTURES_MAX || self.picture_bytes > PICTURE_BYTES_MAX {
            match self.pictures.pop_front() {
                Some(oldest) => self.picture_bytes -= oldest.payload.len(),
                None => return,
            }
        }
    }

    /// What the policy saw, bit for bit, or why it cannot be had.
    fn saw(&self, look: &PolicyLook) -> anyhow::Result<Saw> {
        let Some(input) = &look.input else { return Ok(Saw::Nothing("its pictures were gone before it began")) };
        let Some(rgb) = self.rgb(input) else {
            return Ok(Saw::Nothing("its picture is not in the recording, or is another one"));
        };
        let depth = match input.depth_crc32 {
            None => None,
            Some(crc32) => match self.depth(input, crc32) {
                Some(depth) => Some(depth),
                None => return Ok(Saw::Nothing("its depth is not in the recording, or is another one")),
            },
        };
        Ok(Saw::Observation(Box::new(wire_to_observation(look, input, rgb, depth)?)))
    }

    /// The newest picture of that stamp with those bytes; a picture that cannot be read is none.
    fn rgb(&self, input: &LookInput) -> Option<RgbImage> {
        let of_camera = |picture: &&Picture| !picture.depth && picture.camera == input.camera;
        let candidates = self.pictures.iter().rev().filter(of_camera).filter(|picture| picture.stamp == input.stamp);
        let decoded = candidates.filter_map(|picture| wire_to_rgb(&decode(&picture.payload).ok()?).ok());
        decoded.into_iter().find(|rgb| rgb_crc32(rgb) == input.rgb_crc32)
    }

    /// Depth may have a stamp of its own, within what the deployment allows: the checksum finds it.
    fn depth(&self, input: &LookInput, crc32: u32) -> Option<DepthImage> {
        let of_camera = |picture: &&Picture| picture.depth && picture.camera == input.camera;
        let mut candidates: Vec<&Picture> = self.pictures.iter().rev().filter(of_camera).collect();
        candidates.sort_by_key(|picture| picture.stamp != input.stamp);
        let decoded = candidates.into_iter().filter_map(|picture| wire_to_depth(&decode(&picture.payload).ok()?).ok());
        decoded.into_iter().find(|depth| depth_crc32(depth) == crc32)
    }
}

/// What comes after `/egogrid/<robot>/`; `None` for topics of others.
pub(crate) fn rest_of(topic: &str) -> Option<&str> {
    topic.strip_prefix("/egogrid/")?.split_once('/').map(|(_, rest)| rest)
}

fn read<'a, T: Message<'a>>(message: &'a RecordedMessage) -> anyhow::Result<T> {
    if message.ros_type != T::ROS_TYPE {
        return Err(anyhow!(
            "it has type {:?}, expected {}; is it a recording of Egogrid?",
            message.ros_type,
            T::ROS_TYPE
        ));
    }
    Ok(decode(&message.payload)?)
}

impl RecordedRun {
    fn of(info: &RunInfo<'_>) -> anyhow::Result<Self> {
        let text = |bytes: &[u8], what: &str| {
            String::from_utf8(bytes.to_vec()).with_context(|| format!("{what} is not UTF-8"))
        };
        Ok(Self {
            policy_id: info.policy_id.clone(),
            bundle_sha256: info.bundle_sha256.clone(),
            stats_key: info.stats_key.clone(),
            precision: info.precision.clone(),
            provider: info.provider.clone(),
            control_hz: info.control_hz,
            session: info.session,
            deployment: text(info.deployment, "the deployment")?,
            embodiment: text(info.embodiment, "the embodiment")?,
        })
    }
}
