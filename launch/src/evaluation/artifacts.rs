//! Files of single episodes and tasks beside a run, by name: the harness writes them there, the report looks for them there.
//!
//! `episodes/<arm>/<task>-<seed>.mp4` and `.rrd`, `tasks/<task>.png`. Paths are relative to the run, with `/`, so that a page in the run can
//! link to them.

use std::fmt::Write;
use std::path::Path;

/// Larger pictures are not put into a page.
pub const PICTURE_BYTES_MAX: u64 = 1 << 20;

/// A name as one part of a path and of an address: everything but letters, digits and `. _ - =` as `~` and its bytes in hex.
fn part(name: &str) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        // A leading dot would hide the file or climb out of the folder.
        if byte.is_ascii_alphanumeric() || b"_-=".contains(&byte) || (byte == b'.' && !out.is_empty()) {
            out.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(out, "~{byte:02x}");
        }
    }
    out
}

/// Video (`mp4`) or rerun recording (`rrd`) of an episode.
pub fn of_episode(arm: &str, task: &str, seed: u32, ending: &str) -> String {
    format!("episodes/{}/{}-{seed}.{ending}", part(arm), part(task))
}

/// What a task looks like.
pub fn picture_of(task: &str) -> String {
    format!("tasks/{}.png", part(task))
}

/// The file, where it is there.
pub(super) fn found(run: &Path, relative: String) -> Option<String> {
    run.join(&relative).is_file().then_some(relative)
}

/// The bytes of a picture that may be put into a page.
pub(super) fn picture(run: &Path, relative: &str) -> Option<Vec<u8>> {
    let path = run.join(relative);
    let bytes = std::fs::metadata(&path).ok().filter(|about| about.len() <= PICTURE_BYTES_MAX)?.len();
    let found = std::fs::read(&path).ok()?;
    (found.len() as u64 == bytes && found.starts_with(b"\x89PNG\r\n\x1a\n")).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leaves_its_folder_and_no_two_share_a_file() {
        let names = ["drawer-open", "../../etc", "..", ".hidden", "a/b", "a~2fb", "a b", "%2e", "<x>", "a:b", "ä", ""];
        let paths: std::collections::BTreeSet<String> =
            names.iter().map(|name| of_episode("latency_ms=50", name, 7, "mp4")).collect();
        assert_eq!(paths.len(), names.len());
        for path in &paths {
            assert_eq!(path.matches('/').count(), 2, "{path}");
            assert!(path.starts_with("episodes/latency_ms=50/") && !path.contains("/."), "{path}");
        }
        assert_eq!(picture_of("drawer-open"), "tasks/drawer-open.png");
    }
}
