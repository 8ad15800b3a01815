//! Another policy for a robot that moves: `do/policy` names a bundle, which is loaded beside the one that drives and takes
//! over with the next episode.
//!
//! From: a name on the wire, and the one directory that the deployment file permits: no peer names a path. To: the policy's
//! thread ([`egogrid_runtime::live::Looker`]), and news for people. What cannot take over is refused in words; the policy that
//! drives goes on. Verifying reads and hashes whole files and has the lowest priority; graphs are loaded by an ordinary
//! thread, because the threads that ONNX Runtime starts inherit its priority and would keep it for good.

use super::load::{Loader, PolicyFacts, Shape};
use crate::assemble;
use crate::background::lower_priority;
use crate::exit::{CommandError, CommandResult};
use crate::machine;
use anyhow::anyhow;
use egogrid_policies::bundle::Bundle;
use egogrid_policies::bundle::manifest::PrecisionCheck;
use egogrid_runtime::live::LoadedPolicy;
use egogrid_sim_bridge::endpoint::AskPolicy;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, TrySendError, channel, sync_channel};

/// Longest name of a bundle's directory.
const NAME_MAX: usize = 64;
/// A loaded policy takes at most so many times the bytes of its bundle: weights, and what ONNX Runtime packs of them.
const MEMORY_PER_BYTE: u64 = 2;

/// What became of a request.
#[derive(Debug)]
pub(super) enum SwapNews {
    /// It is being loaded.
    Loading(String),
    /// It begins with the next episode.
    Ready { name: String, number: u32, facts: PolicyFacts, warning: Option<String> },
    /// It cannot take over.
    Refused { name: String, why: String },
}

/// Where other policies come from, and what they have to fit.
pub(super) struct Swaps {
    /// Its subdirectories are the bundles.
    pub(super) dir: PathBuf,
    pub(super) loader: Loader,
    /// Of the schedule under way.
    pub(super) shape: Shape,
    /// To the policy's thread.
    pub(super) ready: Sender<LoadedPolicy>,
}

/// Cleared when the load ends, however it ends.
struct Busy(Arc<AtomicBool>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Starts the thread that loads. Whom to ask, and what comes of it; the thread ends with the first of the two.
pub(super) fn start(swaps: Swaps) -> CommandResult<(AskPolicy, Receiver<SwapNews>)> {
    let (dir, busy) = (swaps.dir.clone(), Arc::<AtomicBool>::default());
    let (ask, asked) = sync_channel::<(String, PathBuf, Busy)>(1);
    let (tell, news) = channel();
    let work = move || {
        for (number, (name, path, busy)) in (1..).zip(asked) {
            // Nobody listens only when the process ends.
            let _ = tell.send(SwapNews::Loading(name.clone()));
            let _ = tell.send(match swaps.load(&path, number) {
                Ok((facts, warning)) => SwapNews::Ready { name, number, facts, warning },
                Err(error) => SwapNews::Refused { name, why: error.to_string() },
            });
            drop(busy);
        }
    };
    std::thread::Builder::new().name("swap".to_owned()).spawn(work).map_err(CommandError::missing)?;
    let asked = move |name: &str| {
        let path = permitted(&dir, name)?;
        if busy.swap(true, Ordering::AcqRel) {
            return Err("another policy is being loaded; ask again when the status says that it is ready".to_owned());
        }
        match ask.try_send((name.to_owned(), path, Busy(Arc::clone(&busy)))) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                Err("the thread that loads policies is gone; restart, and please report this".to_owned())
            }
        }
    };
    Ok((Box::new(asked), news))
}

