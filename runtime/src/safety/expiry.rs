//! Rule: an action is executed before its time is over, or not at all. Its time is the schedule's: an action of a chunk
//! belongs to one tick.

use super::reason::Intervention;
use crate::clock::Moment;

/// `expires` is the first moment at which the action is too late.
pub(super) fn check(expires: Moment, now: Moment) -> Option<Intervention> {
    now.since(expires).map(|late| Intervention::Expired { late_ms: late.as_secs_f64() * 1e3 })
}
