//! What a replay came to: over all looks, and the first that is not the same.
//!
//! From: one [`LookComparison`] after the other. To: a table for people, one JSON object for machines.

use super::compare::{LookComparison, StageDifference, TokenSaid, step_of};
use super::source::RecordedRun;
use serde::Serialize;
use std::collections::BTreeMap;

/// Which policy, then or now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Side {
    pub(super) policy: String,
    pub(super) bundle_sha256: String,
    pub(super) precision: String,
    pub(super) provider: String,
}

impl From<&RecordedRun> for Side {
    fn from(run: &RecordedRun) -> Self {
        let (policy, bundle_sha256) = (run.policy_id.clone(), run.bundle_sha256.clone());
        Self { policy, bundle_sha256, precision: run.precision.clone(), provider: run.provider.clone() }
    }
}

impl Side {
    fn line(&self) -> String {
        let digest = self.bundle_sha256.get(..12).unwrap_or(&self.bundle_sha256);
        format!("{}, {}, {}, bundle {digest}", self.policy, self.precision, self.provider)
    }
}

/// One stage over all looks.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct StageTotals {
    pub(super) stage: String,
    pub(super) looks: u64,
    pub(super) bit_equal: u64,
    /// Largest of the looks; of what was sampled.
    pub(super) difference_max: f64,
    pub(super) relative_max: f64,
}

/// The last stage, which only a lockstep run has.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct SafetyTotals {
    pub(super) looks: u64,
    pub(super) same: u64,
    /// The first look that was not, and how.
    pub(super) first: Option<(u64, String)>,
    /// Why it was not compared.
    pub(super) left_out: Option<String>,
}

/// The first look and stage that is not bit-equal.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct FirstStage {
    pub(super) look: u64,
    pub(super) at_s: f64,
    pub(super) stage: String,
    pub(super) difference: f64,
    pub(super) relative: f64,
}

/// All of it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) ok: bool,
    pub(super) recorded: Option<Side>,
    pub(super) replayed: Side,
    pub(super) looks: u64,
    pub(super) looks_replayed: u64,
    /// By reason.
    pub(super) looks_left_out: BTreeMap<String, u64>,
    pub(super) looks_same: u64,
    pub(super) tokens: u64,
    pub(super) tokens_same: u64,
    pub(super) stages: Vec<StageTotals>,
    pub(super) first_not_bit_equal: Option<FirstStage>,
    /// The first look whose tokens are not the same.
    pub(super) first_difference: Option<LookComparison>,
    pub(super) safety: SafetyTotals,
    /// Files that end early.
    pub(super) cut: Vec<String>,
}

impl Report {
    pub(super) fn new(replayed: Side) -> Self {
        Self {
            ok: false,
            recorded: None,
            replayed,
            looks: 0,
            looks_replayed: 0,
            looks_left_out: BTreeMap::new(),
            looks_same: 0,
            tokens: 0,
            tokens_same: 0,
            stages: Vec::new(),
            first_not_bit_equal: None,
            first_difference: None,
            safety: SafetyTotals::default(),
            cut: Vec::new(),
        }
    }

    pub(super) fn left_out(&mut self, why: &str) {
        self.looks += 1;
        *self.looks_left_out.entry(why.to_owned()).or_default() += 1;
    }

    pub(super) fn add(&mut self, look: LookComparison) {
        self.looks += 1;
        self.looks_replayed += 1;
        self.looks_same += u64::from(look.same_tokens());
        self.tokens += look.tokens as u64;
        self.tokens_same += look.tokens_same as u64;
        for (stage, same) in &look.compared {
            let totals = self.stage(stage);
            totals.looks += 1;
            totals.bit_equal += u64::from(*same);
        }
        for stage in &look.stages {
            let totals = self.stage(&stage.stage);
            totals.difference_max = totals.difference_max.max(stage.difference);
            totals.relative_max = totals.relative_max.max(stage.relative);
        }
        if let (None, Some(stage)) = (&self.first_not_bit_equal, look.stages.first()) {
            let (difference, relative) = (stage.difference, stage.relative);
            let stage = stage.stage.clone();
            self.first_not_bit_equal =
                Some(FirstStage { look: look.look, at_s: look.at_s, stage, difference, relative });
        }
        if self.first_difference.is_none() && !look.same_tokens() {
            self.first_difference = Some(look);
        }
    }

    fn stage(&mut self, stage: &str) -> &mut StageTotals {
        let place = self.stages.iter().position(|totals| totals.stage == stage).unwrap_or_else(|| {
            let stage = stage.to_owned();
            self.stages.push(StageTotals { stage, looks: 0, bit_equal: 0, difference_max: 0.0, relative_max: 0.0 });
            self.stages.len() - 1
        });
        &mut self.stages[place]
    }

