//! Topics for whoever listens: recorders, the live view, a second policy. Publishing never waits.
//!
//! From: frames, chunks and status. To: the topics of PROTOCOL.md below `egogrid/<robot>/`.

use super::peer::transport;
use super::transport::BridgeSession;
use crate::codec::{self, Message};
use crate::convert::FrameWire;
use crate::message::{ActionChunk, EpisodeMark, PointCloud2, PolicyLook, PolicyStatus, RunInfo};
use crate::session::{Keys, RobotName, is_key_part};
use egogrid_runtime::camera::Frame;
use egogrid_runtime::endpoint::EndpointError;
use std::collections::BTreeMap;
use zenoh::Wait;
use zenoh::bytes::Encoding;
use zenoh::pubsub::Publisher;
use zenoh::qos::CongestionControl;

/// Cameras that one process publishes at most.
const CAMERAS_MAX: usize = 16;
/// Publishers at most: three topics per camera, and `action`, `status`, `look`, `points`, `episode` and `run_info`.
const TOPICS_MAX: usize = 3 * CAMERAS_MAX + 6;

/// Publishers of one robot, each declared at its first use.
#[derive(Debug)]
pub struct Listeners {
    session: BridgeSession,
    keys: Keys,
    publishers: BTreeMap<String, Publisher<'static>>,
}

impl Listeners {
    /// Nothing is declared yet.
    pub fn new(session: &BridgeSession, robot: &RobotName) -> Self {
        Self::with_keys(session, &Keys::from(robot))
    }

    /// The same, with keys of the deployment file.
    pub fn with_keys(session: &BridgeSession, keys: &Keys) -> Self {
        Self { session: session.clone(), keys: keys.clone(), publishers: BTreeMap::new() }
    }

    /// `camera/<name>/image`, and `/depth` and `/camera_info` where the frame has them.
    ///
    /// # Errors
    /// A frame that cannot be sent, a camera's name that cannot stand in a key, or the transport.
    pub fn frame(&mut self, camera: &str, frame: &Frame) -> Result<(), EndpointError> {
        if !is_key_part(camera) {
            return Err(unsendable(&format!("camera name {camera:?}: use 1 to 64 of a-z, 0-9, _ and -")));
        }
        let wire = FrameWire::new(frame, camera).map_err(|error| unsendable(&error))?;
        self.put(&format!("camera/{camera}/image"), &wire.image)?;
        if let Some(depth) = &wire.depth {
            self.put(&format!("camera/{camera}/depth"), depth)?;
        }
        match &wire.camera_info {
            Some(info) => self.put(&format!("camera/{camera}/camera_info"), info),
            None => Ok(()),
        }
    }

    /// `action`. A [`super::SimClient`] does this by itself.
    ///
    /// # Errors
    /// Too long, or the transport.
    pub fn action(&mut self, chunk: &ActionChunk) -> Result<(), EndpointError> {
        self.put("action", chunk)
    }

    /// `look`.
    ///
    /// # Errors
    /// Too long, or the transport.
    pub fn look(&mut self, look: &PolicyLook) -> Result<(), EndpointError> {
        self.put("look", look)
    }

    /// `points`.
    ///
    /// # Errors
    /// Too long, or the transport.
    pub fn points(&mut self, points: &PointCloud2<'_>) -> Result<(), EndpointError> {
        self.put("points", points)
    }

    /// `episode`.
    ///
    /// # Errors
    /// Too long, or the transport.
    pub fn episode(&mut self, mark: &EpisodeMark) -> Result<(), EndpointError> {
        self.put("episode", mark)
    }

    /// `run_info`.
    ///
    /// # Errors
    /// Too long, or the transport.
    pub fn run_info(&mut self, info: &RunInfo<'_>) -> Result<(), EndpointError> {
        self.put("run_info", info)
    }

    /// `status`.
    ///
    /// # Errors
    /// Too long, or the transport.
    pub fn status(&mut self, status: &PolicyStatus) -> Result<(), EndpointError> {
        self.put("status", status)
    }

    fn put<'a, T: Message<'a>>(&mut self, rest: &str, message: &T) -> Result<(), EndpointError> {
        let payload = codec::encode(message).map_err(|error| unsendable(&error))?;
        if !self.publishers.contains_key(rest) {
            if self.publishers.len() == TOPICS_MAX {
                return Err(unsendable(&format!("{TOPICS_MAX} topics are in use, which is the most")));
            }
            let publisher = self
                .session
                .zenoh()
                .declare_publisher(self.keys.key(rest))
                .encoding(Encoding::APPLICATION_CDR.with_schema(T::ROS_TYPE))
                .congestion_control(CongestionControl::Drop)
                .express(true)
                .wait()
                .map_err(|error| transport("listeners", &error))?;
            self.publishers.insert(rest.to_owned(), publisher);
        }
        let sent = self.publishers.get(rest).map(|publisher| publisher.put(payload).wait());
        sent.transpose().map(Option::unwrap_or_default).map_err(|error| transport("listeners", &error))
    }
}

fn unsendable(error: &dyn std::fmt::Display) -> EndpointError {
    EndpointError::Transport { peer: "listeners".to_owned(), detail: format!("the message cannot be sent: {error}") }
}
