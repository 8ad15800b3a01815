//! OpenVLA's fixed bins against data of the official code, `fixtures/README.md`: every id, every value, exactly.
#![allow(clippy::unwrap_used)]

use egogrid_action_grids::{
    Action, ActionBins, ActionError, ActionRow, BinError, BinsError, DeltaError, NormStatsFile, NormalizedRow,
    RowError, RowStats, StatisticsTable, StatsError,
};
use proptest::prelude::*;
use safetensors::SafeTensors;
use std::path::PathBuf;

const VOCABULARY_SIZE: u32 = 32064;
const END_ID: u32 = 32000;
const EOS_ID: u32 = 2;

fn fixture() -> Vec<u8> {
    std::fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/openvla_bins.safetensors")).unwrap()
}

fn f64s(file: &SafeTensors<'_>, name: &str) -> Vec<f64> {
    file.tensor(name).unwrap().data().as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect()
}

fn bins() -> ActionBins {
    ActionBins::new(256, END_ID, EOS_ID).unwrap()
}

#[test]
fn edges_and_centers_are_the_official_float64_bits() {
    let bytes = fixture();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(bins().edges(), f64s(&file, "edges"));
    assert_eq!(bins().centers(), f64s(&file, "centers"));
    assert_eq!(bins().centers()[127], 0.0, "a policy can stand still");
}

/// All of the vocabulary. Where the official code limits an id to the nearest bin there is no value here.
#[test]
fn every_action_id_decodes_to_the_official_value_and_every_other_id_is_an_error() {
    let bytes = fixture();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (bins, centers) = (bins(), f64s(&file, "centers"));
    let official = file.tensor("center_of_every_id").unwrap().data();
    assert_eq!(official.len(), VOCABULARY_SIZE as usize);
    let mut decoded = 0;
    for (id, center) in (0..VOCABULARY_SIZE).zip(official) {
        match bins.decode(id) {
            Ok(value) => {
                assert_eq!(value, centers[usize::from(*center)], "id {id}");
                decoded += 1;
            }
            Err(BinError::End { eos_id }) => assert_eq!((id, eos_id), (EOS_ID, EOS_ID)),
            Err(error) => assert_eq!(error, BinError::NotAction { id, ids: (31744, 31999) }),
        }
    }
    assert_eq!(decoded, 256);
    assert_eq!(bins.decode(31744), bins.decode(31745), "digits 256 and 255 share the last center");
    assert!(bins.decode(u32::MAX).is_err());
}

#[test]
fn official_actions_are_encoded_and_unnormalized_exactly() {
    let bytes = fixture();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mask = file.tensor("mask").unwrap().data().iter().map(|byte| *byte == 1).collect();
    let statistics = RowStats::new(f64s(&file, "q01"), f64s(&file, "q99"), mask).unwrap();
    let token_ids = file.tensor("token_ids").unwrap();
    let token_ids: Vec<u32> =
        token_ids.data().as_chunks::<2>().0.iter().map(|bytes| u32::from(u16::from_le_bytes(*bytes))).collect();
    let (actions, unnormalized) = (f64s(&file, "actions"), f64s(&file, "unnormalized"));
    let rows = actions.as_chunks::<7>().0.iter().zip(token_ids.as_chunks::<7>().0).zip(unnormalized.as_chunks::<7>().0);
    let mut seen = 0;
    for ((action, ids), expected) in rows {
        // Training limits its targets before it encodes them.
        assert_eq!(action.map(|value| bins().encode(value.clamp(-1.0, 1.0)).unwrap()), *ids);
        let normalized = NormalizedRow::new(ids.iter().map(|id| bins().decode(*id).unwrap()).collect()).unwrap();
        assert_eq!(statistics.unnormalize(&normalized).unwrap().values(), expected);
        seen += 1;
    }
    assert_eq!(seen, 2000);
}

