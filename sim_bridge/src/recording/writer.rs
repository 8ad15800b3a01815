//! Messages to MCAP files that survive the death of the process and never fill the disk.
//!
//! From: payloads as they are on the wire. To: one file, or a directory of files of a bounded size whose oldest ones are deleted.
//! A chunk is made in memory and written whole, then forced to the disk: after `kill -9` or a power cut the file is readable to its
//! last whole chunk. What cannot be written is counted, never waited for: the robot does not depend on it.

use super::disk;
use super::schema::{UnknownType, ros2msg};
use mcap::records::{MessageHeader, Metadata};
use mcap::write::NoSeek;
use mcap::{Compression, McapError, WriteOptions};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long after a failure the next attempt is made.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// zstd's fastest: half of a robot's processor is not there for this.
const COMPRESSION_LEVEL: u32 = 1;

/// Where a recording goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// One file; it ends where a limit is reached.
    File(PathBuf),
    /// A directory of files; the oldest ones go where a limit is reached.
    Directory(PathBuf),
}

/// Bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RecordingRules {
    /// A file ends when it is that large.
    pub file_bytes_max: u64,
    /// All recordings at the place together.
    pub disk_bytes_max: u64,
    /// What must stay free on the disk for others.
    pub free_bytes_min: u64,
    /// Bytes of messages in one chunk: what is in memory at most.
    pub chunk_bytes: usize,
    /// Oldest message that waits in memory.
    pub chunk_age_max: Duration,
}

impl Default for RecordingRules {
    /// 256 MiB files, 4 GiB in all, 1 GiB stays free; at most 4 MiB or one second wait in memory.
    fn default() -> Self {
        Self {
            file_bytes_max: 256 << 20,
            disk_bytes_max: 4 << 30,
            free_bytes_min: 1 << 30,
            chunk_bytes: 4 << 20,
            chunk_age_max: Duration::from_secs(1),
        }
    }
}

/// One message.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// As in [`super::topics`].
    pub topic: &'a str,
    /// `package/msg/Type`.
    pub ros_type: &'a str,
    /// When it was received, nanoseconds since the UNIX epoch.
    pub log_ns: u64,
    /// When it was sent, where that is known; else the same.
    pub publish_ns: u64,
    /// CDR.
    pub payload: &'a [u8],
    /// Whether it stands at the begin of every file that follows.
    pub latched: bool,
}

/// Why nothing is written at the moment. The next message after a while tries again, except where it says that it is over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Pause {
    /// The disk is fuller than is allowed.
    #[error(
        "{free_mib} MiB are free on the disk of {path}, and {min_mib} MiB stay free for others: nothing is recorded until there is room"
    )]
    DiskFull {
        /// Where.
        path: String,
        /// Found.
        free_mib: u64,
        /// Allowed.
        min_mib: u64,
    },
    /// The system refused.
    #[error("{path}: {detail}: nothing is recorded until that works again")]
    Failed {
        /// Where.
        path: String,
        /// What it said.
        detail: String,
    },
    /// One file, and it is as large as it may be.
    #[error(
        "{path} has reached {max_mib} MiB, as large as it may be: the recording is over; record into a directory to go on with new files"
    )]
    Over {
        /// Which.
        path: String,
        /// Allowed.
        max_mib: u64,
    },
}

/// A message that cannot be recorded, or a place that cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// No definition.
    #[error(transparent)]
    Type(#[from] UnknownType),
    /// At the start.
    #[error(
        "cannot record to {path}: {source}; name a file in a directory that exists, or a directory, and check its permissions"
    )]
    Place {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file exists.
    #[error("{path} exists and is not overwritten; name another file")]
    Exists {
        /// Which.
        path: PathBuf,
    },
}

/// What a recording came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordingFigures {
    /// Messages on the disk.
    pub written: u64,
    /// Messages that could not be written.
    pub lost: u64,
    /// Bytes on the disk, of all files of this process.
    pub bytes: u64,
    /// Files of this process.
    pub files: u64,
    /// Old files that were deleted.
    pub deleted: u64,
}

