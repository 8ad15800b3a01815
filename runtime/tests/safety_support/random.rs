//! Random events from one number: splitmix64, so that a seed is a whole sequence and nothing else is needed to repeat it.

use super::{Event, Want};

/// The generator.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, count: usize) -> usize {
        (self.number() % count as u64) as usize
    }

    /// In `-1..1`.
    pub fn signed(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    fn odd(&mut self) -> f64 {
        match self.below(8) {
            0 => f64::NAN,
            1 => f64::INFINITY,
            2 => f64::NEG_INFINITY,
            3 => f64::MAX,
            4 => f64::MIN_POSITIVE,
            5 => -0.0,
            6 => f64::from_bits(self.number()),
            _ => self.signed() * 1e9,
        }
    }

    fn values(&mut self) -> [f64; 7] {
        let scale = [0.002, 0.01, 0.05, 3.0][self.below(4)];
        let mut values = [0.0; 7].map(|_| self.signed() * scale);
        values[6] = if self.below(4) == 0 { self.signed().abs() } else { self.below(2) as f64 };
        values
    }

    fn want(&mut self) -> Want {
        match self.below(60) {
            0 if self.below(3) == 0 => {
                let mut values = self.values();
                values[self.below(7)] = self.odd();
                Want::Values(values)
            }
            1 => Want::Nothing,
            2 => Want::Old(self.signed() * 400.0),
            3 => Want::Expired,
            4 => Want::Unsure([0.1, 0.2, f32::NAN, 2.0][self.below(4)]),
            5..=12 => Want::Values(self.values()),
            13..=17 => Want::Corner([0; 3].map(|_| [-1.0, 0.0, 1.0][self.below(3)])),
            _ => Want::Again,
        }
    }

    fn late(&mut self) -> f64 {
        match self.below(30) {
            0 => self.signed() * 5.0,
            1 => -1.0,
            2 => -0.999_999,
            3..=8 => self.signed() * 0.4,
            _ => 0.0,
        }
    }

    /// One event; most are ticks.
    pub fn event(&mut self) -> Event {
        match self.below(200) {
            0 => Event::ClockStep(self.number() as i64 >> self.below(60)),
            1 => Event::ClockStep((self.signed() * 1e7) as i64),
            2..=23 => Event::Report { ticks_ago: 0 },
            24..=27 => Event::Report { ticks_ago: self.below(6) },
            28 => Event::Pushed([0; 3].map(|_| self.signed() * 0.3), [0; 3].map(|_| self.signed())),
            29 => Event::BadReport([f64::NAN, f64::INFINITY, f64::NEG_INFINITY][self.below(3)]),
            30 => Event::FutureReport,
            31 if self.below(3) == 0 => Event::Stop,
            32..=38 => Event::Rearm,
            39 if self.below(3) == 0 => Event::Operator(false),
            40..=46 => Event::Operator(true),
            47 => Event::Looked(false),
            48..=50 => Event::Looked(true),
            _ => Event::Tick { late: self.late(), asked: self.want() },
        }
    }
}
