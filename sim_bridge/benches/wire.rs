//! What the wire costs: codec alone, and one lockstep query against the toy worker (needs Python, see `worker::python_path`).
//!
//! `cargo bench -p egogrid-sim-bridge`. Shapes: 640x480 and 224x224 RGB-D, 8-bit colour and 32-bit metres.

#![allow(clippy::unwrap_used, missing_docs)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use egogrid_runtime::camera::{CameraIntrinsics, DepthImage, DepthKind, Frame, RgbImage, Stamp};
use egogrid_runtime::endpoint::ObservationSource;
use egogrid_sim_bridge::codec;
use egogrid_sim_bridge::convert::{FrameWire, wire_to_frame};
use egogrid_sim_bridge::endpoint::{BridgeSession, SimClient};
use egogrid_sim_bridge::message::{CameraFrame, SimObservation};
use egogrid_sim_bridge::session::{RobotName, SessionConfig};
use egogrid_sim_bridge::worker::{Worker, WorkerConfig, python_path};
use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

fn frame(width: u32, height: u32) -> Frame {
    let pixels = (width * height) as usize;
    Frame {
        stamp: Stamp { ns: 0 },
        rgb: RgbImage::new(width, height, vec![127; pixels * 3]).unwrap(),
        depth: Some(DepthImage::new(width, height, DepthKind::Sensor, vec![1.5; pixels]).unwrap()),
        intrinsics: Some(
            CameraIntrinsics::from_matrix([500.0, 0.0, 320.0, 0.0, 500.0, 240.0, 0.0, 0.0, 1.0], [width, height])
                .unwrap(),
        ),
        base_from_camera: Some(nalgebra::Isometry3::identity()),
    }
}

fn observation(frame: &Frame) -> SimObservation<'_> {
    let wire = FrameWire::new(frame, "front").unwrap();
    SimObservation {
        episode: 1,
        steps_executed: 4,
        steps_total: 8,
        success: false,
        task: "door-open".into(),
        instruction: "open the door".into(),
        camera: CameraFrame {
            name: "front".into(),
            image: wire.image,
            depth: wire.depth,
            camera_info: wire.camera_info,
            base_from_camera: wire.base_from_camera,
        },
        state: None,
    }
}

fn codec_rgbd(c: &mut Criterion) {
    let frame = frame(640, 480);
    let payload = codec::encode(&observation(&frame)).unwrap();
    let mut group = c.benchmark_group("640x480 RGB-D observation");
    group.throughput(Throughput::Bytes(payload.len() as u64));
    group.bench_function("encode", |b| b.iter(|| codec::encode(&observation(black_box(&frame))).unwrap()));
    group.bench_function("decode, pictures borrowed", |b| {
        b.iter(|| black_box(codec::decode::<SimObservation<'_>>(black_box(&payload)).unwrap().episode));
    });
    group.bench_function("decode to a frame", |b| {
        b.iter(|| wire_to_frame(&codec::decode::<SimObservation<'_>>(black_box(&payload)).unwrap().camera).unwrap());
    });
    group.finish();
}

fn lockstep(c: &mut Criterion) {
    let wait_max = Duration::from_secs(60);
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let session = BridgeSession::open(&SessionConfig::loopback()).unwrap();
    let robot = RobotName::new("bench").unwrap();
    let mut group = c.benchmark_group("lockstep query, toy worker");
    for px in ["8", "224", "640"] {
        let worker = Worker::start(
            &session,
            WorkerConfig {
                python: python_path(repository).unwrap(),
                module: "egogrid_worker.testing".into(),
                args: vec!["--image-px".into(), px.into()],
                env: vec![("PYTHONPATH".into(), repository.join("sim_bridge/sim_worker/src").display().to_string())],
                robot: robot.clone(),
                start_max: wait_max,
            },
        );
        let worker = worker.unwrap();
        let mut sim = SimClient::connect(&session, &robot, wait_max).unwrap();
        sim.reset("wait", 0, wait_max).unwrap();
        group.bench_function(format!("{px}x{px} RGB-D"), |b| b.iter(|| sim.observe(wait_max).unwrap()));
        worker.stop(wait_max);
    }
    group.finish();
}

criterion_group!(benches, codec_rgbd, lockstep);
criterion_main!(benches);
