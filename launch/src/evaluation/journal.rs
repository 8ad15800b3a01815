//! The two files that an evaluation stands on: `run.json`, written once, and `episodes.jsonl`, one line per episode, forced to the disk
//! before the next one counts as done.
//!
//! Killed at any point, a run goes on where it was: the last line may be cut off (it is then dropped, and its episode runs again), every other
//! damage is an error. One process at a time: the lock is the kernel's, so a killed one leaves none behind.

use super::record::{EpisodeName, EpisodeRecord, EvalHeader, EvalRun, FORMAT};
use crate::files::write_whole;
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What was evaluated.
pub const RUN_FILE: &str = "run.json";
/// What came of it.
pub const EPISODES_FILE: &str = "episodes.jsonl";
/// Longest line: a hundred times what one has.
const LINE_BYTES_MAX: u64 = 1 << 20;
const HEADER_BYTES_MAX: u64 = 16 << 20;
/// How long somebody else's lock may last.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(1);
/// Most episodes of one run.
pub const EPISODES_MAX: usize = 1_000_000;

/// Why a run cannot be begun, continued or read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file system.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Nothing there.
    #[error("{} holds no evaluation: there is no {RUN_FILE}; name the directory that `egogrid eval --out` wrote", dir.display())]
    NoRun {
        /// Where.
        dir: PathBuf,
    },
    /// Another plan.
    #[error(
        "{} holds another evaluation (plan {found}, this is {expected}); episodes of two plans must not be counted together: name another --out",
        dir.display()
    )]
    OtherPlan {
        /// Where.
        dir: PathBuf,
        /// Begins.
        found: String,
        /// Begins.
        expected: String,
    },
    /// Episodes of nobody knows what.
    #[error(
        "{} holds episodes but no {RUN_FILE}, which says of which plan they are; put it back, or name another --out",
        dir.display()
    )]
    NoPlan {
        /// Where.
        dir: PathBuf,
    },
    /// Somebody else is at it.
    #[error("another process runs the evaluation in {}; wait for it, or name another --out", dir.display())]
    Locked {
        /// Where.
        dir: PathBuf,
    },
    /// Not what was written.
    #[error("{}, line {line}: {detail}; expected what `egogrid eval` wrote, repair or remove the file", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong.
        detail: String,
    },
}

/// An evaluation under way.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    done: BTreeSet<EpisodeName>,
}

impl Journal {
    /// Begins a run in `dir`, or goes on with the same one; the episodes that are done already come with it.
    ///
    /// # Errors
    /// Another plan or process, or files that are damaged.
    pub fn open(dir: &Path, header: &EvalHeader) -> Result<(Self, EvalRun), JournalError> {
        let io = |path: &Path| {
            let path = path.to_path_buf();
            move |source| JournalError::Io { path, source }
        };
        fs::create_dir_all(dir).map_err(io(dir))?;
        let (run_path, path) = (dir.join(RUN_FILE), dir.join(EPISODES_FILE));
        let open = OpenOptions::new().read(true).append(true).create(true).open(&path);
        let mut file = open.map_err(io(&path))?;
        if !locked(&file).map_err(io(&path))? {
            return Err(JournalError::Locked { dir: dir.to_path_buf() });
        }
        let header = if run_path.exists() {
            let found = read_header(dir)?;
            if found.plan_sha256 != header.plan_sha256 {
                let short = |digest: &str| digest.get(..12).unwrap_or(digest).to_owned();
                let (found, expected) = (short(&found.plan_sha256), short(&header.plan_sha256));
                return Err(JournalError::OtherPlan { dir: dir.to_path_buf(), found, expected });
            }
            found
        } else if file.metadata().map_err(io(&path))?.len() > 0 {
            // The header is written before the first episode: somebody took it away.
            return Err(JournalError::NoPlan { dir: dir.to_path_buf() });
        } else {
            write_whole(&run_path, &pretty(header)).map_err(io(&run_path))?;
            // The names of both files, too, are to outlive a power cut.
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(io(dir))?;
            header.clone()
        };
        let (episodes, whole) = read_episodes(&path, &mut file)?;
        // What was cut off goes, or the next line would be glued to it.
        file.set_len(whole).and_then(|()| file.seek(SeekFrom::End(0))).map_err(io(&path))?;
        let done = episodes.iter().map(EpisodeRecord::name).collect();
        Ok((Self { path, file, done }, EvalRun { header, episodes }))
    }

