//! Each generated token is of the kind that its place in the chunk asks for, or the generation stops there.
//!
//! The official code pads and clips instead: a chunk that ends early becomes a rotation to the end of its range.

use egogrid_action_grids::{FoundKind, TokenKind, TokenTable};
use egogrid_runtime::policy::PolicyError;

/// Checks the last of `token_ids`, the others having been checked before. `expected`: tokens of a whole chunk.
pub(super) fn require(table: &TokenTable, expected: usize, token_ids: &[u32]) -> Result<(), PolicyError> {
    let Some((&found, before)) = token_ids.split_last() else { return Ok(()) };
    let wanted = TokenKind::at_slot(before.len());
    match table.kind_of(found) {
        FoundKind::Action(kind) if kind == wanted => Ok(()),
        FoundKind::End => {
            Err(PolicyError::EarlyEnd { token_ids: token_ids.to_vec(), expected, eos_id: table.end_id() })
        }
        FoundKind::Action(_) | FoundKind::NotAction => {
            let ids = table.ids(wanted);
            let expected = format!("a {wanted} token ({} to {})", ids.start, ids.end - 1);
            Err(PolicyError::WrongKind { token_ids: token_ids.to_vec(), position: before.len(), found, expected })
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Every id of a small vocabulary at every place of a chunk of two actions.
    #[test]
    fn only_the_kind_of_the_slot_passes() {
        let table = TokenTable::contiguous(10, [4, 3, 2], 1).unwrap();
        let blocks = [10..14, 14..17, 17..19];
        let right = [12, 15, 18, 10, 14, 17];
        for position in 0..right.len() {
            for id in 0..25 {
                let token_ids = [&right[..position], &[id]].concat();
                let result = require(&table, 6, &token_ids);
                match result {
                    Ok(()) => assert!(blocks[position % 3].contains(&id), "id {id} at {position}"),
                    Err(PolicyError::EarlyEnd { token_ids: ids, expected: 6, eos_id: 1 }) => {
                        assert_eq!((id, ids), (1, token_ids))
                    }
                    Err(PolicyError::WrongKind { token_ids: ids, position: at, found, expected }) => {
                        assert!(!blocks[position % 3].contains(&id) && id != 1);
                        assert_eq!((ids, at, found), (token_ids, position, id));
                        assert!(expected.contains(&TokenKind::at_slot(position).to_string()), "{expected}");
                    }
                    Err(other) => unreachable!("{other}"),
                }
            }
        }
    }
}
