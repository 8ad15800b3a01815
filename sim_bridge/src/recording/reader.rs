//! Messages out of any MCAP file, in the order they were written; whole, cut or damaged.
//!
//! From: untrusted bytes. To: [`RecordedMessage`]s, and where the file ends early or goes wrong, the byte of the record. The frame of
//! the records and chunks is read here, so that every length is bounded before anything is allocated (mcap 0.25's own readers
//! allocate what a damaged chunk states); what is in the records, `mcap` parses.
//! A cut file gives everything up to its last whole chunk first: that is what a killed recorder leaves.

use mcap::MAGIC;
use mcap::read::parse_record;
use mcap::records::{ChunkHeader, Record, op};
use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

/// Largest record, and largest chunk before and after compression, bytes: a few of the largest payloads.
const RECORD_BYTES_MAX: u64 = 160 << 20;
/// Most channels, and most schemas, of one file.
const CHANNELS_MAX: usize = 4096;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedMessage {
    /// As the file says.
    pub topic: String,
    /// Name of its schema, e.g. `sensor_msgs/msg/Image`.
    pub ros_type: String,
    /// `cdr` for everything of ROS 2.
    pub encoding: String,
    /// When it was received, nanoseconds.
    pub log_ns: u64,
    /// When it was sent, nanoseconds.
    pub publish_ns: u64,
    /// As on the wire.
    pub payload: Vec<u8>,
    /// Byte of the record, or of the chunk that it is in.
    pub offset: u64,
}

/// Where a file cannot be read, and why.
#[derive(Debug, thiserror::Error)]
#[error("{}, byte {offset}: {problem}", path.display())]
pub struct ReadError {
    /// Which file.
    pub path: PathBuf,
    /// Byte of the record.
    pub offset: u64,
    /// What is wrong there.
    pub problem: ReadProblem,
}

/// What is wrong at that byte.
#[derive(Debug, thiserror::Error)]
pub enum ReadProblem {
    /// Another kind of file.
    #[error("this is no MCAP file: it does not begin with its magic bytes")]
    NotMcap,
    /// It ends inside a record, or before its index.
    #[error("the file ends here, {} after its last whole record; what is before it is fine (the recorder was killed, or the disk full)", bytes(*left))]
    Cut {
        /// Bytes of an unfinished record.
        left: u64,
    },
    /// A record that cannot be meant.
    #[error(
        "a record of kind {opcode:#04x} says it has {found} bytes, at most {RECORD_BYTES_MAX} are read; the file is damaged here"
    )]
    TooLarge {
        /// Kind.
        opcode: u8,
        /// Stated.
        found: u64,
    },
    /// More channels or schemas than there can be.
    #[error("more than {CHANNELS_MAX} {what}; this is no recording of a robot")]
    TooMany {
        /// Of what.
        what: &'static str,
    },
    /// Not as the format says.
    #[error("{0}; the file is damaged here")]
    Damaged(String),
    /// The system.
    #[error(transparent)]
    System(#[from] io::Error),
}

fn bytes(count: u64) -> String {
    if count == 1 { "1 byte".to_owned() } else { format!("{count} bytes") }
}

struct Channel {
    topic: String,
    encoding: String,
    schema: u16,
}

/// The messages of one file. After an error there are none.
pub struct RecordingReader<R = BufReader<File>> {
    input: R,
    path: PathBuf,
    /// Of the next record.
    offset: u64,
    schemas: BTreeMap<u16, String>,
    channels: BTreeMap<u16, Channel>,
    about: BTreeMap<String, BTreeMap<String, String>>,
    ready: VecDeque<RecordedMessage>,
    /// A chunk that is damaged in its middle: told of when what is before that has been given.
    failed: Option<ReadError>,
    ended: bool,
}

impl RecordingReader {
    /// Opens `path`.
    ///
    /// # Errors
    /// No such file, or one of another kind.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let system = |error: io::Error| ReadError { path: path.to_path_buf(), offset: 0, problem: error.into() };
        let file = File::open(path).map_err(system)?;
        Self::of(BufReader::with_capacity(1 << 20, file), path)
    }
}

