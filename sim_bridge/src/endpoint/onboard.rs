//! The onboard daemon's ears: cameras, state, instruction and operator of one robot, as they come.
//!
//! From: topics and queries of PROTOCOL.md. To: [`Assembler`] (pictures, state, instruction) and [`Signs`] (operator, stop,
//! re-arm, episode). Everything happens on zenoh's threads; the control thread only reads slots and flags. Whatever cannot
//! be read is counted and told once a second at most; nothing that a peer sends ends the process.

use super::peer::transport;
use super::transport::BridgeSession;
use crate::codec::{self, Message};
use crate::convert::{
    ConvertError, wire_to_depth, wire_to_intrinsics, wire_to_pose_stamped, wire_to_rgb, wire_to_stamp, wire_to_state,
};
use crate::limits::PAYLOAD_BYTES_MAX;
use crate::message::{CameraInfo, EndEffectorState, Image, OperatorSign, PoseStamped, RosString, Time};
use crate::session::{Keys, RobotName, StateType};
use egogrid_runtime::clock::Moment;
use egogrid_runtime::endpoint::EndpointError;
use egogrid_runtime::live::{Assembler, Signs, StateReport, clock};
use egogrid_runtime::observation_set::{Arrival, Part};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use zenoh::Wait;
use zenoh::bytes::ZBytes;
use zenoh::sample::SampleKind;

/// How often the same kind of refusal is told at most.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Where something came from, and why it was not used: short stable names.
pub type RefusalKind = (&'static str, &'static str);

/// A peer asks for another policy by its name; what to answer when it cannot have it. Called on zenoh's threads: it must
/// not take long.
pub type AskPolicy = Box<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// What was not used, by source and kind.
#[derive(Debug, Default)]
struct Refusals {
    counts: BTreeMap<RefusalKind, u64>,
    told: BTreeMap<RefusalKind, Instant>,
}

/// What all callbacks share.
struct Ears {
    assembler: Arc<Mutex<Assembler>>,
    signs: Arc<Signs>,
    /// `None`: the policy is never another one.
    policies: Option<AskPolicy>,
    refusals: Mutex<Refusals>,
    cameras: Vec<String>,
    state_type: StateType,
}

/// Subscriptions of one robot. They end when this is dropped.
pub struct Onboard {
    ears: Arc<Ears>,
    _subscribers: Vec<zenoh::pubsub::Subscriber<()>>,
    _queryables: Vec<zenoh::query::Queryable<()>>,
    _alive: zenoh::liveliness::LivelinessToken,
}

impl Onboard {
    /// Listens to everything that this robot sends. `assembler` knows the cameras, `policies` the policies to change to.
    ///
    /// # Errors
    /// The transport.
    pub fn listen(
        session: &BridgeSession,
        keys: &Keys,
        assembler: Arc<Mutex<Assembler>>,
        signs: Arc<Signs>,
        policies: Option<AskPolicy>,
    ) -> Result<Self, EndpointError> {
        let robot = keys.robot();
        let cameras = lock(&assembler).sets().rules().cameras.iter().map(|camera| camera.name.clone()).collect();
        let ears = Arc::new(Ears {
            assembler,
            signs,
            policies,
            refusals: Mutex::default(),
            cameras,
            state_type: keys.state().clone(),
        });
        let mut subscribers = Vec::new();
        for (camera, name) in ears.cameras.iter().enumerate() {
            let topic = |rest: &str, hear: fn(&Ears, usize, &[u8]) -> Result<(), Refused>| {
                subscribe(
                    session,
                    &keys.key(&format!("camera/{name}/{rest}")),
                    "picture",
                    &ears,
                    move |ears, payload| hear(ears, camera, payload),
                )
            };
            subscribers.extend([
                topic("image", Ears::color)?,
                topic("depth", Ears::depth)?,
                topic("camera_info", Ears::info)?,
            ]);
        }
        subscribers.push(subscribe(session, &keys.key("state"), "state", &ears, Ears::state)?);
        subscribers.push(subscribe(session, &keys.key("instruction"), "instruction", &ears, Ears::instruction)?);
        subscribers.push(subscribe(session, &keys.key("operator"), "operator", &ears, Ears::operator)?);
        subscribers.push(watch_operator(session, robot, &ears)?);
        let queryables = vec![
            request(session, &robot.key("do/stop"), &ears, Ears::do_stop)?,
            request(session, &robot.key("do/rearm"), &ears, Ears::do_rearm)?,
            request(session, &robot.key("do/episode"), &ears, Ears::do_episode)?,
            request(session, &robot.key("do/policy"), &ears, Ears::do_policy)?,
        ];
        // Last: whoever sees the token may ask at once.
        let token = robot.key(&format!("alive/daemon/{}", std::process::id()));
        let alive = session.zenoh().liveliness().declare_token(token).wait();
        let alive = alive.map_err(|error| transport(robot.as_str(), &error))?;
        Ok(Self { ears, _subscribers: subscribers, _queryables: queryables, _alive: alive })
    }

