//! LeRobot datasets: what LeRobot's own writer made is read, what we write is read back, and what is damaged is refused.
//!
//! Fixture: `tests/fixtures/lerobot`, made by PyPI `lerobot`. Films need the ffmpeg of the Python environment (`./launch/test` puts it there).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use egogrid_runtime::camera::{DepthImage, DepthKind, RgbImage};
use egogrid_sim_bridge::dataset::{
    Dataset, DatasetError, DatasetWriter, EpisodeEnd, FilmReader, Layout, Place, Problem, Row, png_depth, png_rgb,
    quantile,
};
use proptest::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const FPS: f64 = 10.0;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn fixture() -> PathBuf {
    root().join("tests/fixtures/lerobot/small")
}

fn ffmpeg() -> PathBuf {
    let python = std::env::var("EGOGRID_PYTHON").map_or_else(|_| root().join(".venv/bin/python"), PathBuf::from);
    let script = "import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())";
    let output = Command::new(python).args(["-c", script]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// As `make.py` computes it.
fn action(index: usize) -> [f64; 7] {
    std::array::from_fn(|dim| match dim {
        6 => f64::from(u8::from(index.is_multiple_of(3))),
        dim => f64::from((0.01 * (index + 1) as f64 * (dim as f64 + 0.5 * index as f64).cos()) as f32),
    })
}

const FEATURES: [&str; 3] = ["action", "observation.state", "observation.images.wrist"];

/// Everything that there is to read, except for films.
fn read_all(dir: &Path) -> Result<usize, DatasetError> {
    let dataset = Dataset::open(dir)?;
    let mut rows = dataset.rows(&FEATURES)?;
    let mut values = 0;
    for episode in dataset.episodes() {
        let rows = rows.episode(episode)?;
        values += rows.numbers.values().map(|numbers| numbers.values.len()).sum::<usize>() + rows.length;
    }
    Ok(values)
}

#[test]
fn every_number_of_lerobots_own_writer_is_read() {
    let dataset = Dataset::open(&fixture()).unwrap();
    assert_eq!((dataset.info().fps, dataset.info().episodes, dataset.info().frames), (FPS, 2, 12));
    assert_eq!(dataset.info().features["action"].names, ["x", "y", "z", "roll", "pitch", "yaw", "gripper"]);
    let mut reader = dataset.rows(&FEATURES).unwrap();
    let mut index = 0;
    for (episode, task) in dataset.episodes().iter().zip(["open the drawer", "push the button"]) {
        let rows = reader.episode(episode).unwrap();
        assert_eq!((rows.length as u64, episode.tasks.as_slice()), (episode.length(), [task.to_owned()].as_slice()));
        for row in 0..rows.length {
            assert_eq!(rows.tasks[row], task);
            let found = rows.numbers["action"].row(row);
            for (dim, (found, expected)) in found.iter().zip(action(index)).enumerate() {
                assert!((found - expected).abs() < 1e-8, "row {index}, dimension {dim}: {found}, expected {expected}");
            }
            let state: Vec<f64> = (0..8).map(|dim| f64::from(dim as f32 + 0.125 * index as f32)).collect();
            assert_eq!(rows.numbers["observation.state"].row(row), state);
            let picture = png_rgb(&rows.pictures["observation.images.wrist"][row]).unwrap();
            assert_eq!([picture.width_px(), picture.height_px()], [64, 48]);
            // The picture is mirrored: its top right quarter says which frame it is.
            assert_eq!(&picture.data()[63 * 3..64 * 3], &[20 * index as u8; 3]);
            index += 1;
        }
    }
    assert_eq!(index, 12);
}

#[test]
fn each_episode_of_lerobots_film_begins_with_its_own_picture() {
    let dataset = Dataset::open(&fixture()).unwrap();
    let mut index = 0;
    for episode in dataset.episodes() {
        let (path, from_s) = dataset.film(episode, "observation.images.front").unwrap();
        let film = FilmReader::start(&ffmpeg(), &path, from_s, FPS, episode.length()).unwrap();
        for picture in film {
            let picture = picture.unwrap();
            assert_eq!([picture.width_px(), picture.height_px()], [64, 48]);
            let found = f64::from(picture.data()[(12 * 64 + 16) * 3]);
            assert!((found - 20.0 * f64::from(index)).abs() < 9.0, "picture {index} of 12 has gray {found}");
            index += 1;
        }
    }
    assert_eq!(index, 12, "as many pictures as rows");
}

#[test]
fn a_film_that_is_cut_is_an_error_that_says_after_which_picture() {
    let dir = tempfile::tempdir().unwrap();
    copy(&fixture(), dir.path());
    let dataset = Dataset::open(dir.path()).unwrap();
    let episode = &dataset.episodes()[1];
    let (path, from_s) = dataset.film(episode, "observation.images.front").unwrap();
    // More pictures than the film has.
    let film = FilmReader::start(&ffmpeg(), &path, from_s, FPS, episode.length() + 1).unwrap();
    let results: Vec<_> = film.collect();
    let error = results.last().unwrap().as_ref().unwrap_err();
    assert_eq!((results.len(), error.place.as_ref()), (6, &Place::Picture(5)), "{error}");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let film = FilmReader::start(&ffmpeg(), &path, from_s, FPS, episode.length()).unwrap();
    assert!(film.last().unwrap().is_err());
}

fn layout() -> Layout {
    Layout {
        fps: 20.0,
        robot_type: "test".to_owned(),
        camera: ("front".to_owned(), [32, 24]),
        depth_px: Some([16, 12]),
        state: ["x", "gripper"].map(str::to_owned).to_vec(),
        action: ["x", "y", "gripper"].map(str::to_owned).to_vec(),
        outcomes: true,
    }
}

/// Red says which row it is.
fn picture(index: usize) -> RgbImage {
    RgbImage::new(32, 24, [10 * index as u8, 100, 50].repeat(32 * 24)).unwrap()
}

fn depth(index: usize) -> DepthImage {
    let mut depth_m = vec![0.5 + 0.1 * index as f32; 16 * 12];
    depth_m[0] = f32::NAN; // a hole
    depth_m[1] = 70.0; // farther than 16 bits of millimetres
    DepthImage::new(16, 12, DepthKind::Sensor, depth_m).unwrap()
}

const LENGTHS: [usize; 3] = [5, 1, 8];

fn write(dir: &Path) {
    let mut writer = DatasetWriter::create(dir, &ffmpeg(), layout()).unwrap();
    let mut index = 0;
    for (episode, length) in LENGTHS.into_iter().enumerate() {
        for _ in 0..length {
            let (state, action) = ([index as f64, 0.5], [0.001 * index as f64, -0.25, 1.0]);
            let row = Row { picture: &picture(index), depth: Some(&depth(index)), state: &state, action: &action };
            writer.add(&row).unwrap();
            index += 1;
        }
        let task = ["lift it", "drop it", "lift it"][episode].to_owned();
        writer.end_episode(&EpisodeEnd { task, success: Some(episode != 1) }).unwrap();
    }
    let figures = writer.finish(&serde_json::json!({})).unwrap();
    assert_eq!((figures.episodes, figures.rows, figures.depth_beyond), (3, 14, 14));
}

#[test]
fn what_is_written_is_read_back_the_same() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    let dataset = Dataset::open(dir.path()).unwrap();
    assert_eq!(dataset.tasks().values().collect::<Vec<_>>(), ["lift it", "drop it"]);
    let features = ["action", "observation.state", "observation.depth.front", "next.success", "timestamp"];
    let mut reader = dataset.rows(&features).unwrap();
    let mut index = 0;
    for (number, episode) in dataset.episodes().iter().enumerate() {
        let rows = reader.episode(episode).unwrap();
        assert_eq!(rows.length, LENGTHS[number]);
        let (path, from_s) = dataset.film(episode, "observation.images.front").unwrap();
        let mut film = FilmReader::start(&ffmpeg(), &path, from_s, 20.0, episode.length()).unwrap();
        for row in 0..rows.length {
            assert_eq!(rows.numbers["observation.state"].row(row), [index as f64, 0.5]);
            assert_eq!(rows.numbers["action"].row(row), [f64::from((0.001 * index as f64) as f32), -0.25, 1.0]);
            assert_eq!(rows.numbers["timestamp"].row(row), [f64::from((row as f64 / 20.0) as f32)]);
            let success = number != 1 && row + 1 == rows.length;
            assert_eq!(rows.numbers["next.success"].row(row), [f64::from(u8::from(success))]);
            let found = png_depth(&rows.pictures["observation.depth.front"][row]).unwrap();
            let expected = depth(index);
            assert_eq!(found.data_m()[..2], [0.0, 0.0], "a hole, and what has no place, are no readings");
            let worst = found.data_m().iter().zip(expected.data_m()).skip(2).map(|(a, b)| (a - b).abs());
            assert!(worst.fold(0.0, f32::max) < 0.000_51, "half a millimetre");
            let seen = film.next().unwrap().unwrap();
            let difference = seen.data().iter().zip(picture(index).data()).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(difference.unwrap() < 8, "picture {index} differs by {difference:?}");
            index += 1;
        }
    }
}

#[test]
fn a_row_that_does_not_fit_is_refused_and_a_directory_is_never_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = DatasetWriter::create(dir.path(), &ffmpeg(), layout()).unwrap();
    let (picture, depth) = (picture(0), depth(0));
    let row = Row { picture: &picture, depth: Some(&depth), state: &[0.0, 0.0], action: &[0.0; 3] };
    for wrong in [
        Row { depth: None, ..row },
        Row { state: &[0.0], ..row },
        Row { action: &[0.0, f64::NAN, 0.0], ..row },
        Row { picture: &RgbImage::new(16, 24, vec![0; 16 * 24 * 3]).unwrap(), ..row },
    ] {
        assert!(writer.add(&wrong).is_err());
    }
    writer.add(&row).unwrap();
    let unknown = EpisodeEnd { task: "x".to_owned(), success: None };
    assert!(writer.end_episode(&unknown).is_err(), "the layout says that outcomes are known");
    assert!(DatasetWriter::create(dir.path(), &ffmpeg(), layout()).is_err());
    drop(writer);
    assert!(Dataset::open(dir.path()).is_err(), "what was not finished is not a dataset");
}

