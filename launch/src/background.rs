//! Hands items to a thread that may be slow or stuck, and never waits for it.
//!
//! From: the control loop, which must not block. To: recordings, which may. The queue is bounded: what does not fit is
//! dropped and counted, and ending is bounded too: a thread that is stuck is left behind and reported.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

/// How a background thread ended.
#[derive(Debug)]
pub(crate) enum Ending<R> {
    /// It worked off its queue and returned this.
    Done(R),
    /// It is still busy after the wait allowed, and was left behind.
    Stuck,
    /// It panicked.
    Died,
}

/// A thread with a bounded queue in front of it.
#[derive(Debug)]
pub(crate) struct Background<T, R> {
    queue: SyncSender<T>,
    result: Receiver<R>,
    dropped: u64,
    done: Arc<AtomicU64>,
}

impl<T: Send + 'static, R: Send + 'static> Background<T, R> {
    /// Starts a thread that runs `work` on the queue's receiving end. `work` ends when the queue does, and adds one to
    /// the counter for each item that is really done.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub(crate) fn start(
        name: &str,
        queue_max: usize,
        work: impl FnOnce(Receiver<T>, &AtomicU64) -> R + Send + 'static,
    ) -> std::io::Result<Self> {
        let (queue, items) = sync_channel(queue_max);
        let (give_result, result) = sync_channel(1);
        let done = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&done);
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            // Nobody listens any more when the owner gave up waiting; then there is nobody to tell.
            let _ = give_result.send(work(items, &counter));
        })?;
        Ok(Self { queue, result, dropped: 0, done })
    }

    /// Hands over `item`, or drops it when the queue is full or the thread is gone. Returns at once either way.
    /// `false` means dropped; only the caller knows whether that counts, see [`Self::count_drop`].
    pub(crate) fn offer(&self, item: T) -> bool {
        self.queue.try_send(item).is_ok()
    }

    /// Books one drop.
    pub(crate) fn count_drop(&mut self) {
        self.dropped += 1;
    }

    /// Drops booked so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Items that the thread reported as done so far.
    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Ends the queue and waits for the thread, at most `wait_max`. Returns the ending, items done and items dropped.
    pub(crate) fn finish(self, wait_max: Duration) -> (Ending<R>, u64, u64) {
        let Self { queue, result, dropped, done } = self;
        drop(queue);
        let ending = match result.recv_timeout(wait_max) {
            Ok(result) => Ending::Done(result),
            Err(RecvTimeoutError::Timeout) => Ending::Stuck,
            Err(RecvTimeoutError::Disconnected) => Ending::Died,
        };
        (ending, done.load(Ordering::Relaxed), dropped)
    }
}
