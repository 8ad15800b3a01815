//! `intrinsics.json`: the camera matrices that a checkpoint was trained with.

use super::error::BundleError;
use super::{INTRINSICS_FILE, json_error};
use egogrid_runtime::camera::CameraIntrinsics;
use serde::Deserialize;
use std::collections::BTreeMap;

const DEFAULT_KEY: &str = "default";

/// Intrinsics out of a bundle, and under which key they lie there.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredIntrinsics {
    /// The statistics key asked for, or `default`.
    pub key: String,
    /// Of a picture of `intrinsics.size_px()`; resize them to the picture at hand.
    pub intrinsics: CameraIntrinsics,
}

#[derive(Debug, Deserialize)]
struct Entry {
    intrinsic: [[f64; 3]; 3],
    width: u32,
    height: u32,
}

#[derive(Debug, Clone)]
pub(super) struct IntrinsicsTable {
    entries: BTreeMap<String, CameraIntrinsics>,
}

impl IntrinsicsTable {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, BundleError> {
        let file: BTreeMap<String, Entry> =
            serde_json::from_slice(bytes).map_err(|error| json_error(INTRINSICS_FILE, &error))?;
        let mut entries = BTreeMap::new();
        for (key, entry) in file {
            let [a, b, c] = entry.intrinsic;
            let matrix = [a[0], a[1], a[2], b[0], b[1], b[2], c[0], c[1], c[2]];
            match CameraIntrinsics::from_matrix(matrix, [entry.width, entry.height]) {
                Ok(intrinsics) => entries.insert(key, intrinsics),
                Err(source) => return Err(BundleError::Intrinsics { key, source }),
            };
        }
        Ok(Self { entries })
    }

    pub(super) fn get(&self, stats_key: &str) -> Result<StoredIntrinsics, BundleError> {
        let found =
            [stats_key, DEFAULT_KEY].into_iter().find_map(|key| self.entries.get(key).map(|entry| (key, *entry)));
        match found {
            Some((key, intrinsics)) => Ok(StoredIntrinsics { key: key.to_owned(), intrinsics }),
            None => Err(BundleError::NoIntrinsics {
                wanted: stats_key.to_owned(),
                known: self.entries.keys().cloned().collect(),
            }),
        }
    }
}
