//! Promises of the robot's half, with clocks that the test moves. `sim_worker/tests/test_follower.py` has the same ones.

#![allow(clippy::unwrap_used)]

use egogrid_runtime::camera::Stamp;
use egogrid_runtime::clock::Moment;
use egogrid_sim_bridge::follower::{CommandFollower, Dropped, FollowerLimits, Following};
use egogrid_sim_bridge::message::{Command, Header, Time, Twist, Vector3};
use std::time::Duration;

const EPOCH_MS: i64 = 1_700_000_000_000;

fn command(sequence: u64, sent_ms: i64) -> Command {
    let ms = EPOCH_MS + sent_ms;
    let stamp = Time { sec: (ms / 1000) as i32, nanosec: (ms % 1000 * 1_000_000) as u32 };
    let linear = Vector3 { x: 0.1, ..Vector3::default() };
    Command {
        header: Header { stamp, frame_id: "base".to_owned() },
        session: 1,
        sequence,
        twist: Twist { linear, angular: Vector3::default() },
        gripper: 1.0,
        valid_ms: 50.0,
        hold: false,
        age_ms: None,
        reason: String::new(),
    }
}

fn fast(sequence: u64, sent_ms: i64, x: f64) -> Command {
    let mut command = command(sequence, sent_ms);
    command.twist.linear.x = x;
    command
}

struct World(CommandFollower);

impl World {
    fn new() -> Self {
        let limits =
            FollowerLimits { linear_m_s_max: 0.5, angular_rad_s_max: 0.0, valid_max: Duration::from_millis(100) };
        Self(CommandFollower::new(limits))
    }

    fn accept(&mut self, sent: Command, at_ms: i64) -> Result<(), Dropped> {
        self.0.accept(sent, Moment::from_ns(at_ms as u64 * 1_000_000), Stamp { ns: (EPOCH_MS + at_ms) * 1_000_000 })
    }

    fn speed(&self, at_ms: u64) -> Option<f64> {
        match self.0.at(Moment::from_ns(at_ms * 1_000_000)) {
            Following::Move(twist, _) => Some(twist.linear.x),
            Following::Hold => None,
        }
    }
}

#[test]
fn a_command_is_in_force_until_the_next_and_as_long_as_it_is_valid() {
    let mut world = World::new();
    assert_eq!(world.speed(0), None, "it holds before the first");
    world.accept(command(0, 0), 2).unwrap();
    assert_eq!((world.speed(2), world.speed(50), world.speed(51)), (Some(0.1), Some(0.1), None));
    world.accept(fast(1, 51, 0.2), 52).unwrap();
    assert_eq!(world.speed(53), Some(0.2));
}

#[test]
fn nothing_is_executed_twice_or_out_of_order() {
    let mut world = World::new();
    world.accept(command(5, 0), 1).unwrap();
    assert_eq!(world.accept(command(5, 0), 2), Err(Dropped::NotNewer));
    assert_eq!(world.accept(fast(4, 0, 0.3), 2), Err(Dropped::NotNewer));
    assert_eq!(world.speed(3), Some(0.1));
}

#[test]
fn what_is_late_or_from_the_future_is_dropped_and_the_time_on_the_way_counts() {
    let mut world = World::new();
    assert_eq!(world.accept(command(0, 0), 51), Err(Dropped::Expired));
    world.accept(command(1, 60), 80).unwrap();
    assert_eq!((world.speed(110), world.speed(111)), (Some(0.1), None));
    assert_eq!(world.accept(command(2, 300), 200), Err(Dropped::Expired), "100 ms in the future");
}

#[test]
fn a_second_sender_is_not_followed_while_the_first_is_there() {
    let mut world = World::new();
    world.accept(command(10, 0), 0).unwrap();
    let other = |sent_ms| Command { session: 2, ..fast(0, sent_ms, 0.4) };
    assert_eq!(world.accept(other(5), 10), Err(Dropped::OtherSender));
    world.accept(other(60), 61).unwrap();
    assert_eq!(world.speed(62), Some(0.4), "a daemon that was started again");
}

#[test]
fn what_the_robot_cannot_do_is_refused_whole() {
    let good = command(0, 0);
    let turning = Twist { angular: Vector3 { z: 0.1, ..Vector3::default() }, ..good.twist };
    let wrong = [
        fast(0, 0, 0.6),
        fast(0, 0, f64::NAN),
        fast(0, 0, f64::NEG_INFINITY),
        Command { twist: turning, ..good.clone() },
        Command { gripper: f64::NAN, ..good.clone() },
        Command { gripper: 1.1, ..good.clone() },
        Command { valid_ms: 101.0, ..good.clone() },
        Command { valid_ms: f64::NAN, ..good.clone() },
        Command { valid_ms: -1.0, ..good },
    ];
    for command in wrong {
        let mut world = World::new();
        assert_eq!(world.accept(command.clone(), 0), Err(Dropped::OutOfRange), "{command:?}");
        assert_eq!(world.speed(0), None);
    }
}