impl<R: Read> RecordingReader<R> {
    /// Of any bytes; `path` is for errors.
    ///
    /// # Errors
    /// Bytes of another kind.
    pub fn of(mut input: R, path: &Path) -> Result<Self, ReadError> {
        let mut magic = [0; MAGIC.len()];
        let problem = match read_some(&mut input, &mut magic) {
            Ok(MAGIC_LEN) if magic == MAGIC => None,
            Ok(_) => Some(ReadProblem::NotMcap),
            Err(error) => Some(error.into()),
        };
        if let Some(problem) = problem {
            return Err(ReadError { path: path.to_path_buf(), offset: 0, problem });
        }
        Ok(Self {
            input,
            path: path.to_path_buf(),
            offset: MAGIC.len() as u64,
            schemas: BTreeMap::new(),
            channels: BTreeMap::new(),
            about: BTreeMap::new(),
            ready: VecDeque::new(),
            failed: None,
            ended: false,
        })
    }

    /// Metadata by name, as far as it has been read.
    pub fn about(&self) -> &BTreeMap<String, BTreeMap<String, String>> {
        &self.about
    }

    fn error(&mut self, problem: ReadProblem) -> ReadError {
        self.ended = true;
        ReadError { path: self.path.clone(), offset: self.offset, problem }
    }

    /// Reads records until there is a message.
    fn advance(&mut self) -> Result<(), ReadError> {
        while self.ready.is_empty() && !self.ended {
            if let Some(error) = self.failed.take() {
                self.ended = true;
                return Err(error);
            }
            let mut head = [0; 9];
            let found = read_some(&mut self.input, &mut head).map_err(|error| self.error(error.into()))?;
            if found < head.len() {
                return Err(self.error(ReadProblem::Cut { left: found as u64 }));
            }
            let [opcode, length @ ..] = head;
            let length = u64::from_le_bytes(length);
            if opcode == op::DATA_END {
                // The index follows; it says nothing that has not been read.
                self.ended = true;
                return Ok(());
            }
            if length > RECORD_BYTES_MAX {
                return Err(self.error(ReadProblem::TooLarge { opcode, found: length }));
            }
            let mut body = Vec::new();
            // Grows with what is there, and not with what is stated.
            let taken = self.input.by_ref().take(length).read_to_end(&mut body);
            let taken = taken.map_err(|error| self.error(error.into()))? as u64;
            if taken < length {
                return Err(self.error(ReadProblem::Cut { left: 9 + taken }));
            }
            let offset = self.offset;
            let used = self.record(opcode, &body).map_err(|problem| self.error(problem));
            match used {
                // What came before the damage is given first.
                Err(error) if opcode == op::CHUNK && !self.ready.is_empty() => {
                    self.ended = false;
                    self.failed = Some(error);
                }
                used => used?,
            }
            self.offset = offset + 9 + length;
        }
        Ok(())
    }

    fn record(&mut self, opcode: u8, body: &[u8]) -> Result<(), ReadProblem> {
        // Indexes, attachments, and whatever a later version adds: not needed from front to back.
        if ![op::SCHEMA, op::CHANNEL, op::MESSAGE, op::CHUNK, op::METADATA].contains(&opcode) {
            return Ok(());
        }
        match parse_record(opcode, body).map_err(|error| ReadProblem::Damaged(error.to_string()))? {
            Record::Chunk { header, data } => self.chunk(&header, &data),
            record => self.take(record),
        }
    }

    fn chunk(&mut self, header: &ChunkHeader, data: &[u8]) -> Result<(), ReadProblem> {
        let damaged = |what: String| Err(ReadProblem::Damaged(what));
        let unpacked = unpack(header, data)?;
        let mut rest = unpacked.as_ref();
        while let Some((head, behind)) = rest.split_first_chunk::<9>() {
            let [opcode, length @ ..] = *head;
            let length = u64::from_le_bytes(length);
            let body = usize::try_from(length).ok().and_then(|length| behind.split_at_checked(length));
            let Some((body, next)) = body else {
                return damaged(format!("a chunk ends inside a record of {length} bytes"));
            };
            if opcode == op::CHUNK {
                return damaged("a chunk inside a chunk".to_owned());
            }
            self.record(opcode, body)?;
            rest = next;
        }
        if rest.is_empty() {
            Ok(())
        } else {
            damaged(format!("{} bytes behind the last record of a chunk", rest.len()))
        }
    }

