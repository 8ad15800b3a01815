//! Token embeddings of an old grid, re-interpolated for a new one of the same shape.
//!
//! From: an embedding matrix (`[cells, width]`, row-major) and two grids. To: `egogrid grid adapt`.
//! Source: SpatialVLA, arXiv:2501.15830, and its official code, whose result on real grids is in `tests/fixtures`.
//!
//! Nodes are the cell midpoints and, one cell further out, the ends of each axis with the outermost embedding
//! repeated. The official code differs in two ways, both offered here, neither the default:
//! * it lists node coordinates in another order than embeddings, so that embeddings sit at the wrong places
//!   ([`AxisOrder::OfficialMeshgridXy`]);
//! * it interpolates on a Delaunay triangulation. The eight corners of a box lie on one sphere, so the triangulation is
//!   not unique: which of the ways to cut the box Qhull takes is rounding. Trilinear interpolation has no such
//!   choice to make, is continuous, and uses all eight corners. [`CellSplit`] replays Qhull's choice where it is known.

use crate::axis::BinEdges;
use crate::fit::Grids;
use crate::grid::ActionGrid;

/// Why embeddings cannot be adapted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum AdaptError {
    /// Grids of different shape have different tokens.
    #[error(
        "the old grid has {old:?} bins, the new one {new:?}; expected equal shapes, fit the new grid with those of the old one (`egogrid grid fit --like BUNDLE`)"
    )]
    Shape {
        /// Bins of the old grid.
        old: [u32; 3],
        /// Bins of the new grid.
        new: [u32; 3],
    },
    /// The matrix does not hold one row per cell.
    #[error("the embeddings hold {found} numbers, expected {cells} cells of width {width}")]
    Length {
        /// Numbers found.
        found: usize,
        /// Rows expected.
        cells: usize,
        /// Numbers per row.
        width: usize,
    },
    /// NaN or infinity among the embeddings.
    #[error("embedding row {row} holds {value}, expected finite numbers; the checkpoint is damaged")]
    NotFinite {
        /// Which row.
        row: usize,
        /// What was found.
        value: f32,
    },
    /// A new midpoint that the old axis does not reach.
    #[error(
        "axis {axis} of the new grid has its midpoint {value} outside the old axis {low}..{high}; \
             both grids have to span the same range"
    )]
    OutsideOldAxis {
        /// 0, 1 or 2.
        axis: usize,
        /// The new midpoint.
        value: f64,
        /// Lower end of the old axis.
        low: f64,
        /// Upper end of the old axis.
        high: f64,
    },
    /// A list of splits for another grid.
    #[error(
        "there are {found} splits, expected one for each of {expected} boxes between nodes; \
             compute them again for the old grid"
    )]
    SplitCount {
        /// Splits found.
        found: usize,
        /// Boxes: product of bins + 1.
        expected: usize,
    },
    /// A byte that encodes no split.
    #[error("split {index} is {value}, expected 0 to 63; compute the splits again")]
    Split {
        /// Position in the list.
        index: usize,
        /// What was found.
        value: u8,
    },
}

/// At which node an embedding row sits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AxisOrder {
    /// At its own cell.
    #[default]
    Ij,
    /// Compatible with a defect of the official code, which calls `meshgrid` with its default `indexing="xy"`: nodes
    /// are listed in the order (axis 1, axis 0, axis 2), embeddings in the order (axis 0, axis 1, axis 2). Embeddings
    /// of neighbouring cells end up far apart. Only for reproducing what somebody else computed.
    OfficialMeshgridXy,
}

/// How values between nodes come about.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Interpolation<'a> {
    /// From all eight corners of the box.
    #[default]
    Trilinear,
    /// From the four corners of the tetrahedron of a triangulation, boxes row-major, `[bins + 1]` per axis.
    Tetrahedra(&'a [CellSplit]),
}

/// How one box is cut into six tetrahedra: a cone from one corner over the three faces that do not touch it, each cut
/// along one of its diagonals. Every box of every triangulation that Qhull gave for the released grids has this form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CellSplit(u8);

