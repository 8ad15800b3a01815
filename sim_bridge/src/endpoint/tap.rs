//! Hears everything that a robot and its daemon say, as bytes: for recorders and viewers.
//!
//! From: the topics of one robot. To: whoever gave the callback, on zenoh's threads: it must hand over and return. The daemon does not
//! notice: its publishers drop for a listener that is behind and never wait.

use super::peer::transport;
use super::transport::BridgeSession;
use crate::limits::PAYLOAD_BYTES_MAX;
use crate::recording::Topic;
use egogrid_runtime::endpoint::EndpointError;
use egogrid_runtime::live::clock;
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use zenoh::Wait;
use zenoh::bytes::ZBytes;

/// One message as it came.
#[derive(Debug, Clone)]
pub struct Heard {
    /// Which topic.
    pub topic: Arc<Topic>,
    /// When it came, nanoseconds since the UNIX epoch.
    pub log_ns: u64,
    payload: ZBytes,
}

impl Heard {
    /// A message that was not heard but asked for.
    pub fn own(topic: Topic, payload: Vec<u8>) -> Self {
        Self { topic: Arc::new(topic), log_ns: clock::calendar().ns.max(0).cast_unsigned(), payload: payload.into() }
    }

    /// Its bytes; copied only where they came in pieces.
    pub fn payload(&self) -> Cow<'_, [u8]> {
        self.payload.to_bytes()
    }

    /// How many that are.
    pub fn payload_bytes(&self) -> usize {
        self.payload.len()
    }
}

/// Subscriptions; they end when this is dropped.
#[derive(Debug)]
pub struct Tap {
    too_large: Arc<AtomicU64>,
    _subscribers: Vec<zenoh::pubsub::Subscriber<()>>,
}

impl Tap {
    /// Calls `hear` for each message of `topics`. Payloads over the limit of the wire are counted and left out.
    ///
    /// # Errors
    /// The transport.
    pub fn listen(
        session: &BridgeSession,
        topics: Vec<Topic>,
        hear: impl Fn(Heard) + Send + Sync + 'static,
    ) -> Result<Self, EndpointError> {
        let (hear, too_large) = (Arc::new(hear), Arc::<AtomicU64>::default());
        let subscribe = |topic: Topic| {
            let (topic, hear, too_large) = (Arc::new(topic), Arc::clone(&hear), Arc::clone(&too_large));
            let key = topic.key.clone();
            let heard = move |sample: zenoh::sample::Sample| {
                if sample.payload().len() > PAYLOAD_BYTES_MAX {
                    too_large.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                let log_ns = clock::calendar().ns.max(0).cast_unsigned();
                hear(Heard { topic: Arc::clone(&topic), log_ns, payload: sample.payload().clone() });
            };
            let declared = session.zenoh().declare_subscriber(&key).callback(heard).wait();
            declared.map_err(|error| transport(&key, &error))
        };
        let subscribers = topics.into_iter().map(subscribe).collect::<Result<_, _>>()?;
        Ok(Self { too_large, _subscribers: subscribers })
    }

    /// Payloads that were left out because of their size.
    pub fn too_large(&self) -> u64 {
        self.too_large.load(Ordering::Relaxed)
    }
}
