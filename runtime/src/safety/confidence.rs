//! Rule: every token of an action had at least the probability `confidence_min`; otherwise this tick holds.

use super::reason::Intervention;

/// `found` is the smallest probability of the action's tokens; one that is no number is none.
pub(super) fn check(found: f32, min: Option<f32>) -> Option<Intervention> {
    let min = min?;
    (found < min || found.is_nan()).then_some(Intervention::Confidence { found, min })
}