impl CellSplit {
    /// Bits 0-2: the corner (`4 * upper0 + 2 * upper1 + upper2`). Bit `3 + axis`: the face across `axis` is cut along
    /// the diagonal that does not touch the corner's opposite.
    pub fn parse_all(bytes: &[u8]) -> Result<Vec<Self>, AdaptError> {
        match bytes.iter().position(|&byte| byte > 63) {
            Some(index) => Err(AdaptError::Split { index, value: bytes[index] }),
            None => Ok(bytes.iter().map(|&byte| Self(byte)).collect()),
        }
    }

    /// Weights of the eight corners (numbered as in [`Self::parse_all`]) at `position`, `[0, 1]` on each axis.
    fn weights(self, position: [f64; 3]) -> [f64; 8] {
        let corner = usize::from(self.0 & 7);
        let bit = |axis: usize| 4 >> axis;
        let away: [f64; 3] =
            std::array::from_fn(|axis| if corner & bit(axis) == 0 { position[axis] } else { 1.0 - position[axis] });
        // The face that the ray from the corner leaves through, and where: lengths are those at `position`.
        let face = (0..3).fold(0, |face, axis| if away[axis] > away[face] { axis } else { face });
        let (left, right) = ((face + 1) % 3, (face + 2) % 3);
        let (depth, p, q) = (away[face], away[left], away[right]);
        let near = corner ^ bit(face);
        let (at_left, at_right, opposite) = (near ^ bit(left), near ^ bit(right), 7 ^ corner);
        let mut weights = [0.0; 8];
        weights[corner] = 1.0 - depth;
        if self.0 >> (3 + face) & 1 == 0 {
            weights[near] = depth - p.max(q);
            weights[if p > q { at_left } else { at_right }] = (p - q).abs();
            weights[opposite] = p.min(q);
        } else if p + q <= depth {
            (weights[near], weights[at_left], weights[at_right]) = (depth - p - q, p, q);
        } else {
            (weights[opposite], weights[at_left], weights[at_right]) = (p + q - depth, depth - q, depth - p);
        }
        weights
    }
}

/// Embeddings of both grids and the gripper rows behind them (copied), `[translation + rotation + rest, width]`, in the
/// order of the token blocks. `splits` serve [`Interpolation::Tetrahedra`] per grid; trilinear without.
pub fn adapt_tokens(
    old: &Grids,
    new: &Grids,
    embeddings: &[f32],
    width: usize,
    order: AxisOrder,
    splits: Option<[&[CellSplit]; 2]>,
) -> Result<Vec<f32>, AdaptError> {
    let row_counts = [old.translation.cell_count() as usize, old.rotation.cell_count() as usize];
    let cells = row_counts[0] + row_counts[1];
    let length = AdaptError::Length { found: embeddings.len(), cells, width };
    let [Some(first), Some(second)] = row_counts.map(|rows| rows.checked_mul(width)) else { return Err(length) };
    let (translation, rest) = embeddings.split_at_checked(first).ok_or(length.clone())?;
    let (rotation, rest) = rest.split_at_checked(second).ok_or(length)?;
    let [translation_mode, rotation_mode] = match splits {
        Some(splits) => splits.map(Interpolation::Tetrahedra),
        None => [Interpolation::Trilinear; 2],
    };
    let mut adapted = adapt_cells(&old.translation, &new.translation, translation, width, order, translation_mode)?;
    adapted.extend(adapt_cells(&old.rotation, &new.rotation, rotation, width, order, rotation_mode)?);
    adapted.extend_from_slice(rest);
    Ok(adapted)
}

/// Embeddings of one grid, `[cells, width]`: row of each new cell = the old field at the new cell's midpoint.
pub fn adapt_cells(
    old: &ActionGrid,
    new: &ActionGrid,
    embeddings: &[f32],
    width: usize,
    order: AxisOrder,
    interpolation: Interpolation<'_>,
) -> Result<Vec<f32>, AdaptError> {
    // What is wrong with both grids or with the rows is told before what is wrong with the splits.
    require_shape(old, new)?;
    require_rows(embeddings, old.cell_count() as usize, width)?;
    Ok(interpolated(&stencils(old, new, order, interpolation)?, embeddings, width))
}

