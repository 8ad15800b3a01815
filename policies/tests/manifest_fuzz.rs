//! Whatever bytes stand in `bundle.toml`: an error or a manifest within its bounds, never a panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::TinyBundle;
use egogrid_policies::bundle::{FamilyTables, limits, parse_manifest};
use proptest::prelude::*;

/// What every manifest that is taken promises to the code behind it.
fn within_bounds(bytes: &[u8]) {
    let Ok(manifest) = parse_manifest(bytes) else { return };
    let chunk = &manifest.chunk;
    assert!((1..=limits::FILES_MAX).contains(&manifest.files.len()));
    assert!(
        (1..=limits::CHUNK_LENGTH_MAX).contains(&chunk.length) && (1..=chunk.length).contains(&chunk.steps_executed)
    );
    match &manifest.tables {
        FamilyTables::SpatialVla(own) => {
            let tokens = &own.tokens;
            let cells = [tokens.translation_cells, tokens.rotation_cells, tokens.gripper_cells].map(u64::from);
            let end = u64::from(tokens.action_begin_id) + cells.iter().sum::<u64>();
            assert!(end <= u64::from(manifest.tokens.vocabulary_size));
            assert!(own.ego3d.scale_m > 0.0 && own.ego3d.scale_m.is_finite());
        }
        FamilyTables::OpenVla(own) => {
            assert!(own.tokens.bins >= 2 && own.tokens.bins <= own.tokens.action_end_id);
            assert!(own.tokens.action_end_id <= manifest.tokens.vocabulary_size);
            assert!(own.prompt.final_id < manifest.tokens.vocabulary_size);
            assert!((1..=4).contains(&own.image.towers.len()) && chunk.length == 1);
            assert!(own.image.towers.iter().flat_map(|tower| tower.std).all(|std| std > 0.0 && std.is_finite()));
            assert!(manifest.image.width_px == manifest.image.height_px);
        }
    }
    assert!(manifest.tokens.vocabulary_size <= limits::VOCABULARY_MAX);
    assert!(manifest.prompt.text_tokens_max <= limits::TEXT_TOKENS_MAX);
    for file in &manifest.files {
        assert!(
            !file.path.contains(['/', '\\']) && !file.path.starts_with('.'),
            "{:?} leaves the directory",
            file.path
        );
    }
}

/// One of every family.
fn manifest() -> impl Strategy<Value = Vec<u8>> {
    prop::sample::select(vec![TinyBundle::new().manifest_bytes(), TinyBundle::openvla().manifest_bytes()])
}

#[test]
fn both_manifests_are_taken_before_they_are_damaged() {
    for bundle in [TinyBundle::new(), TinyBundle::openvla()] {
        parse_manifest(&bundle.manifest_bytes()).unwrap();
    }
}

/// Numbers, words and brackets that parsers stumble over.
fn token() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "0",
        "-1",
        "1e999",
        "nan",
        "inf",
        "18446744073709551616",
        "-9223372036854775809",
        "4294967295",
        "65536",
        "\"\"",
        "\"../x\"",
        "\"\u{202e}\"",
        "[]",
        "[[]]",
        "{}",
        "[1, \"a\"]",
        "true",
        "1979-05-27",
        "\n",
        "#",
        "=",
        "[[files]]",
        "]",
        "\u{0}",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
        within_bounds(&bytes);
    }

    #[test]
    fn a_manifest_with_bytes_changed_never_panics(
        mut bytes in manifest(), edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        within_bounds(&bytes);
    }

    #[test]
    fn a_manifest_with_values_replaced_never_panics(
        bytes in manifest(), line in any::<prop::sample::Index>(), value in token(), whole in any::<bool>(),
    ) {
        let text = String::from_utf8(bytes).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let at = line.index(lines.len());
        lines[at] = match lines[at].split_once('=') {
            Some((key, _)) if !whole => format!("{key}= {value}"),
            _ => value.to_owned(),
        };
        within_bounds(lines.join("\n").as_bytes());
    }

    #[test]
    fn a_manifest_with_lines_missing_twice_or_elsewhere_never_panics(
        bytes in manifest(), from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>(), keep in any::<bool>(),
    ) {
        let text = String::from_utf8(bytes).unwrap();
        let mut lines: Vec<&str> = text.lines().collect();
        let moved = lines[from.index(lines.len())];
        if !keep {
            let at = from.index(lines.len());
            lines.remove(at);
        }
        lines.insert(to.index(lines.len()), moved);
        within_bounds(lines.join("\n").as_bytes());
    }
}
