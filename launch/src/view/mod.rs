//! The rerun recording of a run: what the robot saw, what the policy answered, what the gate let through.
//!
//! From: the control loop, as a [`LoopObserver`]. To: an `.rrd` file, a running rerun viewer, or both; each has its own
//! thread and bounded queue, so neither can hold up the loop or the other one. What did not fit is counted.

mod cloud;
mod event;
mod layout;
pub mod live;
mod log;
mod panels;
mod scene;
mod tokens;

use crate::background::{self, Background, Ending};
use crate::recording::{LookRecording, LookRecordingConfig};
use egogrid_action_grids::ActionTokenizer;
use egogrid_runtime::observation::Observation;
use egogrid_runtime::tick::{Look, LoopObserver};
use rerun::RecordingStreamBuilder;
use rerun::external::re_log_encoding::DecoderApp;
use rerun::log::{Chunk, ChunkBatcherConfig, LogMsg};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

pub(crate) use event::{Done, Event, Seen};
pub use event::{Episode, Outcome, Progress};

/// Messages that wait for one output.
pub const QUEUE_MAX: usize = 256;
/// Bytes of pictures that wait for one output: 180 looks of 224x224 RGB-D, 29 of 640x480.
pub const QUEUE_BYTES_MAX: usize = 64 << 20;
/// Bytes that rerun itself may keep back for an output that does not take them.
const IN_FLIGHT_BYTES_MAX: u64 = 16 << 20;
/// Rows that lie longer are written out. Long for a file (fewer, larger chunks), short for eyes.
const FILE_FLUSH: Duration = Duration::from_secs(2);
const VIEWER_FLUSH: Duration = Duration::from_millis(10);
/// Longest wait for a viewer to accept a connection, for each of its addresses.
const VIEWER_ANSWER_MAX: Duration = Duration::from_secs(2);
/// Name under which the viewer keeps the layout.
const APPLICATION: &str = "egogrid";

/// The frame that [`egogrid_runtime::policy::ActionChunk::points_xyz_m`] is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PointsFrame {
    /// Camera optical axes: families whose spec does not need extrinsics.
    #[default]
    Camera,
    /// The robot's base: families whose spec needs them.
    Base,
}

/// What the stamps of the frames count from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Clock {
    /// The start of the episode: simulators.
    #[default]
    EpisodeStart,
    /// The UNIX epoch: robots.
    Unix,
}

/// What to record, and where to.
#[derive(Debug, Clone, Default)]
pub struct RecorderConfig {
    /// File to write.
    pub rrd: Option<PathBuf>,
    /// Running viewer to stream to, e.g. `rerun+http://127.0.0.1:9876/proxy`.
    pub connect: Option<String>,
    /// MCAP file to write, and what it says about the run.
    pub(crate) mcap: Option<LookRecordingConfig>,
    /// Grids and token table of the policy; without them there is no token view.
    pub tokenizer: Option<Arc<ActionTokenizer>>,
    /// Where the policy's 3D points are.
    pub points_frame: PointsFrame,
    /// What the stamps mean.
    pub clock: Clock,
    /// Corners of the gate's workspace box, base frame, metres; drawn when given.
    pub workspace_m: Option<([f64; 3], [f64; 3])>,
}

/// What a recording came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finished {
    /// Looks in every output. With two outputs: in the one that has fewer.
    pub looks_recorded: u64,
    /// Looks that were dropped because an output was too slow. With two outputs: of the one that dropped more.
    pub looks_dropped: u64,
}

/// Why there is no recording, or not a whole one. Never stops the loop.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// Neither a file nor a viewer.
    #[error("a recorder without an output; give it a file or the address of a viewer")]
    NoOutput,
    /// The output cannot be opened.
    #[error("cannot open {output}: {detail}; check the path or the address")]
    Open {
        /// File or address.
        output: String,
        /// What rerun said.
        detail: String,
    },
    /// The output took no more.
    #[error("{output} failed: {detail}; {looks_recorded} looks were handed to it, {looks_dropped} were dropped")]
    Write {
        /// File or address.
        output: String,
        /// What rerun said.
        detail: String,
        /// Handed over before.
        looks_recorded: u64,
        /// Dropped.
        looks_dropped: u64,
    },
    /// The output does not end.
    #[error(
        "{output} is stuck: not finished within {waited_ms} ms and left behind; {looks_recorded} looks were handed to it, \
             {looks_dropped} were dropped; is the viewer busy, or the disk full?"
    )]
    Stuck {
        /// File or address.
        output: String,
        /// Bound of the wait.
        waited_ms: u128,
        /// Handed over before.
        looks_recorded: u64,
        /// Dropped.
        looks_dropped: u64,
    },
}

