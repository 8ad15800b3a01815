//! Pinhole intrinsics in pixels. Resizing and cropping are different operations with different names.

/// What was wrong with a camera matrix.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum IntrinsicsError {
    /// NaN, infinite, or a focal length that is not positive.
    #[error(
        "camera matrix {matrix:?} is not a pinhole matrix [[fx, skew, cx], [0, fy, cy], [0, 0, 1]] with finite fx, fy \
             > 0; \
             check the camera's calibration (camera_info.k)"
    )]
    NotPinhole {
        /// Row-major, as found.
        matrix: [f64; 9],
    },
    /// A size of zero.
    #[error("intrinsics for an image of {width_px}x{height_px} px; both sides must be at least 1")]
    BadSize {
        /// As found.
        width_px: u32,
        /// As found.
        height_px: u32,
    },
    /// The picture has another size than the calibration.
    #[error(
        "intrinsics are for {expected:?} px, the picture has {found:?} px (width, height); calibrate at the size that is sent"
    )]
    OtherSize {
        /// Of the calibration.
        expected: [u32; 2],
        /// Of the picture.
        found: [u32; 2],
    },
    /// A crop outside the image.
    #[error("crop of {size_px:?} px at {origin_px:?} leaves the image of {image_px:?} px")]
    CropOutside {
        /// Left, top.
        origin_px: [u32; 2],
        /// Width, height.
        size_px: [u32; 2],
        /// Width, height.
        image_px: [u32; 2],
    },
}

/// Pinhole intrinsics in pixels of an image of exactly `size_px`; `[x, y]` order throughout.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CameraIntrinsics {
    focal_px: [f32; 2],
    center_px: [f32; 2],
    skew_px: f32,
    size_px: [u32; 2],
}

impl CameraIntrinsics {
    /// From a row-major 3×3 matrix `[[fx, skew, cx], [0, fy, cy], [0, 0, 1]]` of an image of `size_px`.
    ///
    /// # Errors
    /// Anything that is not a finite pinhole matrix, or an empty image.
    pub fn from_matrix(matrix: [f64; 9], size_px: [u32; 2]) -> Result<Self, IntrinsicsError> {
        let [fx, skew, cx, zero_a, fy, cy, zero_b, zero_c, one] = matrix;
        // Checked as float32, which is what is kept: 1e39 is finite, its float32 is not.
        let kept @ [fx, skew, cx, fy, cy] = [fx, skew, cx, fy, cy].map(|value| value as f32);
        let finite = kept.iter().all(|value| value.is_finite());
        if !(finite && fx > 0.0 && fy > 0.0 && [zero_a, zero_b, zero_c, one] == [0.0, 0.0, 0.0, 1.0]) {
            return Err(IntrinsicsError::NotPinhole { matrix });
        }
        if size_px.contains(&0) {
            return Err(IntrinsicsError::BadSize { width_px: size_px[0], height_px: size_px[1] });
        }
        Ok(Self { focal_px: [fx, fy], center_px: [cx, cy], skew_px: skew, size_px })
    }

    /// `[fx, fy]`.
    pub fn focal_px(&self) -> [f32; 2] {
        self.focal_px
    }

    /// `[cx, cy]`.
    pub fn center_px(&self) -> [f32; 2] {
        self.center_px
    }

    /// The off-diagonal element of the first row.
    pub fn skew_px(&self) -> f32 {
        self.skew_px
    }

    /// `[width, height]` of the image that these belong to.
    pub fn size_px(&self) -> [u32; 2] {
        self.size_px
    }

    /// Row-major 3×3 matrix.
    pub fn matrix(&self) -> [f32; 9] {
        let ([fx, fy], [cx, cy]) = (self.focal_px, self.center_px);
        [fx, self.skew_px, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]
    }

    /// The same lens after resizing the image. A crop is [`Self::cropped`]; mixing them up bends every point.
    ///
    /// Row 0 of the matrix (skew included) scales with the width, row 1 with the height, as the official processor
    /// does.
    #[must_use]
    pub fn resized(self, size_px: [u32; 2]) -> Self {
        let scale = [0, 1].map(|i| size_px[i] as f32 / self.size_px[i] as f32);
        let scaled = |px: [f32; 2]| [px[0] * scale[0], px[1] * scale[1]];
        Self {
            focal_px: scaled(self.focal_px),
            center_px: scaled(self.center_px),
            skew_px: self.skew_px * scale[0],
            size_px,
        }
    }

    /// The same lens after cutting out `size_px` pixels with the upper left corner at `origin_px`.
    ///
    /// # Errors
    /// A crop that is empty or leaves the image.
    pub fn cropped(self, origin_px: [u32; 2], size_px: [u32; 2]) -> Result<Self, IntrinsicsError> {
        let inside =
            |i: usize| size_px[i] > 0 && origin_px[i].checked_add(size_px[i]).is_some_and(|end| end <= self.size_px[i]);
        if !(inside(0) && inside(1)) {
            return Err(IntrinsicsError::CropOutside { origin_px, size_px, image_px: self.size_px });
        }
        let center_px = [0, 1].map(|i| self.center_px[i] - origin_px[i] as f32);
        Ok(Self { center_px, size_px, ..self })
    }

    /// Confirms that these belong to a picture of `found` (width, height).
    ///
    /// # Errors
    /// [`IntrinsicsError::OtherSize`].
    pub fn for_size(self, found: [u32; 2]) -> Result<Self, IntrinsicsError> {
        if self.size_px == found { Ok(self) } else { Err(IntrinsicsError::OtherSize { expected: self.size_px, found }) }
    }
}
