//! Vocabulary ids of action tokens: id to (kind, cell) and back.
//!
//! From: `bundle.toml` `[tokens]`. To: `tokenizer`. Shape: three blocks of ids, one per kind, none overlapping.
//! A *cell* is a grid index, a *token* is a vocabulary id. Source: SpatialVLA, arXiv:2501.15830.

use std::fmt;
use std::ops::Range;

/// The three kinds of action token, in the order in which one time step spells them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TokenKind {
    /// Cell of the translation grid.
    Translation,
    /// Cell of the rotation grid.
    Rotation,
    /// 0 = closed, 1 = open.
    Gripper,
}

impl TokenKind {
    /// Slot order of one time step.
    pub const SLOTS: [Self; 3] = [Self::Translation, Self::Rotation, Self::Gripper];

    /// Kind expected at `index` of a generated sequence.
    pub fn at_slot(index: usize) -> Self {
        Self::SLOTS[index % Self::SLOTS.len()]
    }
}

impl fmt::Display for TokenKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Translation => "translation",
            Self::Rotation => "rotation",
            Self::Gripper => "gripper",
        })
    }
}

/// What a vocabulary id turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoundKind {
    /// An action token.
    Action(TokenKind),
    /// The end-of-sequence token.
    End,
    /// Text, an image placeholder, or no id of the vocabulary at all.
    NotAction,
}

impl fmt::Display for FoundKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Action(kind) => write!(f, "a {kind} token"),
            Self::End => f.write_str("the end token"),
            Self::NotAction => f.write_str("no action token"),
        }
    }
}

/// Why a token table is refused, or an id has no meaning where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// A block without ids.
    #[error("the token table has no {kind} tokens; export the bundle again")]
    EmptyBlock {
        /// Which block.
        kind: TokenKind,
    },
    /// Ids beyond 32 bits.
    #[error("the {kind} tokens of the table end above the largest id; export the bundle again")]
    Overflow {
        /// Which block.
        kind: TokenKind,
    },
    /// One id in two blocks.
    #[error("the {first} and {second} tokens of the table overlap; export the bundle again")]
    Overlap {
        /// One block.
        first: TokenKind,
        /// The other.
        second: TokenKind,
    },
    /// The end token is also an action.
    #[error("the end token {end_id} lies among the {kind} tokens; export the bundle again")]
    EndInBlock {
        /// The end token.
        end_id: u32,
        /// The block that holds it.
        kind: TokenKind,
    },
    /// An id of another kind. Never taken for the nearest id of the right one: that would be a command.
    #[error("token {token} is {found}, expected a {expected} token; hold this chunk")]
    WrongKind {
        /// The vocabulary id.
        token: u32,
        /// What it is.
        found: FoundKind,
        /// What belongs there.
        expected: TokenKind,
    },
    /// A cell that the table has no token for.
    #[error("there is no token for {kind} cell {cell}, the table has {cell_count}; it belongs to another grid")]
    NoSuchCell {
        /// Which block.
        kind: TokenKind,
        /// What was asked for.
        cell: u32,
        /// Tokens in the block.
        cell_count: u32,
    },
}

/// Where the action tokens lie in the vocabulary, and which id ends a sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenTable {
    blocks: [Range<u32>; 3],
    end_id: u32,
}

impl TokenTable {
    /// Blocks that follow one another: `cell_counts` = translation, rotation, gripper, from `action_begin_id` on.
    pub fn contiguous(action_begin_id: u32, cell_counts: [u32; 3], end_id: u32) -> Result<Self, TokenError> {
        let mut begin = action_begin_id;
        let mut blocks = [const { 0..0 }; 3];
        for (block, kind) in TokenKind::SLOTS.into_iter().enumerate() {
            let end = begin.checked_add(cell_counts[block]).ok_or(TokenError::Overflow { kind })?;
            blocks[block] = begin..end;
            begin = end;
        }
        Self::new(blocks, end_id)
    }

    /// Blocks anywhere: id ranges of translation, rotation, gripper.
    pub fn new(blocks: [Range<u32>; 3], end_id: u32) -> Result<Self, TokenError> {
        for (index, kind) in TokenKind::SLOTS.into_iter().enumerate() {
            let block = &blocks[index];
            if block.is_empty() {
                return Err(TokenError::EmptyBlock { kind });
            }
            if block.contains(&end_id) {
                return Err(TokenError::EndInBlock { end_id, kind });
            }
            let overlaps = |other: &Range<u32>| other.start < block.end && block.start < other.end;
            if let Some(earlier) = blocks[..index].iter().position(overlaps) {
                return Err(TokenError::Overlap { first: TokenKind::SLOTS[earlier], second: kind });
            }
        }
        Ok(Self { blocks, end_id })
    }

    /// Ids of one kind.
    pub fn ids(&self, kind: TokenKind) -> Range<u32> {
        self.blocks[kind as usize].clone()
    }

    /// Tokens of one kind.
    pub fn cell_count(&self, kind: TokenKind) -> u32 {
        let block = &self.blocks[kind as usize];
        block.end - block.start
    }

    /// The id that ends a sequence.
    pub fn end_id(&self) -> u32 {
        self.end_id
    }

    /// What an id is; every `u32` has an answer.
    pub fn kind_of(&self, token: u32) -> FoundKind {
        if token == self.end_id {
            return FoundKind::End;
        }
        let kind = TokenKind::SLOTS.into_iter().find(|&kind| self.blocks[kind as usize].contains(&token));
        kind.map_or(FoundKind::NotAction, FoundKind::Action)
    }

    /// Vocabulary id of a cell.
    pub fn token(&self, kind: TokenKind, cell: u32) -> Result<u32, TokenError> {
        let cell_count = self.cell_count(kind);
        if cell >= cell_count {
            return Err(TokenError::NoSuchCell { kind, cell, cell_count });
        }
        Ok(self.blocks[kind as usize].start + cell)
    }

    /// Cell of a vocabulary id that has to be of kind `expected`.
    pub fn cell(&self, expected: TokenKind, token: u32) -> Result<u32, TokenError> {
        let block = &self.blocks[expected as usize];
        if !block.contains(&token) {
            return Err(TokenError::WrongKind { token, found: self.kind_of(token), expected });
        }
        Ok(token - block.start)
    }
}
