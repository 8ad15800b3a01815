//! How the daemon is doing, for people and machines: the `status` topic once a second and on change, figures for metrics and
//! systemd, and a summary at the end.

use super::figures::Figures;
use super::load::PolicyFacts;
use super::parts::Told;
use super::swap::SwapNews;
use crate::deployment::Deployment;
use crate::statistics::{Quantiles, TailQuantiles, quantile_ms};
use crate::view::live::LiveView;
use egogrid_runtime::camera::Stamp;
use egogrid_runtime::clock::Moment;
use egogrid_runtime::live::{LookReport, Realtime, Snapshot, clock};
use egogrid_runtime::safety::Intervention;
use egogrid_runtime::stage::StageTimes;
use egogrid_sim_bridge::convert::stamp_to_wire;
use egogrid_sim_bridge::limits::COUNTS_MAX;
use egogrid_sim_bridge::message::{Count, Header, PolicyStatus, StageTime};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// How long the disk may take for what is left of a recording; the robot holds by then.
const RECORDING_END_MAX: Duration = Duration::from_secs(5);
const TELL_EVERY: Duration = Duration::from_secs(1);
/// Remarks that are kept.
const REMARKS_MAX: usize = 16;

/// What is printed at the end.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    policy: String,
    ticks: u64,
    ticks_missed: u64,
    tick_late_ms: Option<TailQuantiles>,
    look_ms: Option<TailQuantiles>,
    /// Exposure to answer.
    answer_age_ms: Option<TailQuantiles>,
    outside_onnx_ms: Option<TailQuantiles>,
    stages_ms: BTreeMap<&'static str, Quantiles>,
    counts: BTreeMap<String, u64>,
    remarks: Vec<String>,
    /// Why the stop is latched, if it is.
    pub(super) stopped: Option<String>,
}

/// Tells.
pub(super) struct Teller {
    told: Told,
    remarks: Vec<String>,
    /// By number; the first one is that of the start.
    policies: BTreeMap<u32, PolicyFacts>,
    used: u32,
    /// What people should know of the next policy.
    next: Option<(u32, String)>,
    figures: Figures,
    newest: Option<(StageTimes, Duration)>,
    last: Option<(Instant, &'static str, Option<usize>)>,
}

impl Teller {
    pub(super) fn new(deployment: &Deployment, mut told: Told) -> Self {
        let mut remarks = Vec::new();
        for (what, given) in [("real-time priority", &told.priority), ("locked memory", &told.memory)] {
            match given {
                Some(given @ Realtime::Refused(_)) => remarks.push(format!("{what}: {given}")),
                Some(Realtime::Given) => remarks.push(format!("{what}: yes")),
                None => remarks.push(format!("{what}: not asked for")),
            }
        }
        if deployment.dry_run {
            remarks.push("dry run: no robot gets a command".to_owned());
        }
        for remark in &remarks {
            tracing::info!("{remark}");
        }
        let given = |given: &Option<Realtime>| given.as_ref().map(Realtime::is_given);
        let (priority, memory_locked) = (given(&told.priority), given(&told.memory));
        let figures = Figures { priority, memory_locked, ..Figures::default() };
        let policies = BTreeMap::from([(0, told.policy.clone())]);
        if let Some(first) = policies.get(&0) {
            told.announcer.policy(first, &mut told.listeners);
        }
        Self { told, remarks, policies, used: 0, next: None, figures, newest: None, last: None }
    }

    /// One more thing that people should know.
    pub(super) fn remark(&mut self, remark: String) {
        if self.remarks.len() < REMARKS_MAX && !self.remarks.contains(&remark) {
            tracing::warn!("{remark}");
            self.remarks.push(remark);
        }
    }

    /// Waits for the next look, at most `wait_max`; books what has come, and publishes when it is time or something has
    /// changed. Whether it published.
    pub(super) fn tell(&mut self, wait_max: Duration) -> bool {
        if let Ok(report) = self.told.reports.recv_timeout(wait_max) {
            self.book(&report);
        }
        while let Ok(report) = self.told.reports.try_recv() {
            self.book(&report);
        }
        while let Some(news) = self.told.swaps.as_ref().and_then(|news| news.try_recv().ok()) {
            self.hear(news);
        }
        self.refresh();
        let (mode, snapshot) = (self.figures.mode, &self.figures.snapshot);
        let why = snapshot.why.map(|why| why.kind());
        let why = why.and_then(|kind| Intervention::KINDS.iter().position(|known| *known == kind));
        let due = self.last.is_none_or(|(at, last_mode, last_why)| {
            at.elapsed() >= TELL_EVERY || last_mode != mode || (mode != "running" && last_why != why)
        });
        if due {
            self.last = Some((Instant::now(), mode, why));
            let status = self.status();
            if let Err(error) = self.told.listeners.status(&status) {
                tracing::warn!("status: {error}");
            }
        }
        due
    }