/// The bundle of that name, if it lies in `dir` itself.
fn permitted(dir: &Path, name: &str) -> Result<PathBuf, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if !((1..=NAME_MAX).contains(&name.len()) && name.bytes().all(allowed) && !name.starts_with('.')) {
        return Err(format!(
            "expected the name of a directory in policy.swap_from: 1 to {NAME_MAX} of a-z, A-Z, 0-9, _, - and ., not a path"
        ));
    }
    let found = dir.join(name).canonicalize().ok().filter(|path| path.is_dir());
    let found = found.ok_or_else(|| format!("no bundle {name:?} in policy.swap_from; put it there first"))?;
    if found.parent() != Some(dir) {
        return Err(format!("{name:?} leads out of policy.swap_from; put the bundle itself there"));
    }
    Ok(found)
}

impl Swaps {
    /// Loads it and hands it over; which it is, and what is to be said about its precision.
    fn load(&self, path: &Path, number: u32) -> CommandResult<(PolicyFacts, Option<String>)> {
        let bundle = verified(path)?;
        require_memory(&bundle)?;
        let warning = bundle.manifest().precision_check.as_ref().and_then(PrecisionCheck::warning);
        let (loaded, planner) = self.loader.load(&bundle, number)?;
        self.loader.require_same_shape(&self.shape, loaded.policy.spec(), &planner)?;
        let facts = self.loader.facts(&bundle);
        let gone = |_| CommandError::check(anyhow!("the policy's thread has ended"));
        self.ready.send(loaded).map_err(gone)?;
        Ok((facts, warning))
    }
}

/// Reads and hashes everything, on what the others leave of the processor.
fn verified(path: &Path) -> CommandResult<Bundle> {
    let path = path.to_path_buf();
    let verify = move || {
        lower_priority();
        assemble::bundle(&path)
    };
    let thread = std::thread::Builder::new().name("verify".to_owned()).spawn(verify).map_err(CommandError::missing)?;
    thread.join().map_err(|_| CommandError::check(anyhow!("verifying the bundle panicked; please report this")))?
}

/// A system without memory would end the process that holds the arm.
fn require_memory(bundle: &Bundle) -> CommandResult {
    let bytes: u64 = bundle.manifest().files.iter().map(|file| file.bytes).sum();
    let needed = bytes.saturating_mul(MEMORY_PER_BYTE);
    let available = machine::available_memory_bytes()
        .ok_or_else(|| CommandError::missing(anyhow!("/proc/meminfo does not say how much memory is available")))?;
    if available > needed {
        return Ok(());
    }
    Err(CommandError::missing(anyhow!(
        "a second policy needs up to {} MiB, and {} MiB are available; free some, or restart with this bundle instead",
        needed >> 20,
        available >> 20
    )))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_name_on_the_wire_reaches_one_directory_and_nothing_else() {
        let scratch = tempfile::tempdir().unwrap();
        let scratch = scratch.path().canonicalize().unwrap();
        let dir = scratch.join("permitted");
        for made in ["permitted/v2", "permitted/v2/inner", "secret"] {
            std::fs::create_dir_all(scratch.join(made)).unwrap();
        }
        std::fs::write(dir.join("file"), "").unwrap();
        std::os::unix::fs::symlink(scratch.join("secret"), dir.join("out")).unwrap();
        std::os::unix::fs::symlink("v2", dir.join("newest")).unwrap();
        assert_eq!(permitted(&dir, "v2").unwrap(), dir.join("v2"));
        assert_eq!(permitted(&dir, "newest").unwrap(), dir.join("v2"), "a link beside the bundles is a name for one");
        let long = "a".repeat(NAME_MAX + 1);
        let absolute = scratch.join("secret").display().to_string();
        for name in ["", ".", "..", "../secret", "v2/inner", "v2/", "/", &absolute, "~", "v2\0", ".v2", "ä", &long] {
            assert!(permitted(&dir, name).unwrap_err().contains("not a path"), "{name:?}");
        }
        for (name, says) in [("v3", "no bundle"), ("file", "no bundle"), ("out", "leads out")] {
            assert!(permitted(&dir, name).unwrap_err().contains(says), "{name:?}");
        }
    }
}
