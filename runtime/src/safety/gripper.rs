//! Rule: the gripper changes side (of 0.5) only after the other side has been asked for during `gripper_debounce_ms`
//! without a break. Openings on the same side pass at once.
//!
//! A policy that hesitates between open and closed would otherwise drop what it holds.

use super::reason::Intervention;
use crate::clock::Moment;
use std::time::Duration;

/// What was sent, and since when something else is asked for.
#[derive(Debug, Clone)]
pub(super) struct Gripper {
    debounce: Option<Duration>,
    sent: Option<f64>,
    reported: Option<f64>,
    other_since: Option<Moment>,
}

impl Gripper {
    pub(super) fn new(debounce: Option<Duration>) -> Self {
        Self { debounce, sent: None, reported: None, other_since: None }
    }

    /// A new episode: what was sent before means nothing.
    pub(super) fn reset(&mut self) {
        *self = Self::new(self.debounce);
    }

    /// The robot's reading, if it is an opening.
    pub(super) fn report(&mut self, opening: f64) {
        if (0.0..=1.0).contains(&opening) {
            self.reported = Some(opening);
        }
    }

    /// What a hold keeps: what was last sent, since a gripper that holds something reports another opening; before that
    /// what the robot reports, and before that open.
    pub(super) fn kept(&self) -> f64 {
        self.sent.or(self.reported).unwrap_or(1.0)
    }

    /// A hold asks for nothing, so that a change begins to wait anew.
    pub(super) fn hold(&mut self) -> f64 {
        self.other_since = None;
        self.kept()
    }

    /// What is sent for `asked`.
    pub(super) fn limit(&mut self, asked: f64, now: Moment) -> (f64, Option<Intervention>) {
        let before = self.sent.or(self.reported);
        let changes = before.is_some_and(|before| (before > 0.5) != (asked > 0.5));
        let (Some(debounce), Some(kept), true) = (self.debounce, before, changes) else {
            self.other_since = None;
            self.sent = Some(asked);
            return (asked, None);
        };
        let since = *self.other_since.get_or_insert(now);
        if now.since(since).is_some_and(|asked_for| asked_for >= debounce) {
            self.other_since = None;
            self.sent = Some(asked);
            return (asked, None);
        }
        (kept, Some(Intervention::Gripper { asked, kept }))
    }
}
