//! A SpatialVLA bundle for other grids: rows that belong to cells are interpolated, and a new bundle is written.
//!
//! From: a verified [`Bundle`] in fp32 and a `grid.json` of the same shape. To: a directory that is a bundle itself, with golden tensors of its
//! own. Source: SpatialVLA, arXiv:2501.15830, spatial embedding adaption; the interpolation is [`egogrid_action_grids::adapt`]. The official
//! code adapts the input embeddings only; the head is adapted here too unless it is to be kept, because a cell that moves should be
//! chosen where the network meant it to be (`docs/grids.md` has what that is worth).
//!
//! How the result is known to be right, without the checkpoint: graphs are the old ones, byte for byte, and the old bundle must pass its own
//! check first. Stages before the tokens must still equal its golden tensors. Logits of the first step must equal them where no row changed,
//! and lie between those of the old cells around each new one where rows were interpolated, as a weighted mean inside a monotone function must.

mod golden;
mod rows;

use crate::bundle::{Bundle, BundleError, Draft, GRID_FILE, RowsSpec, STATISTICS_FILE};
use crate::bundle::{GOLDEN_FILE, WEIGHTS_FILE, read_grids};
use crate::check::{CheckError, CheckRow, check};
use crate::registry::LoadError;
use egogrid_action_grids::adapt::{AdaptError, AxisOrder, Interpolation, Stencil, stencils};
use egogrid_action_grids::fit::Grids;
use egogrid_action_grids::{ActionTokenizer, StatsError};
use egogrid_runtime::execution::{Environment, ExecutionError, GraphOptions};
use std::path::Path;

/// What is to be different.
#[derive(Debug, Clone, Copy)]
pub struct Adaptation<'a> {
    /// The new `grid.json`, cell points included where there are any.
    pub grid_json: &'a [u8],
    /// More entries for `statistics.json`, `{key: {action: {q01, q99, mask}}}`: the new robot's.
    pub statistics_json: Option<&'a [u8]>,
    /// Rows of the input table.
    pub embeddings: RowsSpec,
    /// Rows of the head.
    pub head: RowsSpec,
}

/// Why there is no new bundle. Nothing is left of it then.
#[derive(Debug, thiserror::Error)]
pub enum AdaptBundleError {
    /// A bundle or a grid file that is none, another family, or a place that cannot be written.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Grids that the old rows cannot be interpolated for.
    #[error(transparent)]
    Adapt(#[from] AdaptError),
    /// Rows that are no plain numbers.
    #[error(
        "the bundle's weights are {precision}, expected fp32: export the checkpoint again with `python -m egogrid_export --grid`, which \
         takes every precision"
    )]
    Precision {
        /// Of the bundle.
        precision: String,
    },
    /// Another layout of the weights.
    #[error(
        "{file} has no f32 table {tensor:?} of [{rows}, width]; expected a bundle of this release's exporter, export it again"
    )]
    Table {
        /// Which graph.
        file: String,
        /// Which tensor.
        tensor: &'static str,
        /// The vocabulary.
        rows: u32,
    },
    /// New statistics that are not.
    #[error(
        "the new statistics cannot be added: {detail}; expected an object of keys that the bundle does not have yet"
    )]
    Statistics {
        /// What and where.
        detail: String,
    },
    /// The old bundle does not run as its exporter said.
    #[error(
        "{case}: stage {stage} of the old bundle differs by {difference:.2e} from its golden tensor; run `egogrid check` on it, \
         nothing can be made of a bundle that does not run right"
    )]
    OldBundle {
        /// `case0`, …
        case: String,
        /// As in `golden.safetensors`.
        stage: String,
        /// Largest of all numbers.
        difference: f64,
    },
    /// The new one does not compute what was to be written.
    #[error(
        "{case}: {stage} of the new bundle is {found}, expected {low} to {high}, as the old cells around it say; this is a defect of \
         Egogrid, please report it with both grids"
    )]
    NewBundle {
        /// `case0`, …
        case: String,
        /// Stage, and which number of it.
        stage: String,
        /// Found.
        found: f64,
        /// At least.
        low: f64,
        /// At most.
        high: f64,
    },
    /// ONNX Runtime, or a file of the bundle that is no graph.
    #[error(transparent)]
    Execution(#[from] ExecutionError),
    /// The policy cannot be loaded or does not run.
    #[error(transparent)]
    Check(#[from] CheckError),
}

impl From<LoadError> for AdaptBundleError {
    fn from(error: LoadError) -> Self {
        Self::Check(error.into())
    }
}

impl From<StatsError> for AdaptBundleError {
    fn from(error: StatsError) -> Self {
        Self::Check(LoadError::from(error).into())
    }
}

impl AdaptBundleError {
    /// Whether something is missing on this machine (exit code 4).
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Check(error) if error.is_missing())
    }

    /// Whether a check did not hold (exit code 3).
    pub fn is_check(&self) -> bool {
        matches!(self, Self::OldBundle { .. } | Self::NewBundle { .. })
    }

    fn old(row: &CheckRow) -> Self {
        let (case, stage, difference) = (row.case.clone(), row.stage.clone(), row.largest_abs_difference);
        Self::OldBundle { case, stage, difference }
    }
}

/// What was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapted {
    /// The new bundle's.
    pub digest: String,
    /// Cells whose rows moved: those that are not made of one old row alone.
    pub cells_moved: usize,
    /// Of both grids.
    pub cells: usize,
    /// Golden cases whose ids are other ones now.
    pub cases_changed: usize,
    /// Golden cases.
    pub cases: usize,
}

