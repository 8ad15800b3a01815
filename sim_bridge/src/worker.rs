//! A simulator's Python process: started, watched, ended. It serves exactly one robot name.
//!
//! It ends with us whatever happens to us: its stdin is a pipe whose other end is here, and it exits when that closes.
//! It has its own process group, so that Ctrl-C reaches us first and the episode ends in order.

use crate::endpoint::{BridgeSession, SimInfo, WorkerPeer, handshake};
use crate::session::RobotName;
use egogrid_runtime::endpoint::EndpointError;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Lines of the worker's log that are kept for error messages.
const LOG_LINES_MAX: usize = 60;
/// Bytes of one of them.
const LOG_LINE_BYTES_MAX: u64 = 2000;
/// How often a starting worker is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long the last lines of an ended worker may take to arrive.
const LOG_REST_MAX: Duration = Duration::from_millis(500);

/// How long the token of a killed worker may outlive it.
const TOKEN_GONE_MAX: Duration = Duration::from_secs(5);

/// Makes the instance name of every worker of this process its own.
static STARTS: AtomicU32 = AtomicU32::new(0);

/// Why there is no worker.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// No Python.
    #[error(
        "no Python at {path}: run ./launch/test once (it makes the virtual environment), or set EGOGRID_PYTHON to a Python \
             that has the simulator's packages"
    )]
    NoPython {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A session that nobody can connect to.
    #[error("the session does not listen, so a worker cannot connect to it; use SessionConfig::loopback()")]
    NotListening,
    /// The process could not be started.
    #[error("{program} does not start: {detail}")]
    Spawn {
        /// What was to be run.
        program: PathBuf,
        /// The system's words.
        detail: String,
    },
    /// It ended before it was ready.
    #[error("worker {robot} ended while starting ({status}); its last lines:\n{log_tail}")]
    Exited {
        /// Of which robot.
        robot: String,
        /// How.
        status: String,
        /// What it wrote last.
        log_tail: String,
    },
    /// It runs, but did not announce itself.
    #[error("worker {robot} did not get ready within {waited_ms} ms; its last lines:\n{log_tail}")]
    NotReady {
        /// Of which robot.
        robot: String,
        /// How long.
        waited_ms: u128,
        /// What it wrote last.
        log_tail: String,
    },
    /// It announced itself, but the handshake failed.
    #[error("{source}; the worker's last lines:\n{log_tail}")]
    Handshake {
        /// Why.
        source: EndpointError,
        /// What it wrote last.
        log_tail: String,
    },
    /// Liveliness could not be watched.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
}

/// What to run.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// The interpreter, see [`python_path`].
    pub python: PathBuf,
    /// Run as `python -m <module>`, e.g. `egogrid_metaworld.worker`.
    pub module: String,
    /// Arguments of the simulator, e.g. `--image-px 224`.
    pub args: Vec<String>,
    /// Environment on top of ours, e.g. `MUJOCO_GL=egl`.
    pub env: Vec<(String, String)>,
    /// Name that it serves.
    pub robot: RobotName,
    /// Longest time from start to handshake.
    pub start_max: Duration,
}

/// The interpreter of this checkout: `EGOGRID_PYTHON`, or `<repository>/.venv/bin/python`.
///
/// # Errors
/// Neither is there.
pub fn python_path(repository: &Path) -> Result<PathBuf, WorkerError> {
    let path = std::env::var_os("EGOGRID_PYTHON").map_or_else(|| repository.join(".venv/bin/python"), PathBuf::from);
    if path.is_file() { Ok(path) } else { Err(WorkerError::NoPython { path }) }
}

/// A running worker. Killed when dropped.
#[derive(Debug)]
pub struct Worker {
    config: WorkerConfig,
    session: BridgeSession,
    peer: WorkerPeer,
    process: Process,
    info: SimInfo,
    _host: zenoh::liveliness::LivelinessToken,
}

impl Worker {
    /// Starts it and waits until it has announced itself and shaken hands.
    ///
    /// # Errors
    /// It does not start, ends early with its log, is not ready in time, or is of another version.
    pub fn start(session: &BridgeSession, config: WorkerConfig) -> Result<Self, WorkerError> {
        let host = WorkerPeer::announce_host(session, &config.robot)?;
        let mut peer = WorkerPeer::new(session, &config.robot)?;
        let (process, info) = launch(session, &config, &mut peer)?;
        Ok(Self { config, session: session.clone(), peer, process, info, _host: host })
    }

    /// Kills it, if it still runs, and starts another one in its place.
    ///
    /// # Errors
    /// As for [`Self::start`].
    pub fn restart(&mut self) -> Result<(), WorkerError> {
        self.process.kill();
        // Until its token is gone too, there would be two of this name. Where that takes longer, the handshake says so.
        self.peer.wait_gone(&self.info.instance, TOKEN_GONE_MAX);
        let (process, info) = launch(&self.session, &self.config, &mut self.peer)?;
        (self.process, self.info) = (process, info);
        Ok(())
    }

