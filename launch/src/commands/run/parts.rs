//! A deployment to threads: what is loaded, how it is wired, in which order it starts.

use super::load::{Loader, PolicyFacts, Shape};
use super::looks::{Announcer, RunFacts};
use super::sender::{Over, Sent, send};
use super::swap::{self, SwapNews, Swaps};
use crate::assemble;
use crate::cli::Common;
use crate::deployment::{self, Deployment};
use crate::exit::{CommandError, CommandResult};
use crate::recording::Recording;
use crate::view::live::{LiveConfig, LiveView, Screen};
use anyhow::{Context, anyhow};
use egogrid_runtime::live::{
    Assembler, Control, ControlPorts, LoadedPolicy, LookReport, Looker, LookerPorts, NewestSet, Realtime, Shelf, Signs,
    SlotReader, SlotWriter, Snapshot, StateReport, clock, lock_memory, raise_priority, run, slot,
};
use egogrid_runtime::observation_set::ObservationSets;
use egogrid_runtime::safety::Gate;
use egogrid_runtime::schedule::Planner;
use egogrid_sim_bridge::codec::encode;
use egogrid_sim_bridge::endpoint::{BridgeSession, CommandSender, Listeners, Onboard, RunInfoServer};
use egogrid_sim_bridge::message::RunInfo;
use egogrid_sim_bridge::recording::{Place, run_info_topic};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Reports of looks that wait to be told.
const REPORTS_MAX: usize = 16;

/// Everything that does not depend on the wire.
pub(super) struct Parts {
    first: LoadedPolicy,
    planner: Planner,
    gate: Gate,
    loader: Loader,
    policy: PolicyFacts,
    run: RunFacts,
    /// What the live view has to show of the policy.
    shows: LiveConfig,
}

/// What the teller tells of.
pub(super) struct Told {
    pub(super) policy: PolicyFacts,
    pub(super) announcer: Announcer,
    pub(super) snapshots: SlotReader<Snapshot>,
    pub(super) reports: Receiver<LookReport>,
    /// `None`: the policy is never another one.
    pub(super) swaps: Option<Receiver<SwapNews>>,
    pub(super) sent: Arc<Sent>,
    pub(super) signs: Arc<Signs>,
    pub(super) assembler: Arc<Mutex<Assembler>>,
    pub(super) onboard: Onboard,
    pub(super) listeners: Listeners,
    pub(super) priority: Option<Realtime>,
    pub(super) memory: Option<Realtime>,
    /// `None`: nothing is shown from here.
    pub(super) view: Option<LiveView>,
    /// `None`: nothing is recorded here.
    pub(super) recording: Option<Recording>,
    /// Last: the others close their ends first.
    pub(super) session: BridgeSession,
}

/// A thread that must run for as long as the control thread does.
struct Other {
    name: &'static str,
    thread: JoinHandle<()>,
    /// Its other end goes with the thread.
    ends: Receiver<()>,
}

/// All of them.
pub(super) struct Others(Vec<Other>);