fn tables() -> [&'static str; 3] {
    ["meta/tasks.parquet", "meta/episodes/chunk-000/file-000.parquet", "data/chunk-000/file-000.parquet"]
}

#[test]
fn a_table_that_is_cut_anywhere_is_an_error_with_its_byte() {
    let dir = tempfile::tempdir().unwrap();
    copy(&fixture(), dir.path());
    for table in tables() {
        let path = dir.path().join(table);
        let whole = fs::read(&path).unwrap();
        for length in (0..whole.len()).step_by(whole.len() / 97 + 1) {
            fs::write(&path, &whole[..length]).unwrap();
            let error = read_all(dir.path()).expect_err(&format!("{table} of {length} bytes"));
            assert!(matches!(*error.place, Place::Byte(_)), "{error}");
            assert!(error.to_string().contains(table), "{error}");
        }
        fs::write(&path, &whole).unwrap();
    }
    read_all(dir.path()).unwrap();
}

#[test]
fn a_description_that_is_cut_or_of_another_version_is_refused_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    copy(&fixture(), dir.path());
    let path = dir.path().join("meta/info.json");
    let whole = fs::read_to_string(&path).unwrap();
    for length in (0..whole.trim_end().len()).step_by(61) {
        fs::write(&path, &whole[..length]).unwrap();
        let error = read_all(dir.path()).unwrap_err();
        assert!(matches!(*error.place, Place::Byte(byte) if byte <= length as u64), "{error}");
    }
    for (from, to, named) in [
        ("v3.0", "v2.1", "convert_dataset_v21_to_v30"),
        ("\"fps\": 10", "\"fps\": 0", "fps"),
        ("\"total_frames\": 12", "\"total_frames\": 13", "13"),
        ("data/chunk-", "../data/chunk-", "inside the dataset"),
        ("data/chunk-", "/data/chunk-", "inside the dataset"),
    ] {
        fs::write(&path, whole.replace(from, to)).unwrap();
        let error = read_all(dir.path()).unwrap_err().to_string();
        assert!(error.contains(named), "{from} -> {to}: {error}");
    }
}

