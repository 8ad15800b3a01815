//! The encoder's process: start it, hear what it says, and end with it in bounded time.
//!
//! From: raw `rgb24` frames on its standard input. To: one `.mp4`, H.264, `yuv420p` (what every player takes).

use std::io::Read;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

/// Of its error output, what is kept: the end.
const WORDS_BYTES_MAX: usize = 2048;
/// Between two looks at whether it has ended, once it has closed its error output.
const EXIT_POLL: Duration = Duration::from_millis(5);

/// A running encoder.
#[derive(Debug)]
pub(super) struct Ffmpeg {
    child: Child,
    /// The end of its error output, sent when it closes that: when it ends.
    words: Receiver<String>,
}

impl Ffmpeg {
    /// Starts it. Closing the returned input ends the film.
    ///
    /// # Errors
    /// There is no such program, or no thread to listen to it.
    pub(super) fn start(
        program: &Path,
        film: &Path,
        fps: u32,
        [width_px, height_px]: [u32; 2],
    ) -> std::io::Result<(Self, ChildStdin)> {
        let size = format!("{width_px}x{height_px}");
        let mut child = Command::new(program)
            .args(["-hide_banner", "-loglevel", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", &size])
            .args(["-r", &fps.to_string(), "-i", "-", "-an", "-c:v", "libx264", "-pix_fmt", "yuv420p"])
            // One thread, cheap settings: the policy needs the processor more.
            .args(["-preset", "veryfast", "-crf", "20", "-threads", "1", "-movflags", "+faststart"])
            .arg(film)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let (Some(input), Some(mut errors)) = (child.stdin.take(), child.stderr.take()) else {
            return Err(std::io::Error::other("the process has no pipes"));
        };
        let (send, words) = sync_channel(1);
        std::thread::Builder::new().name("egogrid-ffmpeg".to_owned()).spawn(move || {
            let mut tail = Vec::new();
            let mut bytes = [0; 1024];
            while let Ok(count @ 1..) = errors.read(&mut bytes) {
                tail.extend_from_slice(&bytes[..count]);
                tail.drain(..tail.len().saturating_sub(WORDS_BYTES_MAX));
            }
            // Nobody listens when the encoder was stopped.
            let _ = send.send(String::from_utf8_lossy(&tail).trim().to_owned());
        })?;
        Ok((Self { child, words }, input))
    }

    /// Its exit status and the end of its error output; `None` (and it is stopped) if it runs past `deadline`.
    pub(super) fn wait(mut self, deadline: Instant) -> Option<(ExitStatus, String)> {
        let words = self.words.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some((status, words.unwrap_or_default())),
                Ok(None) if Instant::now() < deadline => {
                    // The sender is gone by now, so this is a pause: a process has nothing else to wait on with a bound.
                    std::thread::park_timeout(EXIT_POLL);
                }
                Ok(None) | Err(_) => {
                    self.kill();
                    return None;
                }
            }
        }
    }

    /// Stops it at once. The film is lost.
    pub(super) fn kill(mut self) {
        // Fails only when it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
