//! The counter at which nodes of other machines take episodes: a zenoh query for each [`Turn`].
//!
//! From: a [`Link`]. To: records in the journal before their node hears that they arrived.

use super::desk::{Answer, Desk, HOLDS_MAX, TURN_KEY, Turn};
use super::keeper::Keeper;
use super::plan::Plan;
use super::record::{EpisodeName, EpisodeRecord, EvalHeader};
use crate::exit::{CommandError, CommandResult};
use anyhow::anyhow;
use egogrid_sim_bridge::endpoint::{BridgeSession, Errand, ErrandServer};
use egogrid_sim_bridge::session::{AccessConfig, Keys, RobotName, SessionConfig, TlsConfig};
use std::time::{Duration, Instant};

/// How long a finished run waits for its nodes to hear so.
const CLOSE_MAX: Duration = Duration::from_secs(15);

/// Where the two sides meet.
#[derive(Debug, Clone)]
pub struct Link {
    /// Name of the evaluation, in every key.
    pub name: RobotName,
    /// `tcp/127.0.0.1:PORT`, or `tls/HOST:PORT` beyond this machine.
    pub endpoint: String,
    /// Whether to listen there; else there is a zenoh router, or a counter, to connect to.
    pub listen: bool,
    /// Needed beyond this machine.
    pub tls: Option<TlsConfig>,
    /// Names in the certificates of those that may be on the other side.
    pub peers: Vec<String>,
}

impl Link {
    /// Opens it; a node trusts its counter with everything, the counter its nodes with their turns.
    ///
    /// # Errors
    /// Nobody there, or certificates that are not in order.
    pub(super) fn open(&self, node: bool) -> CommandResult<BridgeSession> {
        let access = self.tls.as_ref().map(|_| {
            let (daemons, nodes) =
                if node { (self.peers.clone(), Vec::new()) } else { (Vec::new(), self.peers.clone()) };
            AccessConfig { daemons, nodes, ..AccessConfig::default() }
        });
        let here = vec![self.endpoint.clone()];
        let (listen, connect) = if self.listen { (here, Vec::new()) } else { (Vec::new(), here) };
        let config = SessionConfig { listen, connect, tls: self.tls.clone(), access };
        BridgeSession::open_for(&config, &Keys::from(&self.name)).map_err(CommandError::missing)
    }
}

/// Open until it is dropped.
pub(super) struct Counter {
    server: ErrandServer,
    desk: Desk,
    plan_sha256: String,
    _session: BridgeSession,
}

impl Counter {
    pub(super) fn open(link: &Link, header: &EvalHeader) -> CommandResult<Self> {
        let session = link.open(false)?;
        let server = ErrandServer::serve(&session, &link.name, TURN_KEY).map_err(CommandError::missing)?;
        let at = session.listens_on();
        let place = if at.is_empty() { link.endpoint.clone() } else { at.join(", ") };
        eprintln!("nodes may join: egogrid eval join EVAL.toml --connect {place} --name {}", link.name);
        Ok(Self { server, desk: Desk::default(), plan_sha256: header.plan_sha256.clone(), _session: session })
    }

    /// Answers whoever asks, and waits `wait_max` for the first one.
    ///
    /// # Errors
    /// The journal's.
    pub(super) fn serve(&mut self, plan: &Plan, keeper: &mut Keeper<'_>, wait_max: Duration) -> CommandResult {
        keeper.jobs.refill(self.desk.expired(Instant::now()));
        let mut errand = self.server.next(wait_max);
        while let Some(asked) = errand {
            self.answer(plan, keeper, asked)?;
            errand = self.server.next(Duration::ZERO);
        }
        Ok(())
    }

    /// Tells every node that it is over.
    ///
    /// # Errors
    /// The journal's.
    pub(super) fn close(&mut self, plan: &Plan, keeper: &mut Keeper<'_>) -> CommandResult {
        let begun = Instant::now();
        while !self.desk.all_know() && begun.elapsed() < CLOSE_MAX {
            self.serve(plan, keeper, Duration::from_millis(100))?;
        }
        Ok(())
    }

    fn answer(&mut self, plan: &Plan, keeper: &mut Keeper<'_>, errand: Errand) -> CommandResult {
        let answered = match serde_json::from_slice::<Turn>(errand.payload()) {
            Ok(turn) => self.turn(plan, keeper, turn)?,
            Err(error) => Err(format!("a turn that cannot be read: {error}; both sides need the same egogrid")),
        };
        let answer = answered.unwrap_or_else(|refused| Answer { refused: Some(refused), ..Answer::default() });
        let bytes = serde_json::to_vec(&answer).map_err(|error| CommandError::usage(anyhow!(error)))?;
        errand.answer(bytes);
        Ok(())
    }

    fn turn(&mut self, plan: &Plan, keeper: &mut Keeper<'_>, turn: Turn) -> CommandResult<Result<Answer, String>> {
        let jobs = keeper.jobs;
        if turn.plan_sha256 != self.plan_sha256 {
            let short = |digest: &str| digest.chars().take(12).collect::<String>();
            return Ok(Err(format!(
                "node {} has plan {}, and this evaluation is {}: eval.toml, bundles, embodiment, and versions of egogrid and of the \
                 simulator must be the same on both sides",
                turn.node,
                short(&turn.plan_sha256),
                short(&self.plan_sha256)
            )));
        }
        if let Some(record) = turn.records.iter().find(|record| !is_planned(plan, record)) {
            return Ok(Err(format!("{:?} is no episode of this plan", record.name())));
        }
        let back = match self.desk.hear(&turn, Instant::now()) {
            Ok(back) => back,
            Err(refused) => return Ok(Err(refused)),
        };
        jobs.refill(back);
        for record in turn.records {
            let name = record.name();
            keeper.keep(EpisodeRecord { node: Some(name_of_node(&turn.node)), ..record })?;
            // It may have been given back meanwhile.
            jobs.lock().retain(|job| name_of(plan, job).as_ref() != Some(&name));
        }
        let mut answer = Answer::default();
        let free = HOLDS_MAX.saturating_sub(turn.holds.len()).min(turn.wants);
        while answer.episodes.len() < free {
            let Some(job) = jobs.lock().pop_front() else { break };
            if jobs.is_over(&job) {
                keeper.passed_over();
                continue;
            }
            let Some(name) = name_of(plan, &job).filter(|name| !keeper.has(name)) else { continue };
            self.desk.give(&turn.node, name.clone(), job);
            answer.episodes.push(name);
        }
        if keeper.left == 0 {
            answer.finished = true;
            self.desk.told_finished(&turn.node);
        }
        keeper.bar.set_prefix(format!("{} nodes", self.desk.nodes()));
        Ok(Ok(answer))
    }
}

/// Without the number of its process.
fn name_of_node(node: &str) -> String {
    node.split_once('#').map_or(node, |(name, _)| name).to_owned()
}

fn is_planned(plan: &Plan, record: &EpisodeRecord) -> bool {
    plan.arms.iter().any(|arm| arm.name == record.arm)
        && plan.tasks.contains(&record.task)
        && (plan.seed..plan.seed + plan.episodes).contains(&record.seed)
}

fn name_of(plan: &Plan, job: &super::driver::Job) -> Option<EpisodeName> {
    Some((plan.arms.get(job.arm)?.name.clone(), job.task.clone(), job.seed))
}
