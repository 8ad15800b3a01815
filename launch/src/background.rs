//! Hands items to a thread that may be slow or stuck, and never waits for it.
//!
//! From: the control loop, which must not block. To: recordings, which may. The queue is bounded: what does not fit is
//! dropped and counted, and ending is bounded too: a thread that is stuck is left behind and reported. Its priority is below the loop's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;
use thread_priority::{ThreadPriority, ThreadPriorityValue, set_current_thread_priority};

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

/// What came within a time.
#[derive(Debug)]
pub(crate) enum Next<T> {
    Item(T),
    Nothing,
    /// The queue has ended.
    Ended,
}

impl<T> Items<T> {
    /// The next item, if there is one within `wait_max`.
    pub(crate) fn next_within(&self, wait_max: Duration) -> Next<T> {
        match self.items.recv_timeout(wait_max) {
            Ok(item) => {
                self.waiting.fetch_sub(1, Ordering::Relaxed);
                Next::Item(item)
            }
            Err(RecvTimeoutError::Timeout) => Next::Nothing,
            Err(RecvTimeoutError::Disconnected) => Next::Ended,
        }
    }
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
    /// Starts a thread that calls `open`, then runs `work` on what that made and on the queue's receiving end. `work`
    /// ends when the queue does, and adds one to the counter for each item that is really done. Whatever `open` starts
    /// inherits the thread's low priority. The second part of what `open` made is returned.
    ///
    /// # Errors
    /// That of `open`, or the system has no thread to give.
    pub(crate) fn start<Open, Given, E>(
        name: &str,
        queue_max: usize,
        open: impl FnOnce() -> Result<(Open, Given), E> + Send + 'static,
        work: impl FnOnce(Open, Items<T>, &AtomicU64) -> R + Send + 'static,
    ) -> Result<(Self, Given), E>
    where
        Given: Send + 'static,
        E: From<std::io::Error> + Send + 'static,
    {
        let (queue, items) = sync_channel(queue_max + RESERVED);
        let waiting = Arc::new(AtomicUsize::new(0));
        let items = Items { items, waiting: Arc::clone(&waiting) };
        let (give_opened, opened) = sync_channel(1);
        let (give_result, result) = sync_channel(1);
        let done = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&done);
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            lower_priority();
            // Nobody listens any more when the owner gave up waiting; then there is nobody to tell.
            match open() {
                Ok((open, given)) => {
                    let _ = give_opened.send(Ok(given));
                    let _ = give_result.send(work(open, items, &counter));
                }
                Err(error) => {
                    let _ = give_opened.send(Err(error));
                }
            }
        })?;
        let died = |_| E::from(std::io::Error::other("its thread panicked, see the message above"));
        let given = opened.recv().map_err(died)??;
        Ok((Self { queue, queue_max, waiting, result, dropped: 0, done }, given))
    }

    /// Hands over `item`; drops and counts it when `waiting_max` items wait already, the queue is full or the thread is
    /// gone. Returns at once either way.
    pub(crate) fn offer(&mut self, item: T, waiting_max: usize) {
        if self.waiting.load(Ordering::Relaxed) >= waiting_max.min(self.queue_max) {
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

/// How many items of `item_bytes` may wait: as many as `bytes_max` holds, but a few even of the largest.
pub(crate) fn waiting_max(bytes_max: usize, item_bytes: usize) -> usize {
    const ITEMS_MIN: usize = 4;
    (bytes_max / item_bytes.max(1)).max(ITEMS_MIN)
}

/// A quarter of the scale, nice 10 on Linux: gets what the loop leaves over, and a tenth where it leaves nothing.
pub(crate) fn lower_priority() {
    let lowered = ThreadPriorityValue::try_from(25_u8).map_err(|error| error.to_string()).and_then(|value| {
        set_current_thread_priority(ThreadPriority::Crossplatform(value)).map_err(|error| error.to_string())
    });
    if let Err(error) = lowered {
        tracing::debug!("a background thread runs at the loop's own priority: {error}");
    }
}
