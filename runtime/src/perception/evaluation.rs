//! The picture as OpenVLA's evaluation scripts hand it to the processor.
//!
//! From: `[height, width, 3]` u8. To: `[height, width, 3]` u8 of the model's size. Source: `experiments/robot` of the
//! official code: JPEG round trip, lanczos3, and the centre crop where the checkpoint was trained with random crops.
//! Turning the picture by 180 degrees, which the LIBERO scripts do first, is the simulator's business.

use super::center_crop::CenterCrop;
use super::jpeg::JpegRoundTrip;
use super::lanczos::LanczosPlan;
use super::resize::ResizeError;

/// One pair of sizes. Made once, then no frame allocates. A picture of the model's own size goes the whole way too.
#[derive(Debug, Clone)]
pub struct EvaluationPlan {
    jpeg: JpegRoundTrip,
    lanczos: LanczosPlan,
    decoded: Vec<u8>,
    resized: Vec<u8>,
    /// The crop and its result.
    crop: Option<(CenterCrop, Vec<u8>)>,
}

impl EvaluationPlan {
    /// For pictures of `source_px` to `target_px` (width, height).
    ///
    /// # Errors
    /// A side of zero or above [`crate::camera::SIDE_PX_MAX`].
    pub fn new(source_px: [u32; 2], target_px: [u32; 2], center_crop: bool) -> Result<Self, ResizeError> {
        let bytes = |[width, height]: [u32; 2]| vec![0; 3 * width as usize * height as usize];
        Ok(Self {
            jpeg: JpegRoundTrip::new(source_px)?,
            lanczos: LanczosPlan::new(source_px, target_px)?,
            decoded: bytes(source_px),
            resized: bytes(target_px),
            crop: if center_crop { Some((CenterCrop::new(target_px)?, bytes(target_px))) } else { None },
        })
    }

    /// `[width, height]` of the pictures that this plan takes.
    pub fn source_px(&self) -> [u32; 2] {
        self.lanczos.source_px()
    }

    /// All of it.
    ///
    /// # Errors
    /// A picture of another length than the plan's.
    pub fn run(&mut self, source: &[u8]) -> Result<&[u8], ResizeError> {
        self.jpeg.run(source, &mut self.decoded)?;
        self.lanczos.resize(&self.decoded, &mut self.resized)?;
        match &mut self.crop {
            Some((crop, cropped)) => {
                crop.crop(&self.resized, cropped)?;
                Ok(cropped)
            }
            None => Ok(&self.resized),
        }
    }
}
