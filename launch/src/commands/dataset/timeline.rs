//! Real time to rows at an even rate: which picture, which report of the state, and the motion that was commanded until the next row.
//!
//! From: stamps and commands of one episode, nanoseconds of UNIX time. To: parts of consecutive [`PlannedRow`]s. Where a row would have
//! no picture of its own, or no report, the part ends: nothing is repeated and nothing is made up. A command counts from when it left
//! until the next one, and no longer than it is valid: what a robot does with it (`sim_bridge/PROTOCOL.md`).

use egogrid_action_grids::ACTION_DIMS;
use nalgebra::{Rotation3, Vector3};
use std::collections::BTreeMap;

/// Shorter parts are left out: an action needs something to follow.
const PART_ROWS_MIN: usize = 2;

/// One command.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Commanded {
    pub(super) at_ns: i64,
    pub(super) valid_ns: i64,
    pub(super) linear_m_s: [f64; 3],
    pub(super) angular_rad_s: [f64; 3],
    pub(super) gripper: f64,
}

/// Everything of one episode but the pictures themselves.
#[derive(Debug, Clone, Default)]
pub(super) struct Timeline {
    pub(super) task: String,
    pub(super) pictures_ns: Vec<i64>,
    pub(super) depths_ns: Vec<i64>,
    pub(super) states: Vec<(i64, Vec<f64>)>,
    pub(super) commands: Vec<Commanded>,
}

/// One row to be.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PlannedRow {
    pub(super) picture_ns: i64,
    pub(super) depth_ns: Option<i64>,
    pub(super) state: Vec<f64>,
    pub(super) action: [f64; ACTION_DIMS],
}

/// The rows of one episode.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Each without a gap.
    pub(super) parts: Vec<Vec<PlannedRow>>,
    /// Rows that could not be, by what they lack.
    pub(super) gaps: BTreeMap<&'static str, u64>,
}

impl Timeline {
    /// Whether rows have depth, and whether they have a state, is the same for all of a dataset.
    pub(super) fn plan(&mut self, fps: f64, with_depth: bool, with_state: bool) -> Plan {
        self.pictures_ns.sort_unstable();
        self.depths_ns.sort_unstable();
        self.states.sort_by_key(|(at_ns, _)| *at_ns);
        self.commands.sort_by_key(|command| command.at_ns);
        let mut plan = Plan::default();
        let (Some(first), Some(last)) = (self.pictures_ns.first(), self.pictures_ns.last()) else { return plan };
        let Some(commanded) = self.commands.first() else { return plan };
        let period_ns = 1e9 / fps;
        // On a picture, once something was commanded.
        let begin = self.pictures_ns.iter().find(|at_ns| **at_ns >= commanded.at_ns).unwrap_or(first);
        let rows = ((last - begin) as f64 / period_ns).floor().max(0.0) as u64;
        let mut part = Vec::new();
        let mut before = None;
        for row in 0..rows {
            let at = |row: u64| begin + (row as f64 * period_ns).round() as i64;
            match self.row([at(row), at(row + 1)], before, with_depth, with_state) {
                Ok(planned) => {
                    before = Some(planned.picture_ns);
                    part.push(planned);
                }
                Err(lacks) => {
                    *plan.gaps.entry(lacks).or_default() += 1;
                    plan.end(&mut part);
                }
            }
        }
        plan.end(&mut part);
        plan
    }

    fn row(
        &self,
        [from_ns, to_ns]: [i64; 2],
        before: Option<i64>,
        with_depth: bool,
        with_state: bool,
    ) -> Result<PlannedRow, &'static str> {
        let half_ns = (to_ns - from_ns) / 2;
        let picture_ns = nearest(&self.pictures_ns, from_ns, half_ns).filter(|found| Some(*found) != before);
        let picture_ns = picture_ns.ok_or("no picture of its own")?;
        let depth_ns = nearest(&self.depths_ns, picture_ns, half_ns).filter(|_| with_depth);
        if with_depth && depth_ns.is_none() {
            return Err("no depth");
        }
        let reported = self.states.partition_point(|(at_ns, _)| *at_ns <= from_ns + half_ns);
        let state = reported.checked_sub(1).map(|newest| &self.states[newest]);
        let state = state.filter(|(at_ns, _)| from_ns - at_ns <= 2 * half_ns);
        let state = match (with_state, state) {
            (false, _) => Vec::new(),
            (true, Some((_, state))) => state.clone(),
            (true, None) => return Err("no report of the state"),
        };
        let action = self.motion(from_ns, to_ns).ok_or("no command yet")?;
        Ok(PlannedRow { picture_ns, depth_ns, state, action })
    }

    /// What was commanded between two times, as one motion; `None` before the first command.
    fn motion(&self, from_ns: i64, to_ns: i64) -> Option<[f64; ACTION_DIMS]> {
        let end = self.commands.partition_point(|command| command.at_ns < to_ns);
        let begin = self.commands.partition_point(|command| command.at_ns <= from_ns).saturating_sub(1);
        let gripper = self.commands[..end].last()?.gripper;
        let mut moved = Vector3::zeros();
        let mut turned = Rotation3::identity();
        for (place, command) in self.commands[..end].iter().enumerate().skip(begin) {
            let next_ns = self.commands.get(place + 1).map_or(i64::MAX, |next| next.at_ns);
            let until_ns = to_ns.min(next_ns).min(command.at_ns.saturating_add(command.valid_ns));
            let spent_s = (until_ns - command.at_ns.max(from_ns)).max(0) as f64 * 1e-9;
            moved += Vector3::from(command.linear_m_s) * spent_s;
            turned = Rotation3::new(Vector3::from(command.angular_rad_s) * spent_s) * turned;
        }
        let (roll, pitch, yaw) = turned.euler_angles();
        Some([moved.x, moved.y, moved.z, roll, pitch, yaw, gripper])
    }
}

