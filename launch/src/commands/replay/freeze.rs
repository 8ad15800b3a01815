//! `--freeze DIR`: a recording from the field becomes a regression test that `./launch/test` runs from then on.
//!
//! From: a recording whose replay was the same. To: `DIR/recording.mcap`, with nothing but what a replay needs, and `DIR/replay.toml`,
//! which says what must come of it. `launch/tests/frozen.rs` goes through `tests/recordings/`.

use super::report::Report;
use anyhow::{Context, anyhow, ensure};
use egogrid_sim_bridge::codec::decode;
use egogrid_sim_bridge::message::{ActionChunk, Image, PolicyLook, Time};
use egogrid_sim_bridge::recording::{
    Entry, Place, ReadProblem, RecordedMessage, RecordingReader, RecordingRules, RecordingWriter,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Name of the recording in the directory.
const RECORDING: &str = "recording.mcap";

/// What must come of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrozenReplay {
    /// Relative to the repository.
    pub bundle: PathBuf,
    /// Its digest at that time: another one is another promise, and is to be frozen anew.
    pub bundle_sha256: String,
    /// Looks in the recording.
    pub looks: u64,
    /// Where it came from, for people.
    pub about: String,
}

/// Writes `dir`. `paths` were replayed as `report` says, with the bundle in `bundle`.
pub(super) fn freeze(dir: &Path, root: &Path, paths: &[PathBuf], bundle: &Path, report: &Report) -> anyhow::Result<()> {
    ensure!(
        report.ok,
        "only a replay that is the same can be frozen: a test that fails from the start promises nothing"
    );
    ensure!(!dir.exists(), "{} exists and is not overwritten; name another directory", dir.display());
    let bundle = bundle.canonicalize()?;
    let inside = bundle.strip_prefix(root.canonicalize()?).ok().map(Path::to_path_buf);
    let bundle = inside.ok_or_else(|| {
        anyhow!(
            "{} is outside of {}; put the bundle into the repository, or nobody else can run the test",
            bundle.display(),
            root.display()
        )
    })?;
    std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let needed = needed(paths, report.looks)?;
    let rules = RecordingRules { free_bytes_min: 0, ..RecordingRules::default() };
    let mut writer = RecordingWriter::create(Place::File(dir.join(RECORDING)), rules, BTreeMap::new())?;
    for message in messages(paths) {
        let message = message?;
        if needed.has(&message) {
            let RecordedMessage { topic, ros_type, log_ns, publish_ns, payload, .. } = &message;
            let (log_ns, publish_ns) = (*log_ns, *publish_ns);
            writer.write(&Entry { topic, ros_type, log_ns, publish_ns, payload, latched: false })?;
        }
    }
    if let (_, Some(pause)) = writer.finish() {
        return Err(anyhow!("{pause}"));
    }
    let names: Vec<String> =
        paths.iter().filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect();
    let frozen = FrozenReplay {
        bundle,
        bundle_sha256: report.replayed.bundle_sha256.clone(),
        looks: report.looks,
        about: format!("egogrid replay {} --freeze", names.join(" ")),
    };
    std::fs::write(dir.join("replay.toml"), toml::to_string(&frozen)?)?;
    Ok(())
}

/// Messages up to where a file ends early.
fn messages(paths: &[PathBuf]) -> impl Iterator<Item = anyhow::Result<RecordedMessage>> {
    paths.iter().flat_map(|path| {
        let (reader, error) = match RecordingReader::open(path) {
            Ok(reader) => (Some(reader), None),
            Err(error) => (None, Some(Err(error.into()))),
        };
        let read = reader.into_iter().flatten().filter_map(|message| match message {
            Ok(message) => Some(Ok(message)),
            Err(error) if matches!(error.problem, ReadProblem::Cut { .. }) => None,
            Err(error) => Some(Err(error.into())),
        });
        error.into_iter().chain(read)
    })
}

/// What the first looks need.
struct Needed {
    pictures: BTreeSet<(String, i32, u32)>,
    looks: BTreeSet<u64>,
    /// Of the observations that the looks answer.
    sequences: BTreeSet<u64>,
}

fn needed(paths: &[PathBuf], looks_max: u64) -> anyhow::Result<Needed> {
    let mut needed = Needed { pictures: BTreeSet::new(), looks: BTreeSet::new(), sequences: BTreeSet::new() };
    for message in messages(paths) {
        let message = message?;
        if !message.topic.ends_with("/look") || needed.looks.len() as u64 == looks_max {
            continue;
        }
        let look: PolicyLook = decode(&message.payload)?;
        needed.looks.insert(look.look);
        needed.sequences.insert(look.sequence);
        if let Some(input) = look.input {
            let Time { sec, nanosec } = input.stamp;
            needed.pictures.insert((input.camera, sec, nanosec));
        }
    }
    Ok(needed)
}

impl Needed {
    fn has(&self, message: &RecordedMessage) -> bool {
        let rest = message.topic.splitn(4, '/').nth(3).unwrap_or_default();
        let picture = rest.strip_prefix("camera/").and_then(|rest| rest.split_once('/'));
        match (rest, picture) {
            ("run_info" | "episode", _) => true,
            ("look", _) => decode(&message.payload).is_ok_and(|look: PolicyLook| self.looks.contains(&look.look)),
            ("action", _) => {
                decode(&message.payload).is_ok_and(|sent: ActionChunk| self.sequences.contains(&sent.sequence))
            }
            (_, Some((camera, "image" | "depth"))) => decode(&message.payload).is_ok_and(|image: Image<'_>| {
                let Time { sec, nanosec } = image.header.stamp;
                self.pictures.contains(&(camera.to_owned(), sec, nanosec))
            }),
            _ => false,
        }
    }
}
