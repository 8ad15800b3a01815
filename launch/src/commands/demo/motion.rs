//! How smooth the commands of a run were: root mean squares of their second and third differences, per episode.
//!
//! From: what left the gate. Vectors, m/s² and m/s³; the first two commands of an episode have no differences yet.

use egogrid_runtime::clock::ControlRate;
use nalgebra::Vector3;
use serde::Serialize;

/// Sums over a run.
#[derive(Debug, Default)]
pub(super) struct Motion {
    velocity: Option<Vector3<f64>>,
    acceleration: Option<Vector3<f64>>,
    accelerations: Squares,
    jerks: Squares,
}

#[derive(Debug, Default)]
struct Squares {
    sum: f64,
    count: u32,
    largest: f64,
}

/// For `summary.json`.
#[derive(Debug, Default, Serialize)]
pub(super) struct MotionReport {
    acceleration_rms_m_s2: Option<f64>,
    pub(super) jerk_rms_m_s3: Option<f64>,
    pub(super) jerk_max_m_s3: f64,
}

impl Squares {
    fn add(&mut self, value: f64) {
        self.sum += value * value;
        self.count += 1;
        self.largest = self.largest.max(value);
    }

    fn rms(&self) -> Option<f64> {
        (self.count > 0).then(|| (self.sum / f64::from(self.count)).sqrt())
    }
}

impl Motion {
    /// The next commands belong to another episode.
    pub(super) fn episode(&mut self) {
        (self.velocity, self.acceleration) = (None, None);
    }

    /// One command.
    pub(super) fn add(&mut self, linear_m_s: [f64; 3], rate: ControlRate) {
        let velocity = Vector3::from(linear_m_s);
        let acceleration = self.velocity.map(|before| (velocity - before) * rate.hz());
        if let Some(acceleration) = acceleration {
            self.accelerations.add(acceleration.norm());
            if let Some(before) = self.acceleration {
                self.jerks.add((acceleration - before).norm() * rate.hz());
            }
        }
        (self.velocity, self.acceleration) = (Some(velocity), acceleration);
    }

    /// What came of it.
    pub(super) fn report(&self) -> MotionReport {
        MotionReport {
            acceleration_rms_m_s2: self.accelerations.rms(),
            jerk_rms_m_s3: self.jerks.rms(),
            jerk_max_m_s3: self.jerks.largest,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_ramp_has_acceleration_and_no_jerk_and_episodes_do_not_touch() {
        let (mut motion, rate) = (Motion::default(), ControlRate::new(10.0).unwrap());
        for episode in 0..2 {
            motion.episode();
            for n in 0..5 {
                motion.add([f64::from(n) * 0.1 + 7.0 * f64::from(episode), 0.0, 0.0], rate);
            }
        }
        let report = motion.report();
        assert!((report.acceleration_rms_m_s2.unwrap() - 1.0).abs() < 1e-9);
        assert!(report.jerk_max_m_s3 < 1e-9 && report.jerk_rms_m_s3.unwrap() < 1e-9);
        motion.add([0.0; 3], rate);
        assert!(motion.report().jerk_max_m_s3 > 700.0);
    }
}
