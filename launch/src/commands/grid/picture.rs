//! Cells against the density of the data, as SVG: the translation cells of each cut in the normalized cube, seen from above a corner, and
//! below them the error of each axis.
//!
//! From: tokenizers and normalized actions. To: one file that every browser opens.

use super::quality::{GRID_DIMS, Quality};
use crate::markup::{escaped, put};
use egogrid_action_grids::{ActionTokenizer, NormalizedAction, TokenKind};

const PANEL_PX: f64 = 420.0;
const TOP_PX: f64 = 66.0;
const BARS_PX: f64 = 190.0;
/// More dots than this are one colour.
const DOTS_MAX: usize = 3000;
const COLORS: [&str; 3] = ["#0072b2", "#d55e00", "#009e73"];

/// Where a point of the cube is in a panel: from the front, 30 degrees to the side and 25 above.
fn projected([x, y, z]: [f64; 3], left_px: f64) -> [f64; 2] {
    let (side, above) = (30_f64.to_radians(), 25_f64.to_radians());
    let (across, depth) = (x * side.cos() - y * side.sin(), x * side.sin() + y * side.cos());
    let up = z * above.cos() + depth * above.sin();
    let scale = PANEL_PX / 3.9;
    [left_px + PANEL_PX / 2.0 + scale * across, TOP_PX + PANEL_PX / 2.0 - scale * up]
}

/// Where each translation token decodes to.
fn cells(tokenizer: &ActionTokenizer) -> Vec<[f64; 3]> {
    let table = tokenizer.table();
    let rest = [TokenKind::Rotation, TokenKind::Gripper].map(|kind| table.ids(kind).start);
    let place = |token: u32| tokenizer.decode(&[token, rest[0], rest[1]]).ok().map(|action| action.translation());
    table.ids(TokenKind::Translation).filter_map(place).collect()
}

/// The picture; `panels`: name and tokenizer of each cut that is drawn.
pub(super) fn svg(
    title: &str,
    panels: &[(&str, &ActionTokenizer)],
    actions: &[NormalizedAction],
    quality: &Quality,
) -> String {
    let (width, height) = (PANEL_PX * panels.len() as f64, TOP_PX + PANEL_PX + BARS_PX + 30.0);
    let mut out = String::new();
    put!(out, r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">"#);
    put!(
        out,
        r#"<style>text {{ font-size: 13px; fill: #333333 }} .s {{ font-size: 11px; fill: #666666 }} .d {{ fill: #444444; fill-opacity: 0.16 }}</style>"#
    );
    put!(out, r#"<rect width="{width}" height="{height}" fill="white"/><text x="16" y="24">{}</text>"#, escaped(title));
    put!(
        out,
        r#"<text x="16" y="42" class="s">gray: what the actions of the data are, x, y, z in the normalized cube; coloured: where each cell decodes to</text>"#
    );
    for (index, (name, tokenizer)) in panels.iter().enumerate() {
        panel(&mut out, PANEL_PX * index as f64, name, COLORS[index % COLORS.len()], tokenizer, actions);
    }
    bars(&mut out, width, quality);
    put!(out, "</svg>");
    out
}

fn panel(
    out: &mut String,
    left_px: f64,
    name: &str,
    color: &str,
    tokenizer: &ActionTokenizer,
    actions: &[NormalizedAction],
) {
    let cells = cells(tokenizer);
    put!(out, r#"<text x="{}" y="{}" fill="{color}">{name}: {} cells</text>"#, left_px + 16.0, TOP_PX, cells.len());
    let corner = |index: usize| [0, 1, 2].map(|axis| if index >> axis & 1 == 1 { 1.0 } else { -1.0 });
    for a in 0..8_usize {
        for b in [1, 2, 4].map(|bit| a | bit).into_iter().filter(|b| *b != a) {
            let ([x1, y1], [x2, y2]) = (projected(corner(a), left_px), projected(corner(b), left_px));
            put!(out, r##"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="#cccccc"/>"##);
        }
    }
    for (axis, label) in ["x", "y", "z"].into_iter().enumerate() {
        let mut end = [-1.0; 3];
        end[axis] = 1.15;
        let [x, y] = projected(end, left_px);
        put!(out, r#"<text x="{x:.1}" y="{y:.1}" class="s">{label}</text>"#);
    }
    let every = actions.len().div_ceil(DOTS_MAX).max(1);
    for action in actions.iter().step_by(every) {
        let [x, y] = projected(action.translation(), left_px);
        put!(out, r#"<circle class="d" cx="{x:.1}" cy="{y:.1}" r="2.2"/>"#);
    }
    // One path for all of them: none hides another.
    let dots = cells.into_iter().map(|cell| projected(cell, left_px));
    let dots: Vec<String> = dots.map(|[x, y]| format!("M{x:.1} {y:.1}h0")).collect();
    put!(
        out,
        r#"<path d="{}" stroke="{color}" stroke-width="2.6" stroke-linecap="round" stroke-opacity="0.75"/>"#,
        dots.concat()
    );
}

/// Mean error of each axis and cut, with p99 as a thin line.
fn bars(out: &mut String, width: f64, quality: &Quality) {
    let (top, bottom) = (TOP_PX + PANEL_PX + 30.0, TOP_PX + PANEL_PX + BARS_PX);
    let dims = || (0..GRID_DIMS).filter(|dim| quality.cuts.iter().any(|cut| cut.error.dims[*dim].max > 0.0));
    let largest = quality.cuts.iter().flat_map(|cut| cut.error.dims[..GRID_DIMS].iter()).map(|error| error.p99);
    let largest = largest.fold(f64::MIN_POSITIVE, f64::max);
    put!(out, r#"<text x="16" y="{}">error of each axis, normalized: bar mean, line 99 %</text>"#, top - 12.0);
    let group_px = (width - 60.0) / dims().count().max(1) as f64;
    let bar_px = (group_px / (quality.cuts.len() as f64 + 1.0)).min(46.0);
    for (group, dim) in dims().enumerate() {
        let left = 40.0 + group_px * group as f64;
        for (index, cut) in quality.cuts.iter().enumerate() {
            let error = &cut.error.dims[dim];
            let high = |value: f64| (bottom - top - 14.0) * value / largest;
            let (x, color) = (left + bar_px * index as f64, COLORS[index % COLORS.len()]);
            let (mean, p99) = (high(error.mean), bottom - high(error.p99));
            put!(
                out,
                r#"<rect x="{x:.1}" y="{:.1}" width="{:.1}" height="{mean:.1}" fill="{color}"/>"#,
                bottom - mean,
                bar_px - 4.0
            );
            put!(
                out,
                r#"<line x1="{x:.1}" y1="{p99:.1}" x2="{:.1}" y2="{p99:.1}" stroke="{color}"/>"#,
                x + bar_px - 4.0
            );
            put!(out, r#"<text x="{x:.1}" y="{:.1}" class="s">{:.4}</text>"#, bottom - mean.max(2.0) - 3.0, error.mean);
        }
        let name = egogrid_action_grids::action::DIM_NAMES[dim];
        put!(out, r#"<text x="{left:.1}" y="{:.1}">{name}</text>"#, bottom + 18.0);
    }
    for (index, cut) in quality.cuts.iter().enumerate() {
        let (x, color) = (width - 330.0 + 110.0 * index as f64, COLORS[index % COLORS.len()]);
        put!(out, r#"<text x="{x:.1}" y="{:.1}" style="fill: {color}">{}</text>"#, top - 12.0, cut.name);
    }
}