/// An open file.
struct Open {
    mcap: mcap::Writer<NoSeek<File>>,
    /// The same file, to force and to cut it.
    file: File,
    path: PathBuf,
    channels: BTreeMap<String, (u16, u32)>,
    /// Length up to which every chunk is whole.
    whole_bytes: u64,
    chunk: Option<Chunk>,
}

/// What waits in memory.
#[derive(Clone, Copy)]
struct Chunk {
    begun: Instant,
    bytes: usize,
    messages: u64,
}

/// The writer.
pub struct RecordingWriter {
    place: Place,
    rules: RecordingRules,
    about: BTreeMap<String, String>,
    latched: BTreeMap<String, Latched>,
    open: Option<Open>,
    next_file: u32,
    figures: RecordingFigures,
    pause: Option<(Pause, Instant)>,
}

struct Latched {
    ros_type: String,
    log_ns: u64,
    publish_ns: u64,
    payload: Vec<u8>,
}

impl RecordingWriter {
    /// Opens the first file. `about` stands in every file as metadata `egogrid`.
    ///
    /// # Errors
    /// A place that cannot be used. A full disk is none: then the recording begins when there is room.
    pub fn create(place: Place, rules: RecordingRules, about: BTreeMap<String, String>) -> Result<Self, WriteError> {
        match &place {
            Place::File(path) if path.exists() => return Err(WriteError::Exists { path: path.clone() }),
            Place::File(path) => {
                let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
                std::fs::metadata(parent).map_err(|source| WriteError::Place { path: path.clone(), source })?;
            }
            Place::Directory(dir) => {
                std::fs::create_dir_all(dir).map_err(|source| WriteError::Place { path: dir.clone(), source })?;
            }
        }
        let figures = RecordingFigures::default();
        let latched = BTreeMap::new();
        let mut writer = Self { place, rules, about, latched, open: None, next_file: 0, figures, pause: None };
        writer.open_next();
        match (&writer.open, &writer.pause) {
            // Not full, but impossible: better said now than in a status that nobody reads.
            (None, Some((Pause::Failed { path, detail }, _))) => {
                Err(WriteError::Place { path: path.into(), source: io::Error::other(detail.clone()) })
            }
            _ => Ok(writer),
        }
    }

    /// Adds one message. One that cannot be written is counted.
    ///
    /// # Errors
    /// A type without a definition.
    pub fn write(&mut self, entry: &Entry<'_>) -> Result<(), WriteError> {
        if entry.latched {
            let Entry { log_ns, publish_ns, .. } = *entry;
            let latched =
                Latched { ros_type: entry.ros_type.to_owned(), log_ns, publish_ns, payload: entry.payload.to_vec() };
            self.latched.insert(entry.topic.to_owned(), latched);
        }
        let over =
            |(pause, since): &(Pause, Instant)| matches!(pause, Pause::Over { .. }) || since.elapsed() < RETRY_AFTER;
        if self.open.is_none() && !self.pause.as_ref().is_some_and(over) {
            self.open_next();
            // The latched messages are in the new file already, this one too if it is one of them.
            if entry.latched && self.open.is_some() {
                return Ok(());
            }
        }
        let Some(open) = &mut self.open else {
            self.figures.lost += 1;
            return Ok(());
        };
        match open.add(entry) {
            Ok(()) => {}
            Err(AddError::Type(error)) => return Err(error.into()),
            Err(AddError::Mcap(error)) => self.fail(&error),
        }
        self.settle();
        Ok(())
    }

    /// Writes what has waited long enough. To be called now and then when no message comes.
    pub fn settle(&mut self) {
        let rules = self.rules;
        let Some(open) = &self.open else { return };
        let due = |chunk: &Chunk| chunk.bytes >= rules.chunk_bytes || chunk.begun.elapsed() >= rules.chunk_age_max;
        if open.chunk.as_ref().is_some_and(due) {
            self.put_down();
        }
    }

    /// What it came to so far.
    pub fn figures(&self) -> &RecordingFigures {
        &self.figures
    }

    /// Why nothing is written at the moment.
    pub fn pause(&self) -> Option<&Pause> {
        self.pause.as_ref().map(|(pause, _)| pause)
    }

