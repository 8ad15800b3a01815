//! Explanations of the shipped policy's choices, on its own golden observations.
//!
//! Needs ONNX Runtime, put there by `./launch/test`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{environment, openvla_bundle, root};
use egogrid_action_grids::TokenKind;
use egogrid_policies::bundle::Bundle;
use egogrid_policies::explain::{ExplainError, Explainer, GREY};
use egogrid_policies::registry::{LoadOptions, load_with_depth};
use egogrid_runtime::camera::RgbImage;
use egogrid_runtime::embodiment::DepthConfig;
use egogrid_runtime::execution::GraphOptions;
use egogrid_runtime::observation::Observation;
use egogrid_runtime::policy::ActionChunk;
use egogrid_runtime::schedule::Token;
use std::cell::Cell;

fn options(stats_key: &str) -> LoadOptions {
    LoadOptions { stats_key: stats_key.to_owned(), graph: GraphOptions::default(), preprocessing: None }
}

fn shipped() -> (Bundle, Explainer, Observation) {
    let bundle = Bundle::open(&root().join("policies/shipped/metaworld/bundle")).unwrap();
    let golden = bundle.golden().unwrap().remove(0);
    let rules = DepthConfig::default().checked().unwrap();
    let explainer = Explainer::load(&environment(), &bundle, &options(&golden.stats_key), rules).unwrap();
    (bundle, explainer, golden.observation.clone())
}

fn tokens(chunk: &ActionChunk) -> Vec<Token> {
    let pairs = chunk.token_ids.iter().zip(&chunk.confidence);
    pairs.map(|(&id, &confidence)| Token { id, confidence }).collect()
}

#[test]
fn an_explained_answer_is_the_policy_s_own_and_its_cells_hold_the_choice() {
    let (bundle, mut explainer, observation) = shipped();
    let golden = bundle.golden().unwrap().remove(0);
    let rules = DepthConfig::default().checked().unwrap();
    let mut policy = load_with_depth(&environment(), &bundle, &options(&golden.stats_key), rules).unwrap();
    let plain = policy.infer(&observation).unwrap();
    let decision = explainer.decide(&observation, &[]).unwrap();
    assert_eq!(decision.chunk.token_ids, plain.token_ids);
    let ids = bundle.action_tokenizer().unwrap().table().ids(TokenKind::Translation);
    assert_eq!(decision.cells.len(), ids.len());
    let at = |id: u32| decision.cells[(id - ids.start) as usize];
    assert_eq!(at(plain.token_ids[0]), plain.confidence[0]);
    let (runner_up, probability) = plain.runner_up[0];
    if ids.contains(&runner_up) {
        assert_eq!(at(runner_up), probability);
    }
    assert!(decision.cells.iter().all(|&p| (0.0..=plain.confidence[0]).contains(&p)), "none above the chosen one");
    assert!(decision.cells.iter().sum::<f32>() < 1.0 + 1e-4);
}

#[test]
fn covering_matters_where_there_is_something_to_cover_and_nowhere_else() {
    let (_, mut explainer, observation) = shipped();
    let chosen = tokens(&explainer.decide(&observation, &[]).unwrap().chunk);
    let weights = explainer.occlude(&observation, &chosen, 4, &|| true).unwrap().unwrap();
    assert_eq!(weights.len(), 64);
    // One weight for each of the four blocks of 4 x 4 patches.
    for (patch, weight) in weights.iter().enumerate() {
        let (row, column) = (patch / 8, patch % 8);
        assert_eq!(*weight, weights[row / 4 * 4 * 8 + column / 4 * 4], "row {row}, column {column}");
    }
    assert!(weights.iter().any(|weight| weight.abs() > 1e-3), "{weights:?}");
    let mut grey = observation.clone();
    let (width, height) = (grey.frame.rgb.width_px(), grey.frame.rgb.height_px());
    grey.frame.rgb = RgbImage::new(width, height, vec![GREY; (3 * width * height) as usize]).unwrap();
    let weights = explainer.occlude(&grey, &chosen, 4, &|| true).unwrap().unwrap();
    assert!(weights.iter().all(|weight| weight.abs() < 1e-4), "grey on grey: {weights:?}");
}

#[test]
fn an_explanation_ends_when_nobody_wants_it_any_more() {
    let (_, mut explainer, observation) = shipped();
    let chosen = tokens(&explainer.decide(&observation, &[]).unwrap().chunk);
    let asked = Cell::new(0);
    let twice = || {
        asked.set(asked.get() + 1);
        asked.get() <= 2
    };
    assert_eq!(explainer.occlude(&observation, &chosen, 1, &twice).unwrap(), None);
    assert_eq!(asked.get(), 3);
}

#[test]
fn what_cannot_be_explained_is_refused() {
    let (_, mut explainer, observation) = shipped();
    let chosen = tokens(&explainer.decide(&observation, &[]).unwrap().chunk);
    for block in [0, 9] {
        let error = explainer.occlude(&observation, &chosen, block, &|| true).unwrap_err();
        assert!(matches!(error, ExplainError::Block { found, max: 8 } if found == block), "{error}");
    }
    let error = explainer.occlude(&observation, &[], 4, &|| true).unwrap_err();
    assert!(matches!(error, ExplainError::NoTokens), "{error}");
    let mut longer = chosen.clone();
    longer.extend(&chosen);
    assert!(matches!(explainer.occlude(&observation, &longer, 4, &|| true), Err(ExplainError::Policy(_))));
    // No cells and no patches in this family.
    let openvla = Bundle::open(&openvla_bundle()).unwrap();
    let rules = DepthConfig::default().checked().unwrap();
    let key = openvla.statistics().keys().next().unwrap().to_owned();
    assert!(Explainer::load(&environment(), &openvla, &options(&key), rules).is_err());
}
