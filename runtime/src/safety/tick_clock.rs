//! Rule: the caller's clock moves on between two ticks, and by no more than a command is valid; otherwise this tick holds.
//!
//! After a step back nobody knows how much time has passed: the brake goes on by one tick. After a gap the last command
//! has run out and the robot has stopped by itself: the gate starts from rest. In both cases the pose must be reported
//! anew before anything moves.

use super::reason::ClockFault;
use crate::clock::{ControlRate, Moment};
use std::time::Duration;

/// Readings of the caller's clock.
#[derive(Debug, Clone)]
pub(super) struct TickClock {
    rate: ControlRate,
    command_max: Duration,
    last: Option<Moment>,
}

/// One tick.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Tick {
    /// The tick before; `None` for the first one.
    pub(super) last: Option<Moment>,
    /// Seconds since the last tick, above 0; one tick where the clock cannot be believed.
    pub(super) dt_s: f64,
    pub(super) fault: Option<ClockFault>,
}

impl TickClock {
    pub(super) fn new(rate: ControlRate, command_max: Duration) -> Self {
        Self { rate, command_max, last: None }
    }

    /// Forgets the last reading.
    pub(super) fn reset(&mut self) {
        self.last = None;
    }

    pub(super) fn rate(&self) -> ControlRate {
        self.rate
    }

    /// How long a command is valid.
    pub(super) fn command_max(&self) -> Duration {
        self.command_max
    }

    /// Reads the clock.
    pub(super) fn tick(&mut self, now: Moment) -> Tick {
        let one_tick_s = self.rate.tick_s();
        let Some(last) = self.last.replace(now) else { return Tick { last: None, dt_s: one_tick_s, fault: None } };
        let fault = match now.since(last) {
            Some(passed) if passed > self.command_max => Some(ClockFault::Gap {
                gap_ms: passed.as_secs_f64() * 1e3,
                max_ms: self.command_max.as_secs_f64() * 1e3,
            }),
            Some(passed) if !passed.is_zero() => None,
            _ => Some(ClockFault::Backwards { by_ms: last.seconds_since(now) * 1e3 }),
        };
        let dt_s = if fault.is_some() { one_tick_s } else { now.seconds_since(last) };
        Tick { last: Some(last), dt_s, fault }
    }
}
