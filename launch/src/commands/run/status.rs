//! How the daemon is doing, for people and machines: the `status` topic once a second and on change, and a summary at the end.

use super::parts::Told;
use crate::deployment::Deployment;
use crate::exit::CommandResult;
use egogrid_runtime::camera::Stamp;
use egogrid_runtime::live::{Histogram, LookReport, Realtime, Snapshot, clock};
use egogrid_runtime::safety::Intervention;
use egogrid_runtime::stage::StageTimes;
use egogrid_sim_bridge::convert::stamp_to_wire;
use egogrid_sim_bridge::message::{Count, Header, PolicyStatus, StageTime};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

const TELL_EVERY: Duration = Duration::from_secs(1);
/// Remarks that are kept.
const REMARKS_MAX: usize = 16;
const COUNTS_MAX: usize = egogrid_sim_bridge::limits::COUNTS_MAX;

/// What is printed at the end.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    policy: String,
    ticks: u64,
    ticks_missed: u64,
    tick_late_ms: Option<Quantiles>,
    look_ms: Option<Quantiles>,
    /// Exposure to answer.
    answer_age_ms: Option<Quantiles>,
    outside_onnx_ms: Option<Quantiles>,
    counts: BTreeMap<String, u64>,
    remarks: Vec<String>,
    /// Why the stop is latched, if it is.
    pub(super) stopped: Option<String>,
}

#[derive(Debug, Serialize)]
struct Quantiles {
    p50: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

impl Quantiles {
    fn of(histogram: &Histogram) -> Option<Self> {
        let ms = |share| histogram.quantile(share).map(|time| time.as_secs_f64() * 1e3);
        Some(Self { p50: ms(0.5)?, p99: ms(0.99)?, p999: ms(0.999)?, max: histogram.max().as_secs_f64() * 1e3 })
    }
}

/// Tells.
pub(super) struct Teller {
    told: Told,
    remarks: Vec<String>,
    failures: BTreeMap<&'static str, u64>,
    took: Histogram,
    age: Histogram,
    outside: Histogram,
    newest: Option<(StageTimes, Duration)>,
    last: Option<(Instant, &'static str, Option<usize>)>,
}

impl Teller {
    pub(super) fn new(deployment: &Deployment, told: Told) -> CommandResult<Self> {
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
        let (took, age, outside) = (Histogram::default(), Histogram::default(), Histogram::default());
        Ok(Self { told, remarks, failures: BTreeMap::new(), took, age, outside, newest: None, last: None })
    }

    /// One more thing that people should know.
    pub(super) fn remark(&mut self, remark: String) {
        if self.remarks.len() < REMARKS_MAX && !self.remarks.contains(&remark) {
            tracing::warn!("{remark}");
            self.remarks.push(remark);
        }
    }

    /// Waits for the next look, at most `wait_max`; books what has come, and publishes when it is time or something has
    /// changed.
    pub(super) fn tell(&mut self, wait_max: Duration) {
        if let Ok(report) = self.told.reports.recv_timeout(wait_max) {
            self.book(&report);
        }
        while let Ok(report) = self.told.reports.try_recv() {
            self.book(&report);
        }
        let snapshot = *self.told.snapshots.newest();
        let (mode, why) = (mode(&snapshot), snapshot.why.map(|why| why.kind()));
        let why = why.and_then(|kind| Intervention::KINDS.iter().position(|known| *known == kind));
        let due = self.last.is_none_or(|(at, last_mode, last_why)| {
            at.elapsed() >= TELL_EVERY || last_mode != mode || (mode != "running" && last_why != why)
        });
        if !due {
            return;
        }
        self.last = Some((Instant::now(), mode, why));
        let status = self.status(&snapshot, mode);
        if let Err(error) = self.told.listeners.status(&status) {
            tracing::warn!("status: {error}");
        }
    }

    fn book(&mut self, report: &LookReport) {
        self.took.add(report.took);
        self.age.add(report.age);
        match &report.result {
            Ok(chunk) => {
                self.outside.add(chunk.times.outside_onnx());
                self.newest = Some((chunk.times, report.age));
            }
            Err(error) => {
                tracing::warn!("look {}: {error}", report.order.look);
                *self.failures.entry(error.kind()).or_default() += 1;
            }
        }
    }

