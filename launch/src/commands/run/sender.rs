//! The sender's thread: every command that is new, as soon as the control thread wakes it.
//!
//! From: the slot that each tick writes. To: the wire. It outlives the control thread by one look into the slot: the last
//! commands are holds, and go out before the session closes.

use egogrid_runtime::live::{Command, SlotReader};
use egogrid_sim_bridge::endpoint::CommandSender;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// How long the sender sleeps when nobody wakes it.
const SLEEP_MAX: Duration = Duration::from_millis(100);

/// What became of the commands.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// On the wire.
    sent: AtomicU64,
    /// The transport failed.
    failed: AtomicU64,
    /// Replaced by a newer one before the sender got the processor.
    skipped: AtomicU64,
}

/// The same as numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct SentCounts {
    pub(super) sent: u64,
    pub(super) failed: u64,
    pub(super) skipped: u64,
}

impl Sent {
    pub(super) fn counts(&self) -> SentCounts {
        let [sent, failed, skipped] =
            [&self.sent, &self.failed, &self.skipped].map(|count| count.load(Ordering::Relaxed));
        SentCounts { sent, failed, skipped }
    }
}

/// The control thread's: true once that has ended, in whatever way.
#[derive(Debug, Default)]
pub(super) struct Over(Arc<AtomicBool>);

impl Over {
    pub(super) fn watch(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

impl Drop for Over {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Sends until `over` and nothing is left; `over` is true behind the last command.
pub(super) fn send(
    mut sender: CommandSender,
    mut commands: SlotReader<Option<Command>>,
    counts: Arc<Sent>,
    over: Arc<AtomicBool>,
) -> impl FnOnce() + Send + 'static {
    move || {
        let mut next = 0;
        loop {
            // Before the slot is looked at: a command that came in between is then found.
            let last = over.load(Ordering::Acquire);
            match commands.take_new() {
                Some(Some(command)) => {
                    counts.skipped.fetch_add(command.sequence.saturating_sub(next), Ordering::Relaxed);
                    next = command.sequence + 1;
                    let became = match sender.send(command) {
                        Ok(()) => &counts.sent,
                        Err(error) => {
                            tracing::warn!("a command did not leave: {error}");
                            &counts.failed
                        }
                    };
                    became.fetch_add(1, Ordering::Relaxed);
                }
                _ if last => return,
                _ => std::thread::park_timeout(SLEEP_MAX),
            }
        }
    }
}
