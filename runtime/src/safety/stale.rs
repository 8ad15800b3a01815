//! Rule: neither the picture that an action answers nor the robot's state is older than `observation_ms_max` and
//! `state_ms_max`; otherwise this tick holds. A stamp in the future says nothing about an age, and holds too.

use super::reason::{Intervention, Stamped};
use crate::clock::Moment;
use std::time::Duration;

/// Ages count to `now`, the picture's from its exposure.
pub(super) fn check(what: Stamped, stamp: Moment, now: Moment, age_max: Duration) -> Option<Intervention> {
    let Some(age) = now.since(stamp) else {
        return Some(Intervention::FromTheFuture { what, by_ms: stamp.seconds_since(now) * 1e3 });
    };
    if age <= age_max {
        return None;
    }
    let (age_ms, max_ms) = (age.as_secs_f64() * 1e3, age_max.as_secs_f64() * 1e3);
    Some(match what {
        Stamped::Observation => Intervention::StaleObservation { age_ms, max_ms },
        Stamped::State => Intervention::StaleState { age_ms, max_ms },
    })
}
