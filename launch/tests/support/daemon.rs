//! `egogrid run` as a process of its own: started on a free port, watched, asked to end.

use super::root;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Three processes in real time have the machine for themselves.
static ALONE: Mutex<()> = Mutex::new(());

/// The shipped deployment on a free port, with lines replaced.
pub(crate) fn deployment(dir: &Path, replaced: &[(&str, &str)]) -> PathBuf {
    let launch = root().join("launch");
    let text = fs::read_to_string(launch.join("deployments/metaworld.toml")).unwrap();
    let line = |line: &str| {
        let instead = replaced.iter().find(|(begins, _)| line.starts_with(begins)).map(|(_, instead)| *instead);
        let line = instead.unwrap_or(line);
        match line {
            line if line.starts_with("listen") => "listen = [\"tcp/127.0.0.1:0\"]".to_owned(),
            line => line.replace("\"../", &format!("\"{}/deployments/../", launch.display())),
        }
    };
    let path = dir.join("deployment.toml");
    fs::write(&path, text.lines().map(line).collect::<Vec<_>>().join("\n")).unwrap();
    path
}

pub(crate) fn egogrid(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_egogrid"));
    command.args(args).args(["--threads", "1"]).env("EGOGRID_ROOT", root());
    command
}

/// The Python of `./launch/test`.
pub(crate) fn python() -> PathBuf {
    std::env::var_os("EGOGRID_PYTHON").map_or_else(|| root().join(".venv/bin/python"), PathBuf::from)
}

/// Meta-World in real time, and its camera, which is a process of its own.
#[allow(dead_code)] // not every test needs a robot
pub(crate) fn world(daemon: &Daemon, args: &[&str]) -> Process {
    let bridge = root().join("sim_bridge");
    let path = [bridge.join("sim_worker/src"), bridge.join("simulators/metaworld/src")];
    let path = path.map(|path| path.to_str().unwrap().to_owned()).join(":");
    let mut command = Command::new(python());
    command.args(["-u", "-m", "egogrid_metaworld.realtime", "--connect", &daemon.endpoint]).args(args);
    command.env("PYTHONPATH", path).env("MUJOCO_GL", std::env::var("MUJOCO_GL").unwrap_or_else(|_| "egl".to_owned()));
    Process::spawn(&mut command)
}

/// One episode of `steps` that no policy ends earlier; what the robot says of itself.
#[allow(dead_code)]
pub(crate) fn episode_of(daemon: &Daemon, steps: &str) -> Value {
    let mut world = world(daemon, &["--tasks", "peg-insert-side", "--episodes", "1", "--steps-max", steps]);
    let errors = drain(world.errors());
    let output = world.wait();
    assert!(output.status.success(), "{}", errors.join().unwrap());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A number in JSON that may be absent.
pub(crate) fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// Killed when a test ends early.
pub(crate) struct Process(Option<Child>);

impl From<Child> for Process {
    fn from(child: Child) -> Self {
        Self(Some(child))
    }
}

impl Process {
    pub(crate) fn spawn(command: &mut Command) -> Self {
        Self(Some(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()))
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        self.0.as_mut().unwrap()
    }

    /// Lines of stderr; keep it, or the process has nowhere to write.
    pub(crate) fn errors(&mut self) -> BufReader<ChildStderr> {
        BufReader::new(self.child().stderr.take().unwrap())
    }

    pub(crate) fn signal(&mut self, name: &str) {
        signal(name, self.child().id());
    }

    pub(crate) fn wait(mut self) -> Output {
        self.0.take().unwrap().wait_with_output().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub(crate) fn signal(name: &str, pid: u32) {
    assert!(Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status().unwrap().success());
}

/// Reads on in the background, so that a pipe never fills.
pub(crate) fn drain(mut errors: BufReader<ChildStderr>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut rest = String::new();
        let _ = errors.read_to_string(&mut rest);
        rest
    })
}

/// The text after `marker` in the first line that has it.
pub(crate) fn after(errors: &mut BufReader<ChildStderr>, marker: &str) -> String {
    let mut seen = String::new();
    loop {
        let mut line = String::new();
        assert!(errors.read_line(&mut line).unwrap() > 0, "{marker:?} never came: {seen}");
        if let Some((_, rest)) = line.split_once(marker) {
            return first_word(rest);
        }
        seen += &line;
    }
}

fn first_word(text: &str) -> String {
    text.split([';', ' ', '\n']).next().unwrap().to_owned()
}

pub(crate) struct Daemon {
    pub(crate) process: Process,
    pub(crate) endpoint: String,
    /// What it said once it listened, in one line.
    listening: String,
    errors: std::thread::JoinHandle<String>,
    _dir: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

impl Daemon {
    pub(crate) fn start(replaced: &[(&str, &str)]) -> Self {
        Self::start_with(replaced, &[])
    }

    /// The same with more in its environment.
    pub(crate) fn start_with(replaced: &[(&str, &str)], environment: &[(&str, &str)]) -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = tempfile::tempdir().unwrap();
        let path = deployment(dir.path(), replaced);
        let mut command = egogrid(&["run", path.to_str().unwrap(), "--json"]);
        let mut process = Process::spawn(command.envs(environment.iter().copied()));
        let mut errors = process.errors();
        let mut listening = String::new();
        while !listening.starts_with("listening on ") {
            listening.clear();
            assert!(errors.read_line(&mut listening).unwrap() > 0, "it ended before it listened");
        }
        let endpoint = first_word(&listening["listening on ".len()..]);
        Self { process, endpoint, listening, errors: drain(errors), _dir: dir, _alone: alone }
    }

    /// The word after `marker` in the line that says that it listens.
    pub(crate) fn said(&self, marker: &str) -> String {
        first_word(self.listening.split_once(marker).unwrap().1)
    }

    /// Asks it to end; its exit code and what it printed.
    pub(crate) fn end(mut self) -> (Option<i32>, Value, String) {
        self.process.signal("TERM");
        let output = self.process.wait();
        let errors = self.errors.join().unwrap();
        let printed = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"));
        (output.status.code(), printed, errors)
    }
}