#[test]
fn bins_that_cannot_be_are_refused() {
    for count in [0, 1, (1 << 16) + 1, u32::MAX] {
        assert_eq!(ActionBins::new(count, u32::MAX, 2), Err(BinsError::Count { found: count }));
    }
    assert_eq!(ActionBins::new(256, 255, 2), Err(BinsError::Begin { bins: 256, end_id: 255 }));
    let inside = |eos_id| BinsError::EndAmongActions { eos_id, begin_id: 31744, last_id: 31999 };
    for eos_id in [31744, 31999] {
        assert_eq!(ActionBins::new(256, END_ID, eos_id), Err(inside(eos_id)));
    }
    for eos_id in [31743, 32000] {
        assert!(ActionBins::new(256, END_ID, eos_id).is_ok());
    }
    assert_eq!(ActionBins::new(2, 2, 7).unwrap().centers(), [0.0]);
    assert!(matches!(bins().encode(f64::NAN), Err(BinError::Outside { .. })));
    assert!(matches!(bins().encode(1.0f64.next_up()), Err(BinError::Outside { .. })));
}

#[test]
fn statistics_of_any_number_of_dimensions_are_taken_and_only_seven_move_an_arm() {
    let key = |dims: usize| {
        let list = |value: &str| vec![value; dims].join(", ");
        format!(
            r#""{dims}d": {{"action": {{"q01": [{}], "q99": [{}], "mask": [{}]}}}}"#,
            list("-1"),
            list("1"),
            list("true")
        )
    };
    let file = format!("{{{}, {}, {}}}", key(5), key(7), key(14));
    let table: StatisticsTable = serde_json::from_str(&file).unwrap();
    let dims: Vec<usize> = table.iter().map(|(_, stats)| stats.dims()).collect();
    assert_eq!(dims, [14, 5, 7]);
    assert!(table.get("7d").unwrap().one_arm().is_ok());
    assert_eq!(table.get("14d").unwrap().one_arm(), Err(StatsError::NotOneArm { found: 14 }));
    let row = NormalizedRow::new(vec![0.0; 5]).unwrap();
    assert!(table.get("5d").unwrap().unnormalize(&row).is_ok());
    assert_eq!(table.get("7d").unwrap().unnormalize(&row), Err(RowError::OtherDims { found: 5, expected: 7 }));
    for dims in [0, 65] {
        let file =
            NormStatsFile { q01: vec![0.0; dims], q99: vec![1.0; dims], mask: vec![true; dims], min: None, max: None };
        assert_eq!(RowStats::try_from(&file), Err(StatsError::Dims { found: dims }));
    }
}

#[test]
fn a_row_becomes_a_robot_action_only_if_it_is_one() {
    let row = |values: &[f64]| ActionRow::new(values.to_vec()).unwrap();
    let delta = [0.01, 0.0, -0.02, 0.1, 0.0, 0.0, 1.0];
    assert_eq!(Action::try_from(&row(&delta)).unwrap().values(), delta);
    assert_eq!(Action::try_from(&row(&delta[..5])), Err(DeltaError::Dims { found: 5 }));
    assert_eq!(Action::try_from(&row(&[0.0; 14])), Err(DeltaError::Dims { found: 14 }));
    let closed = [0.01, 0.0, -0.02, 0.1, 0.0, 0.0, -0.79];
    assert_eq!(Action::try_from(&row(&closed)), Err(DeltaError::Action(ActionError::Gripper { value: -0.79 })));
    assert_eq!(ActionRow::new(Vec::new()), Err(RowError::Dims { found: 0 }));
    assert_eq!(ActionRow::new(vec![0.0; 65]), Err(RowError::Dims { found: 65 }));
    assert!(matches!(NormalizedRow::new(vec![0.0, f64::NAN]), Err(RowError::NotFinite { dim: 1, .. })));
    let huge = RowStats::new(vec![-f64::MAX], vec![f64::MAX], vec![true]).unwrap();
    let at_the_top = NormalizedRow::new(vec![1.0]).unwrap();
    assert!(matches!(huge.unnormalize(&at_the_top), Err(RowError::NotFinite { dim: 0, .. })), "overflow is no action");
}

proptest! {
    #[test]
    fn decode_then_encode_is_the_identity_on_every_center(count in 2u32..2000, end in 0u32..100_000) {
        let bins = ActionBins::new(count, count + end, count + end).unwrap();
        for id in bins.ids().skip(1) { // the first id shares its value with the second
            prop_assert_eq!(bins.encode(bins.decode(id).unwrap()), Ok(id));
        }
        prop_assert_eq!(bins.encode(1.0), Ok(bins.ids().start));
    }
}
