//! Films by the ffmpeg program: frames of an episode out of an MP4 file, and frames into one.
//!
//! From: any codec that ffmpeg decodes (LeRobot's default is AV1). To: [`RgbImage`]s, one at a time, each with the size that ffmpeg
//! says. Written is H.264, `yuv420p`, a key frame every second picture: what LeRobot's readers seek in quickly. The pipe bounds
//! memory; a decoder that says nothing for a minute is stopped.

use super::error::{DatasetError, Place, Problem};
use egogrid_runtime::camera::{RgbImage, SIDE_PX_MAX};
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Longest wait for the next picture.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Pictures that are decoded ahead.
const AHEAD_MAX: usize = 4;
/// Of ffmpeg's words, what is kept.
const WORDS_BYTES_MAX: u64 = 4096;
/// Longest header of a picture: `P6 <width> <height> 255`.
const HEADER_BYTES_MAX: usize = 32;

/// The pictures of one episode, in order: exactly as many as asked for, or an error.
pub struct FilmReader {
    path: PathBuf,
    child: Child,
    pictures: Receiver<Result<RgbImage, String>>,
    words: Option<JoinHandle<String>>,
    given: u64,
    frames: u64,
    ended: bool,
}

impl FilmReader {
    /// Starts decoding `frames` pictures from `from_s` on.
    ///
    /// # Errors
    /// No such file or program.
    pub fn start(ffmpeg: &Path, path: &Path, from_s: f64, fps: f64, frames: u64) -> Result<Self, DatasetError> {
        std::fs::metadata(path).map_err(|error| DatasetError::file(path, error))?;
        // Half a picture early, so that rounding never skips the first one.
        let begin_s = (from_s - 0.5 / fps).max(0.0);
        let mut command = Command::new(ffmpeg);
        command.args(["-hide_banner", "-nostdin", "-loglevel", "error"]);
        if begin_s > 0.0 {
            command.args(["-ss", &format!("{begin_s:.6}")]);
        }
        command.arg("-i").arg(path);
        command.args(["-map", "0:v:0", "-frames:v", &frames.to_string(), "-fps_mode", "passthrough"]);
        command.args(["-pix_fmt", "rgb24", "-f", "image2pipe", "-c:v", "ppm", "-"]);
        let (child, output, words) = spawn(command, path)?;
        let (send, pictures) = sync_channel(AHEAD_MAX);
        let decode = move || {
            let mut output = BufReader::new(output);
            loop {
                let Some(picture) = ppm(&mut output).transpose() else { return };
                let last = picture.is_err();
                // Nobody listens when the reader was dropped.
                if send.send(picture).is_err() || last {
                    return;
                }
            }
        };
        std::thread::Builder::new()
            .name("egogrid-film".to_owned())
            .spawn(decode)
            .map_err(|error| DatasetError::file(path, error))?;
        let path = path.to_path_buf();
        Ok(Self { path, child, pictures, words: Some(words), given: 0, frames, ended: false })
    }

    fn refuse(&mut self, what: &str) -> DatasetError {
        self.ended = true;
        let _ = self.child.kill();
        let words = self.words.take().and_then(|words| words.join().ok()).unwrap_or_default();
        let said = if words.is_empty() { String::new() } else { format!("; its words: {words:?}") };
        let problem = Problem::Film(format!("{what} after {} of {} pictures{said}", self.given, self.frames));
        DatasetError::new(&self.path, Place::Picture(self.given), problem)
    }
}

impl Iterator for FilmReader {
    type Item = Result<RgbImage, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended || self.given == self.frames {
            return None;
        }
        match self.pictures.recv_timeout(SILENCE_MAX) {
            Ok(Ok(picture)) => {
                self.given += 1;
                Some(Ok(picture))
            }
            Ok(Err(what)) => Some(Err(self.refuse(&what))),
            Err(RecvTimeoutError::Timeout) => Some(Err(self.refuse("it is stuck and was stopped"))),
            Err(RecvTimeoutError::Disconnected) => Some(Err(self.refuse("the film ends"))),
        }
    }
}

impl Drop for FilmReader {
    fn drop(&mut self) {
        // Fails only when it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

type Spawned = (Child, std::process::ChildStdout, JoinHandle<String>);

fn spawn(mut command: Command, path: &Path) -> Result<Spawned, DatasetError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let refuse = |what: String| DatasetError::file(path, Problem::Film(what));
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| refuse(format!("cannot start {program}: {error}; ./launch/demo installs one")))?;
    let (Some(output), Some(errors)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(refuse("the process has no pipes".to_owned()));
    };
    let listen = move || {
        let mut words = Vec::new();
        let mut errors = errors;
        // The first words say what is wrong; the rest is read so that the program never waits.
        let _ = errors.by_ref().take(WORDS_BYTES_MAX).read_to_end(&mut words);
        let _ = std::io::copy(&mut errors, &mut std::io::sink());
        String::from_utf8_lossy(&words).trim().to_owned()
    };
    let words = std::thread::Builder::new().name("egogrid-ffmpeg".to_owned()).spawn(listen);
    Ok((child, output, words.map_err(|error| DatasetError::file(path, error))?))
}

