//! What the daemon tells recorders and viewers: each look, each episode, and what runs at all.
//!
//! From: reports of the policy's thread, on the thread that tells people. To: `look`, `episode` and `run_info`. Checksums of pictures
//! are made here and not where anything waits for it.

use super::load::PolicyFacts;
use egogrid_runtime::live::{LookReport, clock};
use egogrid_sim_bridge::convert::{LookFacts, LookFailureFacts, look_to_wire, points_to_wire, stamp_to_wire};
use egogrid_sim_bridge::endpoint::{Listeners, RunInfoServer};
use egogrid_sim_bridge::limits::PROTOCOL_VERSION;
use egogrid_sim_bridge::message::{EpisodeMark, Header, RunInfo};

/// What stays the same while the daemon runs.
#[derive(Debug, Clone)]
pub(super) struct RunFacts {
    /// Of the commands.
    pub(super) session: u64,
    pub(super) provider: String,
    pub(super) control_hz: f64,
    /// Text of the files.
    pub(super) deployment: String,
    pub(super) embodiment: String,
    /// The one that the policy sees.
    pub(super) camera: String,
}

impl RunFacts {
    /// What runs, with `policy` driving.
    pub(super) fn info<'a>(&'a self, policy: &PolicyFacts) -> RunInfo<'a> {
        let label = policy.label.clone();
        RunInfo {
            header: now(),
            protocol: PROTOCOL_VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            session: self.session,
            policy_id: label.policy_id,
            bundle_sha256: label.bundle_sha256,
            stats_key: label.stats_key,
            precision: policy.precision.clone(),
            provider: self.provider.clone(),
            control_hz: self.control_hz,
            clock_offset_s: clock::calendar_offset_s(),
            deployment: self.deployment.as_bytes(),
            embodiment: self.embodiment.as_bytes(),
        }
    }
}

fn now() -> Header {
    // After 2038 messages of this version have no stamp.
    Header { stamp: stamp_to_wire(clock::calendar()).unwrap_or_default(), frame_id: String::new() }
}

/// Tells them.
pub(super) struct Announcer {
    facts: RunFacts,
    server: RunInfoServer,
    episode: Option<u32>,
}

impl Announcer {
    pub(super) fn new(facts: RunFacts, server: RunInfoServer) -> Self {
        Self { facts, server, episode: None }
    }

    /// `policy` drives from now on.
    pub(super) fn policy(&self, policy: &PolicyFacts, listeners: &mut Listeners) {
        let info = self.facts.info(policy);
        if let Err(error) = self.server.update(&info).and_then(|()| listeners.run_info(&info)) {
            tracing::warn!("run_info: {error}");
        }
    }

    /// One look.
    pub(super) fn look(&self, report: &LookReport, policy: &PolicyFacts, listeners: &mut Listeners) {
        let result = report.result.as_ref().map_err(|failure| LookFailureFacts {
            kind: failure.kind(),
            detail: failure.to_string(),
            token_ids: failure.token_ids(),
        });
        let facts = LookFacts {
            at: clock::calendar(),
            look: report.order.look,
            sequence: report.order.set.sequence,
            episode: report.order.episode,
            policy: &policy.label,
            camera: &self.facts.camera,
            observation: report.observation.as_deref(),
            committed: report.order.committed.tokens(),
            result,
            took: report.took,
            age: report.age,
            dropped: report.dropped,
        };
        let sent = look_to_wire(&facts).map_err(|error| error.to_string());
        if let Err(error) = sent.and_then(|look| listeners.look(&look).map_err(|error| error.to_string())) {
            tracing::warn!("look {}: {error}", report.order.look);
        }
        self.points(report, policy, listeners);
    }

    /// Where it sampled depth, in the axes that the policy has them in.
    fn points(&self, report: &LookReport, policy: &PolicyFacts, listeners: &mut Listeners) {
        let (Ok(chunk), Some(observation)) = (&report.result, &report.observation) else { return };
        if chunk.points_xyz_m.is_empty() {
            return;
        }
        let axes = if policy.points_in_base { "base" } else { &self.facts.camera };
        let cloud = points_to_wire(&chunk.points_xyz_m, observation.frame.stamp, axes);
        let sent = cloud.map_err(|error| error.to_string());
        if let Err(error) = sent.and_then(|cloud| listeners.points(&cloud).map_err(|error| error.to_string())) {
            tracing::warn!("points of look {}: {error}", report.order.look);
        }
    }

    /// The number of the episode that is under way.
    pub(super) fn episode(&mut self, episode: u32, instruction: &str, listeners: &mut Listeners) {
        if self.episode.replace(episode) == Some(episode) {
            return;
        }
        let mark = EpisodeMark {
            header: now(),
            episode,
            // A robot's episode has no task, no seed and no judge.
            task: String::new(),
            seed: 0,
            instruction: instruction.to_owned(),
            outcome: String::new(),
            detail: String::new(),
        };
        if let Err(error) = listeners.episode(&mark) {
            tracing::warn!("episode: {error}");
        }
    }
}
