//! Checkpoints of other sizes, layouts and fields than the golden ones: every stage is the exporter's reference, in both
//! flavours of graphs. Networks are small and random; what they are is listed in the exporter's own tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{environment, python, root};
use egogrid_policies::bundle::Bundle;
use egogrid_policies::check::check;
use egogrid_runtime::execution::{Flavour, GraphOptions};

/// Exports all of `family` and checks them. Returns how many there were.
fn checked(family: &str) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let tests = root().join("policies/export/tests");
    let output = python()
        .arg(tests.join("export_variants.py"))
        .args([family.as_ref(), dir.path().as_os_str()])
        .env("PYTHONPATH", std::env::join_paths([tests, root().join("policies/export/src")]).unwrap())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    for name in &names {
        let bundle = Bundle::open(&dir.path().join(name)).unwrap_or_else(|error| panic!("{}: {error}", name.display()));
        for flavour in [Flavour::Cpu, Flavour::Static] {
            let options = GraphOptions { flavour: Some(flavour), ..GraphOptions::default() };
            let report = check(&environment(), &bundle, &options);
            let report = report.unwrap_or_else(|error| panic!("{}, {flavour}: {error}", name.display()));
            assert!(report.ok(), "{}, {flavour}: {:?}", name.display(), report.first_difference());
        }
    }
    names.len()
}

#[test]
fn every_stage_of_any_spatialvla_is_the_reference() {
    assert!(checked("spatialvla") > 20);
}

#[test]
fn every_stage_of_any_depth_estimator_is_the_reference() {
    assert!(checked("estimated") > 20);
}

#[test]
fn every_stage_of_any_openvla_is_the_reference() {
    assert!(checked("openvla") > 20);
}
