//! Action tokenizer: one action is three tokens (translation, rotation, gripper), a chunk is several actions.
//!
//! From: generated ids (`[3 * chunk_len]`) or normalized actions (`[7]`). To: normalized actions or ids.
//! Arithmetic is float64. Source: SpatialVLA, arXiv:2501.15830; all ids and values of the official code on ten
//! grids are in `tests/fixtures`. Neither direction of one action allocates.

use crate::action::NormalizedAction;
use crate::grid::{ActionGrid, GridError};
use crate::spherical;
use crate::token_table::{FoundKind, TokenError, TokenKind, TokenTable};

/// Tokens in one action: translation, rotation, gripper.
pub const TOKENS_PER_ACTION: usize = TokenKind::SLOTS.len();

/// Gripper tokens: closed and open. Binary by the definition of the family, unlike the grids.
pub const GRIPPER_CELLS: u32 = 2;

/// Gripper values from here on are open.
pub const GRIPPER_OPEN_MIN: f64 = 0.5;

/// Why grids, table and cell points do not make a tokenizer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TokenizerError {
    /// The table has another number of tokens than the grid has cells.
    #[error(
        "the token table has {tokens} {kind} tokens, its grid has {cells} cells; \
             table and grid come from different checkpoints, export again"
    )]
    CellCount {
        /// Which block.
        kind: TokenKind,
        /// Tokens in the table.
        tokens: u32,
        /// Cells in the grid.
        cells: u32,
    },
    /// Another number of decode points than cells.
    #[error(
        "there are {found} {kind} decode points, expected one for each of {expected} cells; \
             compute them again for this grid"
    )]
    PointCount {
        /// Which block.
        kind: TokenKind,
        /// Points found.
        found: usize,
        /// Cells in the grid.
        expected: u32,
    },
    /// A decode point outside the normalized cube, or NaN.
    #[error(
        "decode point of {kind} cell {cell} is {point:?}, expected numbers in [-1, 1]; \
             compute them again on normalized actions"
    )]
    Point {
        /// Which block.
        kind: TokenKind,
        /// Its cell.
        cell: usize,
        /// What was found.
        point: [f64; 3],
    },
}

/// Why an action has no tokens.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EncodeError {
    /// A value that the grid does not span.
    #[error("action dimension {dim} is {value}, expected -1 to 1; for training targets use encode_clipped")]
    OutsideCube {
        /// Which dimension.
        dim: &'static str,
        /// What was found.
        value: f64,
    },
    /// See [`GridError`].
    #[error(transparent)]
    Grid(#[from] GridError),
    /// See [`TokenError`].
    #[error(transparent)]
    Token(#[from] TokenError),
}

/// Why generated ids are not a chunk of actions. Every case is a hold: nothing is padded, nothing is clipped.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// The generation stopped without an end token.
    #[error("the chunk has {found} tokens, expected {expected}; raise the decode limit, or hold")]
    ChunkTooShort {
        /// Tokens found.
        found: usize,
        /// Three per action.
        expected: usize,
    },
    /// More follows the chunk than its end token.
    #[error(
        "token {token} at index {index} follows a full chunk of {expected} tokens, expected the end; hold this chunk"
    )]
    ChunkTooLong {
        /// First id too many.
        token: u32,
        /// Where it stands.
        index: usize,
        /// Three per action.
        expected: usize,
    },
    /// The end token came before the chunk was full.
    #[error("the generation ended after {index} of {expected} tokens; hold this chunk")]
    EarlyEnd {
        /// Index of the end token.
        index: usize,
        /// Three per action.
        expected: usize,
    },
    /// A token of another kind than its slot.
    #[error("token {token} at index {index} is {found}, expected a {expected} token; hold this chunk")]
    WrongKind {
        /// Where it stands.
        index: usize,
        /// The vocabulary id.
        token: u32,
        /// What it is.
        found: FoundKind,
        /// What belongs there.
        expected: TokenKind,
    },
    /// A chunk length of zero, or beyond the address space.
    #[error("a chunk of {chunk_len} actions was asked for, expected at least 1; correct the bundle's chunk length")]
    ChunkLen {
        /// What was asked for.
        chunk_len: usize,
    },
    /// See [`GridError`].
    #[error(transparent)]
    Grid(#[from] GridError),
}