    /// The file that is open.
    pub fn path(&self) -> Option<&Path> {
        self.open.as_ref().map(|open| open.path.as_path())
    }

    /// Ends the file with its index.
    pub fn finish(mut self) -> (RecordingFigures, Option<Pause>) {
        self.put_down();
        self.close();
        (self.figures.clone(), self.pause.take().map(|(pause, _)| pause))
    }

    /// The chunk to the disk, if that leaves enough room; then the next file, if this one is large enough.
    fn put_down(&mut self) {
        let Some(open) = &mut self.open else { return };
        let Some(chunk) = open.chunk else { return };
        let free = disk::free_bytes(&open.path).unwrap_or(u64::MAX); // a system that cannot say is asked by writing
        if free < self.rules.free_bytes_min.saturating_add(chunk.bytes as u64) {
            let path = open.path.display().to_string();
            let pause = Pause::DiskFull { path, free_mib: free >> 20, min_mib: self.rules.free_bytes_min >> 20 };
            self.abandon(pause);
            return;
        }
        match open.put_down() {
            Ok(bytes) => {
                self.figures.written += chunk.messages;
                self.figures.bytes += bytes;
            }
            Err(error) => {
                self.fail(&error);
                return;
            }
        }
        let whole_bytes = open.whole_bytes;
        let limit = self.rules.file_bytes_max.min(self.rules.disk_bytes_max);
        if whole_bytes < limit {
            return;
        }
        let path = open.path.display().to_string();
        self.close();
        match &self.place {
            Place::File(_) => self.pause = Some((Pause::Over { path, max_mib: limit >> 20 }, Instant::now())),
            Place::Directory(_) => self.open_next(),
        }
    }

    fn fail(&mut self, error: &McapError) {
        let path = match &self.open {
            Some(open) => open.path.display().to_string(),
            None => String::new(),
        };
        self.abandon(Pause::Failed { path, detail: error.to_string() });
    }

    /// Drops what waits, cuts the file behind its last whole chunk and ends it there if the disk lets us.
    fn abandon(&mut self, pause: Pause) {
        if let Some(open) = self.open.take() {
            self.figures.lost += open.chunk.map_or(0, |chunk| chunk.messages);
            open.abandon();
        }
        tracing::warn!("{pause}");
        self.pause = Some((pause, Instant::now()));
    }

    /// Ends the file with its index.
    fn close(&mut self) {
        let Some(mut open) = self.open.take() else { return };
        let before = open.whole_bytes;
        match open.mcap.finish().map_err(io::Error::other).and_then(|_| open.file.sync_all()) {
            Ok(()) => self.figures.bytes += open.length().saturating_sub(before),
            Err(error) => {
                let path = open.path.display().to_string();
                tracing::warn!("{path} has no index ({error}); it can be read from front to back");
            }
        }
    }

    /// The next file, with what is latched.
    fn open_next(&mut self) {
        self.pause = None;
        match self.try_open() {
            Ok(open) => {
                self.figures.files += 1;
                self.open = Some(open);
            }
            Err(pause) => {
                tracing::warn!("{pause}");
                self.pause = Some((pause, Instant::now()));
            }
        }
    }

    fn try_open(&mut self) -> Result<Open, Pause> {
        let failed = |path: &Path, error: &dyn std::fmt::Display| Pause::Failed {
            path: path.display().to_string(),
            detail: error.to_string(),
        };
        let (dir, path) = match &self.place {
            // A second file only after a failure.
            Place::File(path) => (path.parent().unwrap_or(Path::new(".")), numbered(path, self.next_file)),
            Place::Directory(dir) => {
                let keep = self.rules.disk_bytes_max.saturating_sub(self.rules.file_bytes_max);
                self.figures.deleted += disk::make_room(dir, keep).map_err(|error| failed(dir, &error))?;
                (dir.as_path(), dir.join(file_name(self.next_file)))
            }
        };
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        let free = disk::free_bytes(dir).map_err(|error| failed(dir, &error))?;
        if free < self.rules.free_bytes_min {
            let path = dir.display().to_string();
            return Err(Pause::DiskFull { path, free_mib: free >> 20, min_mib: self.rules.free_bytes_min >> 20 });
        }
        let mut open = Open::create(path.clone(), &self.about).map_err(|error| failed(&path, &error))?;
        self.next_file += 1;
        for (topic, latched) in &self.latched {
            let Latched { ros_type, log_ns, publish_ns, payload } = latched;
            let (log_ns, publish_ns) = (*log_ns, *publish_ns);
            let entry = Entry { topic, ros_type, log_ns, publish_ns, payload, latched: true };
            open.add(&entry).map_err(|error| failed(&path, &error))?;
        }
        Ok(open)
    }
}

