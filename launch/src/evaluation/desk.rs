//! Where nodes take episodes from and bring what came of them: the process that keeps the journal, for other machines.
//!
//! From: a [`Turn`] of a node, again and again. To: an [`Answer`]. A node says each time what it holds; what it no longer holds, or a node that
//! was not heard of for [`LEASE`], gives its episodes back. So whoever is killed, on either side, loses no episode: an answer that is lost
//! leaves the node with its records, which it brings again, and an episode that is brought twice is kept once.

use super::driver::Job;
use super::record::{EpisodeName, EpisodeRecord};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Key below the evaluation's name.
pub(super) const TURN_KEY: &str = "eval/turn";
/// A node that is not heard of for so long is gone.
pub(super) const LEASE: Duration = Duration::from_secs(60);
/// Episodes that one node may hold, and records of one turn.
pub(super) const HOLDS_MAX: usize = 512;
pub(super) const RECORDS_MAX: usize = 64;
const NODES_MAX: usize = 4096;
const NODE_BYTES_MAX: usize = 128;

/// What a node says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Turn {
    /// Of the plan that it was started with: other bundles, versions or seeds have another one.
    pub(super) plan_sha256: String,
    /// Its name, and a number that no other process has.
    pub(super) node: String,
    /// Episodes that it has and has not brought yet.
    pub(super) holds: Vec<EpisodeName>,
    /// What it brings.
    pub(super) records: Vec<EpisodeRecord>,
    /// How many more it wants.
    pub(super) wants: usize,
}

/// What it gets.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Answer {
    /// To run.
    pub(super) episodes: Vec<EpisodeName>,
    /// Nothing will come any more.
    pub(super) finished: bool,
    /// Why this node can have no part in it, in words.
    pub(super) refused: Option<String>,
}

/// Who has which episode.
#[derive(Debug, Default)]
pub(super) struct Desk {
    nodes: BTreeMap<String, Node>,
}

#[derive(Debug)]
struct Node {
    heard: Instant,
    holds: BTreeMap<EpisodeName, Job>,
    told_finished: bool,
}

impl Desk {
    /// What comes back with this turn: episodes that the node no longer holds and does not bring.
    ///
    /// # Errors
    /// Why the turn is of no use, in words.
    pub(super) fn hear(&mut self, turn: &Turn, now: Instant) -> Result<Vec<Job>, String> {
        if turn.node.is_empty() || turn.node.len() > NODE_BYTES_MAX {
            return Err(format!("the name of a node has 1 to {NODE_BYTES_MAX} bytes, not {}", turn.node.len()));
        }
        if turn.holds.len() > HOLDS_MAX || turn.records.len() > RECORDS_MAX {
            let (holds, records) = (turn.holds.len(), turn.records.len());
            return Err(format!(
                "{holds} episodes held and {records} brought at once, at most {HOLDS_MAX} and {RECORDS_MAX}"
            ));
        }
        if !self.nodes.contains_key(&turn.node) && self.nodes.len() >= NODES_MAX {
            return Err(format!("{NODES_MAX} nodes are here already"));
        }
        let fresh = || Node { heard: now, holds: BTreeMap::new(), told_finished: false };
        let node = self.nodes.entry(turn.node.clone()).or_insert_with(fresh);
        node.heard = now;
        for record in &turn.records {
            node.holds.remove(&record.name());
        }
        let said: BTreeSet<&EpisodeName> = turn.holds.iter().collect();
        let dropped: Vec<EpisodeName> = node.holds.keys().filter(|name| !said.contains(name)).cloned().collect();
        Ok(dropped.iter().filter_map(|name| node.holds.remove(name)).collect())
    }