    /// What was not used: pictures by their condition, payloads that are no message, requests.
    pub fn refusals(&self) -> BTreeMap<RefusalKind, u64> {
        self.ears.refusals.lock().unwrap_or_else(PoisonError::into_inner).counts.clone()
    }
}

/// Why a message is not used: a short stable name, and words.
struct Refused {
    kind: &'static str,
    detail: String,
}

impl Refused {
    fn malformed(error: impl std::fmt::Display) -> Self {
        Self { kind: "malformed", detail: error.to_string() }
    }

    fn unusable(error: ConvertError) -> Self {
        Self { kind: "unusable", detail: error.to_string() }
    }
}

fn lock(assembler: &Mutex<Assembler>) -> MutexGuard<'_, Assembler> {
    assembler.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<'a, T: Message<'a>>(payload: &'a [u8]) -> Result<T, Refused> {
    codec::decode(payload).map_err(|error| Refused::malformed(format!("{}: {error}", T::ROS_TYPE)))
}

impl Ears {
    /// Counts, and tells people now and then.
    fn refuse(&self, source: &'static str, key: &str, refused: &Refused) {
        let kind = (source, refused.kind);
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        *refusals.counts.entry(kind).or_default() += 1;
        let now = Instant::now();
        if refusals.told.get(&kind).is_none_or(|told| now.duration_since(*told) >= TELL_EVERY) {
            refusals.told.insert(kind, now);
            tracing::warn!("{key}: not used ({}): {}", refused.kind, refused.detail);
        }
    }

    fn color(&self, camera: usize, payload: &[u8]) -> Result<(), Refused> {
        let image: Image<'_> = read(payload)?;
        let part = Part::Color(wire_to_rgb(&image).map_err(Refused::unusable)?);
        self.arrive(camera, image.header.stamp, part)
    }

    fn depth(&self, camera: usize, payload: &[u8]) -> Result<(), Refused> {
        let image: Image<'_> = read(payload)?;
        let part = Part::Depth(wire_to_depth(&image).map_err(Refused::unusable)?);
        self.arrive(camera, image.header.stamp, part)
    }

    fn arrive(&self, camera: usize, stamp: Time, part: Part) -> Result<(), Refused> {
        let stamp = wire_to_stamp(stamp).map_err(Refused::unusable)?;
        let now = clock::now();
        let exposed = clock::mapped(stamp, now, clock::calendar());
        let arrived = lock(&self.assembler).arrive(Arrival { camera, part, stamp, exposed, now });
        arrived.map_err(|condition| Refused { kind: condition.kind(), detail: condition.to_string() })
    }

    fn info(&self, camera: usize, payload: &[u8]) -> Result<(), Refused> {
        let info: CameraInfo = read(payload)?;
        let intrinsics = wire_to_intrinsics(&info).map_err(Refused::unusable)?;
        lock(&self.assembler).calibrate(camera, intrinsics);
        Ok(())
    }

    fn state(&self, payload: &[u8]) -> Result<(), Refused> {
        let (stamp, state) = match &self.state_type {
            StateType::EndEffector => {
                let wire: EndEffectorState = read(payload)?;
                (wire.header.stamp, wire_to_state(wire))
            }
            StateType::Pose { frame, gripper } => {
                let wire: PoseStamped = read(payload)?;
                (wire.header.stamp, wire_to_pose_stamped(&wire, frame, *gripper))
            }
        };
        let stamp = wire_to_stamp(stamp).map_err(Refused::unusable)?;
        let state = state.map_err(Refused::unusable)?;
        let measured = clock::mapped(stamp, clock::now(), clock::calendar());
        lock(&self.assembler).state(StateReport { state, measured });
        Ok(())
    }

    fn instruction(&self, payload: &[u8]) -> Result<(), Refused> {
        let RosString { data } = read(payload)?;
        self.instruct(data)
    }

    fn instruct(&self, text: String) -> Result<(), Refused> {
        if text.trim().is_empty() {
            return Err(Refused::malformed("an empty instruction; send what to do, or stop"));
        }
        let mut assembler = lock(&self.assembler);
        if assembler.instruction() != Some(text.as_str()) {
            tracing::info!("instruction: {text}");
            let replaced = assembler.instruction().is_some();
            assembler.instruct(text);
            if replaced {
                self.signs.instructed();
            }
        }
        Ok(())
    }