    /// Whether this episode is in it.
    pub fn has(&self, name: &EpisodeName) -> bool {
        self.done.contains(name)
    }

    /// Writes one episode; it is on the disk when this returns.
    ///
    /// # Errors
    /// The disk. The episode is not done then.
    pub fn add(&mut self, record: &EpisodeRecord) -> Result<(), JournalError> {
        let failed = |source| JournalError::Io { path: self.path.clone(), source };
        let mut line = serde_json::to_vec(record).map_err(|error| failed(error.into()))?;
        line.push(b'\n');
        self.file.write_all(&line).and_then(|()| self.file.sync_data()).map_err(failed)?;
        self.done.insert(record.name());
        Ok(())
    }
}

/// A run that is over, or under way elsewhere: what is whole of it.
///
/// # Errors
/// No run, or damaged files.
pub fn read(dir: &Path) -> Result<EvalRun, JournalError> {
    let header = read_header(dir)?;
    let path = dir.join(EPISODES_FILE);
    let mut file = File::open(&path).map_err(|source| JournalError::Io { path: path.clone(), source })?;
    let (episodes, _) = read_episodes(&path, &mut file)?;
    Ok(EvalRun { header, episodes })
}

/// Whether the lock is ours. One that was killed, or a child of it that is just being started, may hold it a moment longer.
fn locked(file: &File) -> std::io::Result<bool> {
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(fs::TryLockError::WouldBlock) if begun.elapsed() >= LOCK_WAIT_MAX => return Ok(false),
            Err(fs::TryLockError::WouldBlock) => std::thread::park_timeout(LOCK_WAIT_MAX / 20),
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
    }
}

fn read_header(dir: &Path) -> Result<EvalHeader, JournalError> {
    let path = dir.join(RUN_FILE);
    let Ok(file) = File::open(&path) else { return Err(JournalError::NoRun { dir: dir.to_path_buf() }) };
    let mut bytes = Vec::new();
    let read = file.take(HEADER_BYTES_MAX).read_to_end(&mut bytes);
    read.map_err(|source| JournalError::Io { path: path.clone(), source })?;
    let damaged = |detail: String| JournalError::Damaged { path: path.clone(), line: 1, detail };
    let header: EvalHeader = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    if header.format != FORMAT {
        return Err(damaged(format!("format {}, this release reads {FORMAT}", header.format)));
    }
    Ok(header)
}

/// All whole lines, and how many bytes they have.
fn read_episodes(path: &Path, file: &mut File) -> Result<(Vec<EpisodeRecord>, u64), JournalError> {
    let failed = |source| JournalError::Io { path: path.to_path_buf(), source };
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    let (mut reader, mut episodes, mut whole) = (BufReader::new(file), Vec::new(), 0);
    let mut names = BTreeSet::new();
    loop {
        let mut line = Vec::new();
        let count = reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line).map_err(failed)?;
        let damaged =
            |detail: String| JournalError::Damaged { path: path.to_path_buf(), line: episodes.len() + 1, detail };
        if count as u64 == LINE_BYTES_MAX {
            return Err(damaged(format!("a line of more than {LINE_BYTES_MAX} bytes")));
        }
        if line.last() != Some(&b'\n') {
            return Ok((episodes, whole)); // the end, or a line that was being written
        }
        let record: EpisodeRecord = serde_json::from_slice(&line).map_err(|error| damaged(error.to_string()))?;
        if !names.insert(record.name()) {
            return Err(damaged(format!(
                "{} with seed {} of arm {} a second time",
                record.task, record.seed, record.arm
            )));
        }
        if episodes.len() == EPISODES_MAX {
            return Err(damaged(format!("more than {EPISODES_MAX} episodes")));
        }
        episodes.push(record);
        whole += count as u64;
    }
}

