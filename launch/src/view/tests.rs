//! Promises of the recorder: it never holds up the loop, it says what is missing, and what it writes can be read.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::event::Event;
use super::testing::{Run, returns};
use super::*;
use rerun::external::re_log_encoding::DecoderApp;
use rerun::log::{Chunk, LogMsg};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, Sender, channel};

/// Takes a message only when the test gives leave, and tells what it took.
struct Gated {
    leave: Receiver<()>,
    taken: Sender<String>,
}

impl Output for Gated {
    fn write(&mut self, event: &Event) -> Result<(), String> {
        let name = match event {
            Event::Started(..) => "started".to_owned(),
            Event::Look(look) => format!("look {}", look.1.index),
            Event::Ended(progress, _) => format!("ended {}", progress.outcome.as_ref().map_or("", |_| "with outcome")),
        };
        let _ = self.taken.send(name);
        self.leave.recv().map_err(|_| "the test has ended".to_owned())
    }

    fn close(self: Box<Self>) -> Result<(), String> {
        Ok(())
    }
}

fn gated() -> (Recorder, Sender<()>, Receiver<String>) {
    let (give_leave, leave) = channel();
    let (taken, takes) = channel();
    let open: OpenOutput = Box::new(|| Ok(Box::new(Gated { leave, taken })));
    (Recorder::with_outputs(vec![("gated".to_owned(), open)]).unwrap(), give_leave, takes)
}

const WAIT_MAX: Duration = Duration::from_secs(60);

#[test]
fn a_wedged_output_never_holds_up_the_loop_and_every_drop_is_counted() {
    let (mut recorder, _leave, _takes) = gated();
    let recorder = returns(move || {
        let mut run = Run::new();
        (0..500).for_each(|_| run.look(8, &mut recorder));
        recorder
    });
    // The thread holds one look at most, the queue its own number.
    let dropped = recorder.dropped();
    assert!((500 - QUEUE_MAX as u64 - 1..=500).contains(&dropped), "{dropped}");
    let error = returns(move || recorder.finish(Duration::from_millis(50))).unwrap_err();
    assert!(
        matches!(&error, ViewError::Stuck { output, looks_recorded: 0, looks_dropped, .. }
        if output == "gated" && *looks_dropped == dropped),
        "{error}"
    );
}

#[test]
fn a_viewer_that_accepts_and_never_reads_never_holds_up_the_loop() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("rerun+http://{}/proxy", listener.local_addr().unwrap());
    // Accepted and kept, never read. Ends with the process.
    std::thread::spawn(move || listener.incoming().collect::<Vec<_>>());
    let mut recorder =
        Recorder::new(RecorderConfig { connect: Some(url.clone()), ..RecorderConfig::default() }).unwrap();
    let recorder = returns(move || {
        let mut run = Run::new();
        (0..500).for_each(|_| run.look(64, &mut recorder));
        recorder
    });
    let error = returns(move || recorder.finish(Duration::from_millis(200))).unwrap_err();
    let ViewError::Stuck { output, looks_recorded, looks_dropped, .. } = error else { panic!("{error}") };
    assert_eq!(output, url);
    assert!(looks_recorded + looks_dropped <= 500 && looks_dropped > 0, "{looks_recorded} + {looks_dropped}");
}

#[test]
fn a_stuck_viewer_costs_the_file_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("rerun+http://{}/proxy", listener.local_addr().unwrap());
    std::thread::spawn(move || listener.incoming().collect::<Vec<_>>());
    let dir = tempfile::tempdir().unwrap();
    let rrd = dir.path().join("run.rrd");
    let config = RecorderConfig { rrd: Some(rrd.clone()), connect: Some(url), ..RecorderConfig::default() };
    let mut recorder = Recorder::new(config).unwrap();
    Run::new().episode(&mut recorder, Outcome::Success);
    // Whether rerun notices within this time that its viewer does not read is its own affair.
    let _ = returns(move || recorder.finish(Duration::from_secs(5)));
    assert_eq!(rows(&read(&rrd), "/world/cloud"), 4);
}

#[test]
fn the_end_of_an_episode_is_not_lost_when_the_queue_is_full() {
    let (mut recorder, leave, takes) = gated();
    let mut run = Run::new();
    recorder.episode_started("drawer-open", "open the drawer", 7, 0);
    (0..QUEUE_MAX + 10).for_each(|_| run.look(8, &mut recorder));
    recorder.episode_ended(Outcome::Success, None);
    assert!(recorder.dropped() > 0);
    (0..QUEUE_MAX + 10).for_each(|_| leave.send(()).unwrap());
    let finished = returns(move || recorder.finish(WAIT_MAX)).unwrap();
    assert_eq!(finished.looks_recorded + finished.looks_dropped, QUEUE_MAX as u64 + 10);
    let taken: Vec<String> = takes.iter().collect();
    assert_eq!((taken[0].as_str(), taken[taken.len() - 1].as_str()), ("started", "ended with outcome"));
}

