//! A few loaded copies of one policy that many workers share.
//!
//! From: looks of all workers. To: whichever copy is free; who finds none waits, and the wait is measured. Where the plan says so, looks that
//! wait go through one pass together ([`super::batcher`]). Which copy answers does not matter, because a
//! policy keeps nothing from one look to the next but what depends on the instruction alone.

use super::batcher::Batcher;
use egogrid_runtime::observation::Observation;
use egogrid_runtime::policy::{ActionChunk, Policy, PolicyError, PolicySpec};
use egogrid_runtime::schedule::CommittedPrefix;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The copies.
pub(super) struct PolicyPool {
    spec: PolicySpec,
    free: Mutex<Vec<Box<dyn Policy>>>,
    returned: Condvar,
    batcher: Option<Batcher>,
}

/// One copy, for one look. It goes back whatever happens.
struct Lent<'a> {
    pool: &'a PolicyPool,
    policy: Option<Box<dyn Policy>>,
}

impl PolicyPool {
    /// `None` without a single one.
    pub(super) fn of(copies: Vec<Box<dyn Policy>>) -> Option<Self> {
        let spec = copies.first()?.spec().clone();
        Some(Self { spec, free: Mutex::new(copies), returned: Condvar::new(), batcher: None })
    }

    /// Looks go through `batcher`, but those that commit to something: they need `copies`.
    pub(super) fn batching(batcher: Batcher, copies: Vec<Box<dyn Policy>>) -> Self {
        let spec = batcher.spec().clone();
        Self { spec, free: Mutex::new(copies), returned: Condvar::new(), batcher: Some(batcher) }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Box<dyn Policy>>> {
        // A copy is taken out and put back whole: there is no state in between.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lend(&self) -> Lent<'_> {
        let waiting = self.returned.wait_while(self.lock(), |free| free.is_empty());
        let policy = waiting.unwrap_or_else(PoisonError::into_inner).pop();
        Lent { pool: self, policy }
    }

    /// What every copy is.
    pub(super) fn spec(&self) -> &PolicySpec {
        &self.spec
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(policy) = self.policy.take() {
            self.pool.lock().push(policy);
            self.pool.returned.notify_one();
        }
    }
}

/// One worker's access.
pub(super) struct Pooled<'a> {
    pool: &'a PolicyPool,
    waited: Duration,
}

impl<'a> Pooled<'a> {
    pub(super) fn of(pool: &'a PolicyPool) -> Self {
        Self { pool, waited: Duration::ZERO }
    }

    /// How long this worker has waited for others so far.
    pub(super) fn waited(&self) -> Duration {
        self.waited
    }
}

impl Policy for Pooled<'_> {
    fn spec(&self) -> &PolicySpec {
        &self.pool.spec
    }

    fn infer(&mut self, observation: &Observation) -> Result<ActionChunk, PolicyError> {
        self.infer_committed(observation, &CommittedPrefix::default())
    }

    fn infer_committed(
        &mut self,
        observation: &Observation,
        committed: &CommittedPrefix,
    ) -> Result<ActionChunk, PolicyError> {
        if let Some(batcher) = self.pool.batcher.as_ref().filter(|_| committed.is_empty()) {
            let asked = Instant::now();
            let answer = batcher.infer(observation);
            // Its share of the pass is booked on the chunk.
            let own = answer.as_ref().map(|chunk| chunk.times.total()).unwrap_or_default();
            self.waited += asked.elapsed().saturating_sub(own);
            return answer;
        }
        let asked = Instant::now();
        let mut lent = self.pool.lend();
        self.waited += asked.elapsed();
        match &mut lent.policy {
            Some(policy) => policy.infer_committed(observation, committed),
            // `lend` waits until there is one.
            None => Err(PolicyError::Missing { what: "a loaded copy", remedy: "please report this" }),
        }
    }

    /// Nothing of an episode is kept, see the module.
    fn reset(&mut self) {}
}
