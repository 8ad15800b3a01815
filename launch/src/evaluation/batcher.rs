//! Looks of many workers, several in one pass of the policy.
//!
//! From: one look of each worker that asks. To: its answer, which is what it would have got alone. Whoever finds nobody at it leads: waits until as
//! many are there as fit, or the delay is over, runs the pass for all of them, and hands out the answers.

use egogrid_runtime::observation::Observation;
use egogrid_runtime::policy::{ActionChunk, BatchPolicy, PolicyError, PolicySpec};
use egogrid_runtime::units::ActionUnits;
use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

type Answer = Result<ActionChunk, PolicyError>;

/// One policy, and who waits for it.
pub(super) struct Batcher {
    spec: PolicySpec,
    units: ActionUnits,
    size_max: usize,
    delay: Duration,
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

struct Waiting {
    /// Away while somebody leads.
    policy: Option<Box<dyn BatchPolicy>>,
    /// In the order they came.
    looks: Vec<(u64, Observation)>,
    answers: BTreeMap<u64, Answer>,
    tickets: u64,
}

impl Batcher {
    /// `workers` of one robot with these `units`: more looks than workers never come.
    pub(super) fn new(policy: Box<dyn BatchPolicy>, (units, workers): (ActionUnits, usize), delay: Duration) -> Self {
        let (spec, size_max) = (policy.spec().clone(), policy.batch_max().min(workers).max(1));
        let waiting = Waiting { policy: Some(policy), looks: Vec::new(), answers: BTreeMap::new(), tickets: 0 };
        Self { spec, units, size_max, delay, waiting: Mutex::new(waiting), changed: Condvar::new() }
    }

    /// What the policy is.
    pub(super) fn spec(&self) -> &PolicySpec {
        &self.spec
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer that this look would have got alone.
    pub(super) fn infer(&self, observation: &Observation) -> Answer {
        let mut waiting = self.lock();
        waiting.tickets += 1;
        let ticket = waiting.tickets;
        waiting.looks.push((ticket, observation.clone()));
        self.changed.notify_all(); // a leader may have waited for this one
        loop {
            if let Some(answer) = waiting.answers.remove(&ticket) {
                return answer.map(|chunk| ActionChunk { units: self.units, ..chunk });
            }
            waiting = match waiting.policy.take() {
                Some(policy) => self.lead(policy, waiting),
                None => self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Waits for company, runs one pass, leaves the answers.
    fn lead<'a>(
        &'a self,
        mut policy: Box<dyn BatchPolicy>,
        waiting: MutexGuard<'a, Waiting>,
    ) -> MutexGuard<'a, Waiting> {
        let few = |waiting: &mut Waiting| waiting.looks.len() < self.size_max;
        let (mut waiting, _) =
            self.changed.wait_timeout_while(waiting, self.delay, few).unwrap_or_else(PoisonError::into_inner);
        let size = waiting.looks.len().min(self.size_max);
        let looks: Vec<(u64, Observation)> = waiting.looks.drain(..size).collect();
        drop(waiting); // others queue up meanwhile
        let observations: Vec<&Observation> = looks.iter().map(|(_, observation)| observation).collect();
        let answers = policy.infer_batch(&observations);
        let mut waiting = self.lock();
        waiting.policy = Some(policy);
        waiting.answers.extend(looks.iter().map(|(ticket, _)| *ticket).zip(answers));
        self.changed.notify_all();
        waiting
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::view::testing::Run;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Refuses everybody, by the number of their look, and counts passes.
    struct Echo {
        spec: PolicySpec,
        passes: Arc<AtomicUsize>,
        largest: Arc<AtomicUsize>,
    }

    impl BatchPolicy for Echo {
        fn spec(&self) -> &PolicySpec {
            &self.spec
        }

        fn batch_max(&self) -> usize {
            4
        }

        fn infer_batch(&mut self, observations: &[&Observation]) -> Vec<Answer> {
            self.passes.fetch_add(1, Ordering::Relaxed);
            self.largest.fetch_max(observations.len(), Ordering::Relaxed);
            let tokens = |observation: &&Observation| observation.sequence as usize;
            observations
                .iter()
                .map(|o| Err(PolicyError::CannotCommit { tokens: tokens(o), reason: String::new() }))
                .collect()
        }
    }

    fn spec() -> PolicySpec {
        PolicySpec {
            id: "echo".to_owned(),
            image_px: [8, 8],
            chunk_len: 1,
            steps_executed: 1,
            control_hz: None,
            needs_depth: false,
            needs_extrinsics: false,
            commits: false,
        }
    }

    fn batcher(workers: usize, delay: Duration) -> (Batcher, Arc<AtomicUsize>, Arc<AtomicUsize>) {
        let (passes, largest) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let echo = Echo { spec: spec(), passes: Arc::clone(&passes), largest: Arc::clone(&largest) };
        (Batcher::new(Box::new(echo), (ActionUnits::PHYSICAL, workers), delay), passes, largest)
    }

    fn answered(batcher: &Batcher, look: u64) {
        let observation = Observation { sequence: look, ..Run::new().observation(8) };
        let answer = batcher.infer(&observation);
        assert!(matches!(answer, Err(PolicyError::CannotCommit { tokens, .. }) if tokens as u64 == look), "{answer:?}");
    }

    #[test]
    fn everybody_gets_their_own_answer_and_nobody_waits_for_more_than_fit() {
        let (batcher, passes, largest) = batcher(8, Duration::from_millis(2));
        std::thread::scope(|scope| {
            for worker in 0..8u64 {
                let batcher = &batcher;
                scope.spawn(move || (0..20).for_each(|look| answered(batcher, 100 * worker + look)));
            }
        });
        assert!((40..=160).contains(&passes.load(Ordering::Relaxed)) && largest.load(Ordering::Relaxed) <= 4);
    }

    #[test]
    fn those_who_wait_share_a_pass() {
        let (batcher, passes, largest) = batcher(4, Duration::from_secs(3600));
        std::thread::scope(|scope| {
            for worker in 0..4u64 {
                let batcher = &batcher;
                scope.spawn(move || (0..5).for_each(|look| answered(batcher, 100 * worker + look)));
            }
        });
        // Four at it and room for four: each pass has everybody.
        assert_eq!((passes.load(Ordering::Relaxed), largest.load(Ordering::Relaxed)), (5, 4));
    }

    #[test]
    fn one_alone_waits_for_the_delay_and_no_longer_and_without_others_not_at_all() {
        let (alone, passes, _) = batcher(4, Duration::from_millis(1));
        (0..3).for_each(|look| answered(&alone, look));
        assert_eq!(passes.load(Ordering::Relaxed), 3);
        let (only, passes, _) = batcher(1, Duration::from_secs(3600));
        (0..3).for_each(|look| answered(&only, look));
        assert_eq!(passes.load(Ordering::Relaxed), 3);
    }
}