    /// The same with other arguments of the simulator.
    ///
    /// # Errors
    /// As for [`Self::start`].
    pub fn restart_with(&mut self, args: Vec<String>) -> Result<(), WorkerError> {
        self.config.args = args;
        self.restart()
    }

    /// Asks it to end and waits; kills it when the time is over. Answers with how it ended.
    pub fn stop(mut self, wait_max: Duration) -> Option<ExitStatus> {
        drop(self.process.child.stdin.take()); // it exits when its stdin closes
        self.process.log.wait_closed(wait_max);
        self.process.kill() // changes nothing about a process that is ending already
    }

    /// How it ended, if it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.process.child.try_wait().ok().flatten()
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// Who it said it is.
    pub fn info(&self) -> &SimInfo {
        &self.info
    }

    /// The last lines of its log, oldest first.
    pub fn log_tail(&self) -> String {
        self.process.log.text()
    }
}

fn launch(
    session: &BridgeSession,
    config: &WorkerConfig,
    peer: &mut WorkerPeer,
) -> Result<(Process, SimInfo), WorkerError> {
    let endpoint = session.listen_endpoint().ok_or(WorkerError::NotListening)?;
    let instance = format!("{}-{}", std::process::id(), STARTS.fetch_add(1, Ordering::Relaxed));
    let end = Instant::now() + config.start_max;
    let mut process = Process::spawn(config, &endpoint.to_string(), &instance)?;
    while !peer.wait_alive(&instance, LOOK_EVERY) {
        let robot = config.robot.to_string();
        if let Ok(Some(status)) = process.child.try_wait() {
            process.log.wait_closed(LOG_REST_MAX);
            return Err(WorkerError::Exited { robot, status: status.to_string(), log_tail: process.log.text() });
        }
        if Instant::now() >= end {
            let waited_ms = config.start_max.as_millis();
            return Err(WorkerError::NotReady { robot, waited_ms, log_tail: process.log.text() });
        }
    }
    match handshake(peer, end.saturating_duration_since(Instant::now())) {
        Ok(info) => Ok((process, info)),
        Err(source) => Err(WorkerError::Handshake { source, log_tail: process.log.text() }),
    }
}

/// The child and the threads that read its log; they end with its pipes.
#[derive(Debug)]
struct Process {
    child: Child,
    log: LogTail,
}

impl Process {
    fn spawn(config: &WorkerConfig, endpoint: &str, instance: &str) -> Result<Self, WorkerError> {
        let mut command = Command::new(&config.python);
        command
            .args(["-u", "-m", &config.module, "--connect", endpoint, "--robot", config.robot.as_str()])
            .args(["--instance", instance, "--exit-with-parent"])
            .args(&config.args)
            .envs(config.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = command
            .spawn()
            .map_err(|error| WorkerError::Spawn { program: config.python.clone(), detail: error.to_string() })?;
        let log = LogTail::default();
        if let Some(pipe) = child.stdout.take() {
            log.read(pipe);
        }
        if let Some(pipe) = child.stderr.take() {
            log.read(pipe);
        }
        Ok(Self { child, log })
    }

    /// Ends it, if it still runs; answers with how it ended.
    fn kill(&mut self) -> Option<ExitStatus> {
        // Fails only if it has ended by itself, which is as good.
        let _ = self.child.kill();
        self.child.wait().ok()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The newest lines of a log, shared with the threads that read it.
#[derive(Debug, Clone, Default)]
struct LogTail {
    shared: Arc<(Mutex<LogState>, Condvar)>,
}

#[derive(Debug, Default)]
struct LogState {
    lines: VecDeque<String>,
    /// Pipes that are still open: none = the process has ended.
    open: u32,
}

impl LogTail {
    fn lock(&self) -> MutexGuard<'_, LogState> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, pipe: impl Read + Send + 'static) {
        self.lock().open += 1;
        let log = self.clone();
        thread::spawn(move || {
            let mut reader = BufReader::new(pipe);
            let mut line = Vec::new();
            // A line without an end must not grow without bound either: it is cut into several.
            while matches!((&mut reader).take(LOG_LINE_BYTES_MAX).read_until(b'\n', &mut line), Ok(count) if count > 0)
            {
                log.push(String::from_utf8_lossy(&line).trim_end().to_owned());
                line.clear();
            }
            log.lock().open -= 1;
            log.shared.1.notify_all();
        });
    }

    fn push(&self, text: String) {
        tracing::debug!(target: "egogrid::worker", "{text}");
        let mut state = self.lock();
        if state.lines.len() == LOG_LINES_MAX {
            state.lines.pop_front();
        }
        state.lines.push_back(text);
    }

    fn text(&self) -> String {
        self.lock().lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }

    /// Sleeps until the process has closed its pipes, which it does by ending, or the time is over.
    fn wait_closed(&self, wait_max: Duration) {
        drop(self.shared.1.wait_timeout_while(self.lock(), wait_max, |state| state.open > 0));
    }
}
