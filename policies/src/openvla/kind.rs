//! Each generated token is an action token, or the generation stops there.
//!
//! The official code goes on instead: an early end makes it read ids of the prompt, and any other id becomes the nearest
//! bin, which is a full motion.

use egogrid_action_grids::{ActionBins, BinError};
use egogrid_runtime::policy::PolicyError;

/// Checks the last of `token_ids`, the others having been checked before. `expected`: tokens of a whole action.
pub(super) fn require(bins: &ActionBins, expected: usize, token_ids: &[u32]) -> Result<(), PolicyError> {
    let Some((&found, before)) = token_ids.split_last() else { return Ok(()) };
    match bins.decode(found) {
        Ok(_) => Ok(()),
        Err(BinError::End { eos_id }) => Err(PolicyError::EarlyEnd { token_ids: token_ids.to_vec(), expected, eos_id }),
        Err(_) => {
            let ids = bins.ids();
            let expected = format!("an action token ({} to {})", ids.start, ids.end - 1);
            Err(PolicyError::WrongKind { token_ids: token_ids.to_vec(), position: before.len(), found, expected })
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Every id of a small vocabulary at every place of an action of three numbers.
    #[test]
    fn only_action_ids_pass() {
        let bins = ActionBins::new(4, 20, 2).unwrap();
        for position in 0..3 {
            for id in 0..25 {
                let token_ids = [vec![17; position], vec![id]].concat();
                match require(&bins, 3, &token_ids) {
                    Ok(()) => assert!((16..20).contains(&id), "id {id} at {position}"),
                    Err(PolicyError::EarlyEnd { token_ids: ids, expected: 3, eos_id: 2 }) => {
                        assert_eq!((id, ids), (2, token_ids));
                    }
                    Err(PolicyError::WrongKind { token_ids: ids, position: at, found, expected }) => {
                        assert!(!(16..20).contains(&id) && id != 2);
                        assert_eq!((ids, at, found), (token_ids, position, id));
                        assert!(expected.contains("16 to 19"), "{expected}");
                    }
                    Err(other) => unreachable!("{other}"),
                }
            }
        }
    }
}
