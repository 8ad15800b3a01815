//! `[precision_check]`: what the exporter measured of a bundle that is not fp32, against the fp32 reference.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Differences are the largest found; counts are of `observations`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PrecisionCheck {
    /// How many it was measured on; 0 = not measured, and every other figure is 0 too.
    pub observations: u32,
    /// Those with an id that differs.
    pub observations_differ: u32,
    /// Of the reference, over all observations.
    pub ids: u32,
    /// Those that differ, and positions that only one side has.
    pub ids_differ: u32,
    /// Observations in which one side has a whole chunk of actions and the other has not.
    pub chunks_differ: u32,
    /// Of the reference's two largest logits, as long as the ids before them are the same.
    pub logit_difference_max: f64,
    /// Of normalized actions.
    pub action_difference_max: f64,
    /// How much of that is tolerated.
    pub action_bound: f64,
    /// Whether it was measured, and no action differs by more.
    pub within_bound: bool,
    /// For each golden case, of any stage, of its largest value.
    pub stage_differences: Vec<f64>,
}

impl PrecisionCheck {
    /// Why somebody who runs this bundle should know, in words; `None` where it was measured and is within its bound.
    pub fn warning(&self) -> Option<String> {
        if self.observations == 0 {
            Some(
                "nobody has measured what its precision does to actions; export it without --observations 0".to_owned(),
            )
        } else if self.within_bound {
            None
        } else {
            Some(format!("its precision changes actions beyond the stated bound: {self}"))
        }
    }
}

impl fmt::Display for PrecisionCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} ids differ from fp32, in {} of {} observations; largest difference of logits {:.2}, of normalized \
             actions {:.2} (bound {})",
            self.ids_differ,
            self.ids,
            self.observations_differ,
            self.observations,
            self.logit_difference_max,
            self.action_difference_max,
            self.action_bound
        )?;
        match self.chunks_differ {
            0 => Ok(()),
            chunks => write!(f, "; {chunks} have a whole chunk on one side only"),
        }
    }
}