/// One binary PPM picture; `None` at the end.
fn ppm(input: &mut impl Read) -> Result<Option<RgbImage>, String> {
    let mut header = Vec::new();
    let mut byte = [0];
    while header.iter().filter(|byte| **byte == b'\n').count() < 3 {
        match input.read(&mut byte).map_err(|error| error.to_string())? {
            0 if header.is_empty() => return Ok(None),
            0 => return Err("a picture is cut".to_owned()),
            _ if header.len() >= HEADER_BYTES_MAX => return Err("its output is no picture".to_owned()),
            _ => header.push(byte[0]),
        }
    }
    let text = String::from_utf8_lossy(&header);
    let mut words = text.split_ascii_whitespace();
    let (Some("P6"), Some(width), Some(height), Some("255")) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(format!("its output is no picture: {text:?}"));
    };
    let side = |text: &str| text.parse().ok().filter(|side| (1..=SIDE_PX_MAX).contains(side));
    let (Some(width), Some(height)) = (side(width), side(height)) else {
        return Err(format!("a picture of {width}x{height} px"));
    };
    let mut pixels = vec![0; width as usize * height as usize * 3];
    input.read_exact(&mut pixels).map_err(|error| format!("a picture is cut ({error})"))?;
    RgbImage::new(width, height, pixels).map(Some).map_err(|error| error.to_string())
}

/// One film being written.
pub struct FilmWriter {
    path: PathBuf,
    child: Child,
    input: Option<ChildStdin>,
    words: Option<JoinHandle<String>>,
    size_px: [u32; 2],
    frames: u64,
}

impl FilmWriter {
    /// Starts it; an existing file is replaced.
    ///
    /// # Errors
    /// Sides that `yuv420p` has no place for, or no such program.
    pub fn start(ffmpeg: &Path, path: &Path, fps: f64, size_px: [u32; 2]) -> Result<Self, DatasetError> {
        let [width, height] = size_px;
        if width % 2 != 0 || height % 2 != 0 {
            return Err(DatasetError::value(
                path,
                Place::File,
                format!("pictures of {width}x{height} px"),
                "even sides, because a film halves its colours",
            ));
        }
        let mut command = Command::new(ffmpeg);
        command
            .args(["-hide_banner", "-loglevel", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24"])
            .args(["-s", &format!("{width}x{height}"), "-r", &fps.to_string(), "-i", "-", "-an"])
            .args(["-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "18", "-g", "2", "-bf", "0"])
            .args(["-movflags", "+faststart"])
            .arg(path)
            .stdin(Stdio::piped());
        let (mut child, _, words) = spawn(command, path)?;
        let input = child.stdin.take();
        Ok(Self { path: path.to_path_buf(), child, input, words: Some(words), size_px, frames: 0 })
    }

    /// Pictures so far.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// One picture more; waits while the encoder is behind.
    ///
    /// # Errors
    /// Another size, or an encoder that gave up.
    pub fn push(&mut self, picture: &RgbImage) -> Result<(), DatasetError> {
        let found = [picture.width_px(), picture.height_px()];
        if found != self.size_px {
            let (found, expected) = (format!("{found:?}"), format!("{:?}", self.size_px));
            let problem = Problem::Disagree { what: "the size of a picture in pixels", found, expected };
            return Err(DatasetError::new(&self.path, Place::Picture(self.frames), problem));
        }
        let Some(input) = &mut self.input else { return Err(self.gave_up("it has ended")) };
        if let Err(error) = input.write_all(picture.data()) {
            return Err(self.gave_up(&error.to_string()));
        }
        self.frames += 1;
        Ok(())
    }

    /// Ends the film.
    ///
    /// # Errors
    /// An encoder that failed.
    pub fn finish(mut self) -> Result<(), DatasetError> {
        self.input = None;
        let status = self.child.wait().map_err(|error| DatasetError::file(&self.path, error))?;
        if status.success() { Ok(()) } else { Err(self.gave_up(&status.to_string())) }
    }

    fn gave_up(&mut self, what: &str) -> DatasetError {
        self.input = None;
        let _ = self.child.kill();
        let words = self.words.take().and_then(|words| words.join().ok()).unwrap_or_default();
        let problem = Problem::Film(format!("made no film: {what}; its words: {words:?}"));
        DatasetError::new(&self.path, Place::Picture(self.frames), problem)
    }
}

impl Drop for FilmWriter {
    fn drop(&mut self) {
        self.input = None;
        // A film that was not finished is of no use to anybody.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
