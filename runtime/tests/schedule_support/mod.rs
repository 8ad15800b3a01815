//! A policy of numbers: chunks whose actions and tokens say which step of which look they are.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)] // each of its users needs a part

use egogrid_runtime::clock::{ControlRate, Moment};
use egogrid_runtime::grids::{Action, ActionRow, NormalizedRow};
use egogrid_runtime::policy::{ActionChunk, PolicySpec};
use egogrid_runtime::safety::{Asked, Origin};
use egogrid_runtime::schedule::{Planner, ScheduleConfig, StrategyConfig};
use egogrid_runtime::stage::StageTimes;
use std::time::Duration;

pub const TICK: Duration = Duration::from_millis(50);
/// Tokens of one action.
pub const TOKENS: usize = 3;

pub fn spec(chunk_len: u16) -> PolicySpec {
    PolicySpec {
        id: "test/numbers".to_owned(),
        image_px: [1, 1],
        chunk_len,
        steps_executed: 2,
        control_hz: Some(20.0),
        needs_depth: false,
        needs_extrinsics: false,
        commits: true,
    }
}

pub fn planner(strategy: StrategyConfig, chunk_len: u16) -> Planner {
    let config = ScheduleConfig { step_hz: None, strategy };
    config.checked(&spec(chunk_len), ControlRate::new(20.0).unwrap()).unwrap()
}

/// The tick `n` of a clock that begins long before.
pub fn tick(n: i64) -> Moment {
    Moment::from_ns(1_000_000_000).plus(TICK * n as u32)
}

/// Rows that the gripper does not spoil.
pub fn chunk_of(sequence: u64, rows: &[[f64; 7]], tokens: &[(u32, f32)]) -> ActionChunk {
    ActionChunk {
        sequence,
        actions: rows.iter().map(|row| ActionRow::new(row.to_vec()).unwrap()).collect(),
        units: egogrid_runtime::units::ActionUnits::PHYSICAL,
        normalized: rows.iter().map(|row| NormalizedRow::new(row.to_vec()).unwrap()).collect(),
        token_ids: tokens.iter().map(|token| token.0).collect(),
        confidence: tokens.iter().map(|token| token.1).collect(),
        runner_up: vec![(0, 0.0); tokens.len()],
        times: StageTimes::default(),
        depth: None,
        points_xyz_m: Vec::new(),
        sketches: Vec::new(),
    }
}

/// Chunk `look` of `len` actions: action i has x = look + i/100, and tokens 1000 look + 10 i, and +1, +2.
pub fn chunk(look: u64, len: usize) -> ActionChunk {
    let rows: Vec<[f64; 7]> =
        (0..len).map(|i| [look as f64 + i as f64 / 100.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]).collect();
    let token =
        |i: usize| (1000 * look as u32 + 10 * (i / TOKENS) as u32 + (i % TOKENS) as u32, 0.5 + i as f32 / 100.0);
    chunk_of(look, &rows, &(0..TOKENS * len).map(token).collect::<Vec<_>>())
}

/// `look.step` of what is asked, from its action; `None` when nothing is.
pub fn asked(asked: &Asked) -> Option<(u64, u16)> {
    match asked {
        Asked::Step(action, Origin { sequence, index, .. }) => {
            assert!((action.translation_m()[0] - (*sequence as f64 + f64::from(*index) / 100.0)).abs() < 1e-12);
            Some((*sequence, *index))
        }
        Asked::Nothing => None,
        Asked::Values(..) => unreachable!("no schedule asks for raw values"),
    }
}

/// The action that is asked for.
pub fn action(asked: &Asked) -> Action {
    match asked {
        Asked::Step(action, _) => *action,
        other => unreachable!("{other:?}"),
    }
}
