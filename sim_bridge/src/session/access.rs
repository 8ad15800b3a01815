//! Who may do what beyond this machine: certificate names (CN) and their roles. Whatever is not allowed here is dropped.
//!
//! From: `access` of the deployment file and the robot's keys. To: zenoh's access control list, default deny, in both
//! directions: what a peer may send to us, and what of ours it gets to know.

use super::{Keys, SessionError};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Longest common name of a certificate (X.520).
const NAME_MAX: usize = 64;
/// Every kind of message that zenoh's access control tells apart.
const EVERYTHING: [&str; 9] = [
    "put",
    "delete",
    "declare_subscriber",
    "query",
    "declare_queryable",
    "reply",
    "liveliness_token",
    "declare_liveliness_subscriber",
    "liveliness_query",
];

/// Names of certificates by what they may do; one name may stand in several places.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessConfig {
    /// Camera → who may send its pictures, depth and calibration.
    #[serde(default)]
    pub cameras: BTreeMap<String, Vec<String>>,
    /// Send `state`, hear `command`.
    #[serde(default)]
    pub robots: Vec<String>,
    /// Send `operator` and `instruction`, ask `do/*`, announce `alive/operator/*`, hear `status`.
    #[serde(default)]
    pub operators: Vec<String>,
    /// Hear everything that this process sends, ask what runs (`do/info`), and send nothing.
    #[serde(default)]
    pub watchers: Vec<String>,
    /// Nodes of an evaluation: take episodes and bring what came of them (`eval/turn`).
    #[serde(default)]
    pub nodes: Vec<String>,
    /// On the robot's side: the onboard daemon, which may do everything below the robot's keys.
    #[serde(default)]
    pub daemons: Vec<String>,
}

/// What one role is: rules for messages from it and to it, on these keys.
struct Grant {
    id: String,
    names: Vec<String>,
    /// Messages, direction (`ingress`: from the peer), keys.
    rules: Vec<(Vec<&'static str>, &'static str, Vec<String>)>,
}

impl AccessConfig {
    /// Names that can be ones, and at least one.
    ///
    /// # Errors
    /// A name that no certificate has, or nobody at all.
    pub(super) fn check(&self) -> Result<(), SessionError> {
        let roles = [
            ("robots", &self.robots),
            ("operators", &self.operators),
            ("watchers", &self.watchers),
            ("nodes", &self.nodes),
            ("daemons", &self.daemons),
        ];
        let roles = roles.map(|(role, names)| (role.to_owned(), names)).into_iter();
        let cameras = self.cameras.iter().map(|(camera, names)| (format!("cameras.{camera}"), names));
        let mut anybody = false;
        for (role, names) in roles.chain(cameras) {
            for name in names {
                let role = role.clone();
                is_certificate_name(name).ok_or(SessionError::CertificateName { name: name.clone(), role })?;
                anybody = true;
            }
        }
        anybody.then_some(()).ok_or(SessionError::NobodyMay)
    }

