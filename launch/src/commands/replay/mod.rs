//! `egogrid replay F.mcap BUNDLE`: the same bytes in, the same tokens out? Where not, which look, which stage, and by how much.
//!
//! Works against the bundle that was recorded, another precision of it, or another provider: that is how a deployment on another
//! machine is accepted. Stages are compared where the recording has them (`policy.sketch_stages`; the demo always has).

mod compare;
mod freeze;
mod report;
mod safety;
pub(crate) mod source;

pub use freeze::FrozenReplay;

use crate::assemble;
use crate::cli::{Common, ReplayArgs};
use crate::commands::print_json;
use crate::exit::{CommandError, CommandResult};
use anyhow::anyhow;
use compare::LookComparison;
use egogrid_policies::bundle::Bundle;
use egogrid_policies::registry::LoadOptions;
use egogrid_runtime::embodiment::DepthConfig;
use egogrid_runtime::observation::Observation;
use egogrid_runtime::perception::depth::SensorRules;
use egogrid_runtime::policy::{ActionChunk, Policy, PolicyError};
use egogrid_runtime::schedule::{CommittedPrefix, Token};
use egogrid_sim_bridge::message::{ActionChunk as Sent, PolicyLook, PolicyToken};
use indicatif::ProgressBar;
use report::{Report, Side};
use safety::SafetyReplay;
use source::{Event, NOT_RECORDED, RecordedLook, RecordedRun, Saw, Source, files};

/// Failures that say something about that moment and nothing about the policy.
const OF_THE_MOMENT: [&str; 3] = ["deadline", "superseded", "cancelled"];

/// Runs the command.
///
/// # Errors
/// Exit code 2 for a recording that cannot be read, 3 where something is not the same.
pub fn run(common: &Common, args: &ReplayArgs) -> CommandResult {
    let bundle = assemble::bundle(&args.bundle)?;
    let (source, bytes) = Source::open(&args.recording).map_err(CommandError::usage)?;
    let bar = ProgressBar::new(bytes).with_style(assemble::style("{bar:30} {bytes}/{total_bytes}  {msg}  {eta} left"));
    let mut replay = Replay::new(common, args, &bundle)?;
    let done = replay.all(source, &bar);
    bar.finish_and_clear();
    done?;
    let mut report = replay.report;
    report.judge(args.exact);
    if args.json {
        print_json(&report);
    } else {
        report.print();
    }
    if let Some(dir) = &args.freeze {
        let paths = files(&args.recording).map_err(CommandError::usage)?;
        let root = assemble::root(common)?;
        freeze::freeze(dir, &root, &paths, bundle.dir(), &report).map_err(CommandError::usage)?;
        eprintln!("frozen: {}; ./launch/test replays it from now on if it lies in tests/recordings", dir.display());
    }
    if report.ok { Ok(()) } else { Err(CommandError::check(anyhow!(report.verdict()))) }
}

/// The policy, once the recording has said with which statistics and rules of depth.
struct Loaded {
    policy: Box<dyn Policy>,
    stats_key: String,
}

struct Replay<'a> {
    common: &'a Common,
    args: &'a ReplayArgs,
    bundle: &'a Bundle,
    run: Option<RecordedRun>,
    loaded: Option<Loaded>,
    safety: Option<SafetyReplay>,
    /// What the last look saw, until what was sent after it is known.
    waiting: Option<(PolicyLook, Box<Observation>)>,
    report: Report,
}

impl<'a> Replay<'a> {
    fn new(common: &'a Common, args: &'a ReplayArgs, bundle: &'a Bundle) -> CommandResult<Self> {
        let report = Report::new(Side {
            policy: bundle.id(),
            bundle_sha256: bundle.digest().to_owned(),
            precision: bundle.manifest().precision.to_string(),
            provider: assemble::provider(common)?.to_string(),
        });
        Ok(Self { common, args, bundle, run: None, loaded: None, safety: None, waiting: None, report })
    }

    fn all(&mut self, mut source: Source, bar: &ProgressBar) -> CommandResult {
        let looks_max = self.args.looks.unwrap_or(u64::MAX);
        while let Some(event) = source.next().map_err(CommandError::usage)? {
            bar.set_position(source.position());
            match event {
                Event::Run(run) => self.begin_run(*run),
                Event::Episode(mark) => {
                    if let (true, Some(safety)) = (mark.outcome.is_empty(), &mut self.safety) {
                        safety.begin();
                    }
                }
                // What was sent after the last look is still wanted.
                Event::Look(_) if self.report.looks >= looks_max => break,
                Event::Look(look) => {
                    self.look(*look)?;
                    bar.set_message(format!("{} looks, {} the same", self.report.looks, self.report.looks_same));
                }
                Event::Sent(sent) => self.sent(&sent),
            }
        }
        self.report.cut = source.cut().to_vec();
        if self.safety.is_none() && self.report.safety.left_out.is_none() {
            self.report.safety.left_out = Some("the recording does not say what ran (run_info)".to_owned());
        }
        Ok(())
    }

