//! What a policy or a robot saw at each row: picture, depth, lens and pose, from film, table and `meta/egogrid.json`.

use super::rig::Rig;
use super::{ffmpeg_path, refused};
use crate::assemble;
use crate::cli::Common;
use crate::commands::infer::{CameraFile, camera};
use crate::exit::{CommandError, CommandResult};
use anyhow::anyhow;
use egogrid_runtime::camera::{CameraIntrinsics, Frame, RgbImage, Stamp};
use egogrid_sim_bridge::dataset::{Dataset, Dtype, Episode, FilmReader, Rows, png_depth, png_rgb};
use nalgebra::Isometry3;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

/// What the user named; the rest is what the dataset says.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Named<'a> {
    /// Feature of the picture.
    pub(super) picture: Option<&'a str>,
    /// Feature of its depth.
    pub(super) depth: Option<&'a str>,
    /// File with lens and pose.
    pub(super) camera: Option<&'a Path>,
}

/// One camera of a dataset.
pub(super) struct Eyes {
    pub(super) picture: String,
    pub(super) depth: Option<String>,
    pub(super) lens: Option<(CameraIntrinsics, Option<Isometry3<f64>>)>,
    is_film: bool,
    lens_px: Option<[u32; 2]>,
    ffmpeg: PathBuf,
}

impl Eyes {
    pub(super) fn of(common: &Common, dataset: &Dataset, rig: &Rig, named: Named<'_>) -> CommandResult<Self> {
        let picture = picture_feature(named.picture, dataset, rig)?;
        let described = rig.cameras.get(&picture);
        let depth = named.depth.map(str::to_owned).or_else(|| described.and_then(|camera| camera.depth.clone()));
        let file: Option<CameraFile> = match named.camera {
            Some(path) => Some(assemble::toml_file(path)?),
            None => described.and_then(|described| described.camera.clone()),
        };
        let lens_px = file.as_ref().map(|file| [file.width_px, file.height_px]);
        let lens = file.map(camera).transpose().map_err(CommandError::usage)?;
        let is_film = dataset.info().features.get(&picture).is_some_and(|feature| feature.dtype == Dtype::Video);
        let ffmpeg = if is_film { ffmpeg_path(common)? } else { PathBuf::new() };
        Ok(Self { picture, depth, lens, is_film, lens_px, ffmpeg })
    }

    /// For a policy that looks at pictures alone.
    pub(super) fn without_geometry(self) -> Self {
        Self { depth: None, lens: None, lens_px: None, ..self }
    }

    /// Those of its features that are in the table of rows.
    pub(super) fn columns(&self) -> impl Iterator<Item = &str> {
        let picture = if self.is_film { None } else { Some(self.picture.as_str()) };
        picture.into_iter().chain(self.depth.as_deref())
    }

    /// The pictures of `episode`, whose rows are `rows`.
    pub(super) fn pictures<'a>(
        &self,
        dataset: &Dataset,
        episode: &Episode,
        rows: &'a Rows,
    ) -> CommandResult<Pictures<'a>> {
        if !self.is_film {
            let files = rows.pictures.get(&self.picture).into_iter().flatten();
            return Ok(Pictures::Table(files.map(Vec::as_slice).collect()));
        }
        let (path, from_s) = dataset.film(episode, &self.picture).map_err(refused)?;
        let film = FilmReader::start(&self.ffmpeg, &path, from_s, dataset.info().fps, episode.length());
        film.map(Pictures::Film).map_err(refused)
    }

    /// Everything of one row.
    pub(super) fn frame(&self, rows: &Rows, row: usize, rgb: RgbImage, stamp: Stamp) -> CommandResult<Frame> {
        let found = [rgb.width_px(), rgb.height_px()];
        if let Some(expected) = self.lens_px.filter(|expected| *expected != found) {
            return Err(CommandError::usage(anyhow!(
                "the camera is of {expected:?} px, and the pictures are of {found:?}"
            )));
        }
        let file = self.depth.as_ref().and_then(|depth| rows.pictures.get(depth)).and_then(|files| files.get(row));
        let depth = file.map(|file| png_depth(file)).transpose();
        let depth = depth.map_err(|what| CommandError::usage(anyhow!("depth of row {row}: {what}")))?;
        let (intrinsics, base_from_camera) = self.lens.unzip();
        Ok(Frame { stamp, rgb, depth, intrinsics, base_from_camera: base_from_camera.flatten() })
    }
}

fn picture_feature(asked: Option<&str>, dataset: &Dataset, rig: &Rig) -> CommandResult<String> {
    let info = dataset.info();
    if let Some(name) = asked {
        let feature = info.feature(dataset.root(), name).map_err(refused)?;
        if feature.dtype.is_picture() {
            return Ok(name.to_owned());
        }
        return Err(CommandError::usage(anyhow!("feature {name:?} is {}, expected a picture", feature.dtype.name())));
    }
    let depths: Vec<&str> = rig.cameras.values().filter_map(|camera| camera.depth.as_deref()).collect();
    let pictures = info.features.iter().filter(|(name, feature)| {
        feature.dtype.is_picture() && feature.shape.contains(&3) && !depths.contains(&name.as_str())
    });
    let pictures: Vec<&str> = pictures.map(|(name, _)| name.as_str()).collect();
    match pictures.as_slice() {
        [only] => Ok((*only).to_owned()),
        _ => Err(CommandError::usage(anyhow!("this dataset has the pictures {pictures:?}; choose one with --picture"))),
    }
}

/// The pictures of one episode, in order.
pub(super) enum Pictures<'a> {
    Film(FilmReader),
    Table(VecDeque<&'a [u8]>),
}

impl Pictures<'_> {
    pub(super) fn next(&mut self) -> CommandResult<RgbImage> {
        let picture = match self {
            Self::Film(film) => film.next().transpose().map_err(refused)?,
            Self::Table(files) => {
                let picture = files.pop_front().map(png_rgb).transpose();
                picture.map_err(|what| CommandError::usage(anyhow!("a picture in the table: {what}")))?
            }
        };
        picture.ok_or_else(|| CommandError::usage(anyhow!("fewer pictures than rows")))
    }
}
