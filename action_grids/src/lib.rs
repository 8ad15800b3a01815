//! What an action is and how it becomes tokens; pure maths, no I/O.
//!
//! From: generated token ids (`[3 * chunk_len]`), or training actions. To: [`Action`] in metres and radians.
//! The types follow the data, one arrow per function, so that no step can be skipped:
//!
//! ```text
//! token ids ── ActionTokenizer::decode_chunk ──► NormalizedAction ── NormStats::unnormalize ──► Action
//!           ◄── ActionTokenizer::encode ────────                  ◄── NormStats::normalize ────
//! ```
//!
//! Source: SpatialVLA's adaptive action grids, arXiv:2501.15830; checked against data produced by the official
//! code, see `tests/fixtures/README.md`. Every size (bins per axis, cells, token offsets) is data.

pub mod action;
pub mod adapt;
pub mod axis;
pub mod fit;
pub mod gaussian;
pub mod grid;
pub mod quantization;
pub mod spherical;
pub mod stats;
pub mod token_table;
pub mod tokenizer;

pub use action::{ACTION_DIMS, Action, ActionError, NormalizedAction};
pub use axis::{BinEdges, EdgesError};
pub use grid::{ActionGrid, GridError};
pub use stats::{NormStats, NormStatsFile, StatisticsTable, StatsError};
pub use token_table::{FoundKind, TokenError, TokenKind, TokenTable};
pub use tokenizer::{ActionTokenizer, CellDecode, DecodeError, EncodeError, TOKENS_PER_ACTION, TokenizerError};