    /// As of the last [`Self::tell`].
    pub(super) fn figures(&self) -> &Figures {
        &self.figures
    }

    /// One line for people.
    pub(super) fn line(&self) -> String {
        match self.detail() {
            detail if detail.is_empty() => format!("{}, {}", self.figures.mode, self.figures.policy_id),
            detail => format!("{}, {}: {detail}", self.figures.mode, self.figures.policy_id),
        }
    }

    fn book(&mut self, report: &LookReport) {
        let figures = &mut self.figures;
        figures.look.add(report.took);
        figures.answer_age.add(report.age);
        figures.reports_dropped = report.dropped;
        match &report.result {
            Ok(chunk) => {
                figures.outside_onnx.add(chunk.times.outside_onnx());
                chunk.times.iter().for_each(|(stage, time)| figures.stages.entry(stage).or_default().add(time));
                self.newest = Some((chunk.times, report.age));
            }
            Err(error) => {
                tracing::warn!("look {}: {error}", report.order.look);
                *figures.look_failures.entry(error.kind()).or_default() += 1;
            }
        }
        if report.policy != self.used {
            self.used = report.policy;
            figures.swaps += 1;
            self.next.take_if(|(number, _)| *number <= self.used);
            self.policies.retain(|number, _| *number >= self.used);
            self.last = None;
            tracing::info!("policy {} has taken over", self.policy_id());
            if let Some(facts) = self.policies.get(&self.used) {
                self.told.announcer.policy(facts, &mut self.told.listeners);
            }
        }
        if let Some(facts) = self.policies.get(&report.policy) {
            self.told.announcer.look(report, facts, &mut self.told.listeners);
        }
    }

    fn hear(&mut self, news: SwapNews) {
        let (number, said) = match news {
            SwapNews::Loading(name) => (u32::MAX, format!("policy {name:?} is being loaded")),
            SwapNews::Ready { name, number, facts, warning } => {
                let warning = warning.map(|warning| format!("; {warning}")).unwrap_or_default();
                let said = format!(
                    "policy {} from {name:?} is ready and begins with the next episode{warning}",
                    facts.label.policy_id
                );
                self.policies.insert(number, facts);
                (number, said)
            }
            SwapNews::Refused { name, why } => {
                self.figures.swaps_refused += 1;
                (u32::MAX, format!("policy {name:?} cannot take over: {why}"))
            }
        };
        tracing::info!("{said}");
        self.next = Some((number, said));
        self.last = None;
    }

    fn policy_id(&self) -> &str {
        self.policies.get(&self.used).map_or("", |facts| &facts.label.policy_id)
    }

    fn refresh(&mut self) {
        let snapshot = *self.told.snapshots.newest();
        let ending = self.told.signs.is_ending();
        let (now, policy_id) = (clock::now(), self.policy_id().to_owned());
        let figures = &mut self.figures;
        (figures.snapshot, figures.mode, figures.policy_id) = (snapshot, mode(&snapshot, ending), policy_id);
        figures.refusals = self.told.onboard.refusals();
        let border = self.told.session.refusal_counts();
        figures.refusals.extend(border.into_iter().map(|(kind, count)| (("wire", kind), count)));
        figures.sent = self.told.sent.counts();
        figures.operator_seen = self.told.signs.last_operator().map(|(_, seen)| seen);
        let assembler = self.told.assembler.lock().unwrap_or_else(PoisonError::into_inner);
        (figures.exposed, figures.state_measured) = (assembler.exposed(), assembler.state_measured());
        let sets = assembler.sets();
        (figures.sets, figures.missing_depth) = (sets.sets(), sets.counters().missing_depth);
        figures.cameras_lost = sets.lost(now).count();
        let instruction = assembler.instruction().unwrap_or_default();
        self.told.announcer.episode(snapshot.episodes, instruction, &mut self.told.listeners);
        drop(assembler);
        if let Some(recording) = &self.told.recording {
            figures.recording = recording.state();
            figures.recording_dropped = recording.dropped();
        }
        // A viewer that was closed is no reason to stop driving.
        if let Some(Err(error)) = self.told.view.as_ref().and_then(|view| view.wait(Duration::ZERO)) {
            self.told.view = None;
            self.remark(format!("view: {error}"));
        }
    }

    fn detail(&self) -> String {
        match (self.figures.snapshot.stopped, self.figures.snapshot.why) {
            (Some(reason), _) => format!("stopped: {reason}"),
            (None, Some(why)) if self.figures.mode != "running" => why.to_string(),
            _ => String::new(),
        }
    }

