//! Everything that a run needs to know before its first episode: the plan and the files that it names, the policies, whether all fits.
//!
//! From: `eval.toml`. To: [`Prepared`], and the header of the run.

use super::arms::{Actor, Arm};
use super::batcher::Batcher;
use super::driver::{Driver, Shared};
use super::plan::{EvalConfig, Plan, SimulatorConfig};
use super::pool::PolicyPool;
use super::record::{ArmPolicy, EvalHeader, FORMAT};
use super::stopping::{Asks, StopRule};
use super::{comparison, journal};
use crate::assemble;
use crate::cli::{Common, Strategy};
use crate::exit::{CommandError, CommandResult};
use crate::lockstep::{self, LockstepPlan};
use anyhow::{Context, anyhow};
use egogrid_policies::bundle::Bundle;
use egogrid_policies::registry::LoadOptions;
use egogrid_runtime::clock::ControlRate;
use egogrid_runtime::embodiment::Embodiment;
use egogrid_runtime::execution::GraphOptions;
use egogrid_runtime::safety::Gate;
use egogrid_sim_bridge::worker::python_path;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Everything that the files say.
pub(super) struct Prepared {
    pub(super) plan: Plan,
    pub(super) embodiment: Embodiment,
    bundles: BTreeMap<PathBuf, Bundle>,
    pub(super) python: PathBuf,
    /// Where the plan lies: its paths are relative to it.
    base: PathBuf,
    /// What the graphs run on; another one adds in another order.
    provider: String,
}

impl Prepared {
    pub(super) fn read(common: &Common, (path, text): (&Path, &str), workers: Option<usize>) -> CommandResult<Self> {
        let root = assemble::root(common)?;
        let named = || path.display().to_string();
        let mut config: EvalConfig = toml::from_str(text).with_context(named).map_err(CommandError::usage)?;
        if let Some(workers) = workers {
            config.run.workers = workers;
        }
        let mut parts = Path::new(&config.simulator).components();
        if !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) {
            return Err(CommandError::usage(anyhow!(
                "{}: simulator {:?}, expected a plain name",
                named(),
                config.simulator
            )));
        }
        let of_simulator = root.join("sim_bridge/simulators").join(&config.simulator).join("simulator.toml");
        if !of_simulator.is_file() {
            let known = assemble::folders_with(&root.join("sim_bridge/simulators"), "simulator.toml");
            return Err(CommandError::usage(anyhow!(
                "{}: simulator {:?}, expected one of {known:?}",
                named(),
                config.simulator
            )));
        }
        let mut simulator: SimulatorConfig = assemble::toml_file(&of_simulator)?;
        simulator.embodiment = root.join(&simulator.embodiment);
        let python = match &simulator.python {
            Some(path) => root.join(path),
            None => python_path(&root).map_err(CommandError::missing)?,
        };
        if !python.is_file() {
            return Err(CommandError::missing(anyhow!(
                "{}: no Python of the simulator there; ./launch/simulator {} installs it",
                python.display(),
                config.simulator
            )));
        }
        let mut plan = config.checked(simulator).with_context(named).map_err(CommandError::usage)?;
        // Paths of the file are relative to it.
        let base = path.parent().unwrap_or(Path::new("."));
        plan.embodiment = base.join(&plan.embodiment);
        let mut bundles = BTreeMap::new();
        for arm in &mut plan.arms {
            if let Actor::Bundle(path) = &mut arm.actor {
                *path = base.join(&*path);
                if !bundles.contains_key(path) {
                    let bundle = assemble::bundle(path)?;
                    assemble::warn_of_precision(&bundle);
                    bundles.insert(path.clone(), bundle);
                }
            }
        }
        let mut embodiment = assemble::embodiment(common, Some(&plan.embodiment))?;
        if let Some(stats_key) = &plan.stats_key {
            embodiment.stats_key.clone_from(stats_key);
        }
        let graphs = common.graphs.as_deref().unwrap_or("of the provider");
        let provider = format!("{}, graphs {graphs}", assemble::provider(common)?);
        Ok(Self { plan, embodiment, bundles, python, base: base.to_path_buf(), provider })
    }

    /// The first worker, which knows what the simulator is, and the header with it.
    ///
    /// # Errors
    /// No simulator to be had, tasks that it does not have, arms that do not fit.
    pub(super) fn first<'a>(&self, shared: &'a Shared<'a>, text: &str) -> CommandResult<(Driver<'a>, EvalHeader)> {
        let plan = &self.plan;
        let mut first = Driver::new(shared, 0)?;
        let (simulator, control_hz, known) = first.simulator(&plan.arms[0])?;
        if let Some(unknown) = plan.tasks.iter().find(|task| !known.contains(task)) {
            return Err(CommandError::usage(anyhow!("tasks: the simulator has no {unknown:?}, only {known:?}")));
        }
        check_arms(plan, &self.embodiment, shared.pools, control_hz)?;
        Ok((first, self.header(text, simulator, control_hz)))
    }

    /// The digest is over what decides an episode, not over the text: comments and the number of workers may change.
    fn header(&self, text: &str, simulator: String, control_hz: f64) -> EvalHeader {
        let plan = &self.plan;
        let digest_of = |arm: &Arm| match &arm.actor {
            Actor::Expert => String::new(),
            Actor::Bundle(path) => self.bundles.get(path).map_or_else(String::new, |bundle| bundle.digest().to_owned()),
        };
        let arms: Vec<_> = plan.arms.iter().map(|arm| (&arm.name, digest_of(arm), arm.schedule, &arm.stress)).collect();
        let decides = serde_json::json!({
            "simulator": simulator, "control_hz": control_hz, "arguments": plan.simulator.args, "tasks": plan.tasks, "arms": arms,
            "episodes": plan.episodes, "seed": plan.seed, "steps_max": plan.steps_max, "threads": plan.run.threads, "batched": plan.run.batch_delay_ms.is_some(),
            "limits": format!("{:?}", self.embodiment.limits), "units": format!("{:?}", self.embodiment.units),
            "stop": plan.stop.as_ref().map(|stop| (stop.bar, &stop.against, stop.error)),
            "stats_key": self.embodiment.stats_key, "provider": self.provider, "egogrid": env!("CARGO_PKG_VERSION"),
        });
        let policies = plan.arms.iter().map(|arm| {
            let bundle = match &arm.actor {
                Actor::Expert => None,
                Actor::Bundle(path) => self.bundles.get(path),
            };
            ArmPolicy {
                arm: arm.name.clone(),
                policy: bundle.map_or_else(|| "expert".to_owned(), Bundle::id),
                bundle_sha256: digest_of(arm),
                precision: bundle.map_or_else(String::new, |bundle| bundle.manifest().precision.to_string()),
                stress: arm.label.clone(),
            }
        });
        EvalHeader {
            format: FORMAT,
            plan_sha256: Sha256::digest(decides.to_string().as_bytes())
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            plan: text.to_owned(),
            egogrid_version: env!("CARGO_PKG_VERSION").to_owned(),
            policies: policies.collect(),
            simulator,
            tasks: plan.tasks.clone(),
            episodes_per_task: plan.episodes,
            seed: plan.seed,
            steps_max: plan.steps_max,
            control_hz,
            stop: None,
            machine: crate::machine::describe(),
            begun_unix_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        }
    }

    /// A run to compare with is read once: it stays in the header, whatever becomes of it.
    ///
    /// # Errors
    /// No such run, or one that has nothing in common with this one.
    pub(super) fn stop_rule(&self, header: &EvalHeader) -> CommandResult<Option<StopRule>> {
        let Some(stop) = &self.plan.stop else { return Ok(None) };
        let Some(dir) = &stop.against else {
            return Ok(stop.bar.map(|bar| StopRule { error: stop.error, asks: Asks::Bar(bar) }));
        };
        let other = journal::read(&self.base.join(dir)).map_err(CommandError::usage)?;
        comparison::require_alike(header, &other.header).context("stop.against").map_err(CommandError::usage)?;
        let rule = StopRule::against(&other, &dir.display().to_string(), header, stop.error);
        if !rule.has_pairs() {
            return Err(CommandError::usage(anyhow!(
                "stop.against: {} has no episode that counts of seeds {} to {}; name a run of the same seeds",
                dir.display(),
                header.seed,
                header.seed + header.episodes_per_task - 1
            )));
        }
        Ok(Some(rule))
    }
}