impl Plan {
    fn end(&mut self, part: &mut Vec<PlannedRow>) {
        let part = std::mem::take(part);
        if part.len() >= PART_ROWS_MIN {
            self.parts.push(part);
        } else if !part.is_empty() {
            *self.gaps.entry("alone between two gaps").or_default() += part.len() as u64;
        }
    }
}

/// The one nearest to `at_ns` of sorted stamps, within `most_ns`.
fn nearest(stamps: &[i64], at_ns: i64, most_ns: i64) -> Option<i64> {
    let behind = stamps.partition_point(|stamp| *stamp < at_ns);
    let candidates = [behind.checked_sub(1), Some(behind)].into_iter().flatten().filter_map(|place| stamps.get(place));
    candidates.copied().min_by_key(|stamp| (stamp - at_ns).abs()).filter(|stamp| (stamp - at_ns).abs() <= most_ns)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    /// 30 pictures a second from 1 s on with some jitter, 80 commands a second of 0.1 m/s and a turn about z.
    fn timeline() -> Timeline {
        let command = |step: i64| Commanded {
            at_ns: 1_000 * MS + step * 12_500_000,
            valid_ns: 50 * MS,
            linear_m_s: [0.1, 0.0, -0.2],
            angular_rad_s: [0.0, 0.0, 1.0],
            gripper: f64::from(u8::from(step < 40)),
        };
        let stamps =
            |late_ns: i64| (0..31).map(move |row: i64| 1_000 * MS + row * 1_000 * MS / 30 + row % 3 * MS + late_ns);
        Timeline {
            task: "t".to_owned(),
            pictures_ns: stamps(0).collect(),
            depths_ns: stamps(MS).collect(),
            states: (0..100).map(|step| (1_000 * MS + step * 10 * MS, vec![step as f64])).collect(),
            commands: (0..80).map(command).collect(),
        }
    }

    #[test]
    fn rows_are_even_and_add_up_to_what_was_commanded() {
        for fps in [30.0, 10.0] {
            let plan = timeline().plan(fps, true, true);
            assert!(plan.gaps.is_empty(), "{fps}: {:?}", plan.gaps);
            let [rows] = plan.parts.as_slice() else { panic!("{fps}: {} parts", plan.parts.len()) };
            let sum = |dim: usize| rows.iter().map(|row| row.action[dim]).sum::<f64>();
            let spent_s = rows.len() as f64 / fps;
            assert!(rows.len() as f64 >= fps - 1.0, "{fps}: {} rows", rows.len());
            assert!((sum(0) - 0.1 * spent_s).abs() < 1e-9 && (sum(2) + 0.2 * spent_s).abs() < 1e-9);
            assert!((sum(5) - spent_s).abs() < 1e-9, "turned by {}", sum(5));
            assert_eq!((rows[0].action[6], rows.last().unwrap().action[6]), (1.0, 0.0));
            for pair in rows.windows(2) {
                assert!(pair[0].picture_ns < pair[1].picture_ns, "a picture twice");
                assert_eq!(pair[0].depth_ns, Some(pair[0].picture_ns + MS));
            }
        }
    }

    #[test]
    fn what_is_missing_ends_a_part_and_is_counted() {
        let mut lost = timeline();
        lost.pictures_ns.retain(|at_ns| !(1_300 * MS..1_460 * MS).contains(at_ns));
        let plan = lost.plan(30.0, true, true);
        assert_eq!(plan.parts.len(), 2, "{:?}", plan.gaps);
        assert!(plan.gaps["no picture of its own"] >= 4, "{:?}", plan.gaps);
        // More rows than pictures: none is used twice.
        let plan = timeline().plan(60.0, false, false);
        assert!(plan.parts.iter().all(|part| part.windows(2).all(|pair| pair[0].picture_ns < pair[1].picture_ns)));
        assert!(plan.gaps.values().sum::<u64>() > 20, "{:?}", plan.gaps);
        for (with_depth, with_state, lacks) in [(true, false, "no depth"), (false, true, "no report of the state")] {
            let (mut none, depths_ns) = (timeline(), Vec::new());
            (none.depths_ns, none.states) = (depths_ns, Vec::new());
            let plan = none.plan(30.0, with_depth, with_state);
            assert!(plan.parts.is_empty() && plan.gaps.contains_key(lacks), "{:?}", plan.gaps);
        }
    }

    #[test]
    fn a_command_moves_nothing_after_it_has_expired() {
        let mut silent = timeline();
        silent.commands.truncate(8); // the last one left at 87.5 ms and is valid for 50 ms
        let plan = silent.plan(10.0, false, false);
        let moved: Vec<f64> = plan.parts.iter().flatten().map(|row| row.action[0]).collect();
        let expected = [0.01, 0.1 * 0.0375, 0.0];
        assert!(moved.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-9), "{moved:?}");
        silent.commands.clear();
        assert!(silent.plan(10.0, false, false).parts.is_empty(), "nothing was commanded");
    }
}