fn pretty(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec_pretty(value).unwrap_or_default() // numbers and texts: nothing of it can fail
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::evaluation::record::tests::{header, record};
    use proptest::prelude::*;

    #[test]
    fn a_run_goes_on_where_it_was_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, run) = Journal::open(dir.path(), &header("a")).unwrap();
        assert!(run.episodes.is_empty());
        for seed in 0..3 {
            journal.add(&record("reach", seed, true)).unwrap();
        }
        drop(journal);
        let path = dir.path().join(EPISODES_FILE);
        let whole = fs::read(&path).unwrap();
        for cut in (0..whole.len()).rev() {
            fs::write(&path, &whole[..cut]).unwrap();
            let lines = whole[..cut].iter().filter(|&&byte| byte == b'\n').count();
            let (mut journal, run) = Journal::open(dir.path(), &header("a")).unwrap();
            assert_eq!(run.episodes.len(), lines, "cut at {cut}");
            let lost: Vec<u32> = (0..3).filter(|&seed| !journal.has(&record("reach", seed, true).name())).collect();
            assert_eq!(lost.len(), 3 - lines);
            for seed in lost {
                journal.add(&record("reach", seed, true)).unwrap();
            }
            assert_eq!(fs::read(&path).unwrap(), whole, "nothing lost, nothing twice, cut at {cut}");
        }
    }

    #[test]
    fn two_plans_and_two_processes_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let first = Journal::open(dir.path(), &header("a")).unwrap();
        assert!(matches!(Journal::open(dir.path(), &header("a")), Err(JournalError::Locked { .. })));
        drop(first);
        assert!(matches!(Journal::open(dir.path(), &header("b")), Err(JournalError::OtherPlan { .. })));
        assert!(matches!(read(&dir.path().join("none")), Err(JournalError::NoRun { .. })));
    }

    #[test]
    fn episodes_without_their_plan_are_refused_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(dir.path(), &header("a")).unwrap();
        journal.add(&record("reach", 0, true)).unwrap();
        drop(journal);
        let (run, episodes) = (dir.path().join(RUN_FILE), dir.path().join(EPISODES_FILE));
        let written = fs::read(&episodes).unwrap();
        fs::remove_file(&run).unwrap();
        for plan in ["a", "b"] {
            assert!(matches!(Journal::open(dir.path(), &header(plan)), Err(JournalError::NoPlan { .. })), "{plan}");
        }
        assert!(!run.exists() && fs::read(&episodes).unwrap() == written, "nothing was touched");
        // Killed between the two files: nothing is lost by beginning.
        fs::write(&episodes, "").unwrap();
        assert!(Journal::open(dir.path(), &header("b")).unwrap().1.episodes.is_empty());
    }

    #[test]
    fn damage_in_the_middle_is_an_error_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(dir.path(), &header("a")).unwrap();
        (0..3).for_each(|seed| journal.add(&record("reach", seed, true)).unwrap());
        drop(journal);
        let path = dir.path().join(EPISODES_FILE);
        let lines: Vec<String> = fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
        let [first, second, third] = lines.as_slice() else { unreachable!() };
        for (text, line) in [
            (format!("{first}\n{{}}\n{third}\n"), 2),
            (format!("{first}\n{second}\n{first}\n"), 3),
            (format!("{}\n", first.replace("\"seed\"", "\"sed\"")), 1),
        ] {
            fs::write(&path, text).unwrap();
            assert!(matches!(read(dir.path()), Err(JournalError::Damaged { line: found, .. }) if found == line));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_episodes_or_a_typed_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let dir = tempfile::tempdir().unwrap();
            drop(Journal::open(dir.path(), &header("a")).unwrap());
            fs::write(dir.path().join(EPISODES_FILE), &bytes).unwrap();
            if let Ok(run) = read(dir.path()) {
                prop_assert!(run.episodes.len() <= bytes.len());
            }
        }
    }
}
