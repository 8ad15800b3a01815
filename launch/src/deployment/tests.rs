//! Promises of deployment files: every mistake is named with file, line and key.

#![allow(clippy::unwrap_used)]
use super::cameras::rigid;
use super::*;

fn shipped() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deployments/metaworld.toml");
    // As it is when it records, which is off as it ships.
    std::fs::read_to_string(path).unwrap().replace("# recording: ", "")
}

fn read(text: &str) -> Result<Deployment, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("arm.toml");
    std::fs::write(&path, text).unwrap();
    Deployment::read(&path).map_err(|error| error.to_string())
}

#[test]
fn the_shipped_deployment_is_one() {
    let deployment = read(&shipped()).unwrap();
    assert_eq!(deployment.keys.robot().as_str(), "sim0");
    assert!(deployment.pictures.cameras[0].base_from_camera.is_some());
    assert!(deployment.bundle.ends_with("../../policies/shipped/metaworld/bundle"));
}

/// What is written instead of a line, and what the error says besides file and line.
#[test]
fn every_error_names_file_line_key_and_what_is_allowed() {
    let cases = [
        ("name = \"sim0\"", "name = \"Arm 1\"", "robot.name", "a-z"),
        ("control_hz = ", "control_hz = 501.0", "robot.control_hz", "1 to 500"),
        ("control_hz = ", "control_hz = nan", "robot.control_hz", "1 to 500"),
        ("deadline_ms = ", "deadline_ms = 0.0", "policy.deadline_ms", "1 to 60000 ms"),
        ("deadline_ms = ", "deadline_ms = 100.0\ninstruction = \" \"", "policy.instruction", "waits for one"),
        ("join_ms = ", "join_ms = -1.0", "pictures.join_ms", "0 to 1000 ms"),
        ("age_ms_max = ", "age_ms_max = inf", "pictures.age_ms_max", "1 to 60000 ms"),
        ("size_px = ", "size_px = [0, 224]", "cameras.size_px", "1 to 4096"),
        ("frozen_frames = ", "frozen_frames = 1", "cameras.frozen_frames", "2 or more"),
        ("dark_mean_min = ", "dark_mean_min = 300.0", "cameras.dark_mean_min", "0 to 255"),
        ("listen = ", "listen = [\"tcp/0.0.0.0:7447\"]", "wire.listen", "not on loopback"),
        ("listen = ", "listen = [\"tls/0.0.0.0:7447\"]", "wire.listen", "needs `tls`"),
        ("priority = ", "priority = 0", "realtime.priority", "1 to 99"),
        ("dry_run = ", "dry_run = false\nmetrics = \"0.0.0.0:9464\"", "operations.metrics", "on loopback"),
        ("dry_run = ", "dry_run = false\nmetrics = \"[::]:9464\"", "operations.metrics", "on loopback"),
        ("dry_run = ", "dry_run = false\nmetrics = \"localhost\"", "operations.metrics", "127.0.0.1:9464"),
        ("dry_run = ", "dry_run = false\nview = \"somewhere\"", "operations.view", "rerun+http"),
        ("dry_run = ", "dry_run = false\nmetric = \"127.0.0.1:9464\"", "metric", "dry_run"),
        ("deadline_ms = ", "deadline_ms = 100.0\nswap_from = \"none\"", "policy.swap_from", "a directory that exists"),
        ("deadline_ms = ", "deadline_mss = 3.0", "deadline_mss", "deadline_ms"),
        ("depth = ", "depth = 3", "depth", "boolean"),
        ("strategy = ", "strategy = { kind = \"magic\" }", "strategy", "overlap"),
        ("disk_mb_max = ", "disk_mb_max = 100", "recording.disk_mb_max", "512 to"),
        ("free_mb_min = ", "free_mb_min = 0", "recording.free_mb_min", "16 to"),
        ("file_mb_max = ", "file_mb_max = 7", "recording.file_mb_max", "8 to"),
    ];
    for (begins, instead, key, allowed) in cases {
        let text = shipped();
        let line = 1 + text.lines().position(|line| line.starts_with(begins)).unwrap();
        let changed: Vec<&str> = text.lines().map(|old| if old.starts_with(begins) { instead } else { old }).collect();
        let error = read(&changed.join("\n")).unwrap_err();
        let line = line + usize::from(instead.contains('\n'));
        let names_line = error.contains(&format!("arm.toml:{line}:")) || error.contains(&format!("line {line}"));
        assert!(error.contains("arm.toml") && names_line, "{instead}: {error}");
        assert!(error.contains(key) && error.contains(allowed), "{instead}: {error}");
    }
}

/// Tables at the end of the file, and what the error says with the line of the last one.
#[test]
fn wrong_keys_and_names_are_named_with_their_line() {
    for (added, says) in [
        ("[keys]\nstate = \"/arm/state\"", ["keys.state", "/front/image_raw is front/image_raw"]),
        ("[keys]\n\"camera/back/image\" = \"a\"", ["keys.\"camera/back/image\"", "no such topic"]),
        (
            "[keys]\nstate = { key = \"a\", type = \"geometry_msgs/PoseStamped\", frame = \"b\" }",
            ["keys.state", "gripper"],
        ),
        ("[keys]\nstate = { key = \"a\", kind = \"b\" }", ["kind", "type"]),
    ] {
        let text = format!("{}\n{added}", shipped());
        let error = read(&text).unwrap_err();
        let line = text.lines().count();
        assert!(error.contains(&format!(":{line}:")) || error.contains(&format!("line {line}")), "{added}: {error}");
        assert!(says.iter().all(|what| error.contains(what)), "{added}: {error}");
    }
    let mapped = format!("{}\n[keys]\n\"camera/front/image\" = \"front/image_raw\"", shipped());
    assert_eq!(read(&mapped).unwrap().keys.key("camera/front/image"), "front/image_raw");
}

#[test]
fn beyond_this_machine_a_deployment_needs_certificates_beside_it_and_names_of_its_own_cameras() {
    let tls = "listen = [\"tls/0.0.0.0:7447\"]\n\
               tls = { root_ca_certificate = \"pki/ca.pem\", certificate = \"pki/d.pem\", private_key = \"pki/d.key\" }\n\
               access = { robots = [\"arm\"], cameras = { front = [\"front-camera\"] } }";
    let with = |wire: &str| shipped().replace("listen = [\"tcp/127.0.0.1:7447\"]", wire);
    let deployment = read(&with(tls)).unwrap();
    assert!(deployment.wire.tls.unwrap().private_key.parent().unwrap().is_absolute());
    let error = read(&with(&tls.replace("{ front", "{ back"))).unwrap_err();
    assert!(error.contains("\"back\"") && error.contains("names of [[cameras]]: front"), "{error}");
    let error = read(&with(&tls.replace("[\"arm\"]", "[\"a*\"]"))).unwrap_err();
    assert!(error.contains("access.robots") && error.contains("a*"), "{error}");
}

#[test]
fn a_matrix_that_mirrors_or_stretches_is_no_pose_of_a_camera() {
    let good = [[0.0, -1.0, 0.0, 0.1], [1.0, 0.0, 0.0, 0.2], [0.0, 0.0, 1.0, 0.3], [0.0, 0.0, 0.0, 1.0]];
    assert!(rigid(&good).is_some());
    for (row, column, value) in [(2, 2, -1.0), (0, 1, -1.1), (0, 3, f64::NAN), (1, 0, f64::NAN), (3, 3, 2.0)] {
        let mut bad = good;
        bad[row][column] = value;
        assert!(rigid(&bad).is_none(), "{bad:?}");
    }
}