    fn operator(&self, payload: &[u8]) -> Result<(), Refused> {
        let sign: OperatorSign = read(payload)?;
        let stamp = wire_to_stamp(sign.header.stamp).map_err(Refused::unusable)?;
        // A sign counts from when it was made. One from the future counts from now: it is not younger than its arrival.
        let now: Moment = clock::now();
        self.signs.operator(sign.held, clock::mapped(stamp, now, clock::calendar()).min(now));
        Ok(())
    }

    fn do_stop(&self, _: &[u8]) -> Result<(), Refused> {
        self.signs.stop();
        Ok(())
    }

    fn do_rearm(&self, _: &[u8]) -> Result<(), Refused> {
        self.signs.rearm();
        Ok(())
    }

    fn do_episode(&self, payload: &[u8]) -> Result<(), Refused> {
        if !payload.is_empty() {
            let RosString { data } = read(payload)?;
            self.instruct(data)?;
        }
        self.signs.begin_episode();
        Ok(())
    }

    fn do_policy(&self, payload: &[u8]) -> Result<(), Refused> {
        let RosString { data } = read(payload)?;
        let Some(ask) = &self.policies else {
            let detail = "this process keeps its policy; set policy.swap_from in the deployment file".to_owned();
            return Err(Refused { kind: "policy", detail });
        };
        ask(&data).map_err(|detail| Refused { kind: "policy", detail })
    }
}

fn bytes_within(payload: &ZBytes) -> Result<std::borrow::Cow<'_, [u8]>, Refused> {
    if payload.len() > PAYLOAD_BYTES_MAX {
        let detail = format!("{} bytes, at most {PAYLOAD_BYTES_MAX} are read", payload.len());
        return Err(Refused { kind: "too_large", detail });
    }
    Ok(payload.to_bytes())
}

fn subscribe(
    session: &BridgeSession,
    key: &str,
    source: &'static str,
    ears: &Arc<Ears>,
    hear: impl Fn(&Ears, &[u8]) -> Result<(), Refused> + Send + Sync + 'static,
) -> Result<zenoh::pubsub::Subscriber<()>, EndpointError> {
    let (ears, name) = (Arc::clone(ears), key.to_owned());
    let heard = move |sample: zenoh::sample::Sample| {
        if let Err(refused) = bytes_within(sample.payload()).and_then(|payload| hear(&ears, &payload)) {
            ears.refuse(source, &name, &refused);
        }
    };
    let declared = session.zenoh().declare_subscriber(key).callback(heard).wait();
    declared.map_err(|error| transport(key, &error))
}

/// The operator's token is gone: that is the same as letting go.
fn watch_operator(
    session: &BridgeSession,
    robot: &RobotName,
    ears: &Arc<Ears>,
) -> Result<zenoh::pubsub::Subscriber<()>, EndpointError> {
    let ears = Arc::clone(ears);
    let heard = move |sample: zenoh::sample::Sample| {
        if sample.kind() == SampleKind::Delete {
            ears.signs.operator(false, clock::now());
            tracing::warn!("{} is gone: that is letting go", sample.key_expr());
        }
    };
    let key = robot.key("alive/operator/*");
    let declared = session.zenoh().liveliness().declare_subscriber(key.as_str()).history(true).callback(heard).wait();
    declared.map_err(|error| transport(&key, &error))
}

/// A request of people: answered `asked` at once; what came of it, the status tells.
fn request(
    session: &BridgeSession,
    key: &str,
    ears: &Arc<Ears>,
    serve: fn(&Ears, &[u8]) -> Result<(), Refused>,
) -> Result<zenoh::query::Queryable<()>, EndpointError> {
    let (ears, name) = (Arc::clone(ears), key.to_owned());
    let served = move |query: zenoh::query::Query| {
        let result = query.payload().map_or(Ok(std::borrow::Cow::Borrowed(&[][..])), bytes_within);
        let result = result.and_then(|payload| serve(&ears, &payload));
        let text = match &result {
            Ok(()) => "asked".to_owned(),
            Err(refused) => refused.detail.clone(),
        };
        // Written by us, and short: it can be encoded.
        let answer = codec::encode(&RosString { data: text }).unwrap_or_default();
        let sent = match result {
            Ok(()) => query.reply(query.key_expr().clone(), answer).wait(),
            Err(refused) => {
                ears.refuse("request", &name, &refused);
                query.reply_err(answer).wait()
            }
        };
        if let Err(error) = sent {
            tracing::debug!("{name}: nobody waits for the answer: {error}");
        }
    };
    session.zenoh().declare_queryable(key).callback(served).wait().map_err(|error| transport(key, &error))
}
