//! The live view of a running robot: what it sees, what the policy chooses, what safety changes, and how long all of it takes.
//!
//! From: the robot's topics, on zenoh's threads. To: a rerun viewer or a file, on a thread of low priority. The daemon does not notice a view:
//! it publishes with `drop`, memory here is bounded ([`mailbox`]), and pictures get smaller and rarer when the viewer is behind ([`pace`]).

mod draw;
mod explain;
mod layouts;
mod mailbox;
mod pace;
mod plan;
mod played;
mod robot;
mod words;

pub use explain::ExplainConfig;
pub use layouts::Use;
pub use played::{PlayError, play};

use super::tokens::TokenSpace;
use super::{FILE_FLUSH, OpenError, VIEWER_FLUSH, answers, builder};
use crate::background::lower_priority;
use draw::{Draw, Knows, Told};
use egogrid_action_grids::ActionTokenizer;
use egogrid_policies::bundle::Bundle;
use egogrid_runtime::endpoint::EndpointError;
use egogrid_sim_bridge::endpoint::{BridgeSession, Heard, Tap};
use egogrid_sim_bridge::recording::topics;
use egogrid_sim_bridge::session::Keys;
use explain::Explain;
use mailbox::Mailbox;
use pace::Pace;
use rerun::RecordingStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

/// Longest sleep of the view's thread.
const TURN_MAX: Duration = Duration::from_millis(50);
/// How long the layout waits for what it arranges: depth may come later, and where the camera is only the first look says.
const LAYOUT_WAIT_MAX: Duration = Duration::from_secs(3);
/// How often the view tells how it keeps up.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// How long rerun may take for its last bytes.
const FLUSH_MAX: Duration = Duration::from_secs(5);

/// Where it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Screen {
    /// A file, to be opened later.
    File(PathBuf),
    /// A viewer that runs already.
    Viewer(String),
    /// A viewer that is started.
    Spawned,
}

/// What is shown, and where.
#[derive(Debug, Clone)]
pub struct LiveConfig {
    /// Where.
    pub screen: Screen,
    /// The arrangement.
    pub layout: Use,
    /// Grids and token table of the policy; without them there is no token view.
    pub tokenizer: Option<Arc<ActionTokenizer>>,
    /// `[rows, columns]` of the policy's patches.
    pub patches: Option<[u32; 2]>,
}

impl LiveConfig {
    /// What there is to show of the policy in `bundle`, started in a viewer, to drive.
    pub fn of(bundle: &Bundle) -> Self {
        let ego3d = bundle.manifest().spatialvla().ok().map(|tables| &tables.ego3d);
        Self {
            screen: Screen::Spawned,
            layout: Use::default(),
            tokenizer: bundle.action_tokenizer().ok().cloned().map(Arc::new),
            patches: ego3d.map(|ego3d| [ego3d.patch_rows, ego3d.patch_cols]),
        }
    }
}

/// Why there is no view.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// The screen.
    #[error("cannot open the view: {0}")]
    Open(String),
    /// No viewer to start.
    #[error(
        "cannot start a viewer: {0}; install it (`pip install rerun-sdk==0.36.3`), or use --save F.rrd, or --viewer URL of one that runs"
    )]
    Spawn(String),
    /// Nothing to explain with.
    #[error("choices cannot be explained: {0}; leave out --explain")]
    Explain(String),
    /// The wire.
    #[error(transparent)]
    Wire(#[from] EndpointError),
    /// While it ran.
    #[error("the view ended: {0}")]
    Ended(String),
}

/// What a view came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct ViewFigures {
    /// Messages drawn.
    pub messages: u64,
    /// Pictures drawn.
    pub pictures: u64,
    /// Pictures that were replaced by newer ones before they were drawn.
    pub pictures_left_out: u64,
    /// Messages that the queue had no room for.
    pub messages_left_out: u64,
    /// Payloads that could not be read.
    pub unreadable: u64,
    /// Looks whose choice was explained.
    pub explained: u64,
    /// Looks that were not, because newer ones came.
    pub explanations_left_out: u64,
}

/// A view under way.
pub struct LiveView {
    tap: Tap,
    mailbox: Arc<Mailbox>,
    ended: Receiver<Result<ViewFigures, String>>,
}

impl LiveView {
    /// Opens the screen and listens.
    ///
    /// # Errors
    /// A screen that cannot be opened, or the transport.
    pub fn start(
        session: &BridgeSession,
        keys: &Keys,
        cameras: &[String],
        config: LiveConfig,
    ) -> Result<Self, LiveError> {
        Self::start_explaining(session, keys, cameras, config, None)
    }