#[derive(Debug, thiserror::Error)]
enum AddError {
    #[error(transparent)]
    Type(#[from] UnknownType),
    #[error(transparent)]
    Mcap(#[from] McapError),
}

impl Open {
    fn create(path: PathBuf, about: &BTreeMap<String, String>) -> Result<Self, McapError> {
        let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        let options = WriteOptions::new()
            .profile("ros2")
            .library(concat!("egogrid ", env!("CARGO_PKG_VERSION")))
            .compression(Some(Compression::Zstd))
            .compression_level(COMPRESSION_LEVEL)
            .compression_threads(0)
            // Chunks end where we say.
            .chunk_size(None)
            .disable_seeking(true);
        let mut mcap = options.create(NoSeek::new(file.try_clone()?))?;
        mcap.write_metadata(&Metadata { name: "egogrid".to_owned(), metadata: about.clone() })?;
        mcap.flush()?;
        let mut open = Self { mcap, file, path, channels: BTreeMap::new(), whole_bytes: 0, chunk: None };
        open.whole_bytes = open.length();
        Ok(open)
    }

    fn length(&self) -> u64 {
        self.file.metadata().map_or(0, |metadata| metadata.len())
    }

    fn add(&mut self, entry: &Entry<'_>) -> Result<(), AddError> {
        let (channel_id, sequence) = match self.channels.get_mut(entry.topic) {
            Some((channel, sequence)) => {
                *sequence = sequence.wrapping_add(1);
                (*channel, *sequence)
            }
            None => {
                let schema = ros2msg(entry.ros_type)?;
                let schema = self.mcap.add_schema(entry.ros_type, "ros2msg", schema.as_bytes())?;
                let channel = self.mcap.add_channel(schema, entry.topic, "cdr", &BTreeMap::new())?;
                self.channels.insert(entry.topic.to_owned(), (channel, 0));
                (channel, 0)
            }
        };
        let Entry { log_ns: log_time, publish_ns: publish_time, payload, .. } = *entry;
        let header = MessageHeader { channel_id, sequence, log_time, publish_time };
        self.mcap.write_to_known_channel(&header, payload)?;
        let chunk = self.chunk.get_or_insert_with(|| Chunk { begun: Instant::now(), bytes: 0, messages: 0 });
        chunk.bytes += payload.len();
        chunk.messages += 1;
        Ok(())
    }

    /// How many bytes that took.
    fn put_down(&mut self) -> Result<u64, McapError> {
        self.chunk = None;
        self.mcap.flush()?;
        self.file.sync_data()?;
        let before = self.whole_bytes;
        self.whole_bytes = self.length();
        Ok(self.whole_bytes.saturating_sub(before))
    }

    fn abandon(self) {
        // Not `finish`: that would write to the same disk once more, from inside a half-written record.
        drop(self.mcap.into_inner());
        if let Err(error) = self.file.set_len(self.whole_bytes).and_then(|()| self.file.sync_all()) {
            tracing::warn!("{}: {error}; it ends in the middle of a chunk", self.path.display());
        }
    }
}

/// `a.mcap`, `a-1.mcap`, …
fn numbered(path: &Path, number: u32) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    if number == 0 { path.to_path_buf() } else { path.with_file_name(format!("{stem}-{number}{}", disk::ENDING)) }
}

/// Names sort by age, also those of two processes that began in the same second.
fn file_name(number: u32) -> String {
    let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%3f");
    format!("{}{now}-{number:05}{}", disk::PREFIX, disk::ENDING)
}