fn require_shape(old: &ActionGrid, new: &ActionGrid) -> Result<(), AdaptError> {
    let [old, new] = [old, new].map(ActionGrid::bin_counts);
    if old == new { Ok(()) } else { Err(AdaptError::Shape { old, new }) }
}

/// `[cells, width]`, finite.
fn require_rows(rows: &[f32], cells: usize, width: usize) -> Result<(), AdaptError> {
    if cells.checked_mul(width) != Some(rows.len()) {
        return Err(AdaptError::Length { found: rows.len(), cells, width });
    }
    match rows.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(AdaptError::NotFinite { row: index / width, value: rows[index] }),
        None => Ok(()),
    }
}

/// New rows of `old`, both `[stencils, width]`: whatever is stored by cell, with the stencils of [`stencils`].
///
/// # Errors
/// Rows that are not as many as the stencils, and numbers that are none.
pub fn adapt_rows(stencils: &[Stencil], old: &[f32], width: usize) -> Result<Vec<f32>, AdaptError> {
    require_rows(old, stencils.len(), width)?;
    Ok(interpolated(stencils, old, width))
}

fn interpolated(stencils: &[Stencil], old: &[f32], width: usize) -> Vec<f32> {
    let mut adapted = vec![0.0; old.len()];
    for (stencil, out) in stencils.iter().zip(adapted.chunks_exact_mut(width.max(1))) {
        stencil.row_into(old, out);
    }
    adapted
}

/// What one new row is made of: the old rows at the eight corners around it, numbered `4 * upper0 + 2 * upper1 + upper2`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stencil {
    /// Old rows. Outside the outermost midpoints two corners are the same row.
    pub rows: [u32; 8],
    /// Shares of them: none is negative, and their sum is 1.
    pub weights: [f64; 8],
}

impl Stencil {
    /// The new row, of `old` rows of the same width: summed in float64.
    fn row_into(&self, old: &[f32], out: &mut [f32]) {
        let width = out.len();
        let rows = self.rows.map(|row| &old[row as usize * width..(row as usize + 1) * width]);
        for (column, out) in out.iter_mut().enumerate() {
            let terms = rows.iter().zip(self.weights).map(|(row, weight)| weight * f64::from(row[column]));
            *out = terms.sum::<f64>() as f32;
        }
    }

    /// Whether all that counts is one old row.
    pub fn is_one_row(&self) -> bool {
        let mut counted = self.counted();
        let first = counted.next();
        counted.all(|row| Some(row) == first)
    }

    /// The old rows that have a share.
    pub fn counted(&self) -> impl Iterator<Item = u32> {
        self.rows.into_iter().zip(self.weights).filter(|(_, weight)| *weight > 0.0).map(|(row, _)| row)
    }
}

/// The stencil of every new row, for whatever is stored by cell: embeddings, rows of a head, or what to compare them with.
///
/// # Errors
/// Grids of different shape, axes of different range, splits of another grid.
pub fn stencils(
    old: &ActionGrid,
    new: &ActionGrid,
    order: AxisOrder,
    interpolation: Interpolation<'_>,
) -> Result<Vec<Stencil>, AdaptError> {
    require_shape(old, new)?;
    let bins = old.bin_counts();
    let field = Field { nodes: bins.map(|bins| bins as usize + 2), order };
    if let Interpolation::Tetrahedra(splits) = interpolation {
        let expected = field.nodes.iter().map(|nodes| nodes - 1).product();
        if splits.len() != expected {
            return Err(AdaptError::SplitCount { found: splits.len(), expected });
        }
    }
    let mut places = [const { Vec::new() }; 3];
    for (axis, places) in places.iter_mut().enumerate() {
        *places = places_on(axis, &old.axes()[axis], &new.axes()[axis])?;
    }
    let stencil = |row: u32| {
        // The official code keeps its own order on the way out too: row `row` gets the value at the node whose
        // position in the list of nodes is that of the row among the padded rows.
        let node = field.node_of_row(row as usize, bins);
        field.stencil(std::array::from_fn(|axis| places[axis][node[axis]]), interpolation)
    };
    Ok((0..old.cell_count()).map(stencil).collect())
}

/// Between nodes `below` and `below + 1`, `share` of the way.
#[derive(Debug, Clone, Copy)]
struct Place {
    below: usize,
    share: f64,
}

