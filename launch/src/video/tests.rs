//! Promises of the film: frames of the right size and number, and an encoder that hangs or fails stops nobody.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::view::testing::{Run, returns};
use std::path::Path;

const FRAME_BYTES: usize = (FRAME_WIDTH_PX * FRAME_HEIGHT_PX * 3) as usize;
const WAIT_MAX: Duration = Duration::from_secs(60);

fn film(fake: &str, path: &Path) -> Result<Mp4Writer, VideoError> {
    let ffmpeg = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/fake_ffmpeg").join(fake);
    Mp4Writer::new(VideoConfig { ffmpeg, path: path.to_owned(), fps: 10, episodes: 1 })
}

fn pixel(frame: &[u8], x: u32, y: u32) -> [u8; 3] {
    let at = 3 * (y * FRAME_WIDTH_PX + x) as usize;
    [frame[at], frame[at + 1], frame[at + 2]]
}

#[test]
fn every_look_is_a_frame_and_the_result_stays_for_a_moment() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("film");
    let mut film = film("copies.sh", &path).unwrap();
    let mut run = Run::new();
    film.episode_started("drawer-open", "open the drawer", 7, 0);
    for side_px in [16, 64, 700] {
        run.look(side_px, &mut film); // pictures of any size
    }
    film.episode_ended(Outcome::Success, None);
    let filmed = returns(move || film.finish(WAIT_MAX)).unwrap();
    assert_eq!(filmed, Filmed { pictures: 4, dropped: 0 });
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(bytes.len(), (3 + 7) * FRAME_BYTES, "three looks, 0.7 s at 10 frames a second");
    let (first, last) = (&bytes[..FRAME_BYTES], &bytes[bytes.len() - FRAME_BYTES..]);
    assert_eq!((pixel(first, 0, 0), pixel(last, 447, 447)), ([128; 3], [128; 3]), "the picture fills its square");
    let green = |frame: &[u8]| frame.as_chunks::<3>().0.iter().any(|&[r, g, b]| g > 180 && r < 100 && b < 150);
    assert!(!green(first) && green(last), "the result has a colour, and only once there is one");
}

#[test]
fn an_encoder_that_never_reads_never_holds_up_the_loop_and_is_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let mut film = film("never_reads.sh", &dir.path().join("film")).unwrap();
    let film = returns(move || {
        let mut run = Run::new();
        (0..500).for_each(|_| run.look(8, &mut film));
        film
    });
    let dropped = film.dropped();
    assert!(dropped >= 500 - QUEUE_MAX as u64 - 1, "{dropped}");
    let error = returns(move || film.finish(Duration::from_millis(50))).unwrap_err();
    assert!(matches!(error, VideoError::Stuck { pictures: 0, .. }), "{error}");
}

#[test]
fn an_encoder_that_gives_up_is_reported_with_its_own_words() {
    let dir = tempfile::tempdir().unwrap();
    let mut film = film("gives_up.sh", &dir.path().join("film")).unwrap();
    let mut run = Run::new();
    (0..3).for_each(|_| run.look(8, &mut film));
    let error = returns(move || film.finish(WAIT_MAX)).unwrap_err();
    assert!(matches!(&error, VideoError::Failed { words, .. } if words.contains("libx264")), "{error}");
}

#[test]
fn a_missing_encoder_is_refused_at_the_start() {
    let error = film("no_such_program", Path::new("film")).unwrap_err();
    assert!(matches!(&error, VideoError::Start { ffmpeg, .. } if ffmpeg.ends_with("no_such_program")), "{error}");
}

#[test]
fn captions_of_any_length_and_script_fit_the_frame() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("film");
    let mut film = film("copies.sh", &path).unwrap();
    let mut run = Run::new();
    for instruction in ["", "öffne die Schublade 抽屉 🤖", &"open ".repeat(500)] {
        film.episode_started(&"task".repeat(50), instruction, u32::MAX, u32::MAX - 1);
        run.look(8, &mut film);
        film.episode_ended(Outcome::Harness { reason: "gone ".repeat(100) }, None);
    }
    returns(move || film.finish(WAIT_MAX)).unwrap();
    assert_eq!(std::fs::read(&path).unwrap().len() % FRAME_BYTES, 0);
}
