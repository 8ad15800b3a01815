//! Commands of the onboard daemon to the robot: one message per tick, from a thread of its own, so that the control thread
//! neither allocates nor waits for the transport.
//!
//! From: [`Command`]s, which only the safety gate can have made. To: `command` of PROTOCOL.md, as our own message or as a
//! `TwistStamped` where the deployment file says so, or to `command_dry_run`, which no robot listens to.

use super::peer::transport;
use super::transport::BridgeSession;
use crate::codec::{self, Message};
use crate::convert::{ConvertError, stamp_to_wire};
use crate::message::{self, Header, Twist, TwistStamped, Vector3};
use crate::session::{CommandType, Keys};
use egogrid_runtime::camera::Stamp;
use egogrid_runtime::clock::Moment;
use egogrid_runtime::endpoint::EndpointError;
use egogrid_runtime::live::{Command, clock};
use zenoh::Wait;
use zenoh::bytes::Encoding;
use zenoh::pubsub::Publisher;
use zenoh::qos::{CongestionControl, Priority};

/// Axes of a command.
const COMMAND_FRAME: &str = "base";

/// The publisher.
#[derive(Debug)]
pub struct CommandSender {
    publisher: Publisher<'static>,
    session: u64,
    kind: CommandType,
}

/// A command as it goes out at `now`, which is `calendar` on the calendar clock.
///
/// # Errors
/// A calendar clock before 1901 or after 2038.
pub fn command_to_wire(
    command: &Command,
    session: u64,
    now: Moment,
    calendar: Stamp,
) -> Result<message::Command, ConvertError> {
    let vector = |[x, y, z]: [f64; 3]| Vector3 { x, y, z };
    let safe = &command.safe;
    // What has passed since the tick is over for the robot too.
    let valid_s = safe.valid_for().as_secs_f64() - now.seconds_since(command.at);
    Ok(message::Command {
        header: Header { stamp: stamp_to_wire(calendar)?, frame_id: COMMAND_FRAME.to_owned() },
        session,
        sequence: command.sequence,
        twist: Twist { linear: vector(safe.linear_m_s()), angular: vector(safe.angular_rad_s()) },
        gripper: safe.action().gripper(),
        valid_ms: valid_s.max(0.0) * 1e3,
        hold: safe.is_hold(),
        age_ms: command.origin.map(|origin| now.seconds_since(origin.exposed) * 1e3),
        reason: safe.interventions().next().map_or_else(String::new, |made| made.kind().to_owned()),
    })
}

/// The velocity of a command in the axes `frame`; gripper, validity, number and reason are lost.
///
/// # Errors
/// Words, if it is not valid any more: a twist cannot say so, and the robot would follow it.
pub fn command_to_twist(command: message::Command, frame: &str) -> Result<TwistStamped, String> {
    // Written so that NaN fails.
    if command.valid_ms > 0.0 {
        let header = Header { stamp: command.header.stamp, frame_id: frame.to_owned() };
        return Ok(TwistStamped { header, twist: command.twist });
    }
    Err(format!("command {} is over, and a twist has no place to say so", command.sequence))
}

impl CommandSender {
    /// Declares the topic. `dry_run`: under a name that no robot listens to.
    ///
    /// # Errors
    /// The transport.
    pub fn new(session: &BridgeSession, keys: &Keys, dry_run: bool) -> Result<Self, EndpointError> {
        let key = keys.key(if dry_run { "command_dry_run" } else { "command" });
        let kind = keys.command().clone();
        let schema = match kind {
            CommandType::Command => message::Command::ROS_TYPE,
            CommandType::Twist { .. } => TwistStamped::ROS_TYPE,
        };
        let publisher = session
            .zenoh()
            .declare_publisher(key)
            .encoding(Encoding::APPLICATION_CDR.with_schema(schema))
            .congestion_control(CongestionControl::Drop)
            .priority(Priority::RealTime)
            .express(true)
            .wait()
            .map_err(|error| transport(keys.robot().as_str(), &error))?;
        // Another process has another number: the calendar, and the process's own.
        let number = clock::calendar().ns.cast_unsigned() ^ u64::from(std::process::id());
        Ok(Self { publisher, session: number, kind })
    }

    /// What the commands of this process are told apart by.
    pub fn session(&self) -> u64 {
        self.session
    }

    /// Sends it. Never waits for a listener.
    ///
    /// # Errors
    /// It cannot be encoded, or the transport failed.
    pub fn send(&mut self, command: &Command) -> Result<(), EndpointError> {
        let unsendable = |detail: String| EndpointError::Transport { peer: "the robot".to_owned(), detail };
        let wire = command_to_wire(command, self.session, clock::now(), clock::calendar())
            .map_err(|error| unsendable(error.to_string()))?;
        let payload = match &self.kind {
            CommandType::Command => codec::encode(&wire),
            CommandType::Twist { frame, .. } => codec::encode(&command_to_twist(wire, frame).map_err(unsendable)?),
        };
        let payload = payload.map_err(|error| unsendable(error.to_string()))?;
        self.publisher.put(payload).wait().map_err(|error| transport("the robot", &error))
    }
}