#[test]
fn a_missing_feature_lists_those_there_are() {
    let dataset = Dataset::open(&fixture()).unwrap();
    let error = dataset.rows(&["actions"]).err().unwrap();
    assert!(
        matches!(error.problem.as_ref(), Problem::Missing { known, .. } if known.contains(&"action".to_owned())),
        "{error}"
    );
}

/// Expected values: numpy.quantile.
#[test]
fn quantiles_agree_with_numpy() {
    let sorted = [1.0, 2.0, 4.0, 8.0];
    for (share, expected) in [(0.0, 1.0), (0.01, 1.03), (0.5, 3.0), (0.9, 6.8), (1.0, 8.0)] {
        assert!((quantile(&sorted, share).unwrap() - expected).abs() < 1e-12, "{share}");
    }
    assert_eq!(quantile(&[], 0.5), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Read or refused: never a panic that escapes, never memory that the file only claims.
    #[test]
    fn altered_tables_are_read_or_refused(
        which in 0usize..3,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        at_the_end in any::<bool>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        copy(&fixture(), dir.path());
        let path = dir.path().join(tables()[which]);
        let mut bytes = fs::read(&path).unwrap();
        for (index, value) in changes {
            // Half of the cases alter the description at the end of the file, where the lengths are.
            let (from, length) = if at_the_end { (bytes.len() - 1500, 1500) } else { (0, bytes.len()) };
            bytes[from + index.index(length)] = value;
        }
        fs::write(&path, bytes).unwrap();
        if let Err(error) = read_all(dir.path()) {
            prop_assert!(error.path.starts_with(dir.path()));
        }
    }
}
