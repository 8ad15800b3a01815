//! The most probable id, how probable it is, and the one after it. Over the whole vocabulary: nothing is masked.
//!
//! From: the `logits` output of prefill and decode, `[vocabulary]`. To: [`super::session`].

/// What one row of logits says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Choice {
    /// The first id with the largest logit.
    pub(super) id: u32,
    /// Its softmax probability.
    pub(super) probability: f32,
    /// The first id with the largest logit of all others, and its probability.
    pub(super) runner_up: (u32, f32),
}

/// Width of the inner loops: as many independent sums as a 512-bit register holds.
const LANES: usize = 16;

/// `None` if a logit is not finite, or there are fewer than two.
pub(super) fn choose(logits: &[f32]) -> Option<Choice> {
    let (first, second) = two_largest(logits)?;
    let sum = exp_sum(logits, logits[first]);
    let probability = |index: usize| (f64::from(logits[index] - logits[first]).exp() / sum) as f32;
    Some(Choice { id: first as u32, probability: probability(first), runner_up: (second as u32, probability(second)) })
}

/// Indices of the largest and second largest value; the earlier one of equals, as in the official code.
fn two_largest(logits: &[f32]) -> Option<(usize, usize)> {
    let (mut first, mut second) = (None, None);
    let (mut best, mut next) = (f32::NEG_INFINITY, f32::NEG_INFINITY);
    for (block_index, block) in logits.chunks(LANES).enumerate() {
        // Most blocks hold nothing new: one comparison for all of them, which the compiler vectorizes.
        let finite = block.iter().fold(true, |finite, value| finite & value.is_finite());
        if !finite {
            return None;
        }
        if !block.iter().fold(false, |larger, value| larger | (*value > next)) {
            continue;
        }
        for (offset, &value) in block.iter().enumerate() {
            let index = Some(block_index * LANES + offset);
            if value > best {
                (second, next) = (first, best);
                (first, best) = (index, value);
            } else if value > next {
                (second, next) = (index, value);
            }
        }
    }
    Some((first?, second?))
}

/// Sum of `exp(logit - largest)`: in `f32` per lane and block, in `f64` over the blocks.
fn exp_sum(logits: &[f32], largest: f32) -> f64 {
    logits.iter().map(|logit| f64::from((logit - largest).exp())).sum()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, in `f64`.
    fn by_definition(logits: &[f32]) -> Choice {
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b)));
        let sum: f64 = logits.iter().map(|logit| f64::from(logit - logits[order[0]]).exp()).sum();
        let at = |place: usize| (order[place] as u32, (f64::from(logits[order[place]] - logits[order[0]]).exp() / sum) as f32);
        Choice { id: at(0).0, probability: at(0).1, runner_up: at(1) }
    }

    proptest! {
        #[test]
        fn the_choice_is_the_one_of_the_definition(logits in prop::collection::vec(-30.0f32..30.0, 2..200)) {
            let (found, expected) = (choose(&logits).unwrap(), by_definition(&logits));
            prop_assert_eq!((found.id, found.runner_up.0), (expected.id, expected.runner_up.0));
            prop_assert!((found.probability - expected.probability).abs() < 1e-6);
            prop_assert!((found.runner_up.1 - expected.runner_up.1).abs() < 1e-6);
        }

        /// Few different values, so that most are equal to others.
        #[test]
        fn of_equal_logits_the_first_is_chosen(logits in prop::collection::vec(0u8..4, 2..100)) {
            let logits: Vec<f32> = logits.into_iter().map(f32::from).collect();
            let (found, expected) = (choose(&logits).unwrap(), by_definition(&logits));
            prop_assert_eq!((found.id, found.runner_up.0), (expected.id, expected.runner_up.0));
        }
    }

    #[test]
    fn one_logit_that_is_not_finite_anywhere_is_no_choice() {
        for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in 0..37 {
                let mut logits = vec![1.0; 37];
                logits[at] = wrong;
                assert_eq!(choose(&logits), None, "{wrong} at {at}");
            }
        }
    }

    #[test]
    fn fewer_than_two_logits_are_no_choice() {
        assert_eq!(choose(&[]), None);
        assert_eq!(choose(&[1.0]), None);
    }

    #[test]
    fn logits_as_far_apart_as_they_can_be_give_a_certain_choice() {
        let choice = choose(&[f32::MIN, f32::MAX, 0.0]).unwrap();
        assert_eq!((choice.id, choice.probability, choice.runner_up), (1, 1.0, (2, 0.0)));
    }
}
