//! `egogrid run` beyond loopback, on real processes: certificates made by the commands of docs/connect-your-robot.md, a
//! peer whose name may do less than it tries, and files that are not in order.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// The page's own commands, for this machine's address.
fn certificates(dir: &Path) {
    let page = fs::read_to_string(root().join("docs/connect-your-robot.md")).unwrap();
    let block = page.split("```").find(|block| block.starts_with("sh\nmkdir -m 700 pki")).unwrap();
    let commands = block.trim_start_matches("sh\n").replace("IP:192.168.1.10", "IP:127.0.0.1");
    let made = Command::new("bash").args(["-e", "-c", &commands]).current_dir(dir).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

fn deployment(dir: &Path) -> PathBuf {
    let launch = root().join("launch");
    let wire = "listen = [\"tls/127.0.0.1:0\"]\n\
                tls = { root_ca_certificate = \"pki/ca.pem\", certificate = \"pki/daemon.pem\", private_key = \"pki/daemon.key\" }\n\
                access = { robots = [\"my-arm\"], operators = [\"alice\"], watchers = [\"alice\"], cameras = { front = [\"front-camera\"] } }";
    let text = fs::read_to_string(launch.join("deployments/metaworld.toml")).unwrap();
    let line = |line: &str| match line {
        line if line.starts_with("listen") => wire.to_owned(),
        line => line.replace("\"../", &format!("\"{}/deployments/../", launch.display())),
    };
    let path = dir.join("deployment.toml");
    fs::write(&path, text.lines().map(line).collect::<Vec<_>>().join("\n")).unwrap();
    path
}

fn egogrid(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_egogrid"));
    command.arg("run").args(args).args(["--threads", "1"]).env("EGOGRID_ROOT", root());
    command
}

struct Daemon {
    child: Child,
    endpoint: String,
    errors: std::thread::JoinHandle<String>,
}

impl Daemon {
    fn start(deployment: &Path) -> Self {
        let mut command = egogrid(&[deployment.to_str().unwrap(), "--json"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut errors = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening on ") {
            line.clear();
            assert!(errors.read_line(&mut line).unwrap() > 0, "it does not listen");
        }
        let endpoint = line.split_once("listening on ").unwrap().1.split(';').next().unwrap().to_owned();
        assert!(endpoint.starts_with("tls/127.0.0.1:"), "{endpoint}");
        let errors = std::thread::spawn(move || errors.lines().map_while(Result::ok).collect::<Vec<_>>().join("\n"));
        Self { child, endpoint, errors }
    }

    /// Its summary, and what it said.
    fn end(self) -> (Value, String) {
        let stop = format!("kill -TERM {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &stop]).status().unwrap().success());
        let output = self.child.wait_with_output().unwrap();
        (serde_json::from_slice(&output.stdout).unwrap(), self.errors.join().unwrap())
    }
}

/// The three files of `name`, as options.
fn identity(dir: &Path, name: &str) -> Vec<String> {
    let file = |option: &str, file: String| [format!("--{option}"), dir.join("pki").join(file).display().to_string()];
    let files = [
        file("root-ca-certificate", "ca.pem".to_owned()),
        file("certificate", format!("{name}.pem")),
        file("private-key", format!("{name}.key")),
    ];
    files.concat()
}

/// What a peer with the camera's certificate prints: it sends a state, which it may not.
fn peer(dir: &Path, endpoint: &str) -> String {
    let python = std::env::var_os("EGOGRID_PYTHON").map_or_else(|| root().join(".venv/bin/python"), PathBuf::from);
    let script = format!(
        "import sys, time\nsys.path[:0] = [{:?}]\nfrom pathlib import Path\nfrom egogrid_worker.session import open_session\n\
         from egogrid_worker.tls import Tls\npki = Path({:?})\n\
         session = open_session({endpoint:?}, Tls(pki / 'ca.pem', pki / 'front-camera.pem', pki / 'front-camera.key', 'daemon'))\n\
         for _ in range(30):\n session.put('egogrid/sim0/state', b'x')\n session.put('egogrid/sim0/camera/front/image', b'x')\n time.sleep(0.1)\n\
         session.close()\nprint('was let in')",
        root().join("sim_bridge/sim_worker/src").to_str().unwrap(),
        dir.join("pki").to_str().unwrap(),
    );
    let output = Command::new(python).args(["-c", &script]).output().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// The page's certificates let a peer in; what its role does not allow is dropped, counted and said.
#[test]
fn the_daemon_says_what_its_access_list_has_dropped() {
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path());
    let path = deployment(dir.path());
    let daemon = Daemon::start(&path);
    let said = peer(dir.path(), &daemon.endpoint);
    let (summary, errors) = daemon.end();
    assert!(said.contains("was let in"), "{said} {errors}");
    let count = |name: &str| summary["counts"][name].as_u64().unwrap_or(0);
    assert!(count("wire_messages_denied") > 0 && count("state_malformed") == 0, "{summary} {errors}");
    assert!(count("picture_malformed") > 0, "what the role allows arrives: {summary}");
    let remarks = summary["remarks"].to_string();
    assert!(remarks.contains("front-camera") && remarks.contains("Put on egogrid/sim0/state"), "{remarks}");
}

/// Who is a watcher hears, who is an operator may ask; a camera is neither, and is told what to check.
#[test]
fn a_watcher_records_an_operator_asks_and_a_camera_hears_nothing() {
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path());
    let daemon = Daemon::start(&deployment(dir.path()));
    let record = |name: &str| {
        let out = dir.path().join(format!("{name}.mcap"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_egogrid"));
        command.args(["record", out.to_str().unwrap(), "--connect", &daemon.endpoint, "--duration-s", "3", "--json"]);
        let output = command.args(["--free-mb-min", "16"]).args(identity(dir.path(), name)).output().unwrap();
        let summary: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status.code(), summary, String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, summary, said) = record("alice");
    assert_eq!(code, Some(0), "{summary} {said}");
    // One command a tick.
    assert!(summary["messages"].as_u64().unwrap() > 100, "{summary} {said}");
    let (code, summary, said) = record("front-camera");
    assert!(code == Some(3) && said.contains("one of `watchers`"), "{summary} {said}");
    let python = std::env::var_os("EGOGRID_PYTHON").map_or_else(|| root().join(".venv/bin/python"), PathBuf::from);
    let mut operator = Command::new(python);
    operator.args(["-m", "egogrid_worker.operator", "--connect", &daemon.endpoint, "--ask", "episode"]);
    operator.args(["--instruction", "open the door"]).args(identity(dir.path(), "alice"));
    let asked = operator.env("PYTHONPATH", root().join("sim_bridge/sim_worker/src")).output().unwrap();
    let said = String::from_utf8_lossy(&[asked.stdout, asked.stderr].concat()).into_owned();
    assert!(asked.status.success() && said.contains("asked"), "{said}");
    let (summary, errors) = daemon.end();
    assert_eq!(summary["counts"]["episodes"].as_u64(), Some(1), "{summary} {errors}");
}

#[test]
fn a_key_that_others_can_read_ends_the_check_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path());
    let path = deployment(dir.path());
    let check = || {
        let output = egogrid(&[path.to_str().unwrap(), "--check"]).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, errors) = check();
    assert_eq!(code, Some(0), "{errors}");
    fs::set_permissions(dir.path().join("pki/daemon.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let (code, errors) = check();
    assert!(code == Some(4) && errors.contains("others can read it") && errors.contains("chmod 600"), "{errors}");
}
