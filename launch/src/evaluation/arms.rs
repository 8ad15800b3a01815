//! Arms: the run itself, and one variant of it for every value under `[sweep]`.
//!
//! From: a checked-as-it-goes [`EvalConfig`]. To: [`Arm`]s, and what each asks of its worker.

use super::plan::{BASE, EvalConfig, PlanError, PolicyConfig, ScheduleConfig, SimulatorConfig, Sweep, within, wrong};
use super::record::StressLabel;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

const ARMS_MAX: usize = 100;
const LATENCY_MS_MAX: f64 = 10_000.0;

/// Who acts in an arm.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// The simulator's scripted expert.
    Expert,
    /// A policy.
    Bundle(PathBuf),
}

/// What is made harder; nothing by default.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)] // as in Sweep
pub struct Stress {
    pub latency_ms: f64,
    pub jitter_ms: f64,
    pub frames_dropped: f64,
    pub depth_noise: f64,
    pub depth_holes: f64,
    pub camera_shift_m: [f64; 3],
    pub camera_turn_deg: [f64; 2],
    pub camera_untold: bool,
    pub light: f64,
    pub colours_seed: Option<u32>,
    pub paraphrase: BTreeMap<String, String>,
}

impl Default for Stress {
    fn default() -> Self {
        Self {
            latency_ms: 0.0,
            jitter_ms: 0.0,
            frames_dropped: 0.0,
            depth_noise: 0.0,
            depth_holes: 0.0,
            camera_shift_m: [0.0; 3],
            camera_turn_deg: [0.0; 2],
            camera_untold: false,
            light: 1.0,
            colours_seed: None,
            paraphrase: BTreeMap::new(),
        }
    }
}

/// One variant.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)] // the names say it
pub struct Arm {
    pub name: String,
    pub actor: Actor,
    pub schedule: ScheduleConfig,
    pub stress: Stress,
    pub label: Option<StressLabel>,
}

/// `base`, then every value of every axis.
pub(super) fn arms(config: &EvalConfig) -> Result<Vec<Arm>, PlanError> {
    let actor = match &config.policy {
        PolicyConfig::Named(name) if name == "expert" => Actor::Expert,
        PolicyConfig::Named(name) => {
            return Err(wrong("policy", format!("{name:?}"), "\"expert\", or [policy] with bundle = \"DIR\""));
        }
        PolicyConfig::Bundle { bundle, .. } => Actor::Bundle(bundle.clone()),
    };
    let base = Arm { name: BASE.to_owned(), actor, schedule: config.schedule, stress: Stress::default(), label: None };
    let mut variants = Variants { base: base.clone(), arms: vec![base] };
    variants.numbers(&config.sweep)?;
    variants.cameras(&config.sweep)?;
    variants.others(&config.sweep)?;
    let arms = variants.arms;
    let names: BTreeSet<&String> = arms.iter().map(|arm| &arm.name).collect();
    if names.len() != arms.len() || arms.len() > ARMS_MAX {
        return Err(wrong("sweep", format!("{} arms", arms.len()), format!("at most {ARMS_MAX}, none of them twice")));
    }
    if arms.iter().any(|arm| arm.actor == Actor::Expert && arm.needs_policy()) {
        return Err(wrong(
            "sweep",
            "stress of the policy, for an expert",
            "only light, colours_seed and camera axes: it does not look",
        ));
    }
    Ok(arms)
}

/// The arms so far.
struct Variants {
    base: Arm,
    arms: Vec<Arm>,
}

impl Variants {
    fn add(&mut self, axis: &'static str, label: String, value: Option<f64>, change: impl FnOnce(&mut Arm)) {
        let mut arm = Arm { name: format!("{axis}={label}"), ..self.base.clone() };
        change(&mut arm);
        arm.label = Some(StressLabel { axis: axis.to_owned(), label, value });
        self.arms.push(arm);
    }

