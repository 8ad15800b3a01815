//! What the picture goes through on its way to the vision graph, as the manifest says.
//!
//! From: `[image]` of the manifest. To: [`TowerInput`], which writes `pixel_values`.

use crate::bundle::manifest::{PreprocessingSpec, SquareStrategy, TowerSpec};
use crate::bundle::{BundleError, Manifest};
use egogrid_runtime::perception::square::Strategy;
use egogrid_runtime::perception::towers::{Preprocessing, Tower, TowerInput};

/// Plans for the sizes of `manifest`; `asked` takes the place of the bundle's own preprocessing.
pub(super) fn pixels(manifest: &Manifest, asked: Option<PreprocessingSpec>) -> Result<TowerInput, BundleError> {
    let image = &manifest.openvla()?.image;
    let strategy = match (image.strategy, image.letterbox_fill) {
        (SquareStrategy::ResizeNaive, _) => Strategy::Resize,
        (SquareStrategy::ResizeCrop, _) => Strategy::Crop,
        (SquareStrategy::Letterbox, Some(fill)) => Strategy::Letterbox { fill },
        (SquareStrategy::Letterbox, None) => {
            return Err(BundleError::field("image.letterbox_fill", "missing", "a colour with letterbox"));
        }
    };
    let preprocessing = match asked.unwrap_or(image.preprocessing) {
        PreprocessingSpec::Processor => Preprocessing::Processor,
        PreprocessingSpec::Evaluation => Preprocessing::Evaluation { center_crop: false },
        PreprocessingSpec::EvaluationCenterCrop => Preprocessing::Evaluation { center_crop: true },
    };
    let tower = |tower: &TowerSpec| Tower { mean: tower.mean, std: tower.std };
    let towers: Vec<Tower> = image.towers.iter().map(tower).collect();
    let input = TowerInput::new(manifest.image.width_px, strategy, preprocessing, &towers);
    input.map_err(|error| BundleError::field("image.towers", error, "finite numbers, std above 0"))
}