impl Others {
    /// The first that ended.
    pub(super) fn ended(&self) -> Option<&'static str> {
        self.0.iter().find(|other| other.thread.is_finished()).map(|other| other.name)
    }

    /// Waits until all have ended, at most `wait_max`; the first that has not.
    pub(super) fn end(self, wait_max: Duration) -> Option<&'static str> {
        let begun = Instant::now();
        let still_runs = |other: &Other| {
            other.thread.thread().unpark();
            let wait = wait_max.saturating_sub(begun.elapsed());
            other.ends.recv_timeout(wait) == Err(RecvTimeoutError::Timeout)
        };
        self.0.iter().find(|other| still_runs(other)).map(|other| other.name)
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
        BridgeSession::check(&deployment.wire, &deployment.keys).map_err(CommandError::missing)?;
        let loader = Loader::new(common, deployment, embodiment.stats_key, (embodiment.depth, embodiment.units))?;
        let (first, planner) = loader.load(&bundle, 0)?;
        let run = RunFacts {
            session: 0, // of the sender, which is not there yet
            provider: assemble::provider(common)?.to_string(),
            control_hz: deployment.rate.hz(),
            deployment: deployment.text.clone(),
            embodiment: assemble::small_text(&deployment.embodiment)?,
            camera: deployment.pictures.cameras.first().map_or_else(String::new, |camera| camera.name.clone()),
        };
        let (policy, shows) = (loader.facts(&bundle), LiveConfig::of(&bundle));
        Ok(Self { first, planner, gate, loader, policy, run, shows })
    }

    pub(super) fn policy_id(&self) -> &str {
        &self.first.policy.spec().id
    }

    /// Opens the wire and starts the threads; the control thread last, when everything that it needs is there.
    pub(super) fn start(self, deployment: &Deployment, signs: &Arc<Signs>) -> CommandResult<Running> {
        let shelf = Shelf::default();
        let (set_writer, sets_read) = slot(None);
        let (state_writer, states) = slot(None);
        let (answers_write, answers) = slot(None);
        let (orders, orders_read) = slot(None);
        let (commands, commands_read) = slot(None);
        let (snapshots_write, snapshots) = slot(Snapshot::default());
        let assembler = assembler(deployment, shelf.clone(), set_writer, state_writer)?;

        let session = BridgeSession::open_for(&deployment.wire, &deployment.keys).map_err(CommandError::missing)?;
        let endpoint = listening(&session);
        let sender =
            CommandSender::new(&session, &deployment.keys, deployment.dry_run).map_err(CommandError::missing)?;
        let (announcer, recording, view) =
            announce((self.run, self.shows), &sender, &self.policy, deployment, &session)?;
        let memory = deployment.lock_memory.then(lock_memory);
        let sent = Arc::<Sent>::default();
        let (counts, over) = (Arc::clone(&sent), Over::default());
        let sender = start("sender", send(sender, commands_read, counts, over.watch()))?;

        let (reports_send, reports) = sync_channel(REPORTS_MAX);
        let (swaps_send, swaps) = channel();
        let ticks_per_step = self.planner.ticks_per_step();
        let shape = Shape::of(self.first.policy.spec(), &self.planner);
        let swapping =
            deployment.swap_from.clone().map(|dir| Swaps { dir, loader: self.loader, shape, ready: swaps_send });
        let (ask_policy, swap_news) = swapping.map(swap::start).transpose()?.unzip();
        let looker = LookerPorts {
            orders: orders_read,
            answers: answers_write,
            shelf,
            signs: Arc::clone(signs),
            reports: reports_send,
            swaps,
        };
        let looker = Looker::new(self.first, ticks_per_step, looker);
        let policy = start("policy", move || looker.run())?;

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
        let (control, priority) = start_control(control, deployment.priority, [&sender, &policy], over)?;
        require_realtime(deployment, [&priority, &memory]).inspect_err(|_| signs.end())?;
        // Last: now whoever sees the token may send.
        let onboard =
            Onboard::listen(&session, &deployment.keys, Arc::clone(&assembler), Arc::clone(signs), ask_policy)
                .map_err(CommandError::missing)?;
        let listeners = Listeners::with_keys(&session, &deployment.keys);
        let threads = Threads { control, others: Others(vec![sender, policy]) };
        let told = Told {
            policy: self.policy,
            announcer,
            snapshots,
            reports,
            swaps: swap_news,
            sent,
            signs: Arc::clone(signs),
            assembler,
            onboard,
            listeners,
            priority,
            memory,
            view,
            recording,
            session,
        };
        Ok(Running { threads, told, endpoint })
    }
}

