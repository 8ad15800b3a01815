//! Where the data of each cell lies on average: what a cell decodes to instead of its middle.
//!
//! From: a tokenizer and normalized actions (`[actions][7]`). To: [`crate::CellDecode::Points`], `egogrid grid fit`. An extension of ours:
//! the official code decodes to midpoints.

use crate::action::NormalizedAction;
use crate::fit::check_actions;
use crate::quantization::QuantizationError;
use crate::token_table::TokenKind;
use crate::tokenizer::ActionTokenizer;

/// One point per cell in the normalized cube.
#[derive(Debug, Clone, PartialEq)]
pub struct CellPoints {
    /// x, y, z.
    pub translation: Vec<[f64; 3]>,
    /// Roll, pitch, yaw.
    pub rotation: Vec<[f64; 3]>,
}

/// The mean of the actions in each cell; what `tokenizer` decodes it to where there is none.
///
/// # Errors
/// No actions, or actions outside the cube.
pub fn cell_means(tokenizer: &ActionTokenizer, actions: &[NormalizedAction]) -> Result<CellPoints, QuantizationError> {
    check_actions(actions)?;
    let table = tokenizer.table();
    let first = [TokenKind::Translation, TokenKind::Rotation, TokenKind::Gripper].map(|kind| table.ids(kind).start);
    let part = |values: &[f64; 7], from: usize| [values[from], values[from + 1], values[from + 2]];
    let mut sums = [TokenKind::Translation, TokenKind::Rotation]
        .map(|kind| vec![([0.0_f64; 3], 0_u32); table.cell_count(kind) as usize]);
    for action in actions {
        for (slot, token) in tokenizer.encode(action)?.into_iter().take(2).enumerate() {
            let (sum, count) = &mut sums[slot][(token - first[slot]) as usize];
            let values = part(action.values(), 3 * slot);
            sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
            *count += 1;
        }
    }
    let mut points = [Vec::new(), Vec::new()];
    for (slot, cells) in sums.into_iter().enumerate() {
        for (token, (sum, count)) in (first[slot]..).zip(cells) {
            let mut tokens = first;
            tokens[slot] = token;
            points[slot].push(match count {
                0 => part(tokenizer.decode(&tokens)?.values(), 3 * slot),
                // A mean of numbers in -1..=1 may be one rounding outside.
                _ => sum.map(|sum| (sum / f64::from(count)).clamp(-1.0, 1.0)),
            });
        }
    }
    let [translation, rotation] = points;
    Ok(CellPoints { translation, rotation })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::fit::{GridShape, uniform};
    use crate::{CellDecode, TokenTable};

    fn tokenizer() -> ActionTokenizer {
        let grids = uniform(&GridShape { translation: [4, 4, 2], rotation: [2, 2, 2] }).unwrap();
        let table = TokenTable::contiguous(10, [32, 8, 2], 1).unwrap();
        ActionTokenizer::new(grids.translation, grids.rotation, table).unwrap()
    }

    #[test]
    fn a_cell_decodes_to_the_mean_of_its_data_and_without_data_to_its_middle() {
        let tokenizer = tokenizer();
        let action = |x: f64, roll: f64| NormalizedAction::new([x, 0.1, 0.2, roll, 0.5, 0.5, 1.0]).unwrap();
        let actions = [action(0.30, 0.2), action(0.32, 0.4)];
        let tokens = tokenizer.encode(&actions[0]).unwrap();
        assert_eq!(tokens, tokenizer.encode(&actions[1]).unwrap(), "one cell for both");
        let points = cell_means(&tokenizer, &actions).unwrap();
        let with = tokenizer
            .clone()
            .with_cell_decode(
                CellDecode::Points(points.translation.clone()),
                CellDecode::Points(points.rotation.clone()),
            )
            .unwrap();
        let mean = with.decode(&tokens).unwrap();
        for (found, expected) in mean.values().iter().zip([0.31, 0.1, 0.2, 0.3, 0.5, 0.5, 1.0]) {
            assert!((found - expected).abs() < 1e-12, "{mean:?}");
        }
        let other = [if tokens[0] == 10 { 11 } else { 10 }, tokens[1], tokens[2]];
        assert_eq!(
            with.decode(&other).unwrap().values()[..3],
            tokenizer.decode(&other).unwrap().values()[..3],
            "nothing is known of an empty cell"
        );
    }

    #[test]
    fn no_data_has_no_means() {
        assert!(cell_means(&tokenizer(), &[]).is_err());
    }
}