    fn status(&self) -> PolicyStatus {
        let (now, figures) = (clock::now(), &self.figures);
        let snapshot = &figures.snapshot;
        let ms = |name: &str, ms: f64| StageTime { stage: name.to_owned(), ms };
        let age_ms = |since: Moment| now.seconds_since(since) * 1e3;
        let (stages, latency_ms) = match &self.newest {
            Some((times, age)) => (
                times.iter().map(|(stage, time)| ms(stage.name(), time.as_secs_f64() * 1e3)).collect(),
                age.as_secs_f64() * 1e3,
            ),
            None => (Vec::new(), 0.0),
        };
        let (instruction, remarks) = self.said(now);
        let counts = figures.counts().into_iter().take(COUNTS_MAX); // all there can be, see figures.rs
        PolicyStatus {
            header: Header {
                stamp: stamp_to_wire(Stamp { ns: clock::calendar().ns }).unwrap_or_default(),
                frame_id: String::new(),
            },
            mode: figures.mode.to_owned(),
            detail: self.detail(),
            policy_id: figures.policy_id.clone(),
            instruction,
            observation_age_ms: snapshot.exposed.or(figures.exposed).map_or(0.0, age_ms),
            latency_ms,
            stages,
            timings: timings(figures, age_ms),
            counts: counts.map(|(name, count)| Count { name, count }).collect(),
            remarks,
            looks: snapshot.looks,
            policy_failures: snapshot.answers_failed,
            actions_held: snapshot.counters.held,
            actions_changed: snapshot.counters.changed,
        }
    }

    /// The instruction, and what is true at the moment besides the remarks that stay.
    fn said(&self, now: Moment) -> (String, Vec<String>) {
        let assembler = self.told.assembler.lock().unwrap_or_else(PoisonError::into_inner);
        let mut remarks = self.remarks.clone();
        remarks.extend(self.next.iter().map(|(_, said)| said.clone()));
        remarks.extend(self.figures.recording.pause.iter().map(|pause| format!("recording: {pause}")));
        remarks.extend(self.told.session.refusal_remarks());
        remarks.extend(assembler.sets().lost(now).map(|lost| format!("camera: {lost}")));
        let instruction = assembler.instruction().unwrap_or_default().to_owned();
        if instruction.is_empty() {
            remarks.push("no instruction yet: nothing is looked at".to_owned());
        }
        (instruction, remarks)
    }

    /// The last status, and the summary.
    pub(super) fn end(mut self) -> Summary {
        self.last = None;
        self.tell(Duration::ZERO);
        if let Some(Err(error)) = self.told.view.take().map(LiveView::finish) {
            self.remark(format!("view: {error}"));
        }
        if let Some(recording) = self.told.recording.take() {
            let end = recording.finish(RECORDING_END_MAX);
            if end.stuck {
                self.remark("recording: the disk does not answer; the last seconds are not in it".to_owned());
            }
            if let Some(pause) = &end.state.pause {
                self.remark(format!("recording: {pause}"));
            }
            (self.figures.recording, self.figures.recording_dropped) = (end.state, end.dropped);
        }
        let figures = &self.figures;
        let stages = figures.stages.iter();
        Summary {
            policy: figures.policy_id.clone(),
            ticks: figures.snapshot.ticks,
            ticks_missed: figures.snapshot.ticks_missed,
            tick_late_ms: TailQuantiles::of_ms(&figures.snapshot.lateness),
            look_ms: TailQuantiles::of_ms(&figures.look),
            answer_age_ms: TailQuantiles::of_ms(&figures.answer_age),
            outside_onnx_ms: TailQuantiles::of_ms(&figures.outside_onnx),
            stages_ms: stages.filter_map(|(stage, times)| Some((stage.name(), Quantiles::of_ms(times)?))).collect(),
            counts: figures.counts(),
            remarks: [self.remarks.clone(), self.told.session.refusal_remarks()].concat(),
            stopped: figures.snapshot.stopped.map(|reason| reason.to_string()),
        }
    }
}

/// Quantiles and ages by name; at most as many as a status has room for (`STAGES_MAX`).
fn timings(figures: &Figures, age_ms: impl Fn(Moment) -> f64) -> Vec<StageTime> {
    let ms = |name: String, ms: f64| StageTime { stage: name, ms };
    let mut timings = Vec::new();
    let named = [
        ("tick_late", &figures.snapshot.lateness),
        ("look", &figures.look),
        ("answer_age", &figures.answer_age),
        ("outside_onnx", &figures.outside_onnx),
    ];
    for (name, times) in named {
        for (quantile, share) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
            timings.extend(quantile_ms(times, share).map(|value| ms(format!("{name}_{quantile}"), value)));
        }
    }
    let ages = [
        ("picture_age", figures.exposed),
        ("state_age", figures.state_measured),
        ("operator_age", figures.operator_seen),
    ];
    timings.extend(ages.into_iter().filter_map(|(name, since)| Some(ms(name.to_owned(), age_ms(since?)))));
    timings
}

/// One word of [`super::figures::MODES`].
fn mode(snapshot: &Snapshot, ending: bool) -> &'static str {
    match (snapshot.stopped, ending) {
        (Some(_), _) => "stopped",
        (None, true) => "ending",
        (None, false) if snapshot.held || snapshot.ticks == 0 => "holding",
        (None, false) => "running",
    }
}