/// What a cell decodes to. Encoding is the same for both.
#[derive(Debug, Clone, PartialEq)]
pub enum CellDecode {
    /// The midpoint of the cell's edges, on the grid's axes: what the official code does.
    Midpoint,
    /// One point per cell, `[cells][3]`, normalized (x, y, z or roll, pitch, yaw): the mean of the training data
    /// in the cell, see [`crate::fit::cell_points`]. Our extension, for checkpoints that ship such points.
    Points(Vec<[f64; 3]>),
}

/// Grids, token table and decode points that belong together.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionTokenizer {
    translation: ActionGrid,
    rotation: ActionGrid,
    table: TokenTable,
    translation_decode: CellDecode,
    rotation_decode: CellDecode,
}

impl ActionTokenizer {
    /// `translation` has the axes theta, phi, r, `rotation` roll, pitch, yaw. Cells decode to their midpoints.
    pub fn new(translation: ActionGrid, rotation: ActionGrid, table: TokenTable) -> Result<Self, TokenizerError> {
        let cells = [translation.cell_count(), rotation.cell_count(), GRIPPER_CELLS];
        for (kind, cells) in TokenKind::SLOTS.into_iter().zip(cells) {
            let tokens = table.cell_count(kind);
            if tokens != cells {
                return Err(TokenizerError::CellCount { kind, tokens, cells });
            }
        }
        let (translation_decode, rotation_decode) = (CellDecode::Midpoint, CellDecode::Midpoint);
        Ok(Self { translation, rotation, table, translation_decode, rotation_decode })
    }

    /// The same tokens with other decoded values.
    pub fn with_cell_decode(
        self,
        translation_decode: CellDecode,
        rotation_decode: CellDecode,
    ) -> Result<Self, TokenizerError> {
        check_points(TokenKind::Translation, &translation_decode, &self.translation)?;
        check_points(TokenKind::Rotation, &rotation_decode, &self.rotation)?;
        Ok(Self { translation_decode, rotation_decode, ..self })
    }

    /// Axes theta, phi, r.
    pub fn translation_grid(&self) -> &ActionGrid {
        &self.translation
    }

    /// Axes roll, pitch, yaw.
    pub fn rotation_grid(&self) -> &ActionGrid {
        &self.rotation
    }

    /// Where the tokens lie in the vocabulary.
    pub fn table(&self) -> &TokenTable {
        &self.table
    }

    /// Tokens of an action inside `[-1, 1]^7`, slot order translation, rotation, gripper. Refuses anything outside.
    pub fn encode(&self, action: &NormalizedAction) -> Result<[u32; TOKENS_PER_ACTION], EncodeError> {
        if let Some((dim, value)) = action.outside_cube() {
            return Err(EncodeError::OutsideCube { dim, value });
        }
        let [translation, rotation, gripper] = TokenKind::SLOTS;
        let direction = spherical::from_cartesian(action.translation());
        Ok([
            self.table.token(translation, self.translation.locate(direction)?)?,
            self.table.token(rotation, self.rotation.locate(action.rotation())?)?,
            self.table.token(gripper, u32::from(action.gripper() >= GRIPPER_OPEN_MIN))?,
        ])
    }

    /// Tokens of the nearest action inside `[-1, 1]^7`: the official encoder, which makes training targets.
    pub fn encode_clipped(&self, action: &NormalizedAction) -> Result<[u32; TOKENS_PER_ACTION], EncodeError> {
        self.encode(&action.clipped())
    }

    /// The action that three tokens mean. The corners of translation cells that stick out of the cube `[-1, 1]^3`
    /// mean the nearest point inside: that projection is part of the definition of a cell's value.
    pub fn decode(&self, tokens: &[u32; TOKENS_PER_ACTION]) -> Result<NormalizedAction, DecodeError> {
        self.decode_step(tokens, 0, TOKENS_PER_ACTION)
    }