    fn begin_run(&mut self, run: RecordedRun) {
        if self.run.as_ref() == Some(&run) {
            return; // every file begins with it
        }
        if self.report.recorded.is_none() {
            self.report.recorded = Some(Side::from(&run));
        }
        self.safety = None;
        self.run = Some(run);
    }

    fn look(&mut self, recorded: RecordedLook) -> CommandResult {
        let RecordedLook { look, at_s, saw } = recorded;
        self.waiting = None;
        let observation = match saw {
            Saw::Nothing(why) => {
                self.report.left_out(why);
                return Ok(());
            }
            Saw::Observation(_) if OF_THE_MOMENT.contains(&look.failure.as_str()) => {
                self.report.left_out("it was ended by its deadline or replaced, which depends on that moment");
                return Ok(());
            }
            Saw::Observation(_) if look.failure == NOT_RECORDED => {
                self.report.left_out("it was made of a dataset, which does not hold what the policy answered");
                return Ok(());
            }
            Saw::Observation(observation) => observation,
        };
        let committed = look.committed.clone();
        let loaded = self.policy(&look)?;
        let replayed = infer(loaded.policy.as_mut(), &observation, &committed);
        self.report.add(LookComparison::of(&look, at_s, replayed.as_ref()));
        self.waiting = Some((look, observation));
        Ok(())
    }

    /// Loaded at the first look: the recording says with which statistics.
    fn policy(&mut self, look: &PolicyLook) -> CommandResult<&mut Loaded> {
        let wanted = self.args.stats.clone().unwrap_or_else(|| look.stats_key.clone());
        if self.loaded.as_ref().is_some_and(|loaded| loaded.stats_key != wanted) {
            self.loaded = None;
        }
        if self.loaded.is_none() {
            let environment = assemble::environment(self.common)?;
            let graph = assemble::graph_options(self.common)?;
            let options = LoadOptions { stats_key: wanted.clone(), graph, preprocessing: None };
            let policy = assemble::policy_with(&environment, self.bundle, &options, self.depth_rules()?, true)?;
            self.loaded = Some(Loaded { policy, stats_key: wanted });
        }
        self.begin_safety();
        self.loaded.as_mut().ok_or_else(|| CommandError::missing(anyhow!("the policy is gone; please report this")))
    }

    /// Those of the robot that was recorded.
    fn depth_rules(&self) -> CommandResult<SensorRules> {
        let Some(run) = &self.run else { return DepthConfig::default().checked().map_err(CommandError::usage) };
        Ok(run.embodiment().map_err(CommandError::usage)?.depth)
    }

    fn begin_safety(&mut self) {
        let (None, Some(run), Some(loaded)) = (&self.safety, &self.run, &self.loaded) else { return };
        if self.report.safety.left_out.is_some() {
            return;
        }
        let made = safety::require_lockstep(run).and_then(|()| SafetyReplay::of(run, loaded.policy.spec()));
        match made {
            Ok(mut safety) => {
                safety.begin();
                self.safety = Some(safety);
            }
            Err(error) => self.report.safety.left_out = Some(format!("{error:#}")),
        }
    }

    fn sent(&mut self, sent: &Sent) {
        let (Some(safety), Some((look, observation))) = (&mut self.safety, &self.waiting) else { return };
        if look.sequence != sent.sequence {
            return;
        }
        let totals = &mut self.report.safety;
        totals.looks += 1;
        match safety.look(look, observation, sent) {
            None => totals.same += 1,
            Some(difference) => {
                totals.first.get_or_insert((look.look, difference));
            }
        }
        self.waiting = None;
    }
}

fn infer(
    policy: &mut dyn Policy,
    observation: &Observation,
    committed: &[PolicyToken],
) -> Result<ActionChunk, PolicyError> {
    let tokens: Vec<Token> =
        committed.iter().map(|token| Token { id: token.id, confidence: token.confidence }).collect();
    let prefix = CommittedPrefix::of(&tokens, usize::from(!tokens.is_empty()));
    if prefix.tokens().len() != tokens.len() {
        let reason = "it is longer than any chunk".to_owned();
        return Err(PolicyError::CannotCommit { tokens: tokens.len(), reason });
    }
    policy.infer_committed(observation, &prefix)
}
