//! A picture of any shape to the model's square, as OpenVLA's processor does it.
//!
//! From: `[height, width, 3]` u8. To: `[side, side, 3]` u8. Source: the official `PrismaticImageProcessor` with
//! torchvision 0.17 and Pillow 10: [`super::resize_pillow`] in every case, around it borders or a crop.
//! `runtime/tests/perception_square.rs` compares bit for bit.

use super::resize::{ResizeError, check_lengths, check_sides};
use super::resize_pillow::BicubicPlan;

/// How a picture that is not square becomes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// Straight to the square; the aspect ratio is not kept.
    Resize,
    /// Borders of this colour on the short sides, equally wide; an odd difference leaves the picture one pixel short of
    /// square, as in the official code. Then as [`Self::Crop`].
    Letterbox {
        /// Red, green, blue.
        fill: [u8; 3],
    },
    /// The short side to the square's, the long one in proportion, and its middle.
    Crop,
}

/// One size of picture to one square: weights and buffers. Made once, then no frame allocates.
#[derive(Debug, Clone)]
pub struct SquarePlan {
    source_px: [u32; 2],
    side_px: u32,
    borders: Option<Borders>,
    resize: BicubicPlan,
    /// `[left, top]` of the square in what `resize` makes; `None` where that is the square.
    crop: Option<[usize; 2]>,
    resized: Vec<u8>,
}

/// A picture with borders around it; they are painted once and stay.
#[derive(Debug, Clone)]
struct Borders {
    left: usize,
    top: usize,
    width: usize,
    padded: Vec<u8>,
}

impl SquarePlan {
    /// For pictures of `source_px` (width, height) to a square of `side_px`.
    ///
    /// # Errors
    /// A side of zero or above [`crate::camera::SIDE_PX_MAX`], also in between: a very long picture cannot be cropped.
    pub fn new(source_px: [u32; 2], side_px: u32, strategy: Strategy) -> Result<Self, ResizeError> {
        check_sides(source_px, [side_px; 2])?;
        let borders = match strategy {
            Strategy::Letterbox { fill } => Some(Borders::new(source_px, fill)),
            Strategy::Resize | Strategy::Crop => None,
        };
        let framed_px = borders.as_ref().map_or(source_px, |borders| borders.size_px(source_px));
        let resized_px = match strategy {
            Strategy::Resize => [side_px; 2],
            Strategy::Letterbox { .. } | Strategy::Crop => in_proportion(framed_px, side_px),
        };
        let resize = BicubicPlan::new(framed_px, resized_px)?;
        let crop = (resized_px != [side_px; 2]).then(|| resized_px.map(|side| half_to_even(side - side_px)));
        let resized = if crop.is_some() { vec![0; bytes(resized_px)] } else { Vec::new() };
        Ok(Self { source_px, side_px, borders, resize, crop, resized })
    }

    /// `[width, height]` of the pictures that this plan takes.
    pub fn source_px(&self) -> [u32; 2] {
        self.source_px
    }

    /// Writes the square into `target`, `[side, side, 3]`.
    ///
    /// # Errors
    /// A picture or a buffer of another length than the plan's.
    pub fn run(&mut self, source: &[u8], target: &mut [u8]) -> Result<(), ResizeError> {
        check_lengths(self.source_px, [self.side_px; 2], source.len(), target.len())?;
        let framed = match &mut self.borders {
            Some(borders) => borders.around(source, self.source_px),
            None => source,
        };
        let Some([left, top]) = self.crop else { return self.resize.resize_bytes(framed, target) };
        self.resize.resize_bytes(framed, &mut self.resized)?;
        let row_bytes = 3 * self.resize.target_px()[0] as usize;
        let rows = self.resized.chunks_exact(row_bytes).skip(top);
        for (line, row) in target.chunks_exact_mut(3 * self.side_px as usize).zip(rows) {
            line.copy_from_slice(&row[3 * left..][..line.len()]);
        }
        Ok(())
    }
}

impl Borders {
    fn new(source_px: [u32; 2], fill: [u8; 3]) -> Self {
        let long = source_px[0].max(source_px[1]);
        let [left, top] = source_px.map(|side| (long - side) as usize / 2);
        let [width, height] = [source_px[0] as usize + 2 * left, source_px[1] as usize + 2 * top];
        Self { left, top, width, padded: fill.repeat(width * height) }
    }

    fn size_px(&self, [width, height]: [u32; 2]) -> [u32; 2] {
        [width + 2 * self.left as u32, height + 2 * self.top as u32]
    }

    fn around(&mut self, source: &[u8], source_px: [u32; 2]) -> &[u8] {
        let rows = self.padded.chunks_exact_mut(3 * self.width).skip(self.top);
        for (line, row) in rows.zip(source.chunks_exact(3 * source_px[0] as usize)) {
            line[3 * self.left..][..row.len()].copy_from_slice(row);
        }
        &self.padded
    }
}

/// The short side becomes `side_px`, the long one the same times as long, cut to a whole number.
fn in_proportion(size_px: [u32; 2], side_px: u32) -> [u32; 2] {
    let short = size_px[0].min(size_px[1]);
    size_px.map(|side| (u64::from(side_px) * u64::from(side) / u64::from(short)).min(u64::from(u32::MAX)) as u32)
}

/// Half of `value`; of two equally near whole numbers the even one, as Python rounds.
fn half_to_even(value: u32) -> usize {
    let half = value / 2;
    (half + (value % 2) * (half % 2)) as usize
}

fn bytes([width, height]: [u32; 2]) -> usize {
    3 * width as usize * height as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_rounded_as_python_rounds() {
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 7, 9].map(half_to_even), [0, 0, 1, 2, 2, 2, 3, 4, 4]);
    }

    #[test]
    fn an_odd_difference_leaves_the_letterboxed_picture_one_pixel_short() {
        for (source_px, framed_px) in [([97, 301], [301, 301]), ([98, 301], [300, 301]), ([5, 2], [5, 4])] {
            assert_eq!(Borders::new(source_px, [127; 3]).size_px(source_px), framed_px);
        }
    }
}