/// Takes one message after the other and may be as slow as it likes. Runs on its own thread.
pub(crate) trait Output: Send + 'static {
    /// Writes one message. The text of an error ends the output.
    fn write(&mut self, event: &Event) -> Result<(), String>;
    /// Everything is written; make it durable.
    fn close(self: Box<Self>) -> Result<(), String>;
}

/// Runs on the output's own thread.
pub(crate) type OpenOutput = Box<dyn FnOnce() -> Result<Box<dyn Output>, OpenError> + Send>;

/// Why an output cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error(transparent)]
    Rerun(#[from] rerun::RecordingStreamError),
    #[error("{0}")]
    Address(rerun::external::re_uri::Error),
    #[error("nothing answers there; start the viewer first (`rerun`, of the version in docs/pictures/README.md)")]
    NoViewer,
    #[error(transparent)]
    System(#[from] std::io::Error),
}

/// Whether anything listens there. Without a viewer rerun would wait for one for ever, also when it is to end.
fn answers(url: &str) -> Result<(), OpenError> {
    use std::net::{TcpStream, ToSocketAddrs};
    let uri: rerun::external::re_uri::ProxyUri = url.parse().map_err(OpenError::Address)?;
    let host = uri.origin.host.to_string();
    let mut places = (host.trim_matches(['[', ']']), uri.origin.port).to_socket_addrs()?;
    let connect = |place| TcpStream::connect_timeout(&place, VIEWER_ANSWER_MAX).is_ok();
    if places.any(connect) { Ok(()) } else { Err(OpenError::NoViewer) }
}

fn builder(flush_tick: Duration) -> RecordingStreamBuilder {
    let batches =
        ChunkBatcherConfig { flush_tick, max_bytes_in_flight: IN_FLIGHT_BYTES_MAX, ..ChunkBatcherConfig::DEFAULT };
    // `enabled`: otherwise RERUN=0 in the environment would make an empty recording.
    RecordingStreamBuilder::new(APPLICATION).enabled(true).batcher_config(batches)
}

struct Worker {
    name: String,
    thread: Background<Event, Result<(), String>>,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Recorder({} outputs, {:?})", self.workers.len(), self.progress)
    }
}

/// Records a run. [`LoopObserver::on_look`] hands over and returns; it never waits and never fails.
pub struct Recorder {
    workers: Vec<Worker>,
    progress: Progress,
    next_index: i64,
}

impl Recorder {
    /// Opens every output that `config` names.
    ///
    /// # Errors
    /// No output, a file that cannot be created, an address that is none or where no viewer answers.
    pub fn new(config: RecorderConfig) -> Result<Self, ViewError> {
        let mut outputs: Vec<(String, OpenOutput)> = Vec::new();
        if let Some(path) = config.rrd.clone() {
            let config = config.clone();
            let name = path.display().to_string();
            let open = move || Ok(log::RerunOutput::boxed(builder(FILE_FLUSH).save(path)?, &config));
            outputs.push((name, Box::new(open)));
        }
        if let Some(mcap) = config.mcap.clone() {
            outputs.push((mcap.path.display().to_string(), Box::new(move || LookRecording::boxed(mcap))));
        }
        if let Some(url) = config.connect.clone() {
            let name = url.clone();
            let open = move || {
                answers(&url)?;
                Ok(log::RerunOutput::boxed(builder(VIEWER_FLUSH).connect_grpc_opts(url)?, &config))
            };
            outputs.push((name, Box::new(open)));
        }
        Self::with_outputs(outputs)
    }

    pub(crate) fn with_outputs(outputs: Vec<(String, OpenOutput)>) -> Result<Self, ViewError> {
        if outputs.is_empty() {
            return Err(ViewError::NoOutput);
        }
        let start = |(name, open): (String, OpenOutput)| {
            let open = move || Ok::<_, OpenError>((open()?, ()));
            let started = Background::start("egogrid-view", QUEUE_MAX, open, |mut output, events, looks_done| {
                for event in events {
                    output.write(&event)?;
                    if matches!(event, Event::Look(..)) {
                        looks_done.fetch_add(1, Ordering::Relaxed);
                    }
                }
                output.close()
            });
            match started {
                Ok((thread, ())) => Ok(Worker { name, thread }),
                Err(error) => Err(ViewError::Open { output: name, detail: error.to_string() }),
            }
        };
        let workers = outputs.into_iter().map(start).collect::<Result<_, _>>()?;
        Ok(Self { workers, progress: Progress::default(), next_index: 0 })
    }

