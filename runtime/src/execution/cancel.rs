//! Ends a run of a graph from another thread: the deadline of an inference.
//!
//! From: whoever watches the clock. To: every graph that was loaded with the same [`Cancel`], whose run ends after the
//! operator that it is at (ONNX Runtime asks between operators), and whose later runs fail at once, until
//! [`Cancel::clear`].

use super::graph::Side;
use ort::session::RunOptions;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Shared by the graphs of one policy and its watcher. Cheap to clone.
#[derive(Clone)]
pub struct Cancel(Arc<Shared>);

struct Shared {
    asked: AtomicBool,
    plain: RunOptions,
    /// How recorded runs are asked for: one recording per side, because each has tensors of its own.
    replayed: [RunOptions; 2],
}

impl Cancel {
    /// Nothing is cancelled. The library must be loaded.
    pub(super) fn new() -> ort::Result<Self> {
        let named = |name: &str| {
            let mut options = RunOptions::new()?;
            options.set("gpu_graph_id", name)?;
            Ok::<_, ort::Error>(options)
        };
        let (plain, replayed) = (RunOptions::new()?, [named("1")?, named("2")?]);
        Ok(Self(Arc::new(Shared { asked: AtomicBool::new(false), plain, replayed })))
    }

    /// Ends the run under way and keeps others from starting.
    pub fn cancel(&self) {
        self.0.asked.store(true, Ordering::SeqCst);
        self.set(RunOptions::terminate);
    }

    /// Runs may start again.
    pub fn clear(&self) {
        self.set(RunOptions::unterminate);
        self.0.asked.store(false, Ordering::SeqCst);
    }

    /// Whether [`Self::cancel`] was called since the last [`Self::clear`].
    pub fn is_cancelled(&self) -> bool {
        self.0.asked.load(Ordering::SeqCst)
    }

    fn set(&self, flag: impl Fn(&RunOptions) -> ort::Result<()>) {
        for options in [&self.0.plain, &self.0.replayed[0], &self.0.replayed[1]] {
            // The library only refuses a pointer that is no run options, which these are.
            if let Err(error) = flag(options) {
                tracing::error!("a run cannot be cancelled: {error}");
            }
        }
    }

    pub(super) fn plain(&self) -> &RunOptions {
        &self.0.plain
    }

    pub(super) fn replayed(&self, side: Side) -> &RunOptions {
        &self.0.replayed[side as usize]
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cancel({})", self.is_cancelled())
    }
}

/// The same object, not the same state.
impl PartialEq for Cancel {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