    /// A whole generation: exactly `3 * chunk_len` action tokens, then nothing or the end token.
    pub fn decode_chunk(&self, tokens: &[u32], chunk_len: usize) -> Result<Vec<NormalizedAction>, DecodeError> {
        let expected = match chunk_len.checked_mul(TOKENS_PER_ACTION) {
            Some(expected) if expected > 0 => expected,
            _ => return Err(DecodeError::ChunkLen { chunk_len }),
        };
        let (steps, rest) = tokens.as_chunks::<TOKENS_PER_ACTION>();
        let mut actions = Vec::with_capacity(steps.len().min(chunk_len));
        for (step, tokens) in steps.iter().take(chunk_len).enumerate() {
            actions.push(self.decode_step(tokens, step * TOKENS_PER_ACTION, expected)?);
        }
        if tokens.len() < expected {
            let first_index = tokens.len() - rest.len();
            for (offset, &token) in rest.iter().enumerate() {
                self.cell(token, first_index + offset, expected)?;
            }
            return Err(DecodeError::ChunkTooShort { found: tokens.len(), expected });
        }
        let after_end = usize::from(tokens.get(expected) == Some(&self.table.end_id()));
        match tokens.get(expected + after_end) {
            Some(&token) => Err(DecodeError::ChunkTooLong { token, index: expected + after_end, expected }),
            None => Ok(actions),
        }
    }

    /// `first_index` and `expected` only serve the error messages.
    fn decode_step(
        &self,
        tokens: &[u32; TOKENS_PER_ACTION],
        first_index: usize,
        expected: usize,
    ) -> Result<NormalizedAction, DecodeError> {
        let mut cells = [0; TOKENS_PER_ACTION];
        for (slot, &token) in tokens.iter().enumerate() {
            cells[slot] = self.cell(token, first_index + slot, expected)?;
        }
        let [translation, rotation, gripper] = cells;
        let [x, y, z] = self.translation_point(translation)?;
        let [roll, pitch, yaw] = self.rotation_point(rotation)?;
        Ok(NormalizedAction::of_finite([x, y, z, roll, pitch, yaw, f64::from(gripper)]))
    }

    fn cell(&self, token: u32, index: usize, expected: usize) -> Result<u32, DecodeError> {
        let kind = TokenKind::at_slot(index);
        self.table.cell(kind, token).map_err(|_| match self.table.kind_of(token) {
            FoundKind::End => DecodeError::EarlyEnd { index, expected },
            found => DecodeError::WrongKind { index, token, found, expected: kind },
        })
    }

    fn translation_point(&self, cell: u32) -> Result<[f64; 3], GridError> {
        match &self.translation_decode {
            CellDecode::Midpoint => translation_midpoint(&self.translation, cell),
            CellDecode::Points(points) => Ok(points[cell as usize]),
        }
    }

    fn rotation_point(&self, cell: u32) -> Result<[f64; 3], GridError> {
        match &self.rotation_decode {
            CellDecode::Midpoint => self.rotation.center(cell),
            CellDecode::Points(points) => Ok(points[cell as usize]),
        }
    }
}

/// Midpoint of a translation cell in x, y, z, inside the cube.
pub(crate) fn translation_midpoint(grid: &ActionGrid, cell: u32) -> Result<[f64; 3], GridError> {
    Ok(spherical::to_cartesian(grid.center(cell)?).map(|value| value.clamp(-1.0, 1.0)))
}

fn check_points(kind: TokenKind, decode: &CellDecode, grid: &ActionGrid) -> Result<(), TokenizerError> {
    let CellDecode::Points(points) = decode else { return Ok(()) };
    let expected = grid.cell_count();
    if points.len() != expected as usize {
        return Err(TokenizerError::PointCount { kind, found: points.len(), expected });
    }
    let inside = |point: &[f64; 3]| point.iter().all(|value| (-1.0..=1.0).contains(value));
    match points.iter().position(|point| !inside(point)) {
        Some(cell) => Err(TokenizerError::Point { kind, cell, point: points[cell] }),
        None => Ok(()),
    }
}
