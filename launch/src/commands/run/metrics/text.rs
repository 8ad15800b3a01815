//! Figures as OpenMetrics text, which Prometheus has read since version 2.5: base units, `_total` behind counters.

use crate::commands::run::figures::{Figures, MODES};
use crate::machine;
use egogrid_runtime::clock::Moment;
use egogrid_runtime::live::{Histogram, clock};
use egogrid_runtime::safety::StopReason;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Of the answer.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Octaves of a histogram that are told apart: from 8 µs to half a minute.
const BUCKET_SHORTEST: Duration = Duration::from_nanos(1 << 13);
const BUCKET_LONGEST: Duration = Duration::from_nanos(1 << 35);

/// Everything as text.
pub(super) fn text(figures: Arc<Figures>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Collected(figures)));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Collected(Arc<Figures>);

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let figures = &*self.0;
        infos(&mut encoder, figures)?;
        states(&mut encoder, figures)?;
        ages(&mut encoder, figures)?;
        counters(&mut encoder, figures)?;
        histograms(&mut encoder, figures)
    }
}

/// One gauge for each value of a label.
fn gauges<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    [name, help, label]: [&str; 3],
    values: impl IntoIterator<Item = (&'a str, i64)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (value, gauge) in values {
        ConstGauge::new(gauge).encode(family.encode_family(&[(label, value)])?)?;
    }
    Ok(())
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: i64) -> fmt::Result {
    ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

fn infos(encoder: &mut DescriptorEncoder<'_>, figures: &Figures) -> fmt::Result {
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    encoder.encode_descriptor("egogrid_build", "This program", None, MetricType::Info)?.encode_info(&version)?;
    let policy = [("policy_id", figures.policy_id.as_str())];
    encoder.encode_descriptor("egogrid_policy", "The policy that looks", None, MetricType::Info)?.encode_info(&policy)
}

fn states(encoder: &mut DescriptorEncoder<'_>, figures: &Figures) -> fmt::Result {
    let modes = MODES.map(|mode| (mode, i64::from(mode == figures.mode)));
    gauges(encoder, ["egogrid_mode", "What the loop does, 1 for one of them", "mode"], modes)?;
    let stopped = figures.snapshot.stopped;
    let reasons = StopReason::ALL.map(|reason| (reason.kind(), i64::from(stopped == Some(reason))));
    gauges(encoder, ["egogrid_stopped", "Why the stop is latched, 1 for one of them", "reason"], reasons)?;
    let given = [("priority", figures.priority), ("locked_memory", figures.memory_locked)];
    let given = given.into_iter().filter_map(|(what, given)| Some((what, i64::from(given?))));
    gauges(encoder, ["egogrid_realtime", "Whether the system gave what was asked for", "what"], given)?;
    gauge(
        encoder,
        "egogrid_episode",
        "Number of the episode, 0 before the first",
        i64::from(figures.snapshot.episodes),
    )?;
    let lost = i64::try_from(figures.cameras_lost).unwrap_or(i64::MAX);
    gauge(encoder, "egogrid_cameras_lost", "Cameras that are silent for too long", lost)?;
    let Some(resident) = machine::resident_memory_bytes() else { return Ok(()) };
    let (name, help) = ("egogrid_resident_memory", "Memory of this process");
    let resident = ConstGauge::new(i64::try_from(resident).unwrap_or(i64::MAX));
    resident.encode(encoder.encode_descriptor(name, help, Some(&Unit::Bytes), MetricType::Gauge)?)
}

/// As of now: they grow while nothing comes. What never came has no age.
fn ages(encoder: &mut DescriptorEncoder<'_>, figures: &Figures) -> fmt::Result {
    let now = clock::now();
    let ages: [(&str, &str, Option<Moment>); 4] = [
        ("egogrid_observation_age", "Of the picture that the last command answers", figures.snapshot.exposed),
        ("egogrid_picture_age", "Of the newest set of pictures", figures.exposed),
        ("egogrid_state_age", "Of the robot's newest report", figures.state_measured),
        ("egogrid_operator_age", "Of the operator's last sign", figures.operator_seen),
    ];
    for (name, help, since) in ages {
        let Some(since) = since else { continue };
        let age = ConstGauge::new(now.seconds_since(since));
        age.encode(encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Gauge)?)?;
    }
    Ok(())
}

fn counters(encoder: &mut DescriptorEncoder<'_>, figures: &Figures) -> fmt::Result {
    for family in figures.families() {
        let name = format!("egogrid_{}", family.name);
        let mut metric = encoder.encode_descriptor(&name, family.help, None, MetricType::Counter)?;
        if let ([], [only]) = (family.keys, family.rows.as_slice()) {
            ConstCounter::new(only.count).encode(metric)?;
            continue;
        }
        for row in &family.rows {
            let counter = ConstCounter::new(row.count);
            let labels: Vec<(&str, &str)> = family.keys.iter().copied().zip(row.labels.iter().copied()).collect();
            counter.encode(metric.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn histograms(encoder: &mut DescriptorEncoder<'_>, figures: &Figures) -> fmt::Result {
    let plain = [
        ("egogrid_tick_lateness", "From the time of a tick to its beginning", &figures.snapshot.lateness),
        ("egogrid_look_duration", "From taking an order to look to its answer", &figures.look),
        ("egogrid_answer_age", "From exposure to the answer", &figures.answer_age),
        ("egogrid_outside_onnx_duration", "Of looks with a chunk, without ONNX Runtime", &figures.outside_onnx),
    ];
    for (name, help, times) in plain {
        let mut metric = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        metric.encode_histogram::<NoLabelSet>(times.sum().as_secs_f64(), times.count(), &buckets(times), None)?;
    }
    let (name, help) = ("egogrid_stage_duration", "Of looks with a chunk, by stage");
    let mut family = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
    for (stage, times) in &figures.stages {
        let labels = [("stage", stage.name())];
        let mut metric = family.encode_family(&labels)?;
        metric.encode_histogram::<NoLabelSet>(times.sum().as_secs_f64(), times.count(), &buckets(times), None)?;
    }
    Ok(())
}

/// How many ended in each octave, in seconds; the last one has no end.
fn buckets(times: &Histogram) -> Vec<(f64, u64)> {
    let (mut buckets, mut before, mut told) = (Vec::new(), 0, 0);
    for (longest, count) in times.octaves().take_while(|(longest, _)| *longest < BUCKET_LONGEST) {
        before += count;
        if longest >= BUCKET_SHORTEST - Duration::from_nanos(1) {
            buckets.push((longest.as_secs_f64(), before));
            told += std::mem::take(&mut before);
        }
    }
    buckets.push((f64::MAX, times.count() - told));
    buckets
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_histogram_says_the_same_buckets_whatever_is_in_it_and_loses_nothing() {
        let mut times = Histogram::default();
        let empty = buckets(&times);
        for ns in [0, 8_191, 8_192, 1_000_000, 34_359_738_367, 34_359_738_368, 7_200_000_000_000] {
            times.add(Duration::from_nanos(ns));
        }
        let full = buckets(&times);
        let ends = |buckets: &[(f64, u64)]| buckets.iter().map(|(end, _)| *end).collect::<Vec<_>>();
        assert_eq!(ends(&empty), ends(&full));
        assert_eq!(full.iter().map(|(_, count)| count).sum::<u64>(), times.count());
        assert_eq!((full[0], full[1].1), ((8.191e-6, 2), 1), "up to 8191 ns, and above");
        assert_eq!(full.last(), Some(&(f64::MAX, 2)), "above half a minute");
    }
}
