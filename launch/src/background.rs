//! Hands items to a thread that may be slow or stuck, and never waits for it.
//!
//! From: the control loop, which must not block. To: recordings, which may. The queue is bounded: what does not fit is
//! dropped and counted, and ending is bounded too: a thread that is stuck is left behind and reported.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

/// Places beyond the queue's own, for the few items that must not be lost when the queue is full.
const RESERVED: usize = 16;

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

/// The receiving end of the queue.
#[derive(Debug)]
pub(crate) struct Items<T> {
    items: Receiver<T>,
    waiting: Arc<AtomicUsize>,
}

impl<T> Iterator for Items<T> {
    type Item = T;

    /// The next item; `None` when the queue has ended.
    fn next(&mut self) -> Option<T> {
        let item = self.items.recv().ok()?;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        Some(item)
    }
}

/// A thread with a bounded queue in front of it.
#[derive(Debug)]
pub(crate) struct Background<T, R> {
    queue: SyncSender<T>,
    queue_max: usize,
    /// Items in the queue.
    waiting: Arc<AtomicUsize>,
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
        work: impl FnOnce(Items<T>, &AtomicU64) -> R + Send + 'static,
    ) -> std::io::Result<Self> {
        let (queue, items) = sync_channel(queue_max + RESERVED);
        let waiting = Arc::new(AtomicUsize::new(0));
        let items = Items { items, waiting: Arc::clone(&waiting) };
        let (give_result, result) = sync_channel(1);
        let done = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&done);
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            // Nobody listens any more when the owner gave up waiting; then there is nobody to tell.
            let _ = give_result.send(work(items, &counter));
        })?;
        Ok(Self { queue, queue_max, waiting, result, dropped: 0, done })
    }

    /// Hands over `item`; drops and counts it when the queue is full or the thread is gone. Returns at once either way.
    pub(crate) fn offer(&mut self, item: T) {
        if self.waiting.load(Ordering::Relaxed) >= self.queue_max {
            self.dropped += 1;
        } else {
            self.offer_reserved(item);
        }
    }

    /// The same for one of the few items that may use the places kept free by [`Self::offer`].
    pub(crate) fn offer_reserved(&mut self, item: T) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        if self.queue.try_send(item).is_err() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.dropped += 1;
        }
    }

    /// Items dropped so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Items that the thread reported as done so far.
    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Ends the queue and waits for the thread, at most `wait_max`. Returns the ending, items done and items dropped.
    pub(crate) fn finish(self, wait_max: Duration) -> (Ending<R>, u64, u64) {
        let Self { queue, result, dropped, done, .. } = self;
        drop(queue);
        let ending = match result.recv_timeout(wait_max) {
            Ok(result) => Ending::Done(result),
            Err(RecvTimeoutError::Timeout) => Ending::Stuck,
            Err(RecvTimeoutError::Disconnected) => Ending::Died,
        };
        (ending, done.load(Ordering::Relaxed), dropped)
    }
}