    fn numbers(&mut self, sweep: &Sweep) -> Result<(), PlanError> {
        type Set = fn(&mut Stress, f64);
        let axes: [(&'static str, &[f64], f64, Set); 6] = [
            ("latency_ms", &sweep.latency_ms, LATENCY_MS_MAX, |stress, value| stress.latency_ms = value),
            ("jitter_ms", &sweep.jitter_ms, LATENCY_MS_MAX, |stress, value| stress.jitter_ms = value),
            ("frames_dropped", &sweep.frames_dropped, 0.99, |stress, value| stress.frames_dropped = value),
            ("depth_noise", &sweep.depth_noise, 1.0, |stress, value| stress.depth_noise = value),
            ("depth_holes", &sweep.depth_holes, 1.0, |stress, value| stress.depth_holes = value),
            ("light", &sweep.light, 4.0, |stress, value| stress.light = value),
        ];
        for (axis, values, high, set) in axes {
            for &value in values {
                within(axis, value, 0.0, high)?;
                self.add(axis, value.to_string(), Some(value), |arm| set(&mut arm.stress, value));
            }
        }
        Ok(())
    }

    fn cameras(&mut self, sweep: &Sweep) -> Result<(), PlanError> {
        let shift = |stress: &mut Stress, value| stress.camera_shift_m = value;
        let turn = |stress: &mut Stress, value| stress.camera_turn_deg = value;
        self.vectors("camera_shift_m", &sweep.camera_shift_m, 1.0, shift)?;
        self.vectors("camera_shift_untold_m", &sweep.camera_shift_untold_m, 1.0, untold(shift))?;
        self.vectors("camera_turn_deg", &sweep.camera_turn_deg, 45.0, turn)?;
        self.vectors("camera_turn_untold_deg", &sweep.camera_turn_untold_deg, 45.0, untold(turn))
    }

    /// As [`Self::numbers`], of values with components between `-high` and `high`.
    fn vectors<const N: usize>(
        &mut self,
        axis: &'static str,
        values: &[[f64; N]],
        high: f64,
        set: impl Fn(&mut Stress, [f64; N]),
    ) -> Result<(), PlanError> {
        for &value in values {
            value.iter().try_for_each(|&component| within(axis, component, -high, high))?;
            self.add(axis, joined(&value), Some(length(&value)), |arm| set(&mut arm.stress, value));
        }
        Ok(())
    }

    fn others(&mut self, sweep: &Sweep) -> Result<(), PlanError> {
        for &seed in &sweep.colours_seed {
            self.add("colours_seed", seed.to_string(), None, |arm| arm.stress.colours_seed = Some(seed));
        }
        for (index, words) in sweep.paraphrase.iter().enumerate() {
            if words.is_empty() {
                return Err(wrong("sweep.paraphrase", "empty", "\"instruction\" = \"other words\" pairs"));
            }
            self.add("paraphrase", (index + 1).to_string(), None, |arm| arm.stress.paraphrase.clone_from(words));
        }
        for &strategy in &sweep.strategy {
            let label = serde_json::to_value(strategy).ok().and_then(|value| value.as_str().map(str::to_owned));
            self.add("strategy", label.unwrap_or_default(), None, |arm| arm.schedule.strategy = strategy);
        }
        for bundle in &sweep.bundle {
            let label = bundle.file_name().unwrap_or(bundle.as_os_str()).to_string_lossy().into_owned();
            self.add("bundle", label, None, |arm| arm.actor = Actor::Bundle(bundle.clone()));
        }
        Ok(())
    }
}

/// The same, and the policy is not told.
fn untold<T>(set: impl Fn(&mut Stress, T)) -> impl Fn(&mut Stress, T) {
    move |stress, value| {
        set(stress, value);
        stress.camera_untold = true;
    }
}

fn length(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum::<f64>().sqrt()
}

fn joined(values: &[f64]) -> String {
    values.iter().map(f64::to_string).collect::<Vec<_>>().join(",")
}

impl Arm {
    /// Stress that only means something to somebody who looks and answers.
    fn needs_policy(&self) -> bool {
        let stress = &self.stress;
        let numbers =
            [stress.latency_ms, stress.jitter_ms, stress.frames_dropped, stress.depth_noise, stress.depth_holes];
        numbers.iter().any(|&value| value != 0.0)
            || !stress.paraphrase.is_empty()
            || self.label.as_ref().is_some_and(|label| label.axis == "strategy")
    }