    /// `job` is `node`'s now.
    pub(super) fn give(&mut self, node: &str, name: EpisodeName, job: Job) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.holds.insert(name, job);
        }
    }

    /// Of nodes that are gone.
    pub(super) fn expired(&mut self, now: Instant) -> Vec<Job> {
        let gone: Vec<String> = self
            .nodes
            .iter()
            .filter(|(_, node)| now.duration_since(node.heard) > LEASE)
            .map(|(name, _)| name.clone())
            .collect();
        let mut back = Vec::new();
        for name in gone {
            if let Some(node) = self.nodes.remove(&name) {
                if !node.told_finished {
                    tracing::warn!(
                        "node {name} was not heard of for {} s: {} episodes come back",
                        LEASE.as_secs(),
                        node.holds.len()
                    );
                }
                back.extend(node.holds.into_values());
            }
        }
        back
    }

    /// `node` knows that nothing will come any more.
    pub(super) fn told_finished(&mut self, node: &str) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.told_finished = true;
        }
    }

    /// Whether every node that is there knows.
    pub(super) fn all_know(&self) -> bool {
        self.nodes.values().all(|node| node.told_finished)
    }

    /// Nodes that are there.
    pub(super) fn nodes(&self) -> usize {
        self.nodes.len()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::record::tests::record;
    use super::*;
    use proptest::prelude::*;

    fn turn(node: &str, holds: &[u32], records: &[u32]) -> Turn {
        let name = |seed: &u32| ("base".to_owned(), "reach".to_owned(), *seed);
        Turn {
            plan_sha256: String::new(),
            node: node.to_owned(),
            holds: holds.iter().map(name).collect(),
            records: records.iter().map(|seed| record("reach", *seed, true)).collect(),
            wants: 1,
        }
    }

    fn give(desk: &mut Desk, node: &str, seed: u32) {
        let job = Job { arm: 0, task: "reach".to_owned(), seed, attempts: 0 };
        desk.give(node, ("base".to_owned(), "reach".to_owned(), seed), job);
    }

    fn seeds(jobs: Vec<Job>) -> Vec<u32> {
        jobs.iter().map(|job| job.seed).collect()
    }

    #[test]
    fn what_a_node_neither_holds_nor_brings_comes_back() {
        let (mut desk, now) = (Desk::default(), Instant::now());
        assert!(desk.hear(&turn("a", &[], &[]), now).unwrap().is_empty());
        (1..=3).for_each(|seed| give(&mut desk, "a", seed));
        assert_eq!(seeds(desk.hear(&turn("a", &[1], &[2]), now).unwrap()), [3]);
        // An answer did not reach it: it holds nothing.
        assert_eq!(seeds(desk.hear(&turn("a", &[], &[]), now).unwrap()), [1]);
        assert!(desk.hear(&turn("a", &[], &[]), now).unwrap().is_empty());
    }

    #[test]
    fn a_node_that_is_gone_gives_everything_back_and_may_come_again() {
        let (mut desk, now) = (Desk::default(), Instant::now());
        for node in ["a", "b"] {
            desk.hear(&turn(node, &[], &[]), now).unwrap();
        }
        give(&mut desk, "a", 1);
        give(&mut desk, "b", 2);
        let later = now + LEASE;
        desk.hear(&turn("b", &[2], &[]), later).unwrap();
        assert!(desk.expired(later).is_empty());
        assert_eq!(seeds(desk.expired(later + Duration::from_secs(1))), [1]);
        assert_eq!(desk.nodes(), 1);
        // It was only slow: what it brings now is taken by name, and twice is once (the journal's business).
        assert!(desk.hear(&turn("a", &[], &[1]), later).unwrap().is_empty());
    }

    #[test]
    fn a_run_ends_when_every_node_knows() {
        let (mut desk, now) = (Desk::default(), Instant::now());
        assert!(desk.all_know(), "nobody is there");
        desk.hear(&turn("a", &[], &[]), now).unwrap();
        assert!(!desk.all_know());
        desk.told_finished("a");
        assert!(desk.all_know());
    }

    /// What a node does in one turn.
    #[derive(Debug, Clone)]
    enum Does {
        /// Asks for so many, and hears the answer or does not.
        Takes(usize, bool),
        /// Brings what it has held longest; the answer is lost, or not.
        Brings(bool),
        /// Is killed: the next one under another name begins with nothing.
        Dies,
        /// Nobody is heard of for longer than a lease.
        Sleeps,
    }

    fn does() -> impl Strategy<Value = Does> {
        prop_oneof![
            (1usize..4, any::<bool>()).prop_map(|(count, heard)| Does::Takes(count, heard)),
            any::<bool>().prop_map(Does::Brings),
            Just(Does::Dies),
            Just(Does::Sleeps),
        ]
    }

    proptest! {
        /// Whatever is lost or killed, in whatever order: an episode is done, waits, or comes back, and none waits twice.
        #[test]
        fn no_episode_is_lost(turns in prop::collection::vec((0usize..3, does()), 0..200)) {
            const ALL: u32 = 12;
            let (mut desk, mut now) = (Desk::default(), Instant::now());
            let (mut queue, mut done) = ((0..ALL).collect::<Vec<u32>>(), BTreeSet::new());
            let mut names = [0usize, 1, 2];
            let mut held: [Vec<u32>; 3] = [vec![], vec![], vec![]];
            let back = |queue: &mut Vec<u32>, done: &BTreeSet<u32>, jobs: Vec<Job>| {
                queue.extend(seeds(jobs).into_iter().filter(|seed| !done.contains(seed)));
            };
            for (node, action) in turns {
                let name = names[node].to_string();
                match action {
                    Does::Takes(count, heard) => {
                        back(&mut queue, &done, desk.hear(&turn(&name, &held[node], &[]), now).unwrap());
                        let given: Vec<u32> = queue.drain(..count.min(queue.len())).collect();
                        given.iter().for_each(|seed| give(&mut desk, &name, *seed));
                        if heard {
                            held[node].extend(given);
                        }
                    }
                    Does::Brings(heard) => {
                        let brought: Vec<u32> = held[node].first().copied().into_iter().collect();
                        back(&mut queue, &done, desk.hear(&turn(&name, &held[node], &brought), now).unwrap());
                        done.extend(brought.iter().copied());
                        queue.retain(|seed| !done.contains(seed));
                        if heard {
                            held[node].retain(|seed| !brought.contains(seed));
                        }
                    }
                    Does::Dies => {
                        names[node] += 3;
                        held[node].clear();
                    }
                    Does::Sleeps => {
                        now += LEASE + Duration::from_secs(1);
                        back(&mut queue, &done, desk.expired(now));
                    }
                }
                let waiting: BTreeSet<u32> = queue.iter().copied().collect();
                prop_assert_eq!(waiting.len(), queue.len(), "one waits twice");
            }
            now += LEASE + Duration::from_secs(1);
            back(&mut queue, &done, desk.expired(now));
            let known: BTreeSet<u32> = queue.iter().copied().chain(done).collect();
            prop_assert_eq!(known.len(), ALL as usize);
        }

        /// Damaged bytes are refused, and no more.
        #[test]
        fn bytes_that_are_no_turn_are_an_error(at in 0usize..400, byte in any::<u8>()) {
            let mut bytes = serde_json::to_vec(&turn("a", &[1, 2], &[3])).unwrap();
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Ok(read) = serde_json::from_slice::<Turn>(&bytes) {
                let _ = Desk::default().hear(&read, Instant::now());
            }
        }
    }

    #[test]
    fn turns_have_limits() {
        let (mut desk, now) = (Desk::default(), Instant::now());
        assert!(desk.hear(&turn("", &[], &[]), now).unwrap_err().contains("1 to 128"));
        let many: Vec<u32> = (0..=HOLDS_MAX as u32).collect();
        assert!(desk.hear(&turn("a", &many, &[]), now).unwrap_err().contains("at most"));
        assert!(
            serde_json::from_str::<Turn>("{}").is_err() && serde_json::from_str::<Answer>("{\"more\": 1}").is_err()
        );
    }
}
