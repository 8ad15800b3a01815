//! Rows of cells in `weights.bin`: read from the old bundle, interpolated in float64, written into the copy. Nothing else of the file changes.
//!
//! The exporter stores both tables `[vocabulary, width]` and, where a checkpoint has embeddings of its own for action tokens, repeats those of
//! the cells over the table's last rows, as the official code does. What is the same there stays the same.

use super::{AdaptBundleError, Plan};
use crate::bundle::{Bundle, BundleError, RowsSpec, WEIGHTS_FILE};
use egogrid_action_grids::TokenKind;
use egogrid_action_grids::adapt::adapt_rows;
use egogrid_runtime::execution::{Element, Weights};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Tables of the decode graph, as `policies/export` calls them.
const EMBEDDINGS: &str = "text.embeddings_scaled";
const HEAD: &str = "text.head";
/// Bytes of one number.
const F32: usize = size_of::<f32>();

/// Adapts what `plan` says in `copy`, a copy of the weights of `bundle`.
pub(super) fn adapt_tables(bundle: &Bundle, copy: &Path, plan: &Plan) -> Result<(), AdaptBundleError> {
    let weights = Weights::open(&bundle.path(WEIGHTS_FILE))?;
    let failed = |source| BundleError::Write { path: copy.to_path_buf(), source };
    let mut file = OpenOptions::new().read(true).write(true).open(copy).map_err(failed)?;
    for (tensor, rows) in [(EMBEDDINGS, plan.embeddings), (HEAD, plan.head)] {
        if rows == RowsSpec::Kept {
            continue;
        }
        let table = Table::find(bundle, &weights, tensor, plan.vocabulary)?;
        let begin = plan.tokenizer.table().ids(TokenKind::Translation).start;
        let old = table.read(&mut file, begin, plan.stencils.len()).map_err(failed)?;
        let new = adapt_rows(&plan.stencils, &old, table.width)?;
        table.write(&mut file, begin, &new).map_err(failed)?;
        if let Some(repeated) = last_rows(plan)
            && table.read(&mut file, repeated, plan.stencils.len()).map_err(failed)? == old
        {
            table.write(&mut file, repeated, &new).map_err(failed)?;
        }
    }
    file.sync_all().map_err(failed)?;
    Ok(())
}

/// Where rows of cells are repeated, if the table has other rows there: behind them are only those of the gripper.
pub(super) fn last_rows(plan: &Plan) -> Option<u32> {
    let table = plan.tokenizer.table();
    let (begin, end) = (table.ids(TokenKind::Translation).start, table.ids(TokenKind::Gripper).end);
    plan.vocabulary.checked_sub(end - begin).filter(|first| *first >= end)
}

/// One table `[vocabulary, width]` in the file.
struct Table {
    offset: u64,
    width: usize,
}

impl Table {
    fn find(
        bundle: &Bundle,
        weights: &Weights,
        tensor: &'static str,
        vocabulary: u32,
    ) -> Result<Self, AdaptBundleError> {
        let graphs = &bundle.manifest().graphs;
        let file = graphs.iter().find(|graph| graph.name == "decode").map(|graph| graph.file.clone());
        let file = file.unwrap_or_default();
        let placed = weights.place_of(&bundle.path(&file), tensor)?;
        match placed {
            Some(placed) if placed.dtype == Element::F32 => match placed.shape.as_slice() {
                [rows, width] if *rows == i64::from(vocabulary) && *width > 0 => {
                    return Ok(Self { offset: placed.offset as u64, width: *width as usize });
                }
                _ => {}
            },
            _ => {}
        }
        Err(AdaptBundleError::Table { file, tensor, rows: vocabulary })
    }

    fn place(&self, row: u32) -> SeekFrom {
        SeekFrom::Start(self.offset + u64::from(row) * (self.width * F32) as u64)
    }

    fn read(&self, file: &mut File, row: u32, rows: usize) -> std::io::Result<Vec<f32>> {
        file.seek(self.place(row))?;
        let mut bytes = vec![0; rows * self.width * F32];
        file.read_exact(&mut bytes)?;
        Ok(bytes.as_chunks().0.iter().map(|number| f32::from_le_bytes(*number)).collect())
    }

    fn write(&self, file: &mut File, row: u32, values: &[f32]) -> std::io::Result<()> {
        file.seek(self.place(row))?;
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        file.write_all(&bytes)
    }
}
