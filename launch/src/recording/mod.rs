//! Everything that a robot and its daemon say, to MCAP files: beside the daemon (`[recording]`), or from anywhere (`egogrid record`).
//!
//! From: [`Tap`], on zenoh's threads, which only hand over. To: [`RecordingWriter`] on a thread of low priority behind a bounded queue.
//! What the disk is too slow for is dropped and counted; what it has no room for is counted and said. Neither holds up anybody.

mod file;
mod looks;

pub(crate) use file::LockstepFile;
pub(crate) use looks::{LookRecording, LookRecordingConfig};

use crate::background::{Background, Ending, Next, waiting_max};
use crate::exit::{CommandError, CommandResult};
use egogrid_runtime::live::clock;
use egogrid_sim_bridge::endpoint::{BridgeSession, Heard, Tap};
use egogrid_sim_bridge::limits::PROTOCOL_VERSION;
use egogrid_sim_bridge::recording::{
    Entry, Place, RecordingFigures, RecordingRules, RecordingWriter, Topic, WriteError, topics,
};
use egogrid_sim_bridge::session::Keys;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Messages that wait for the disk.
const QUEUE_MAX: usize = 4096;
/// Bytes of pictures that wait for it: 38 of 640x480 with depth.
const QUEUE_BYTES_MAX: usize = 64 << 20;
/// How often the writer looks whether something has waited long enough.
const SETTLE_EVERY: Duration = Duration::from_millis(200);

/// How a recording goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordingState {
    /// What is on the disk, and what is not.
    pub figures: RecordingFigures,
    /// Why nothing is written at the moment.
    pub pause: Option<String>,
    /// The file that is open.
    pub file: Option<String>,
}

/// What a recording came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordingEnd {
    /// At the end.
    pub state: RecordingState,
    /// Messages that the queue had no room for.
    pub dropped: u64,
    /// Payloads beyond the limit of the wire.
    pub too_large: u64,
    /// Whether the writer did not end in time and was left behind.
    pub stuck: bool,
}

type Queue = Arc<Mutex<Option<Background<Heard, RecordingState>>>>;

/// A recording under way.
pub struct Recording {
    tap: Tap,
    queue: Queue,
    state: Arc<Mutex<RecordingState>>,
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What stands in every file of `robot`.
pub(crate) fn about(robot: &str) -> BTreeMap<String, String> {
    [
        ("robot", robot.to_owned()),
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("protocol", PROTOCOL_VERSION.to_string()),
        // Of this machine: what a stamp of its monotonic clock means.
        ("clock_offset_s", format!("{:.9}", clock::calendar_offset_s())),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

impl Recording {
    /// Opens the first file and listens. `first` are messages that nobody will send again, by topic.
    ///
    /// # Errors
    /// A place that cannot be used, or the transport.
    pub fn start(
        session: &BridgeSession,
        keys: &Keys,
        cameras: &[String],
        place: Place,
        rules: RecordingRules,
        first: Vec<(Topic, Vec<u8>)>,
    ) -> CommandResult<Self> {
        let about = about(keys.robot().as_str());
        let state = Arc::<Mutex<RecordingState>>::default();
        let shared = Arc::clone(&state);
        let open = move || {
            let mut writer = RecordingWriter::create(place, rules, about).map_err(StartError::Write)?;
            let log_ns = clock::calendar().ns.max(0).cast_unsigned();
            for (topic, payload) in &first {
                write(&mut writer, topic, log_ns, payload);
            }
            Ok::<_, StartError>((writer, ()))
        };
        let work = move |mut writer: RecordingWriter, items: crate::background::Items<Heard>, done: &_| {
            let done: &std::sync::atomic::AtomicU64 = done;
            loop {
                match items.next_within(SETTLE_EVERY) {
                    Next::Item(heard) => {
                        write(&mut writer, &heard.topic, heard.log_ns, &heard.payload());
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    Next::Nothing => writer.settle(),
                    Next::Ended => break,
                }
                *lock(&shared) = state_of(&writer);
            }
            let (figures, pause) = writer.finish();
            RecordingState { figures, pause: pause.map(|pause| pause.to_string()), file: None }
        };
        let (thread, ()) = Background::start("recording", QUEUE_MAX, open, work).map_err(|error| match error {
            StartError::Write(error) => CommandError::usage(error),
            StartError::System(error) => CommandError::missing(error),
        })?;
        let queue: Queue = Arc::new(Mutex::new(Some(thread)));
        let offer = Arc::clone(&queue);
        let hear = move |heard: Heard| {
            if let Some(thread) = lock(&offer).as_mut() {
                let waiting = waiting_max(QUEUE_BYTES_MAX, heard.payload_bytes());
                thread.offer(heard, waiting);
            }
        };
        let tap = Tap::listen(session, topics(keys, cameras), hear).map_err(CommandError::missing)?;
        Ok(Self { tap, queue, state })
    }

    /// How it goes.
    pub fn state(&self) -> RecordingState {
        lock(&self.state).clone()
    }

    /// Messages that the queue had no room for, so far.
    pub fn dropped(&self) -> u64 {
        lock(&self.queue).as_ref().map_or(0, Background::dropped)
    }

    /// Ends the file; waits at most `wait_max`.
    pub fn finish(self, wait_max: Duration) -> RecordingEnd {
        let Self { tap, queue, state } = self;
        let too_large = tap.too_large();
        drop(tap);
        let Some(thread) = lock(&queue).take() else {
            return RecordingEnd { state: lock(&state).clone(), dropped: 0, too_large, stuck: true };
        };
        let (ending, _, dropped) = thread.finish(wait_max);
        match ending {
            Ending::Done(state) => RecordingEnd { state, dropped, too_large, stuck: false },
            Ending::Stuck | Ending::Died => {
                RecordingEnd { state: lock(&state).clone(), dropped, too_large, stuck: true }
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Write(WriteError),
    #[error(transparent)]
    System(#[from] std::io::Error),
}

fn write(writer: &mut RecordingWriter, topic: &Topic, log_ns: u64, payload: &[u8]) {
    let Topic { name, ros_type, latched, .. } = topic;
    let entry = Entry { topic: name, ros_type, log_ns, publish_ns: log_ns, payload, latched: *latched };
    if let Err(error) = writer.write(&entry) {
        // Types of topics are ours, and each has a definition: a test goes through them.
        tracing::error!("{name}: {error}");
    }
}

fn state_of(writer: &RecordingWriter) -> RecordingState {
    RecordingState {
        figures: writer.figures().clone(),
        pause: writer.pause().map(ToString::to_string),
        file: writer.path().map(|path| path.display().to_string()),
    }
}
