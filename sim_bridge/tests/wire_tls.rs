//! Promises about who may connect and who may do what, on real sessions with certificates that are made here.

#![allow(clippy::unwrap_used)]

mod pki;

use egogrid_sim_bridge::endpoint::{BridgeSession, WireWatch, wire_refusals};
use egogrid_sim_bridge::session::{AccessConfig, Keys, RobotName, SessionConfig, SessionError, TlsConfig};
use pki::{Pki, days};
use std::time::Duration;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use zenoh::Wait;

fn keys() -> Keys {
    Keys::from(&RobotName::new("arm").unwrap())
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

/// One certificate for each role.
fn roles() -> AccessConfig {
    AccessConfig {
        cameras: [("front".to_owned(), names(&["front-camera"]))].into(),
        robots: names(&["robot"]),
        operators: names(&["alice"]),
        watchers: names(&["desk"]),
        nodes: names(&["node"]),
        daemons: Vec::new(),
    }
}

fn daemon(tls: TlsConfig) -> SessionConfig {
    SessionConfig {
        listen: vec!["tls/127.0.0.1:0".to_owned()],
        connect: Vec::new(),
        tls: Some(tls),
        access: Some(roles()),
    }
}

fn peer_of(endpoint: &str, tls: TlsConfig) -> SessionConfig {
    let access = AccessConfig { daemons: names(&["daemon"]), ..AccessConfig::default() };
    SessionConfig { connect: vec![endpoint.to_owned()], listen: Vec::new(), tls: Some(tls), access: Some(access) }
}

fn open(config: &SessionConfig) -> BridgeSession {
    BridgeSession::open_for(config, &keys()).unwrap()
}

fn refused(config: &SessionConfig) -> String {
    match BridgeSession::open_for(config, &keys()) {
        Ok(_) => panic!("{config:?} was let in"),
        Err(error) => error.to_string(),
    }
}

fn says(error: &str, what: &str) {
    assert!(error.contains(what), "{what}: {error}");
}

/// A key of `arm`.
fn key(rest: &str) -> String {
    keys().key(rest)
}

/// Whether `to` hears what `from` publishes on `rest`, within `tries` of 100 ms.
fn hears(from: &BridgeSession, to: &BridgeSession, rest: &str, tries: usize) -> bool {
    let heard = to.zenoh().declare_subscriber(key(rest)).wait().unwrap();
    let publisher = from.zenoh().declare_publisher(key(rest)).wait().unwrap();
    (0..tries).any(|_| {
        publisher.put("x").wait().unwrap();
        matches!(heard.recv_timeout(Duration::from_millis(100)), Ok(Some(_)))
    })
}

const SOON: usize = 100;
/// Long enough for what the same peer may do to arrive.
const NEVER: usize = 10;

fn asks(from: &BridgeSession, rest: &str) -> bool {
    let replies = from.zenoh().get(key(rest)).timeout(Duration::from_secs(1)).wait().unwrap();
    replies.recv().is_ok_and(|reply| reply.into_result().is_ok())
}

/// The whole list: each name may do what its role says, and nothing else; the counters say what was dropped.
#[test]
fn each_name_may_do_what_its_role_says_and_the_rest_is_dropped_and_counted() {
    tracing_subscriber::registry().with(WireWatch::layer()).init();
    let pki = Pki::new("lab");
    let daemon = open(&daemon(pki.issue("daemon")));
    let endpoint = daemon.listens_on().remove(0);
    let as_name = |name: &str| open(&peer_of(&endpoint, pki.issue(name)));
    let (robot, camera, alice, desk) = (as_name("robot"), as_name("front-camera"), as_name("alice"), as_name("desk"));
    let answer = |query: zenoh::query::Query| query.reply(query.key_expr().clone(), "asked").wait().unwrap();
    let _stop = daemon.zenoh().declare_queryable(key("do/stop")).callback(answer).wait().unwrap();

    assert!(hears(&daemon, &robot, "command", SOON), "a command arrives at the robot");
    assert!(hears(&robot, &daemon, "state", SOON), "its state arrives at the daemon");
    assert!(hears(&camera, &daemon, "camera/front/image", SOON));
    assert!(hears(&alice, &daemon, "operator", SOON) && hears(&alice, &daemon, "instruction", SOON));
    assert!((0..SOON).any(|_| asks(&alice, "do/stop")));
    assert!(hears(&daemon, &desk, "status", SOON) && hears(&daemon, &alice, "status", SOON));
    assert_eq!(wire_refusals().messages, 0, "{:?}", wire_refusals());

    assert!(!hears(&camera, &daemon, "camera/wrist/image", NEVER), "another camera's pictures");
    assert!(!hears(&camera, &daemon, "state", NEVER) && !hears(&desk, &daemon, "state", NEVER));
    assert!(!hears(&robot, &daemon, "operator", NEVER) && !hears(&alice, &daemon, "camera/front/image", NEVER));
    assert!(!hears(&desk, &daemon, "command", NEVER) && !hears(&daemon, &camera, "command", NEVER));
    for session in [&robot, &camera, &desk] {
        assert!(!asks(session, "do/stop"), "only operators ask");
    }
    let refusals = wire_refusals();
    assert!(refusals.messages > 5, "{refusals:?}");
    let remarks = daemon.refusal_remarks().join("\n");
    for what in [
        "\"front-camera\": Put on egogrid/arm/state",
        "\"desk\": Put on egogrid/arm/command",
        "Query on egogrid/arm/do/stop",
    ] {
        assert!(remarks.contains(what), "{what}: {remarks}");
    }
    assert_eq!(daemon.refusal_counts()["messages_denied"], refusals.messages);

    // A certificate of the right authority, whose name is in no list.
    let stranger = as_name("stranger");
    assert!(!hears(&stranger, &daemon, "state", NEVER) && !hears(&daemon, &stranger, "status", NEVER));
    let remarks = daemon.refusal_remarks().join("\n");
    assert!(remarks.contains("\"stranger\" is connected and in no list of `wire.access`"), "{remarks}");

    // Refused handshakes are counted by the same watch.
    let before = wire_refusals().handshakes;
    refused(&peer_of(&endpoint, Pki::new("other").issue("robot")));
    assert!(wire_refusals().handshakes > before, "{:?}", wire_refusals());
    assert!(daemon.refusal_remarks().iter().any(|remark| remark.contains("UnknownIssuer")));
}

/// The robot's own list: only the daemon's name may send it a command.
#[test]
fn a_robot_hears_commands_of_the_daemon_only() {
    let pki = Pki::new("lab");
    let impostor = open(&SessionConfig {
        access: Some(AccessConfig { robots: names(&["robot"]), ..AccessConfig::default() }),
        ..daemon(pki.issue("somebody"))
    });
    let robot = open(&peer_of(&impostor.listens_on()[0], pki.issue("robot")));
    assert!(!hears(&impostor, &robot, "command", 3 * NEVER));
}

#[test]
fn a_peer_that_may_not_come_in_learns_why() {
    let pki = Pki::new("lab");
    let daemon = open(&daemon(pki.issue("daemon")));
    let endpoint = daemon.listens_on().remove(0);
    let port = endpoint.rsplit(':').next().unwrap().to_owned();
    let other = Pki::new("other");

    // Whose authority is another one on both of our files: we do not know the daemon's.
    let robot = pki.issue("robot");
    says(&refused(&peer_of(&endpoint, other.issue("robot"))), "its certificate is not signed by the authority");
    // Who knows both authorities is not known.
    let theirs = other.issue("robot");
    let both = theirs.certificate.with_extension("both");
    let roots = [&robot, &theirs].map(|tls| std::fs::read_to_string(&tls.root_ca_certificate).unwrap());
    std::fs::write(&both, roots.concat()).unwrap();
    let theirs = TlsConfig { root_ca_certificate: both, ..theirs };
    says(&refused(&peer_of(&endpoint, theirs)), "it does not know the authority of our certificate");
    let error = refused(&peer_of(&format!("tls/localhost:{port}"), robot.clone()));
    says(&error, "not valid for \"localhost\"");
    let plain = SessionConfig { connect: vec![format!("tcp/127.0.0.1:{port}")], ..SessionConfig::default() };
    let error = BridgeSession::open(&plain).unwrap_err().to_string();
    says(&error, "a TLS port wants tls/HOST:PORT");
    says(&refused(&peer_of("tls/127.0.0.1:1", robot)), "nobody listens there");
}

/// What cannot be shown with our own sessions, which refuse to start: peers that are no Egogrid.
#[test]
fn without_a_valid_certificate_there_is_no_connection() {
    let pki = Pki::new("lab");
    let daemon = open(&daemon(pki.issue("daemon")));
    let endpoint = daemon.listens_on().remove(0);
    let root = pki.issue("x").root_ca_certificate;
    let bare = |tls: &str| {
        let mut config = zenoh::Config::default();
        for (key, value) in [
            ("mode", "\"peer\"".to_owned()),
            ("scouting/multicast/enabled", "false".to_owned()),
            ("connect/endpoints", format!("[\"{endpoint}\"]")),
            ("connect/timeout_ms", "3000".to_owned()),
            ("connect/exit_on_failure", "true".to_owned()),
            ("transport/link/tls", format!("{{root_ca_certificate: {root:?}{tls}}}")),
        ] {
            config.insert_json5(key, &value).unwrap();
        }
        zenoh::open(config).wait()
    };
    let shown = |tls: &TlsConfig| {
        let (certificate, key) = (&tls.certificate, &tls.private_key);
        format!(", enable_mtls: true, connect_certificate: {certificate:?}, connect_private_key: {key:?}")
    };
    let good = bare(&shown(&pki.issue("robot"))).unwrap();
    assert_eq!(good.info().peers_zid().wait().count(), 1);
    drop(good);
    assert!(bare("").is_err(), "no certificate");
    assert!(bare(&shown(&pki.issue_valid("robot", days(-2), days(-1)))).is_err(), "expired");
    assert!(bare(&shown(&pki.issue_valid("robot", days(1), days(2)))).is_err(), "not valid yet");
    assert!(bare(&shown(&Pki::new("other").issue("robot"))).is_err(), "of another authority");
}

#[test]
fn a_file_that_is_not_in_order_is_named_before_anything_is_opened() {
    use std::os::unix::fs::PermissionsExt;
    let pki = Pki::new("lab");
    let good = pki.issue("daemon");
    let refused = |tls: TlsConfig| refused(&daemon(tls));
    assert!(BridgeSession::check(&daemon(good.clone()), &keys()).is_ok());

    let missing = TlsConfig { certificate: "nowhere.pem".into(), ..good.clone() };
    says(&refused(missing), "certificate nowhere.pem: there is no such file");
    let swapped = TlsConfig { certificate: good.private_key.clone(), ..good.clone() };
    says(&refused(swapped), "holds no certificate");
    let other_key = TlsConfig { private_key: pki.issue("robot").private_key, ..good.clone() };
    says(&refused(other_key), "is not the key of the certificate");
    let other = Pki::new("other");
    let theirs = other.issue("daemon");
    let other_ca = TlsConfig { root_ca_certificate: theirs.root_ca_certificate, ..good.clone() };
    says(&refused(other_ca), "not signed by the authority");
    assert!(refused(pki.issue_valid("daemon", days(-2), days(-1))).contains("expired 1 days"));
    assert!(refused(pki.issue_valid("daemon", days(3), days(4))).contains("not valid for another"));
    says(&refused(pki.issue_for_clients_only("daemon")), "serverAuth");

    for (mode, says) in [(0o644, "others can read it"), (0o640, "chmod 600"), (0o604, "mode 604")] {
        std::fs::set_permissions(&good.private_key, std::fs::Permissions::from_mode(mode)).unwrap();
        let error = refused(good.clone());
        assert!(error.contains(says) && error.contains("private_key"), "{error}");
    }
    let damaged = good.private_key.with_extension("damaged");
    let secret = std::fs::read_to_string(&good.private_key).unwrap();
    let secret = secret.lines().nth(1).unwrap().to_owned();
    std::fs::write(&damaged, format!("-----BEGIN PRIVATE KEY-----\n{secret}\n")).unwrap();
    std::fs::set_permissions(&damaged, std::fs::Permissions::from_mode(0o600)).unwrap();
    let error = refused(TlsConfig { private_key: damaged, ..good });
    assert!(error.contains("holds no private key") && !error.contains(&secret[..16]), "{error}");
}

/// One session on both: a worker of this machine needs no certificate, whoever comes from beyond does.
#[test]
fn loopback_stays_as_it_is_beside_tls() {
    let pki = Pki::new("lab");
    let mut config = daemon(pki.issue("daemon"));
    config.listen.push("tcp/127.0.0.1:0".to_owned());
    let daemon = open(&config);
    let connect = vec![daemon.listen_endpoint().unwrap().to_string()];
    let local = BridgeSession::open(&SessionConfig { connect, ..SessionConfig::default() }).unwrap();
    assert!(hears(&local, &daemon, "state", SOON) && hears(&daemon, &local, "command", SOON));
    assert!(matches!(BridgeSession::open(&config), Err(SessionError::LoopbackOnly { .. })));
}