    /// The same, and `explain` says why the policy chose what it chose, with a policy of this process.
    ///
    /// # Errors
    /// As [`Self::start`], and a policy that has no patches.
    pub fn start_explaining(
        session: &BridgeSession,
        keys: &Keys,
        cameras: &[String],
        config: LiveConfig,
        explain: Option<ExplainConfig>,
    ) -> Result<Self, LiveError> {
        let explain = match (explain, config.patches) {
            (None, _) => None,
            (Some(_), None) => {
                return Err(LiveError::Explain("the policy of --bundle has no cells and patches".to_owned()));
            }
            (Some(explain), Some(patches)) => {
                Some(Explain::start(explain, patches).map_err(|error| LiveError::Explain(error.to_string()))?)
            }
        };
        let stream = open(&config.screen)?;
        let tokens = config.tokenizer.map(TokenSpace::new);
        let knows =
            Knows { tokens, patches: config.patches, layout: config.layout, layout_wait: LAYOUT_WAIT_MAX, explain };
        let mailbox = Arc::<Mailbox>::default();
        let (end, ended) = sync_channel(1);
        let inbox = Arc::clone(&mailbox);
        let work = move || {
            lower_priority();
            // Nobody listens only when the owner gave up waiting.
            let _ = end.send(run(&inbox, stream, knows).map_err(|error| error.to_string()));
        };
        let spawned = std::thread::Builder::new().name("egogrid-live".to_owned()).spawn(work);
        spawned.map_err(|error| LiveError::Open(error.to_string()))?;
        let inbox = Arc::clone(&mailbox);
        let tap = Tap::listen(session, topics(keys, cameras), move |heard: Heard| inbox.put(heard))?;
        Ok(Self { tap, mailbox, ended })
    }

    /// One more message, as if it had been heard: what nobody will send again.
    pub fn tell(&self, heard: Heard) {
        self.mailbox.put(heard);
    }

    /// Waits; what came of the view, once it has ended by itself.
    pub fn wait(&self, wait_max: Duration) -> Option<Result<ViewFigures, LiveError>> {
        match self.ended.recv_timeout(wait_max) {
            Ok(ended) => Some(ended.map_err(LiveError::Ended)),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Err(LiveError::Ended("its thread panicked".to_owned()))),
        }
    }

    /// Draws what is left, for a bounded time.
    ///
    /// # Errors
    /// The screen took no more.
    pub fn finish(self) -> Result<ViewFigures, LiveError> {
        drop(self.tap);
        self.mailbox.end();
        match self.ended.recv_timeout(FLUSH_MAX + TURN_MAX) {
            Ok(ended) => ended.map_err(LiveError::Ended),
            Err(_) => Err(LiveError::Ended("the viewer does not take the rest; it was left behind".to_owned())),
        }
    }
}

fn open(screen: &Screen) -> Result<RecordingStream, LiveError> {
    let failed = |error: OpenError| LiveError::Open(error.to_string());
    match screen {
        Screen::File(path) => builder(FILE_FLUSH).save(path.clone()).map_err(|error| failed(error.into())),
        Screen::Viewer(url) => {
            answers(url).map_err(failed)?;
            builder(VIEWER_FLUSH).connect_grpc_opts(url.clone()).map_err(|error| failed(error.into()))
        }
        Screen::Spawned => {
            let options = rerun::SpawnOptions { hide_welcome_screen: true, ..Default::default() };
            builder(VIEWER_FLUSH).spawn_opts(&options).map_err(|error| LiveError::Spawn(error.to_string()))
        }
    }
}

fn run(mailbox: &Mailbox, stream: RecordingStream, knows: Knows) -> Result<ViewFigures, super::log::LogError> {
    let (mut draw, mut pace, mut figures) = (Draw::new(stream, knows)?, Pace::default(), ViewFigures::default());
    let mut told = Instant::now();
    while let Some(messages) = mailbox.messages(TURN_MAX) {
        figures.messages += messages.len() as u64;
        messages.iter().try_for_each(|heard| draw.message(&heard.into()))?;
        let now = Instant::now();
        if pace.is_due(now) {
            let pictures = mailbox.pictures();
            if !pictures.is_empty() {
                figures.pictures += pictures.len() as u64;
                let told: Vec<Told<'_>> = pictures.iter().map(Told::from).collect();
                draw.pictures(&told, pace.shrink())?;
                pace.drawn(now, now.elapsed());
            }
        }
        draw.explain()?;
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            draw.view(mailbox.left(), pace.shrink(), pace.rate_hz())?;
        }
    }
    draw.flush(FLUSH_MAX)?;
    let left = mailbox.left();
    (figures.pictures_left_out, figures.messages_left_out) = (left.pictures, left.messages);
    figures.unreadable = draw.unreadable();
    [figures.explained, figures.explanations_left_out] = draw.explanations();
    Ok(figures)
}
