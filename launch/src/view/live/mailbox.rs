//! Between zenoh's threads and the view: the two newest pictures of each kind, a bounded queue of everything else.
//!
//! Memory is bounded whatever the viewer does: a picture that nobody took is replaced by the next one, and counted.

use egogrid_sim_bridge::endpoint::Heard;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Pictures of one kind that wait: picture and depth of one exposure come one after the other, and are drawn together.
const PICTURES_MAX: usize = 2;
/// Messages that wait, pictures not among them: 20 seconds of commands at 100 Hz.
const QUEUE_MAX: usize = 2048;

#[derive(Default)]
struct Inner {
    pictures: BTreeMap<String, VecDeque<Heard>>,
    queue: VecDeque<Heard>,
    counts: Left,
    ended: bool,
}

/// What was not shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Left {
    /// Pictures that were replaced by a newer one before they were drawn.
    pub(super) pictures: u64,
    /// Other messages, the oldest first.
    pub(super) messages: u64,
}

/// Shared by both sides.
#[derive(Default)]
pub(super) struct Mailbox {
    inner: Mutex<Inner>,
    news: Condvar,
}

/// Pictures of any kind: large, and only the newest matters.
fn is_picture(heard: &Heard) -> bool {
    matches!(heard.topic.ros_type, "sensor_msgs/msg/Image" | "sensor_msgs/msg/PointCloud2")
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns at once.
    pub(super) fn put(&self, heard: Heard) {
        let mut inner = self.lock();
        if is_picture(&heard) {
            let waiting = inner.pictures.entry(heard.topic.name.clone()).or_default();
            let full = waiting.len() == PICTURES_MAX;
            if full {
                waiting.pop_front();
            }
            waiting.push_back(heard);
            inner.counts.pictures += u64::from(full);
        } else {
            if inner.queue.len() == QUEUE_MAX {
                inner.queue.pop_front();
                inner.counts.messages += 1;
            }
            inner.queue.push_back(heard);
        }
        drop(inner);
        self.news.notify_one();
    }

    /// Nothing more comes.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.news.notify_all();
    }

    /// Messages in order, waiting at most `wait_max` for the first; `None` at the end.
    pub(super) fn messages(&self, wait_max: Duration) -> Option<Vec<Heard>> {
        let inner = self.lock();
        let waiting = |inner: &mut Inner| inner.queue.is_empty() && !inner.ended;
        let (mut inner, _) =
            self.news.wait_timeout_while(inner, wait_max, waiting).unwrap_or_else(PoisonError::into_inner);
        if inner.ended && inner.queue.is_empty() {
            return None;
        }
        Some(inner.queue.drain(..).collect())
    }

    /// The newest pictures of each kind that have not been taken yet, in order.
    pub(super) fn pictures(&self) -> Vec<Heard> {
        std::mem::take(&mut self.lock().pictures).into_values().flatten().collect()
    }

    /// What was not shown so far.
    pub(super) fn left(&self) -> Left {
        self.lock().counts
    }
}
