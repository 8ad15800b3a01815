//! The deadline of an inference, watched by a thread of its own: when it has passed, the run is ended inside the library.
//!
//! From: [`super::Looker`], which arms it before and disarms it after. A run that ends in the same moment as its deadline
//! is one or the other, never both: the flag is set and cleared under one lock.

use super::clock;
use crate::clock::Moment;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Ends what runs, from another thread.
pub trait CancelRun: Send + Sync {
    /// Ends the run under way and keeps others from starting.
    fn cancel(&self);
    /// Runs may start again.
    fn clear(&self);
}

#[cfg(feature = "onnx")]
impl CancelRun for crate::execution::Cancel {
    fn cancel(&self) {
        self.cancel();
    }
    fn clear(&self) {
        self.clear();
    }
}

#[derive(Debug, Default)]
struct State {
    due: Option<Moment>,
    fired: bool,
    over: bool,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The watcher. Ends with its owner.
pub struct Deadline {
    shared: Arc<Shared>,
    cancel: Arc<dyn CancelRun>,
    watcher: Option<JoinHandle<()>>,
}

impl Deadline {
    /// Starts the thread that watches.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn start(cancel: Arc<dyn CancelRun>) -> std::io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let (watched, ends) = (Arc::clone(&shared), Arc::clone(&cancel));
        let watcher = std::thread::Builder::new().name("deadline".to_owned()).spawn(move || watch(&watched, &*ends))?;
        Ok(Self { shared, cancel, watcher: Some(watcher) })
    }

    /// Runs `work`; ends it at `due`. Whether it was ended.
    pub fn guard<T>(&self, due: Moment, work: impl FnOnce() -> T) -> (T, bool) {
        self.shared.lock().due = Some(due);
        self.shared.changed.notify_all();
        let result = work();
        let mut state = self.shared.lock();
        state.due = None;
        let fired = std::mem::take(&mut state.fired);
        if fired {
            self.cancel.clear();
        }
        (result, fired)
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.shared.lock().over = true;
        self.shared.changed.notify_all();
        if let Some(watcher) = self.watcher.take() {
            // It only waits and calls `cancel`; if that panicked there is nothing left to end.
            let _ = watcher.join();
        }
    }
}

fn watch(shared: &Shared, cancel: &dyn CancelRun) {
    let mut state = shared.lock();
    while !state.over {
        let Some(due) = state.due.filter(|_| !state.fired) else {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        match due.since(clock::now()).filter(|left| !left.is_zero()) {
            Some(left) => {
                state = shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            }
            None => {
                state.fired = true;
                cancel.cancel();
            }
        }
    }
}
