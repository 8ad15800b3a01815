//! What an action is and how it becomes tokens; pure maths, no I/O.
//!
//! From: generated token ids, or training actions. To: [`Action`] in metres and radians.
//! The types follow the data, one arrow per function, so that no step can be skipped:
//!
//! ```text
//! three ids per action, SpatialVLA:
//! token ids ── ActionTokenizer::decode_chunk ──► NormalizedAction ── NormStats::unnormalize ──► Action
//!           ◄── ActionTokenizer::encode ────────                  ◄── NormStats::normalize ────
//! one id per dimension, OpenVLA:
//! token ids ── ActionBins::decode ──► NormalizedRow ── RowStats::unnormalize ──► ActionRow ── try_from ──► Action
//! ```
//!
//! Sources: SpatialVLA's adaptive action grids, arXiv:2501.15830, and OpenVLA's bins, arXiv:2406.09246; checked against
//! data produced by the official code, see `tests/fixtures/README.md`. Every size (bins, cells, ids) is data.

pub mod action;
pub mod adapt;
pub mod axis;
pub mod bins;
pub mod fit;
pub mod gaussian;
pub mod grid;
pub mod points;
pub mod quantization;
pub mod row;
pub mod spherical;
pub mod stats;
pub mod token_table;
pub mod tokenizer;

pub use action::{ACTION_DIMS, Action, ActionError, NormalizedAction};
pub use axis::{BinEdges, EdgesError};
pub use bins::{ActionBins, BinError, BinsError};
pub use grid::{ActionGrid, GridError};
pub use row::{ActionRow, DeltaError, NormalizedRow, RowError};
pub use stats::{NormStats, NormStatsFile, RowStats, StatisticsTable, StatsError};
pub use token_table::{FoundKind, TokenError, TokenKind, TokenTable};
pub use tokenizer::{ActionTokenizer, CellDecode, DecodeError, EncodeError, TOKENS_PER_ACTION, TokenizerError};
