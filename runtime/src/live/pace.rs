//! Calls the tick at absolute times: a tick that comes late does not move the ones after it.

use super::clock;
use super::control::Control;
use std::time::Duration;

/// Ticks until the loop has come to rest after [`super::Signs::end`]. `after` is called after each tick, once its command
/// is in the slot, with whether it ordered a look: to wake whoever sends or looks. It must not block.
///
/// Ticks whose time has passed before they could begin are left out and counted: two in a row would be one too many.
pub fn run(mut control: Control, mut after: impl FnMut(bool)) -> Control {
    let tick = control.rate().tick();
    let mut due = clock::now().plus(tick);
    while !control.is_over() {
        clock::sleep_until(due);
        let now = clock::now();
        let ordered = control.tick(now, now.since(due).unwrap_or_default());
        after(ordered);
        due = due.plus(tick);
        let missed = missed(clock::now().since(due), tick);
        control.missed(missed);
        due = due.plus(tick.saturating_mul(u32::try_from(missed).unwrap_or(u32::MAX)));
    }
    control
}

/// Whole ticks of `behind`.
fn missed(behind: Option<Duration>, tick: Duration) -> u64 {
    let behind_ns = behind.unwrap_or_default().as_nanos();
    u64::try_from(behind_ns / tick.as_nanos().max(1)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_ticks_count_as_missed() {
        let tick = Duration::from_millis(10);
        assert_eq!(missed(None, tick), 0);
        for (behind_ms, ticks) in [(0, 0), (9, 0), (10, 1), (35, 3)] {
            assert_eq!(missed(Some(Duration::from_millis(behind_ms)), tick), ticks);
        }
    }
}