    /// Decides. `exact`: stages must be bit-equal too.
    pub(super) fn judge(&mut self, exact: bool) {
        let bits = !exact || self.first_not_bit_equal.is_none();
        let safety = self.safety.looks == self.safety.same;
        self.ok = self.looks_replayed > 0 && self.looks_same == self.looks_replayed && bits && safety;
    }

    /// Why it is not, in words.
    pub(super) fn verdict(&self) -> String {
        if self.looks_replayed == 0 {
            return "no look could be replayed; the reasons are above".to_owned();
        }
        if let Some(first) = &self.first_difference {
            let stage = first.stages.first().map_or("the tokens", |stage| stage.stage.as_str());
            return format!(
                "{} of {} looks have other tokens; the first is look {} at {:.2} s, and the first stage that differs there is {stage}",
                self.looks_replayed - self.looks_same,
                self.looks_replayed,
                first.look,
                first.at_s
            );
        }
        if let Some((look, what)) = &self.safety.first {
            return format!("the same chunks leave the gate otherwise from look {look} on: {what}");
        }
        match &self.first_not_bit_equal {
            Some(first) => format!("stage {} is not bit-equal from look {} on", first.stage, first.look),
            None => String::new(),
        }
    }

    pub(super) fn print(&self) {
        for cut in &self.cut {
            println!("note: {cut}");
        }
        if let Some(recorded) = &self.recorded {
            println!("recorded: {}", recorded.line());
        }
        println!("replayed: {}", self.replayed.line());
        println!(
            "\nlooks: {} recorded, {} replayed, {} with the same tokens ({} of {} tokens)",
            self.looks, self.looks_replayed, self.looks_same, self.tokens_same, self.tokens
        );
        for (why, count) in &self.looks_left_out {
            println!("       {count} left out: {why}");
        }
        if self.stages.is_empty() {
            println!(
                "\nno stage was recorded (policy.sketch_stages of the deployment file); only tokens were compared"
            );
        } else {
            println!("\n{:<22} {:>8} {:>10} {:>14} {:>12}", "stage", "looks", "bit-equal", "difference", "relative");
        }
        for StageTotals { stage, looks, bit_equal, difference_max, relative_max } in self.shown() {
            let (difference, relative) = (number(difference_max), number(relative_max));
            println!("{stage:<22} {looks:>8} {bit_equal:>10} {difference:>14} {relative:>12}");
        }
        match &self.safety.left_out {
            None => println!("{:<22} {:>8} {:>10}", "safety", self.safety.looks, self.safety.same),
            Some(why) => println!("safety: not compared: {why}"),
        }
        if let Some(first) = &self.first_difference {
            print_first(first);
        }
        println!("\n{}", if self.ok { "the same" } else { "NOT THE SAME" });
    }

    /// Logits of many steps as one row: the worst of them.
    fn shown(&self) -> Vec<StageTotals> {
        let is_step = |stage: &str| step_of(stage).is_some();
        let mut shown: Vec<StageTotals> = Vec::new();
        for totals in &self.stages {
            let last = shown.last_mut().filter(|last| last.stage == "decode logits");
            match last {
                Some(last) if is_step(&totals.stage) => {
                    last.looks += totals.looks;
                    last.bit_equal += totals.bit_equal;
                    last.difference_max = last.difference_max.max(totals.difference_max);
                    last.relative_max = last.relative_max.max(totals.relative_max);
                }
                _ if totals.stage == "step0_logits" => {
                    shown.push(StageTotals { stage: "prefill logits".to_owned(), ..totals.clone() });
                }
                _ if is_step(&totals.stage) => {
                    shown.push(StageTotals { stage: "decode logits".to_owned(), ..totals.clone() });
                }
                _ => shown.push(totals.clone()),
            }
        }
        shown
    }
}

fn number(value: f64) -> String {
    if value == 0.0 { "0".to_owned() } else { format!("{value:.1e}") }
}

fn print_first(first: &LookComparison) {
    println!("\nfirst look with other tokens: {} ({:.2} s, {:?})", first.look, first.at_s, first.instruction);
    if let Some(failure) = &first.failure {
        println!("  {failure}");
    }
    for stage in first.stages.iter().take(4) {
        let note = stage.note.as_deref().unwrap_or_default();
        let StageDifference { stage, difference, relative, .. } = stage;
        let line = format!("  {stage:<20} differs by {difference:.3e} ({relative:.1e} of its size) {note}");
        println!("{}", line.trim_end());
    }
    if let Some(token) = &first.token {
        let said = |token: &Option<TokenSaid>| match token {
            None => "none".to_owned(),
            Some(TokenSaid { id, confidence, runner_up, runner_up_confidence }) => {
                format!("{id} (p={confidence:.3}; then {runner_up}, p={runner_up_confidence:.3})")
            }
        };
        println!("  token {}: recorded {}", token.position, said(&token.recorded));
        println!("  {:<8} replayed {}", "", said(&token.replayed));
    }
}