    /// Looks dropped so far, in the output that dropped most.
    pub fn dropped(&self) -> u64 {
        self.workers.iter().map(|worker| worker.thread.dropped()).max().unwrap_or(0)
    }

    /// Looks handed to the output that is furthest behind.
    pub fn recorded(&self) -> u64 {
        self.workers.iter().map(|worker| worker.thread.done()).min().unwrap_or(0)
    }

    /// An episode begins.
    pub fn episode_started(&mut self, task: &str, instruction: &str, seed: u32, episode_index: u32) {
        let episode =
            Episode { task: task.to_owned(), instruction: instruction.to_owned(), seed, index: episode_index };
        self.progress.begin(episode);
        self.offer(&Event::Started(self.progress.clone(), self.next_index));
    }

    /// The episode has ended; `last` is what the world looked like then, where it is known.
    pub fn episode_ended(&mut self, outcome: Outcome, last: Option<&Observation>) {
        self.progress.end(outcome);
        let last = last.map(|observation| Box::new(Seen::of(self.take_index(), observation)));
        self.offer(&Event::Ended(self.progress.clone(), last));
    }

    /// Writes what is queued and closes the outputs; waits at most `wait_max` for each.
    ///
    /// # Errors
    /// The first output that failed or is stuck. The others are closed all the same.
    pub fn finish(self, wait_max: Duration) -> Result<Finished, ViewError> {
        let mut finished = Finished { looks_recorded: u64::MAX, looks_dropped: 0 };
        let mut first_error = None;
        for Worker { name: output, thread } in self.workers {
            let (ending, looks_recorded, looks_dropped) = thread.finish(wait_max);
            finished.looks_recorded = finished.looks_recorded.min(looks_recorded);
            finished.looks_dropped = finished.looks_dropped.max(looks_dropped);
            let write_error = |output, detail| ViewError::Write { output, detail, looks_recorded, looks_dropped };
            let error = match ending {
                Ending::Done(Ok(())) => continue,
                Ending::Done(Err(detail)) => write_error(output, detail),
                Ending::Died => write_error(output, "its thread panicked, see the message above".to_owned()),
                Ending::Stuck => {
                    ViewError::Stuck { output, waited_ms: wait_max.as_millis(), looks_recorded, looks_dropped }
                }
            };
            first_error.get_or_insert(error);
        }
        first_error.map_or(Ok(finished), Err)
    }

    fn take_index(&mut self) -> i64 {
        self.next_index += 1;
        self.next_index - 1
    }

    fn offer(&mut self, event: &Event) {
        for worker in &mut self.workers {
            match event {
                Event::Look(look) => {
                    let waiting_max = background::waiting_max(QUEUE_BYTES_MAX, look.1.picture_bytes());
                    worker.thread.offer(event.clone(), waiting_max);
                }
                // Few, and without them the looks that follow cannot be understood.
                Event::Started(..) | Event::Ended(..) => worker.thread.offer_reserved(event.clone()),
            }
        }
    }
}

impl LoopObserver for Recorder {
    fn on_look(&mut self, look: &Look<'_>) {
        self.progress.count_look(look.sent.len());
        let seen = Seen::of(self.take_index(), look.observation);
        let event = Event::Look(Arc::new((self.progress.clone(), seen, Done::of(look))));
        self.offer(&event);
    }
}

/// What an `.rrd` file holds: rows of each entity, the layout left out.
///
/// # Errors
/// A file that is missing, or no recording.
pub fn entities(path: &std::path::Path) -> std::io::Result<BTreeMap<String, u64>> {
    let mut rows = BTreeMap::new();
    let file = std::io::BufReader::new(std::fs::File::open(path)?);
    for message in DecoderApp::decode_eager(file).map_err(std::io::Error::other)? {
        let LogMsg::ArrowMsg(store, message) = message.map_err(std::io::Error::other)? else { continue };
        if !store.is_blueprint() {
            let chunk = Chunk::from_arrow_msg(&message).map_err(std::io::Error::other)?;
            *rows.entry(chunk.entity_path().to_string()).or_default() += chunk.num_rows() as u64;
        }
    }
    Ok(rows)
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
