//! Time as an argument: a reading of the caller's monotonic clock, and the rate of the control loop.
//!
//! Nothing in this crate's control path reads a clock. A robot's daemon passes readings of `CLOCK_MONOTONIC`, lockstep
//! passes simulated time, and a test passes whatever it likes: the same inputs always give the same commands.

use std::time::Duration;

/// Fastest control loop that is accepted, Hz.
pub const CONTROL_HZ_MAX: f64 = 500.0;
/// Slowest one, Hz.
pub const CONTROL_HZ_MIN: f64 = 1.0;

/// A reading of a monotonic clock: nanoseconds since any fixed start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Moment {
    ns: u64,
}

impl Moment {
    /// The start of the clock.
    pub const START: Self = Self { ns: 0 };

    /// From nanoseconds since the clock's start.
    pub fn from_ns(ns: u64) -> Self {
        Self { ns }
    }

    /// Nanoseconds since the clock's start.
    pub fn ns(self) -> u64 {
        self.ns
    }

    /// Time from `earlier` to here; `None` if `earlier` is later.
    pub fn since(self, earlier: Self) -> Option<Duration> {
        self.ns.checked_sub(earlier.ns).map(Duration::from_nanos)
    }

    /// Seconds from `earlier` to here; negative if `earlier` is later.
    pub fn seconds_since(self, earlier: Self) -> f64 {
        match self.ns.checked_sub(earlier.ns) {
            Some(ns) => ns as f64 * 1e-9,
            None => (earlier.ns - self.ns) as f64 * -1e-9,
        }
    }

    /// That much later; stays at the end of the clock, which is 584 years after its start.
    #[must_use]
    pub fn plus(self, time: Duration) -> Self {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Self { ns: self.ns.saturating_add(ns) }
    }

    /// That much earlier; stays at the start of the clock.
    #[must_use]
    pub fn minus(self, time: Duration) -> Self {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Self { ns: self.ns.saturating_sub(ns) }
    }
}

/// A rate that no control loop has.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("control_hz is {hz}; it must be {CONTROL_HZ_MIN} to {CONTROL_HZ_MAX}")]
pub struct ControlRateError {
    /// As written.
    pub hz: f64,
}

/// How often the control loop ticks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ControlRate {
    hz: f64,
    tick: Duration,
}

impl ControlRate {
    /// A checked rate.
    ///
    /// # Errors
    /// Outside [`CONTROL_HZ_MIN`] to [`CONTROL_HZ_MAX`], or NaN.
    pub fn new(hz: f64) -> Result<Self, ControlRateError> {
        if !(CONTROL_HZ_MIN..=CONTROL_HZ_MAX).contains(&hz) {
            return Err(ControlRateError { hz });
        }
        Ok(Self { hz, tick: Duration::from_nanos((1e9 / hz).round() as u64) })
    }

    /// Ticks per second, as asked.
    pub fn hz(self) -> f64 {
        self.hz
    }

    /// One tick, in whole nanoseconds.
    pub fn tick(self) -> Duration {
        self.tick
    }

    /// One tick, in seconds.
    pub fn tick_s(self) -> f64 {
        self.tick.as_nanos() as f64 * 1e-9
    }
}
