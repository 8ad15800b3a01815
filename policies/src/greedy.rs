//! The most probable id, how probable it is, and the one after it. Over the whole vocabulary: nothing is masked.
//!
//! From: the `logits` output of prefill and decode, `[vocabulary]`. To: [`crate::generation`].

use std::ops::Range;

/// What one row of logits says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Choice {
    /// The first id with the largest logit.
    pub(crate) id: u32,
    /// Its softmax probability.
    pub(crate) probability: f32,
    /// The first id with the largest logit of all others, and its probability.
    pub(crate) runner_up: (u32, f32),
}

/// Width of the inner loops: as many independent sums as a 512-bit register holds.
const LANES: usize = 16;

/// `None` if a logit is not finite, or there are fewer than two.
pub(crate) fn choose(logits: &[f32]) -> Option<Choice> {
    let (first, second) = two_largest(logits)?;
    Some(choice(logits, first, first, second))
}

/// The same for an id that is chosen already: how probable it is here, and the most probable of all others. `None` also
/// if the vocabulary has no such id.
pub(crate) fn weigh(logits: &[f32], id: u32) -> Option<Choice> {
    let (first, second) = two_largest(logits)?;
    let chosen = usize::try_from(id).ok().filter(|id| *id < logits.len())?;
    Some(choice(logits, first, chosen, if chosen == first { second } else { first }))
}

/// Natural logarithm of the probability of `id`; finite also where the probability itself is not told from 0. `None` as in [`weigh`].
pub(crate) fn log_probability(logits: &[f32], id: u32) -> Option<f64> {
    let largest = logits[two_largest(logits)?.0];
    let chosen = logits.get(usize::try_from(id).ok()?)?;
    Some(f64::from(*chosen) - f64::from(largest) - exp_sum(logits, largest).ln())
}

/// Softmax probabilities of `ids`, in their order, over the whole vocabulary. `None` as in [`weigh`].
pub(crate) fn probabilities(logits: &[f32], ids: Range<u32>) -> Option<Vec<f32>> {
    let largest = logits[two_largest(logits)?.0];
    let asked = logits.get(usize::try_from(ids.start).ok()?..usize::try_from(ids.end).ok()?)?;
    let sum = exp_sum(logits, largest);
    Some(asked.iter().map(|logit| (f64::from(logit - largest).exp() / sum) as f32).collect())
}

fn choice(logits: &[f32], largest: usize, chosen: usize, runner_up: usize) -> Choice {
    let sum = exp_sum(logits, logits[largest]);
    let probability = |index: usize| (f64::from(logits[index] - logits[largest]).exp() / sum) as f32;
    Choice {
        id: chosen as u32,
        probability: probability(chosen),
        runner_up: (runner_up as u32, probability(runner_up)),
    }
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

/// Values summed in `f32` before the sum goes on in `f64`.
const BLOCK: usize = 256 * LANES;

/// Sum of `exp(logit - largest)`.
fn exp_sum(logits: &[f32], largest: f32) -> f64 {
    let of_block = |block: &[f32]| {
        let (rows, rest) = block.as_chunks::<LANES>();
        let mut sums = [0.0f32; LANES];
        for row in rows {
            for (sum, logit) in sums.iter_mut().zip(row) {
                *sum += exp_not_positive(logit - largest);
            }
        }
        let rest = rest.iter().map(|logit| exp_not_positive(logit - largest));
        sums.into_iter().chain(rest).map(f64::from).sum::<f64>()
    };
    logits.chunks(BLOCK).map(of_block).sum()
}

/// `exp(x)` for `x <= 0` to 3e-7 of its value, and 1e-38 where it is less than that. The library's is one call per
/// number; this one is vectorized, which matters for vocabularies of a quarter million.
///
/// `exp(x) = 2^n * exp(r)`, `|r| <= ln(2) / 2`. Adding `1.5 * 2^23` rounds to an integer and leaves it in the low bits.
fn exp_not_positive(x: f32) -> f32 {
    const ROUNDER: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = x.max(-87.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUNDER;
    let n = shifted - ROUNDER;
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    let tail = ((((1.0 / 720.0 * r + 1.0 / 120.0) * r + 1.0 / 24.0) * r + 1.0 / 6.0) * r + 0.5) * r;
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0f32.to_bits()));
    ((tail + 1.0) * r + 1.0) * power
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
        let at = |place: usize| {
            (order[place] as u32, (f64::from(logits[order[place]] - logits[order[0]]).exp() / sum) as f32)
        };
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
    fn a_given_id_is_weighed_as_the_chosen_one_would_be() {
        let logits = [1.0, 3.0, 2.0, 3.0];
        assert_eq!(weigh(&logits, 1), choose(&logits));
        let given = weigh(&logits, 2).unwrap();
        let chosen = choose(&logits).unwrap();
        assert_eq!((given.id, given.runner_up), (2, (1, chosen.probability)));
        let sum: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
        assert!((f64::from(given.probability) - 2.0f64.exp() / sum).abs() < 1e-7);
        assert_eq!(weigh(&logits, 4), None, "no such id");
        assert_eq!(weigh(&[1.0, f32::NAN], 0), None);
    }

    #[test]
    fn probabilities_of_a_range_are_those_that_each_id_is_weighed_with() {
        let logits: Vec<f32> =
            (0..50).map(|i| (i * 7 % 13) as f32 * 0.5 - 80.0 * f32::from(u8::from(i == 20))).collect();
        let found = probabilities(&logits, 3..41).unwrap();
        assert_eq!(found.len(), 38);
        for (id, probability) in (3..41).zip(found) {
            assert_eq!(probability, weigh(&logits, id).unwrap().probability, "id {id}");
            let log = log_probability(&logits, id).unwrap();
            assert!((log.exp() - f64::from(probability)).abs() < 1e-7 && log.is_finite(), "id {id}: {log}");
        }
        let whole: f32 = probabilities(&logits, 0..50).unwrap().iter().sum();
        assert!((whole - 1.0).abs() < 1e-5, "{whole}");
        assert_eq!((probabilities(&logits, 40..51), log_probability(&logits, 50)), (None, None), "no such id");
        assert_eq!(probabilities(&[1.0, f32::NAN], 0..1), None);
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
    fn the_exponential_is_right_to_rounding_over_its_whole_range() {
        for step in 0..=870_000 {
            let x = -1e-4 * step as f32;
            let (found, expected) = (f64::from(exp_not_positive(x)), f64::from(x).exp());
            assert!((found - expected).abs() <= 3e-7 * expected, "exp({x}) = {found}, expected {expected}");
        }
        for x in [-88.0, -1e3, f32::MIN] {
            assert!((0.0..2e-38).contains(&exp_not_positive(x)), "exp({x})");
        }
        assert_eq!(exp_not_positive(0.0), 1.0);
    }

    #[test]
    fn a_vocabulary_of_a_quarter_million_equal_logits_sums_up() {
        let choice = choose(&[3.0; 265_347]).unwrap();
        assert!((choice.probability * 265_347.0 - 1.0).abs() < 1e-6, "{choice:?}");
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