/// Makes `target` of `bundle`. `tell` hears what is done next: a large bundle takes minutes.
///
/// # Errors
/// The first thing that is not as it should be; `target` does not exist then.
pub fn adapt(
    environment: &Environment,
    bundle: &Bundle,
    new: &Adaptation<'_>,
    target: &Path,
    tell: &mut dyn FnMut(&str),
) -> Result<Adapted, AdaptBundleError> {
    let plan = Plan::new(bundle, new)?;
    let graph = GraphOptions::default();
    tell("check the old bundle");
    let report = check(environment, bundle, &graph)?;
    if let Some(row) = report.first_difference() {
        return Err(AdaptBundleError::old(row));
    }

    tell("copy it");
    let mut draft = Draft::copy_of(bundle, target)?;
    draft.write(GRID_FILE, new.grid_json)?;
    if let Some(more) = new.statistics_json {
        draft.write(STATISTICS_FILE, &merged_statistics(&bundle.statistics_json()?, more)?)?;
    }
    draft.write("README.md", readme(bundle, new)?.as_bytes())?;
    draft.set_table("adapted", adapted_table(bundle, new));
    tell("interpolate rows");
    rows::adapt_tables(bundle, &draft.path_to_change(WEIGHTS_FILE), &plan)?;
    draft.sign()?;

    tell("compute its golden cases");
    let unproven = Bundle::open(draft.dir())?;
    let (golden, cases_changed, cases) = golden::golden(environment, bundle, &unproven, &graph, &plan)?;
    draft.write(GOLDEN_FILE, &golden)?;
    draft.sign()?;

    tell("check the new bundle");
    let proven = Bundle::open(draft.dir())?;
    let report = check(environment, &proven, &graph)?;
    if let Some(row) = report.first_difference() {
        return Err(golden::unlike(row));
    }
    let digest = proven.digest().to_owned();
    draft.finish()?;
    let cells_moved = plan.stencils.iter().filter(|stencil| !stencil.is_one_row()).count();
    Ok(Adapted { digest, cells_moved, cells: plan.stencils.len(), cases_changed, cases })
}

/// Old and new, checked against each other.
struct Plan {
    /// Of the new bundle.
    tokenizer: ActionTokenizer,
    vocabulary: u32,
    /// Of translation cells, then rotation cells: rows are counted from the first action id.
    stencils: Vec<Stencil>,
    embeddings: RowsSpec,
    head: RowsSpec,
}

impl Plan {
    fn new(bundle: &Bundle, new: &Adaptation<'_>) -> Result<Self, AdaptBundleError> {
        let old = bundle.action_tokenizer()?;
        let manifest = bundle.manifest();
        if manifest.precision_check.is_some() {
            return Err(AdaptBundleError::Precision { precision: manifest.precision.to_string() });
        }
        let grids = read_grids(new.grid_json)?;
        let stencils = both_stencils(old, &grids)?;
        let tokenizer = bundle.tokenizer_with(new.grid_json)?;
        let (vocabulary, embeddings, head) = (manifest.tokens.vocabulary_size, new.embeddings, new.head);
        Ok(Self { tokenizer, vocabulary, stencils, embeddings, head })
    }
}

fn both_stencils(old: &ActionTokenizer, new: &Grids) -> Result<Vec<Stencil>, AdaptError> {
    let of = |old, new| stencils(old, new, AxisOrder::Ij, Interpolation::Trilinear);
    let mut both = of(old.translation_grid(), &new.translation)?;
    let first = old.translation_grid().cell_count();
    both.extend(
        of(old.rotation_grid(), &new.rotation)?
            .into_iter()
            .map(|stencil| Stencil { rows: stencil.rows.map(|row| row + first), ..stencil }),
    );
    Ok(both)
}

fn adapted_table(bundle: &Bundle, new: &Adaptation<'_>) -> toml::Table {
    let word = |rows| match rows {
        RowsSpec::Interpolated => "interpolated",
        RowsSpec::Kept => "kept",
    };
    let pairs = [("from", bundle.digest()), ("embeddings", word(new.embeddings)), ("head", word(new.head))];
    pairs.into_iter().map(|(key, value)| (key.to_owned(), toml::Value::String(value.to_owned()))).collect()
}

/// A key that is there already may only be repeated as it is.
fn merged_statistics(old: &[u8], more: &[u8]) -> Result<Vec<u8>, AdaptBundleError> {
    type Entries = serde_json::Map<String, serde_json::Value>;
    let refused = |detail: String| AdaptBundleError::Statistics { detail };
    let parse = |bytes| serde_json::from_slice::<Entries>(bytes).map_err(|error| refused(error.to_string()));
    let (mut merged, more) = (parse(old)?, parse(more)?);
    for (key, entry) in more {
        if merged.get(&key).is_some_and(|known| *known != entry) {
            return Err(refused(format!("the bundle has other numbers under {key:?}")));
        }
        merged.insert(key, entry);
    }
    serde_json::to_vec_pretty(&merged).map_err(|error| refused(error.to_string()))
}

/// The old text, and what became of it.
fn readme(bundle: &Bundle, new: &Adaptation<'_>) -> Result<String, BundleError> {
    let path = bundle.path("README.md");
    let old = std::fs::read_to_string(&path).map_err(|source| BundleError::Read { path, source })?;
    let word = |rows| match rows {
        RowsSpec::Interpolated => "interpolated between the old cells around the new place",
        RowsSpec::Kept => "those of the old cell with the same number",
    };
    Ok(format!(
        "{}\n\n## Adapted\n\nBy `egogrid grid adapt` to other grids, of the bundle `{}`. Rows of the input table: {}. Rows of the head: {}. \
         Nothing was trained: measure it before you rely on it.\n",
        old.trim_end(),
        bundle.digest(),
        word(new.embeddings),
        word(new.head)
    ))
}
