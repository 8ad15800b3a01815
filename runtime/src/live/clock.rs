//! The loop's clock: `CLOCK_MONOTONIC`, absolute sleeps on it, and stamps of the calendar clock mapped to it.

use crate::camera::Stamp;
use crate::clock::Moment;
use rustix::thread::clock_nanosleep_absolute;
use rustix::time::{ClockId, Timespec, clock_gettime};
use std::time::{SystemTime, UNIX_EPOCH};

const NS_PER_S: i64 = 1_000_000_000;

/// The time.
pub fn now() -> Moment {
    let time = clock_gettime(ClockId::Monotonic);
    // Never negative: it begins at the machine's start.
    Moment::from_ns((time.tv_sec * NS_PER_S + time.tv_nsec).cast_unsigned())
}

/// Sleeps until `then`; returns at once if that has passed.
pub fn sleep_until(then: Moment) {
    let ns = then.ns().cast_signed();
    let request = Timespec { tv_sec: ns / NS_PER_S, tv_nsec: ns % NS_PER_S };
    // A signal may end it early: then again, to the same time.
    while clock_nanosleep_absolute(ClockId::Monotonic, &request) == Err(rustix::io::Errno::INTR) {}
}

/// The calendar clock, which may be stepped at any time.
pub fn calendar() -> Stamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Stamp { ns: i64::try_from(since.as_nanos()).unwrap_or(i64::MAX) }
}

/// What this machine's monotonic clock has to be moved by to read as its calendar clock, at this moment, in seconds.
pub fn calendar_offset_s() -> f64 {
    calendar().ns as f64 * 1e-9 - now().ns() as f64 * 1e-9
}

/// When `stamp` was, seen from `now`, which is `calendar` on the calendar clock.
pub fn mapped(stamp: Stamp, now: Moment, calendar: Stamp) -> Moment {
    let ns = i128::from(now.ns()) - (i128::from(calendar.ns) - i128::from(stamp.ns));
    Moment::from_ns(u64::try_from(ns.max(0)).unwrap_or(u64::MAX))
}
