//! Messages out of any MCAP file, in the order they were written; whole, cut or damaged.
//!
//! From: untrusted bytes. To: [`RecordedMessage`]s, and where the file ends early or goes wrong, the byte of the record. The frame of
//! the records and chunks is read here, so that every length is bounded before anything is allocated: mcap 0.25's own readers allocate
//! what a damaged chunk or name states, which a property test and the fuzzer found.
//! A cut file gives everything up to its last whole chunk first: that is what a killed recorder leaves.

use super::fields::Fields;
use mcap::MAGIC;
use mcap::records::op;
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
        let mut fields = Fields::of(body);
        match opcode {
            op::CHUNK => self.chunk(&mut fields),
            op::SCHEMA => {
                let (id, name) = (fields.u16()?, fields.text()?);
                self.schemas.insert(id, name.to_owned());
                within(self.schemas.len(), "schemas")
            }
            op::CHANNEL => {
                let (id, schema) = (fields.u16()?, fields.u16()?);
                let (topic, encoding) = (fields.text()?.to_owned(), fields.text()?.to_owned());
                self.channels.insert(id, Channel { topic, encoding, schema });
                within(self.channels.len(), "channels")
            }
            op::METADATA => {
                let (name, mut pairs) = (fields.text()?, fields.part()?);
                let mut metadata = BTreeMap::new();
                while !pairs.is_empty() {
                    metadata.insert(pairs.text()?.to_owned(), pairs.text()?.to_owned());
                }
                self.about.insert(name.to_owned(), metadata);
                within(self.about.len(), "pieces of metadata")
            }
            _ => self.one(&mut fields),
        }
    }

    fn one(&mut self, fields: &mut Fields<'_>) -> Result<(), ReadProblem> {
        let (id, _sequence) = (fields.u16()?, fields.u32()?);
        let (log_ns, publish_ns) = (fields.u64()?, fields.u64()?);
        let Some(channel) = self.channels.get(&id) else {
            return Err(ReadProblem::Damaged(format!("a message of the unknown channel {id}")));
        };
        self.ready.push_back(RecordedMessage {
            topic: channel.topic.clone(),
            ros_type: self.schemas.get(&channel.schema).cloned().unwrap_or_default(),
            encoding: channel.encoding.clone(),
            log_ns,
            publish_ns,
            payload: fields.rest().to_vec(),
            offset: self.offset,
        });
        Ok(())
    }

    fn chunk(&mut self, fields: &mut Fields<'_>) -> Result<(), ReadProblem> {
        let damaged = |what: String| Err(ReadProblem::Damaged(what));
        let (_begins, _ends) = (fields.u64()?, fields.u64()?);
        let (stated, checksum) = (fields.u64()?, fields.u32()?);
        let (compression, packed) = (fields.text()?, fields.u64()?);
        let unpacked = unpack(compression, stated, checksum, fields.bytes(packed)?)?;
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
}

const MAGIC_LEN: usize = MAGIC.len();

/// The records of a chunk: exactly as many bytes as it states, and the ones that were written.
fn unpack<'a>(compression: &str, stated: u64, checksum: u32, data: &'a [u8]) -> Result<Cow<'a, [u8]>, ReadProblem> {
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
    let unpacked = match compression {
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
    if checksum != 0 && checksum != found {
        return Err(damaged(format!("a chunk has checksum {found:08x}, and {checksum:08x} was written")));
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
