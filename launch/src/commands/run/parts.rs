//! A deployment to threads: what is loaded, how it is wired, in which order it starts.

use crate::assemble;
use crate::cli::Common;
use crate::deployment::Deployment;
use crate::exit::{CommandError, CommandResult};
use anyhow::{Context, anyhow};
use egogrid_action_grids::RowStats;
use egogrid_policies::bundle::Bundle;
use egogrid_policies::registry::LoadOptions;
use egogrid_runtime::execution::{Cancel, GraphOptions};
use egogrid_runtime::live::{
    Assembler, Command, Control, ControlPorts, Deadline, LookReport, Looker, LookerPorts, Realtime, Shelf, Signs,
    SlotReader, Snapshot, clock, lock_memory, raise_priority, run, slot,
};
use egogrid_runtime::observation_set::ObservationSets;
use egogrid_runtime::policy::{Policy, PolicySpec};
use egogrid_runtime::safety::Gate;
use egogrid_runtime::schedule::Planner;
use egogrid_sim_bridge::endpoint::{BridgeSession, CommandSender, Listeners, Onboard};
use std::sync::mpsc::{Receiver, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Reports of looks that wait to be told.
const REPORTS_MAX: usize = 16;
/// How long the sender sleeps when nobody wakes it.
const SLEEP_MAX: Duration = Duration::from_millis(100);

/// Everything that does not depend on the wire.
pub(super) struct Parts {
    policy: Box<dyn Policy>,
    planner: Planner,
    gate: Gate,
    cancel: Cancel,
}

/// What the teller tells of.
pub(super) struct Told {
    pub(super) policy_id: String,
    pub(super) snapshots: SlotReader<Snapshot>,
    pub(super) reports: Receiver<LookReport>,
    pub(super) assembler: Arc<Mutex<Assembler>>,
    pub(super) onboard: Onboard,
    pub(super) listeners: Listeners,
    pub(super) priority: Option<Realtime>,
    pub(super) memory: Option<Realtime>,
    /// Last: the others close their ends first.
    pub(super) _session: BridgeSession,
}

/// Threads that must run for as long as the control thread does.
pub(super) struct Others(Vec<(&'static str, JoinHandle<()>)>);

impl Others {
    /// The first that ended.
    pub(super) fn ended(&mut self) -> Option<&'static str> {
        self.0.iter().find(|(_, thread)| thread.is_finished()).map(|(name, _)| *name)
    }
}

pub(super) struct Threads {
    pub(super) control: JoinHandle<()>,
    pub(super) others: Others,
}

/// A running daemon.
pub(super) struct Running {
    pub(super) threads: Threads,
    pub(super) told: Told,
    /// Where others can connect to.
    pub(super) endpoint: String,
}

impl Parts {
    /// Loads the policy and checks everything against everything.
    pub(super) fn load(common: &Common, deployment: &Deployment) -> CommandResult<Self> {
        let embodiment = assemble::embodiment(common, Some(&deployment.embodiment))?;
        let gate = Gate::new(embodiment.limits, deployment.rate)
            .with_context(|| deployment.embodiment.display().to_string())
            .map_err(CommandError::usage)?;
        let bundle = assemble::bundle(&deployment.bundle)?;
        assemble::warn_of_precision(&bundle);
        require_one_arm(&bundle, &embodiment.stats_key)?;
        let environment = assemble::environment(common)?;
        let cancel = environment.cancel().map_err(CommandError::missing)?;
        let graph = GraphOptions { cancel: Some(cancel.clone()), ..assemble::graph_options(common)? };
        let options = LoadOptions { stats_key: embodiment.stats_key, graph, preprocessing: None };
        let policy = assemble::policy_with(&environment, &bundle, &options, embodiment.depth)?;
        require_pictures(policy.spec(), deployment)?;
        let planner = deployment.schedule.checked(policy.spec(), deployment.rate).map_err(CommandError::usage)?;
        Ok(Self { policy, planner, gate, cancel })
    }

    pub(super) fn policy_id(&self) -> &str {
        &self.policy.spec().id
    }

    /// Opens the wire and starts the threads; the control thread last, when everything that it needs is there.
    pub(super) fn start(self, deployment: &Deployment, signs: &Arc<Signs>) -> CommandResult<Running> {
        let policy_id = self.policy_id().to_owned();
        let sets = ObservationSets::new(deployment.pictures.clone(), clock::now()).map_err(CommandError::usage)?;
        let shelf = Shelf::default();
        let (set_writer, sets_read) = slot(None);
        let (state_writer, states) = slot(None);
        let (answers_write, answers) = slot(None);
        let (orders, orders_read) = slot(None);
        let (commands, commands_read) = slot(None);
        let (snapshots_write, snapshots) = slot(Snapshot::default());
        let assembler = Assembler::new(sets, deployment.instruction.clone(), shelf.clone(), set_writer, state_writer);
        let assembler = Arc::new(Mutex::new(assembler));

        let session = BridgeSession::open(&deployment.wire).map_err(CommandError::missing)?;
        let endpoint = session.listen_endpoint().map_or_else(|| "nowhere".to_owned(), |endpoint| endpoint.to_string());
        let sender =
            CommandSender::new(&session, &deployment.robot, deployment.dry_run).map_err(CommandError::missing)?;
        let memory = deployment.lock_memory.then(lock_memory);
        let sender = start("sender", || send(sender, commands_read, signs))?;

        let (reports_send, reports) = sync_channel(REPORTS_MAX);
        let (swaps_send, swaps) = channel();
        let deadline = Deadline::start(Arc::new(self.cancel)).map_err(CommandError::missing)?;
        let looker = LookerPorts {
            orders: orders_read,
            answers: answers_write,
            shelf,
            signs: Arc::clone(signs),
            reports: reports_send,
            swaps,
        };
        let looker = Looker::new(self.policy, self.planner.ticks_per_step(), deadline, looker);
        let policy = start("policy", || {
            Box::new(move || {
                looker.run();
                drop(swaps_send);
            })
        })?;

        let ports = ControlPorts {
            signs: Arc::clone(signs),
            states,
            sets: sets_read,
            answers,
            orders,
            commands,
            snapshots: snapshots_write,
        };
        let control = Control::new(self.gate, self.planner.schedule, deployment.deadline, ports);
        let (control, priority) = start_control(control, deployment.priority, &sender, &policy)?;
        for given in [&priority, &memory].into_iter().flatten().filter(|_| deployment.realtime_required) {
            if let Realtime::Refused(why) = given {
                signs.end();
                return Err(CommandError::missing(anyhow!("realtime.required: {why}")));
            }
        }
        // Last: now whoever sees the token may send.
        let onboard = Onboard::listen(&session, &deployment.robot, Arc::clone(&assembler), Arc::clone(signs))
            .map_err(CommandError::missing)?;
        let listeners = Listeners::new(&session, &deployment.robot);
        let threads = Threads { control, others: Others(vec![("sender", sender), ("policy", policy)]) };
        let told =
            Told { policy_id, snapshots, reports, assembler, onboard, listeners, priority, memory, _session: session };
        Ok(Running { threads, told, endpoint })
    }
}

fn start(name: &'static str, make: impl FnOnce() -> Box<dyn FnOnce() + Send>) -> CommandResult<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(make()).map_err(CommandError::missing)
}

/// The control thread; answers once it is known which priority it has.
fn start_control(
    control: Control,
    priority: Option<u8>,
    sender: &JoinHandle<()>,
    policy: &JoinHandle<()>,
) -> CommandResult<(JoinHandle<()>, Option<Realtime>)> {
    let (sender, policy) = (sender.thread().clone(), policy.thread().clone());
    let (tell, told) = sync_channel(1);
    let work = move || {
        // Nobody listens only when the owner has gone.
        let _ = tell.send(priority.map(raise_priority));
        run(control, |ordered| {
            sender.unpark();
            if ordered {
                policy.unpark();
            }
        });
        sender.unpark();
        policy.unpark();
    };
    let thread = start("control", || Box::new(work))?;
    let priority =
        told.recv().map_err(|_| CommandError::missing(anyhow!("the control thread ended while starting")))?;
    Ok((thread, priority))
}

/// The sender's thread: every command that is new, as soon as the control thread wakes it.
fn send(
    mut sender: CommandSender,
    mut commands: SlotReader<Option<Command>>,
    signs: &Arc<Signs>,
) -> Box<dyn FnOnce() + Send> {
    let signs = Arc::clone(signs);
    let mut idle_while_ending = 0;
    Box::new(move || {
        // The control thread goes on for a while after the end was asked for; its last commands are holds, and go out.
        while idle_while_ending < 10 {
            match commands.take_new() {
                Some(Some(command)) => {
                    if let Err(error) = sender.send(command) {
                        tracing::warn!("a command did not leave: {error}");
                    }
                }
                _ => {
                    idle_while_ending += u32::from(signs.is_ending());
                    std::thread::park_timeout(SLEEP_MAX);
                }
            }
        }
    })
}

/// A policy for another robot would only ever be held.
fn require_one_arm(bundle: &Bundle, stats_key: &str) -> CommandResult {
    let statistics = bundle.statistics().get(stats_key).and_then(RowStats::one_arm);
    let statistics = statistics.with_context(|| format!("{} cannot drive this robot", bundle.id()));
    statistics.map(|_| ()).map_err(CommandError::usage)
}

/// What the policy needs of the first camera.
fn require_pictures(spec: &PolicySpec, deployment: &Deployment) -> CommandResult {
    let Some(camera) = deployment.pictures.cameras.first() else { return Ok(()) };
    let missing = |what: &str| {
        CommandError::usage(anyhow!(
            "{} needs {what}, and camera {:?} has none; set it in the deployment file",
            spec.id,
            camera.name
        ))
    };
    if spec.needs_depth && !camera.depth {
        return Err(missing("depth"));
    }
    if spec.needs_extrinsics && camera.base_from_camera.is_none() {
        return Err(missing("base_from_camera"));
    }
    Ok(())
}