/// Puts together what arrives.
fn assembler(
    deployment: &Deployment,
    shelf: Shelf,
    sets: SlotWriter<Option<NewestSet>>,
    states: SlotWriter<Option<StateReport>>,
) -> CommandResult<Arc<Mutex<Assembler>>> {
    let joiner = ObservationSets::new(deployment.pictures.clone(), clock::now()).map_err(CommandError::usage)?;
    Ok(Arc::new(Mutex::new(Assembler::new(joiner, deployment.instruction.clone(), shelf, sets, states))))
}

/// What recorders and viewers are told, and the daemon's own recording and view, from before the first picture on.
fn announce(
    (run, shows): (RunFacts, LiveConfig),
    sender: &CommandSender,
    policy: &PolicyFacts,
    deployment: &Deployment,
    session: &BridgeSession,
) -> CommandResult<(Announcer, Option<Recording>, Option<LiveView>)> {
    let run = RunFacts { session: sender.session(), ..run };
    let info = run.info(policy);
    let recording = deployment.recording.as_ref();
    let recording = recording.map(|place| record(place, deployment, session, &info)).transpose()?;
    let server = RunInfoServer::serve(session, deployment.keys.robot(), &info).map_err(CommandError::missing)?;
    drop(info);
    let view = deployment.view.clone().map(|screen| show(screen, shows, deployment, session)).transpose()?;
    Ok((Announcer::new(run, server), recording, view))
}

/// The live view, in this process: what it is told, it hears as every other listener does.
fn show(
    screen: Screen,
    shows: LiveConfig,
    deployment: &Deployment,
    session: &BridgeSession,
) -> CommandResult<LiveView> {
    let config = LiveConfig { screen, ..shows };
    LiveView::start(session, &deployment.keys, &camera_names(deployment), config).map_err(CommandError::missing)
}

fn camera_names(deployment: &Deployment) -> Vec<String> {
    deployment.pictures.cameras.iter().map(|camera| camera.name.clone()).collect()
}

/// Everything on the wire.
fn record(
    place: &deployment::Recording,
    deployment: &Deployment,
    session: &BridgeSession,
    info: &RunInfo<'_>,
) -> CommandResult<Recording> {
    let cameras = camera_names(deployment);
    let first = vec![(run_info_topic(&deployment.keys), encode(info).map_err(CommandError::usage)?)];
    let to = Place::Directory(place.dir.clone());
    Recording::start(session, &deployment.keys, &cameras, to, place.rules, first)
}

/// Starts a thread that must not end before the control thread.
fn start(name: &'static str, work: impl FnOnce() + Send + 'static) -> CommandResult<Other> {
    let (end, ends) = channel::<()>();
    let work = move || {
        let _end = end;
        work();
    };
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work).map_err(CommandError::missing)?;
    Ok(Other { name, thread, ends })
}

/// What was asked for and not given is an error where the deployment says so.
fn require_realtime(deployment: &Deployment, given: [&Option<Realtime>; 2]) -> CommandResult {
    match given.into_iter().flatten().find(|given| deployment.realtime_required && !given.is_given()) {
        Some(refused) => Err(CommandError::missing(anyhow!("realtime.required: {refused}"))),
        None => Ok(()),
    }
}

/// Where others can connect to, for people.
fn listening(session: &BridgeSession) -> String {
    match session.listens_on() {
        listens if listens.is_empty() => "nowhere".to_owned(),
        listens => listens.join(","),
    }
}

/// The control thread; answers once it is known which priority it has.
fn start_control(
    control: Control,
    priority: Option<u8>,
    [sender, policy]: [&Other; 2],
    over: Over,
) -> CommandResult<(JoinHandle<()>, Option<Realtime>)> {
    let (sender, policy) = (sender.thread.thread().clone(), policy.thread.thread().clone());
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
        drop(over);
        sender.unpark();
        policy.unpark();
    };
    let thread = std::thread::Builder::new().name("control".to_owned()).spawn(work).map_err(CommandError::missing)?;
    let priority =
        told.recv().map_err(|_| CommandError::missing(anyhow!("the control thread ended while starting")))?;
    Ok((thread, priority))
}