/// Places of the new nodes of one axis on the old nodes, ends included: `[bins + 2]`.
fn places_on(axis: usize, old: &BinEdges, new: &BinEdges) -> Result<Vec<Place>, AdaptError> {
    const SLACK_SHARE: f64 = 1e-9; // fits round the ends of an axis differently
    let old_nodes = nodes_of(old);
    let [low, high] = [old.low(), old.high()];
    let slack = SLACK_SHARE * (high - low);
    let place = |value: f64| {
        if !(low - slack..=high + slack).contains(&value) {
            return Err(AdaptError::OutsideOldAxis { axis, value, low, high });
        }
        let below = old_nodes.partition_point(|&node| node <= value).saturating_sub(1).min(old_nodes.len() - 2);
        let [from, to] = [old_nodes[below], old_nodes[below + 1]];
        let share = if to > from { ((value - from) / (to - from)).clamp(0.0, 1.0) } else { 0.0 };
        Ok(Place { below, share })
    };
    nodes_of(new).into_iter().map(place).collect()
}

/// Midpoints of all bins between the two ends of the axis, `[bins + 2]`.
fn nodes_of(edges: &BinEdges) -> Vec<f64> {
    let midpoints = edges.as_slice().windows(2).map(|pair| 0.5 * (pair[0] + pair[1]));
    [edges.low()].into_iter().chain(midpoints).chain([edges.high()]).collect()
}

/// The old rows as a field over nodes.
struct Field {
    nodes: [usize; 3],
    order: AxisOrder,
}

impl Field {
    /// Node whose value becomes embedding row `row` of a grid with `bins`.
    fn node_of_row(&self, row: usize, bins: [u32; 3]) -> [usize; 3] {
        let [a, b, c] = unravel(row, bins.map(|bins| bins as usize)).map(|bin| bin + 1);
        match self.order {
            AxisOrder::Ij => [a, b, c],
            AxisOrder::OfficialMeshgridXy => {
                let [n0, n1, n2] = self.nodes;
                let [b, a, c] = unravel((a * n1 + b) * n2 + c, [n1, n0, n2]);
                [a, b, c]
            }
        }
    }

    /// Row that sits at `node`; outer nodes repeat the row next to them.
    fn row_at(&self, [a, b, c]: [usize; 3]) -> u32 {
        let [n0, n1, n2] = self.nodes;
        let padded = match self.order {
            AxisOrder::Ij => [a, b, c],
            AxisOrder::OfficialMeshgridXy => unravel((b * n0 + a) * n2 + c, [n0, n1, n2]),
        };
        let bin = |axis: usize| padded[axis].clamp(1, self.nodes[axis] - 2) - 1;
        ((bin(0) * (n1 - 2) + bin(1)) * (n2 - 2) + bin(2)) as u32
    }

    fn stencil(&self, place: [Place; 3], interpolation: Interpolation<'_>) -> Stencil {
        let weights = match interpolation {
            Interpolation::Trilinear => trilinear_weights(place.map(|place| place.share)),
            Interpolation::Tetrahedra(splits) => {
                let [a, b, c] = place.map(|place| place.below);
                let [_, n1, n2] = self.nodes;
                splits[(a * (n1 - 1) + b) * (n2 - 1) + c].weights(place.map(|place| place.share))
            }
        };
        let corner =
            |corner: usize| self.row_at(std::array::from_fn(|axis| place[axis].below + (corner >> (2 - axis) & 1)));
        Stencil { rows: std::array::from_fn(corner), weights }
    }
}

/// Weights of the eight corners, numbered `4 * upper0 + 2 * upper1 + upper2`.
fn trilinear_weights(position: [f64; 3]) -> [f64; 8] {
    let factor = |corner: usize, axis: usize| {
        if corner >> (2 - axis) & 1 == 1 { position[axis] } else { 1.0 - position[axis] }
    };
    std::array::from_fn(|corner| factor(corner, 0) * factor(corner, 1) * factor(corner, 2))
}

/// Row-major index to position.
fn unravel(index: usize, [_, middle, last]: [usize; 3]) -> [usize; 3] {
    [index / (middle * last), index / last % middle, index % last]
}
