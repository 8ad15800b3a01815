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
