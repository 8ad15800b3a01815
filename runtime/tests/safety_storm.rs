//! Whatever happens, in whatever order, no output breaks a bound. A million sequences: `examples/gate_storm.rs`.

#![allow(clippy::unwrap_used)]

mod safety_support;

use proptest::prelude::*;
use safety_support::random::Random;
use safety_support::{Rig, Want, any_config};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn no_sequence_of_events_makes_an_output_break_a_bound(
        config in any::<u64>(),
        events in proptest::collection::vec(any::<u64>(), 1..150),
    ) {
        let (config, rate) = any_config(&mut Random::new(config));
        let mut rig = Rig::new(config, rate);
        for (place, seed) in events.into_iter().enumerate() {
            let event = Random::new(seed).event();
            prop_assert_eq!(rig.apply(&event), Ok(()), "event {}: {:?}", place, event);
        }
    }

    /// Driven at full speed into every corner, tick after tick, until it can only stand there.
    #[test]
    fn a_robot_that_is_driven_into_a_corner_stops_before_its_walls(
        config in any::<u64>(),
        late in -0.2..0.4f64,
        towards in proptest::array::uniform3(-1.0..1.0f64),
    ) {
        let (config, rate) = any_config(&mut Random::new(config));
        let mut rig = Rig::new(config, rate);
        for _ in 0..400 {
            rig.gate.operator(true, rig.moment());
            rig.apply(&safety_support::Event::Report { ticks_ago: 0 }).unwrap();
            let judged = rig.tick(late, &Want::Corner(towards)).map(drop);
            prop_assert_eq!(judged, Ok(()));
        }
    }
}