    fn status(&self, snapshot: &Snapshot, mode: &'static str) -> PolicyStatus {
        let now = clock::now();
        let ms = |name: &str, ms: f64| StageTime { stage: name.to_owned(), ms };
        let counts = self.counts(snapshot); // before the lock below: it takes the same one
        let assembler = self.told.assembler.lock().unwrap_or_else(PoisonError::into_inner);
        let mut timings = Vec::new();
        let named = [("tick_late", &snapshot.lateness), ("look", &self.took), ("answer_age", &self.age)];
        for (name, histogram) in named {
            for (quantile, share) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
                let value = histogram.quantile(share).map(|time| time.as_secs_f64() * 1e3);
                timings.extend(value.map(|value| ms(&format!("{name}_{quantile}"), value)));
            }
        }
        if let Some(measured) = assembler.state_measured() {
            timings.push(ms("state_age", now.seconds_since(measured) * 1e3));
        }
        let mut remarks = self.remarks.clone();
        remarks.extend(assembler.sets().lost(now).map(|lost| format!("camera: {lost}")));
        let (stages, latency_ms) = match &self.newest {
            Some((times, age)) => (
                times.iter().map(|(stage, time)| ms(stage.name(), time.as_secs_f64() * 1e3)).collect(),
                age.as_secs_f64() * 1e3,
            ),
            None => (Vec::new(), 0.0),
        };
        let stamp = stamp_to_wire(Stamp { ns: clock::calendar().ns }).unwrap_or_default();
        let detail = match (snapshot.stopped, snapshot.why) {
            (Some(reason), _) => format!("stopped: {reason}"),
            (None, Some(why)) if mode != "running" => why.to_string(),
            _ => String::new(),
        };
        PolicyStatus {
            header: Header { stamp, frame_id: String::new() },
            mode: mode.to_owned(),
            detail,
            policy_id: self.told.policy_id.clone(),
            instruction: assembler.instruction().unwrap_or_default().to_owned(),
            observation_age_ms: snapshot.exposed.map_or(0.0, |exposed| now.seconds_since(exposed) * 1e3),
            latency_ms,
            stages,
            timings,
            counts: counts.into_iter().take(COUNTS_MAX).map(|(name, count)| Count { name, count }).collect(),
            remarks,
            looks: snapshot.looks,
            policy_failures: snapshot.answers_failed,
            actions_held: snapshot.counters.held,
            actions_changed: snapshot.counters.changed,
        }
    }

    /// Everything that is counted, zeros left out.
    fn counts(&self, snapshot: &Snapshot) -> BTreeMap<String, u64> {
        let mut counts: BTreeMap<String, u64> = [
            ("answers_taken", snapshot.answers_taken),
            ("answers_late", snapshot.answers_late),
            ("answers_failed", snapshot.answers_failed),
            ("ticks_missed", snapshot.ticks_missed),
            ("rearms_refused", u64::from(snapshot.rearms_refused)),
            ("episodes", u64::from(snapshot.episodes)),
        ]
        .map(|(name, count)| (name.to_owned(), count))
        .into();
        counts.extend(self.failures.iter().map(|(kind, count)| (format!("look_{kind}"), *count)));
        let refusals = self.told.onboard.refusals();
        counts.extend(refusals.iter().map(|(kind, count)| (format!("picture_{kind}"), *count)));
        let gate = Intervention::KINDS.iter().zip(snapshot.counters.by_kind);
        counts.extend(gate.map(|(kind, count)| (format!("gate_{kind}"), count)));
        let sets = self.told.assembler.lock().unwrap_or_else(PoisonError::into_inner);
        counts.insert("sets".to_owned(), sets.sets().sets());
        counts.insert("picture_missing_depth".to_owned(), sets.sets().counters().missing_depth);
        counts.retain(|_, count| *count > 0);
        counts
    }

    /// The last status, and the summary.
    pub(super) fn end(mut self) -> Summary {
        self.last = None;
        self.tell(Duration::ZERO);
        let snapshot = *self.told.snapshots.newest();
        Summary {
            policy: self.told.policy_id.clone(),
            ticks: snapshot.ticks,
            ticks_missed: snapshot.ticks_missed,
            tick_late_ms: Quantiles::of(&snapshot.lateness),
            look_ms: Quantiles::of(&self.took),
            answer_age_ms: Quantiles::of(&self.age),
            outside_onnx_ms: Quantiles::of(&self.outside),
            counts: self.counts(&snapshot),
            remarks: self.remarks.clone(),
            stopped: snapshot.stopped.map(|reason| reason.to_string()),
        }
    }
}

/// One word.
fn mode(snapshot: &Snapshot) -> &'static str {
    match (snapshot.stopped, snapshot.held) {
        (Some(_), _) => "stopped",
        (None, true) => "holding",
        (None, false) if snapshot.ticks == 0 => "holding",
        (None, false) => "running",
    }
}
