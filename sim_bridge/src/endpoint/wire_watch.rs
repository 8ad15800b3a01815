//! What zenoh refuses without telling anybody: handshakes, and messages that the access list drops. It writes both into its
//! log only, so they are heard there and counted.
//!
//! From: log events of exactly the zenoh version in Cargo.toml; `tests/wire_tls.rs` fails when another one words them
//! differently. To: counts and words for `status`. Costs nothing without TLS: zenoh then has no such events.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{Filtered, Targets};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

const HANDSHAKES: &str = "zenoh_link_tls::unicast";
const DECISIONS: &str = "zenoh::net::routing::interceptor::access_control";
const DROPS: &str = "zenoh::net::routing::interceptor";
/// Kinds of refusals that are told apart; more are only counted. A peer cannot make this process grow.
const KINDS_MAX: usize = 32;
/// Longest text of one refusal, bytes.
const TEXT_BYTES_MAX: usize = 300;

/// What has been refused since the process began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WireRefusals {
    /// Handshakes that did not come to an end.
    pub handshakes: u64,
    /// Messages from peers that the access list dropped: publications, queries, declarations.
    pub messages: u64,
    /// What it was → how often; zenoh's number of the peer first, if it is a message.
    pub kinds: BTreeMap<(Option<String>, String), u64>,
    /// Zenoh's numbers of peers → the names in their certificates.
    pub names: BTreeMap<String, String>,
}

static HEARD: Mutex<WireRefusals> =
    Mutex::new(WireRefusals { handshakes: 0, messages: 0, kinds: BTreeMap::new(), names: BTreeMap::new() });

thread_local! {
    /// The decision that a drop on this thread follows from.
    static DECIDED: RefCell<Option<(String, String)>> = const { RefCell::new(None) };
}

fn heard() -> MutexGuard<'static, WireRefusals> {
    HEARD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What has been refused in this process, if [`WireWatch`] is part of its log.
pub fn wire_refusals() -> WireRefusals {
    heard().clone()
}

/// The part of a log that listens to zenoh.
#[derive(Debug, Clone, Copy, Default)]
pub struct WireWatch;

impl WireWatch {
    /// To be put into the process's one log.
    pub fn layer<S: Subscriber + for<'a> LookupSpan<'a>>() -> Filtered<Self, Targets, S> {
        let filter = Targets::new()
            .with_target(HANDSHAKES, LevelFilter::WARN)
            .with_target(DECISIONS, LevelFilter::TRACE)
            .with_target(DROPS, LevelFilter::TRACE);
        Self.with_filter(filter)
    }
}

impl<S: Subscriber> Layer<S> for WireWatch {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut text = Text(String::new());
        match event.metadata().target() {
            HANDSHAKES => {
                event.record(&mut text);
                // What follows is a guess about open files.
                if let Some((why, _)) = text.0.split_once(". Hint:") {
                    let mut heard = heard();
                    heard.handshakes += 1;
                    heard.count(None, format!("a handshake was refused: {why}"));
                }
            }
            DECISIONS => {
                event.record(&mut text);
                if let Some((peer, name)) = named(&text.0) {
                    let names = &mut heard().names;
                    if names.len() < KINDS_MAX {
                        names.entry(peer.to_owned()).or_insert_with(|| short(name));
                    }
                }
                DECIDED.set(denial(&text.0));
            }
            DROPS => {
                event.record(&mut text);
                if let Some((peer, what)) = DECIDED.take().filter(|_| text.0.starts_with("Msg intercepted")) {
                    let mut heard = heard();
                    heard.messages += 1;
                    heard.count(Some(peer), what);
                }
            }
            _ => {}
        }
    }
}

impl WireRefusals {
    fn count(&mut self, peer: Option<String>, what: String) {
        let kind = (peer, short(&what));
        if self.kinds.len() < KINDS_MAX || self.kinds.contains_key(&kind) {
            *self.kinds.entry(kind).or_default() += 1;
        }
    }
}

/// What a peer has written, so that it can be shown.
pub(super) fn short(text: &str) -> String {
    let mut text = text.escape_debug().to_string();
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    text
}

/// Peer and the name in its certificate: of `PEER on …+CertCommonName(NAME)+Transport(Tls)+PEER is unauthorized …`.
fn named(text: &str) -> Option<(&str, &str)> {
    let (who, _) = text.split_once(" is unauthorized to ")?;
    let (peer, subject) = who.split_once(" on ")?;
    let (_, name) = subject.split_once("CertCommonName(")?;
    Some((peer, name.rsplit_once(")+Transport(")?.0))
}

/// Peer, and what it may not do: of `… PEER [on …] is unauthorized to Put (ingress) on KEY`. What we do not send to a peer is
/// no refusal, and a decision that zenoh takes in advance ("Declare/Undeclare") is none yet.
fn denial(text: &str) -> Option<(String, String)> {
    let (peer, what) = text.split_once(" is unauthorized to ")?;
    let (action, key) = what.split_once(" (ingress) on ")?;
    if action.contains("ndeclare") {
        return None;
    }
    let peer = peer.strip_prefix("Using cached result: ").unwrap_or(peer).split(' ').next()?;
    Some((peer.to_owned(), format!("{action} on {key}")))
}

/// The text of an event.
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}