    /// Arguments of its worker, as PROTOCOL.md has them, behind the simulator's own.
    pub fn worker_args(&self, simulator: &SimulatorConfig) -> Vec<String> {
        let (mut args, stress) = (simulator.args.clone(), &self.stress);
        let mut option = |name: &str, value: Option<String>| {
            args.push(name.to_owned());
            args.extend(value);
        };
        if self.actor == Actor::Expert {
            option("--expert", None);
        }
        if stress.camera_shift_m != [0.0; 3] {
            // One word: a value that begins with a minus is no option.
            option(&format!("--camera-shift-m={}", joined(&stress.camera_shift_m)), None);
        }
        if stress.camera_turn_deg != [0.0; 2] {
            option(&format!("--camera-turn-deg={}", joined(&stress.camera_turn_deg)), None);
        }
        if stress.camera_untold {
            option("--camera-untold", None);
        }
        if stress.light != 1.0 {
            option("--light", Some(stress.light.to_string()));
        }
        if let Some(seed) = stress.colours_seed {
            option("--colours-seed", Some(seed.to_string()));
        }
        args
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn simulator() -> SimulatorConfig {
        toml::from_str(
            "module = \"m\"\nargs = [\"--image-px\", \"224\"]\nembodiment = \"e.toml\"\nsteps_max = 200\n[suites]\nall = [\"a\", \"b\"]",
        )
        .unwrap()
    }

    fn planned(policy: &str, sweep: &str) -> Result<Vec<Arm>, PlanError> {
        let text =
            format!("simulator = \"s\"\nsuite = \"all\"\nepisodes = 3\nseed = 1\npolicy = {policy}\n[sweep]\n{sweep}");
        let config: EvalConfig = toml::from_str(&text).unwrap();
        config.checked(simulator()).map(|plan| plan.arms)
    }

    #[test]
    fn every_value_of_every_axis_is_an_arm_that_differs_from_base_in_that_alone() {
        let sweep = "latency_ms = [50.0, 100.0]\nlight = [0.5]\ncamera_turn_untold_deg = [[5.0, -2.0]]\nstrategy = [\"overlap\"]\nbundle = [\"x/int8\"]";
        let arms = planned("{ bundle = \"x/fp32\" }", sweep).unwrap();
        let names: Vec<&str> = arms.iter().map(|arm| arm.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "base",
                "latency_ms=50",
                "latency_ms=100",
                "light=0.5",
                "camera_turn_untold_deg=5,-2",
                "strategy=overlap",
                "bundle=int8"
            ]
        );
        assert_eq!(arms[0].worker_args(&simulator()), ["--image-px", "224"]);
        assert_eq!(arms[3].worker_args(&simulator()), ["--image-px", "224", "--light", "0.5"]);
        assert_eq!(
            arms[4].worker_args(&simulator()),
            ["--image-px", "224", "--camera-turn-deg=5,-2", "--camera-untold"]
        );
        assert_eq!(
            arms[1].worker_args(&simulator()),
            arms[0].worker_args(&simulator()),
            "the runtime does this itself"
        );
        assert_eq!(arms[6].actor, Actor::Bundle("x/int8".into()));
        for arm in &arms[1..] {
            assert_ne!((&arm.stress, &arm.actor, arm.schedule), (&arms[0].stress, &arms[0].actor, arms[0].schedule));
        }
    }

    #[test]
    fn an_expert_takes_what_its_worker_does_and_nothing_else() {
        let arms = planned("\"expert\"", "light = [0.5]").unwrap();
        assert_eq!(arms[1].worker_args(&simulator()), ["--image-px", "224", "--expert", "--light", "0.5"]);
        for sweep in
            ["latency_ms = [50.0]", "depth_holes = [0.1]", "paraphrase = [{ a = \"b\" }]", "strategy = [\"sync\"]"]
        {
            assert!(planned("\"expert\"", sweep).unwrap_err().to_string().contains("for an expert"), "{sweep}");
        }
        assert!(planned("\"novice\"", "").unwrap_err().to_string().contains("novice"));
    }

    #[test]
    fn what_no_world_has_is_refused() {
        for sweep in [
            "latency_ms = [-1.0]",
            "latency_ms = [nan]",
            "frames_dropped = [1.0]",
            "depth_holes = [1.5]",
            "camera_shift_m = [[2.0, 0.0, 0.0]]",
            "camera_turn_deg = [[0.0, 90.0]]",
            "paraphrase = [{}]",
            "light = [0.5, 0.5]",
        ] {
            assert!(planned("{ bundle = \"x\" }", sweep).is_err(), "{sweep}");
        }
    }
}