    /// Everybody who is named.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let roles = [&self.robots, &self.operators, &self.watchers, &self.nodes, &self.daemons];
        roles.into_iter().chain(self.cameras.values()).flatten().map(String::as_str)
    }

    /// Zenoh's `access_control`. Plain TCP is loopback by type, and everything is allowed there as without TLS.
    pub(super) fn zenoh(&self, keys: &Keys) -> Value {
        let mut grants = self.grants(keys);
        grants.retain(|grant| !grant.names.is_empty());
        let mut rules = vec![
            rule("loopback", &EVERYTHING, "ingress", &["**".to_owned()]),
            rule("loopback-out", &EVERYTHING, "egress", &["**".to_owned()]),
        ];
        let mut subjects = vec![json!({"id": "loopback", "link_protocols": ["tcp"]})];
        let mut policies = vec![json!({"rules": ["loopback", "loopback-out"], "subjects": ["loopback"]})];
        for grant in &grants {
            let ids: Vec<String> = (0..grant.rules.len()).map(|number| format!("{}-{number}", grant.id)).collect();
            for (id, (messages, flow, keys)) in ids.iter().zip(&grant.rules) {
                rules.push(rule(id, messages, flow, keys));
            }
            subjects.push(json!({"id": grant.id, "cert_common_names": grant.names, "link_protocols": ["tls"]}));
            policies.push(json!({"rules": ids, "subjects": [grant.id]}));
        }
        json!({"enabled": true, "default_permission": "deny", "rules": rules, "subjects": subjects, "policies": policies})
    }

    fn grants(&self, keys: &Keys) -> Vec<Grant> {
        let sends = |topics: &[&str]| {
            let keys: Vec<String> = topics.iter().map(|topic| keys.key(topic)).collect();
            [(vec!["put"], "ingress", keys)]
        };
        let hears =
            |keys: Vec<String>| [(vec!["declare_subscriber"], "ingress", keys.clone()), (vec!["put"], "egress", keys)];
        let asks = |keys: Vec<String>| [(vec!["query"], "ingress", keys.clone()), (vec!["reply"], "egress", keys)];
        let alive = |rest: &str| vec![keys.robot().key(rest)];
        let mut grants: Vec<Grant> = self
            .cameras
            .iter()
            .map(|(camera, names)| {
                let topics = ["image", "depth", "camera_info"].map(|topic| format!("camera/{camera}/{topic}"));
                let rules = sends(&topics.each_ref().map(String::as_str)).into();
                Grant { id: format!("camera {camera}"), names: names.clone(), rules }
            })
            .collect();
        let robot = sends(&["state"]).into_iter().chain(hears(vec![keys.key("command")])).collect();
        let mut operator: Vec<_> = sends(&["operator", "instruction"]).into();
        operator.extend(asks(alive("do/*")).into_iter().chain(hears(vec![keys.key("status")])));
        operator.push((vec!["liveliness_token"], "ingress", alive("alive/operator/*")));
        operator.push((vec!["declare_liveliness_subscriber"], "egress", alive("alive/operator/*")));
        let grant = |id: &str, names: &[String], rules| Grant { id: id.to_owned(), names: names.to_vec(), rules };
        grants.push(grant("robots", &self.robots, robot));
        grants.push(grant("operators", &self.operators, operator));
        let watcher = hears(keys.all()).into_iter().chain(asks(alive("do/info"))).collect();
        grants.push(grant("watchers", &self.watchers, watcher));
        grants.push(grant("nodes", &self.nodes, asks(alive("eval/turn")).into()));
        let whole = |flow| (EVERYTHING.to_vec(), flow, keys.all());
        grants.push(grant("daemons", &self.daemons, vec![whole("ingress"), whole("egress")]));
        // Whoever has a name may see who is there and what we listen to: what nobody listens to is not even sent, so that a
        // wrong role would be a silence on both sides; sent, it is dropped here and counted.
        let seen = vec![
            (vec!["declare_subscriber", "declare_queryable"], "egress", keys.all()),
            (vec!["declare_liveliness_subscriber", "liveliness_query"], "ingress", alive("alive/**")),
            (vec!["liveliness_token"], "egress", alive("alive/**")),
        ];
        let mut everybody: Vec<String> = self.names().map(str::to_owned).collect();
        everybody.sort();
        everybody.dedup();
        grants.push(grant("everybody", &everybody, seen));
        grants
    }
}

fn rule(id: &str, messages: &[&str], flow: &str, keys: &[String]) -> Value {
    json!({"id": id, "messages": messages, "flows": [flow], "permission": "allow", "key_exprs": keys})
}

fn is_certificate_name(name: &str) -> Option<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '.' | '_' | '@' | '-');
    let fine = (1..=NAME_MAX).contains(&name.len()) && name.trim() == name && name.chars().all(allowed);
    fine.then_some(())
}