#[test]
fn large_pictures_are_limited_by_their_bytes() {
    let (mut recorder, _leave, _takes) = gated();
    let side_px = 1024;
    let fitting = QUEUE_BYTES_MAX as u64 / (u64::from(side_px * side_px) * 7);
    let mut run = Run::new();
    (0..fitting + 10).for_each(|_| run.look(side_px, &mut recorder));
    // One more may be with the thread already.
    assert!((9..=10).contains(&recorder.dropped()), "{} of {}", recorder.dropped(), fitting + 10);
    let _ = returns(move || recorder.finish(Duration::from_millis(50)));
}

#[test]
fn outputs_that_cannot_be_are_refused_at_the_start() {
    assert!(matches!(Recorder::new(RecorderConfig::default()), Err(ViewError::NoOutput)));
    let dir = tempfile::tempdir().unwrap();
    // A directory is no file.
    let config = RecorderConfig { rrd: Some(dir.path().to_owned()), ..RecorderConfig::default() };
    assert!(matches!(Recorder::new(config), Err(ViewError::Open { .. })));
    // A port that was free a moment ago: nobody listens.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for url in ["not an address".to_owned(), format!("rerun+http://{free}/proxy")] {
        let config = RecorderConfig { connect: Some(url), ..RecorderConfig::default() };
        assert!(matches!(Recorder::new(config), Err(ViewError::Open { .. })));
    }
}

/// Chunks of the recording (first) and of its layout (second).
type Chunks = [Vec<Chunk>; 2];

fn read(rrd: &std::path::Path) -> Chunks {
    let bytes = std::fs::read(rrd).unwrap();
    assert_eq!(&bytes[..3], b"RRF", "the magic of rerun's format");
    let mut chunks: Chunks = [vec![], vec![]];
    for message in DecoderApp::decode_eager(std::io::Cursor::new(bytes)).unwrap() {
        if let LogMsg::ArrowMsg(store, message) = message.unwrap() {
            chunks[usize::from(store.is_blueprint())].push(Chunk::from_arrow_msg(&message).unwrap());
        }
    }
    chunks
}

fn rows(chunks: &Chunks, entity: &str) -> usize {
    chunks[0].iter().filter(|chunk| chunk.entity_path().to_string() == entity).map(Chunk::num_rows).sum()
}

fn record(run: &mut Run) -> Chunks {
    let dir = tempfile::tempdir().unwrap();
    let rrd = dir.path().join("run.rrd");
    let config = RecorderConfig {
        rrd: Some(rrd.clone()),
        tokenizer: Some(Arc::clone(&run.tokenizer)),
        workspace_m: Some(([-1.0; 3], [1.0; 3])),
        ..RecorderConfig::default()
    };
    let mut recorder = Recorder::new(config).unwrap();
    run.episode(&mut recorder, Outcome::Success);
    let finished = returns(move || recorder.finish(WAIT_MAX)).unwrap();
    assert_eq!(finished, Finished { looks_recorded: 3, looks_dropped: 0 });
    read(&rrd)
}

#[test]
fn a_recording_read_back_has_every_part_of_every_look() {
    let chunks = record(&mut Run::new());
    let expected = BTreeMap::from([
        ("/world/camera/rgb", 4), // three looks and the end
        ("/world/camera/depth", 4),
        ("/world/cloud", 4),
        ("/world/gripper/path", 4),
        ("/world/ego3d", 2), // without an answer nothing was sampled
        ("/world/chunk/executed", 3),
        ("/world/gate/asked", 2), // the shortened step, and the hold
        ("/world/workspace", 1),
        ("/tokens/cells", 1),
        ("/tokens/chosen", 2),
        ("/tokens/runner_up", 2),
        ("/confidence", 2),
        ("/time/total", 1 + 3), // the name of the curve, and its values
        ("/gripper/command", 1 + 3),
        // Begin, two shortened steps, no answer, hold, end.
        ("/log", 6),
    ]);
    let found: BTreeMap<&str, usize> = expected.keys().map(|&entity| (entity, rows(&chunks, entity))).collect();
    assert_eq!(found, expected);
    let layout = &chunks[1];
    let views = layout.iter().filter(|chunk| chunk.entity_path().to_string().ends_with("/ViewContents")).count();
    assert_eq!(views, 10, "every view of the layout comes with the file");
}

#[test]
fn points_of_a_camera_whose_place_is_unknown_are_not_drawn_into_the_world() {
    let mut run = Run::new();
    run.placed = false;
    let chunks = record(&mut run);
    let paths: Vec<String> = chunks[0].iter().map(|chunk| chunk.entity_path().to_string()).collect();
    for measured in ["/world/cloud", "/world/ego3d", "/world/camera/rgb"] {
        assert!(!paths.iter().any(|path| path == measured), "{measured}");
    }
    assert_eq!((rows(&chunks, "/camera_frame/cloud"), rows(&chunks, "/camera_frame/ego3d")), (4, 2));
}