/// Copies of every policy, for as many workers as there are.
pub(super) fn pools(common: &Common, prepared: &Prepared) -> CommandResult<BTreeMap<PathBuf, PolicyPool>> {
    let (plan, mut pools) = (&prepared.plan, BTreeMap::new());
    if prepared.bundles.is_empty() {
        return Ok(pools);
    }
    let environment = assemble::environment(common)?;
    for (path, bundle) in &prepared.bundles {
        let stats_key = prepared.embodiment.stats_key.clone();
        assemble::require_one_arm(bundle, &stats_key)?;
        let graph = GraphOptions { threads: plan.run.threads, ..assemble::graph_options(common)? };
        let options = LoadOptions { stats_key, graph, preprocessing: None };
        let robot = (prepared.embodiment.depth, prepared.embodiment.units);
        let load = |_| assemble::policy_of_robot(&environment, bundle, &options, robot, false);
        // In batched passes nobody can commit: only who does needs a copy then.
        let commits =
            |arm: &Arm| arm.schedule.strategy == Strategy::Committed && arm.actor == Actor::Bundle(path.clone());
        let needed = plan.run.batch_delay_ms.is_none() || plan.arms.iter().any(commits);
        let count = if needed { plan.run.policies.min(plan.run.workers) } else { 0 };
        let copies = (0..count).map(load).collect::<CommandResult<Vec<_>>>()?;
        let pool = match plan.run.batch_delay_ms.filter(|_| plan.run.workers > 0) {
            None => PolicyPool::of(copies),
            Some(delay_ms) => {
                let batched = assemble::batched(&environment, bundle, &options, robot.0)?;
                let delay = Duration::from_secs_f64(delay_ms * 1e-3);
                Some(PolicyPool::batching(Batcher::new(batched, (robot.1, plan.run.workers), delay), copies))
            }
        };
        pools.extend(pool.map(|pool| (path.clone(), pool)));
    }
    Ok(pools)
}

/// Every schedule and the gate can be made, before anything runs.
fn check_arms(
    plan: &Plan,
    embodiment: &Embodiment,
    pools: &BTreeMap<PathBuf, PolicyPool>,
    control_hz: f64,
) -> CommandResult {
    let rate = ControlRate::new(control_hz).map_err(CommandError::usage)?;
    Gate::new(embodiment.limits.clone(), rate).map_err(CommandError::usage)?;
    for arm in &plan.arms {
        if let Actor::Bundle(path) = &arm.actor
            && let Some(pool) = pools.get(path)
        {
            lockstep::planner(
                &LockstepPlan::new(arm.schedule.strategy, arm.schedule.steps_executed),
                pool.spec(),
                rate,
            )?;
        }
    }
    Ok(())
}
