//! How often and how large pictures are drawn: as the viewer keeps up.
//!
//! From: how long drawing took, which grows when the viewer or the link to it is behind, because rerun hands over only a bounded number of
//! bytes. To: the time until the next picture, and by how much it is made smaller.

use std::time::{Duration, Instant};

/// Pictures a second at most: what eyes need.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// And at least, as long as anything is drawn at all.
const INTERVAL_MAX: Duration = Duration::from_secs(2);
/// Pictures are never made smaller than a quarter of each side.
const SHRINK_MAX: u32 = 4;
/// Quick pictures in a row before a finer one is tried.
const CALM: u32 = 30;

/// The state.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    shrink: u32,
    calm: u32,
    last: Option<Instant>,
}

impl Default for Pace {
    fn default() -> Self {
        Self { interval: INTERVAL_MIN, shrink: 1, calm: 0, last: None }
    }
}

impl Pace {
    /// Whether it is time for pictures.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.last.is_none_or(|last| now.duration_since(last) >= self.interval)
    }

    /// One of so many pixels of each side is drawn.
    pub(super) fn shrink(&self) -> u32 {
        self.shrink
    }

    /// Pictures a second at most, now.
    pub(super) fn rate_hz(&self) -> f64 {
        1.0 / self.interval.as_secs_f64()
    }

    /// Pictures were drawn at `now`, and that took `took`.
    pub(super) fn drawn(&mut self, now: Instant, took: Duration) {
        self.last = Some(now);
        if took > self.interval / 2 {
            // First smaller, then rarer.
            if self.shrink < SHRINK_MAX {
                self.shrink *= 2;
            } else {
                self.interval = (self.interval * 2).min(INTERVAL_MAX);
            }
            self.calm = 0;
            return;
        }
        self.calm += 1;
        if self.calm >= CALM {
            self.calm = 0;
            if self.interval > INTERVAL_MIN {
                self.interval = (self.interval / 2).max(INTERVAL_MIN);
            } else {
                self.shrink = (self.shrink / 2).max(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_viewer_gets_smaller_then_rarer_pictures_and_a_quick_one_all_of_them_again() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        assert!(pace.is_due(now));
        let mut draw = |pace: &mut Pace, took_ms: u64| {
            now += Duration::from_secs(3);
            assert!(pace.is_due(now));
            pace.drawn(now, Duration::from_millis(took_ms));
            assert!(!pace.is_due(now));
        };
        draw(&mut pace, 60);
        assert_eq!((pace.shrink(), pace.rate_hz()), (2, 10.0));
        draw(&mut pace, 60);
        draw(&mut pace, 60);
        assert_eq!((pace.shrink(), pace.rate_hz()), (4, 5.0));
        (0..20).for_each(|_| draw(&mut pace, 5000));
        assert_eq!((pace.shrink(), pace.rate_hz()), (4, 0.5));
        (0..30 * 10).for_each(|_| draw(&mut pace, 1));
        assert_eq!((pace.shrink(), pace.rate_hz()), (1, 10.0));
    }
}