    fn take(&mut self, record: Record<'_>) -> Result<(), ReadProblem> {
        match record {
            Record::Schema { header, .. } => {
                self.schemas.insert(header.id, header.name);
                within(self.schemas.len(), "schemas")
            }
            Record::Channel(channel) => {
                let (topic, encoding) = (channel.topic, channel.message_encoding);
                self.channels.insert(channel.id, Channel { topic, encoding, schema: channel.schema_id });
                within(self.channels.len(), "channels")
            }
            Record::Metadata(metadata) => {
                self.about.insert(metadata.name, metadata.metadata);
                within(self.about.len(), "pieces of metadata")
            }
            Record::Message { header, data } => {
                let Some(channel) = self.channels.get(&header.channel_id) else {
                    return Err(ReadProblem::Damaged(format!(
                        "a message of the unknown channel {}",
                        header.channel_id
                    )));
                };
                let ros_type = self.schemas.get(&channel.schema).cloned().unwrap_or_default();
                self.ready.push_back(RecordedMessage {
                    topic: channel.topic.clone(),
                    ros_type,
                    encoding: channel.encoding.clone(),
                    log_ns: header.log_time,
                    publish_ns: header.publish_time,
                    payload: data.into_owned(),
                    offset: self.offset,
                });
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

const MAGIC_LEN: usize = MAGIC.len();

/// The records of a chunk: exactly as many bytes as it states, and the ones that were written.
fn unpack<'a>(header: &ChunkHeader, data: &'a [u8]) -> Result<Cow<'a, [u8]>, ReadProblem> {
    let stated = header.uncompressed_size;
    if stated > RECORD_BYTES_MAX {
        return Err(ReadProblem::TooLarge { opcode: op::CHUNK, found: stated });
    }
    let damaged = |what: String| ReadProblem::Damaged(what);
    // One byte more than stated shows that it is not what it says, and no more than that is ever unpacked.
    let read = |input: &mut dyn Read| {
        let mut unpacked = Vec::new();
        input.take(stated + 1).read_to_end(&mut unpacked).map_err(|error| damaged(format!("a chunk: {error}")))?;
        Ok::<_, ReadProblem>(Cow::Owned(unpacked))
    };
    let unpacked = match header.compression.as_str() {
        "" => Cow::Borrowed(data),
        "zstd" => read(&mut zstd::stream::read::Decoder::with_buffer(data)?)?,
        "lz4" => read(&mut lz4::Decoder::new(data)?)?,
        other => return Err(damaged(format!("a chunk is compressed by {other:?}, known are zstd and lz4"))),
    };
    if unpacked.len() as u64 != stated {
        return Err(damaged(format!("a chunk of {stated} bytes unpacks to {}", unpacked.len())));
    }
    // 0: not taken by whoever wrote it.
    let found = crc32fast::hash(&unpacked);
    if header.uncompressed_crc != 0 && header.uncompressed_crc != found {
        let stated = header.uncompressed_crc;
        return Err(damaged(format!("a chunk has checksum {found:08x}, and {stated:08x} was written")));
    }
    Ok(unpacked)
}

fn within(count: usize, what: &'static str) -> Result<(), ReadProblem> {
    if count > CHANNELS_MAX { Err(ReadProblem::TooMany { what }) } else { Ok(()) }
}

/// As many bytes as there are, at most as many as fit.
fn read_some(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

impl<R: Read> Iterator for RecordingReader<R> {
    type Item = Result<RecordedMessage, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.advance() {
            Ok(()) => self.ready.pop_front().map(Ok),
            Err(error) => Some(Err(error)),
        }
    }
}
