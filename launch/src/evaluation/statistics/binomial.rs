//! The binomial distribution of a fair coin, exact for counts of any size.

use std::f64::consts::{LN_2, PI};

/// Below this share of the sum a term changes no bit of it.
const TERM_MIN: f64 = 1e-18;

/// ln of n! minus Stirling's approximation. Exact factorials up to 15, the asymptotic series above.
fn stirling_error(n: f64) -> f64 {
    if n <= 15.0 {
        let factorial: f64 = (1..=n as u32).map(f64::from).product();
        return factorial.ln() - (n + 0.5) * n.max(f64::MIN_POSITIVE).ln() + n - 0.5 * (2.0 * PI).ln();
    }
    let nn = n * n;
    let series = [1.0 / 1188.0, 1.0 / 1680.0, 1.0 / 1260.0, 1.0 / 360.0, 1.0 / 12.0];
    series.into_iter().fold(691.0 / 360_360.0, |rest, term| term - rest / nn) / n
}

/// `x ln(x / mean) + mean - x`, without cancellation near the mean.
fn deviance(x: f64, mean: f64) -> f64 {
    let gap = x - mean;
    if gap.abs() >= 0.1 * (x + mean) {
        return x * (x / mean).ln() + mean - x;
    }
    let v = gap / (x + mean);
    let (mut sum, mut power) = (gap * v, 2.0 * x * v);
    for odd in (3..1000).step_by(2) {
        power *= v * v;
        let next = sum + power / f64::from(odd);
        if next == sum {
            break;
        }
        sum = next;
    }
    sum
}

/// Probability of exactly `heads` among `tosses` of a fair coin.
///
/// Source: C. Loader, "Fast and accurate computation of binomial probabilities" (2000): saddle-point expansion, no difference of large
/// logarithms.
pub(super) fn fair_probability(heads: u64, tosses: u64) -> f64 {
    if heads > tosses {
        return 0.0;
    }
    if heads == 0 || heads == tosses {
        return (-LN_2 * tosses as f64).exp();
    }
    let (k, rest, n) = (heads as f64, (tosses - heads) as f64, tosses as f64);
    let exponent = stirling_error(n) - stirling_error(k) - stirling_error(rest);
    let exponent = exponent - deviance(k, n / 2.0) - deviance(rest, n / 2.0);
    (n / (2.0 * PI * k * rest)).sqrt() * exponent.exp()
}

/// Probability of at most `heads`, where that is not more than half of the tosses.
pub(super) fn fair_lower_tail(heads: u64, tosses: u64) -> f64 {
    let mut term = fair_probability(heads, tosses);
    let mut sum = term;
    for k in (1..=heads).rev() {
        term *= k as f64 / (tosses - k + 1) as f64;
        sum += term;
        if term < TERM_MIN * sum {
            break;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_of_a_fair_coin_sum_to_one() {
        for tosses in [1_u64, 2, 5, 16, 31, 200] {
            let sum: f64 = (0..=tosses).map(|heads| fair_probability(heads, tosses)).sum();
            assert!((sum - 1.0).abs() < 1e-13, "{tosses}: {sum}");
        }
        assert_eq!(fair_probability(3, 2), 0.0);
        assert!((fair_probability(2, 4) - 0.375).abs() < 1e-15);
    }

    #[test]
    fn both_halves_of_an_odd_number_of_tosses_are_a_half() {
        for tosses in [1_u64, 3, 99, 100_001] {
            let half = fair_lower_tail(tosses / 2, tosses);
            assert!((half - 0.5).abs() < 1e-12, "{tosses}: {half}");
        }
    }
}
