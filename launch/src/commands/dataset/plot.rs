//! The plot of an open-loop error, as SVG: over one episode what was done and what the policy would have done, and beside it the
//! error by row ahead. One line of both for each dimension.

use super::report::{DimReport, Report};
use crate::markup::{escaped, put};

const ROW_PX: f64 = 96.0;
const TOP_PX: f64 = 64.0;
const WIDTH_PX: f64 = 980.0;
const LEFT: [f64; 2] = [96.0, 640.0];
const RIGHT: [f64; 2] = [740.0, 950.0];
const RECORDED: &str = "#555555";
const PREDICTED: &str = "#0072b2";
const P90: &str = "#d55e00";

/// A chart of one dimension: from values to pixels.
struct Chart {
    x_px: [f64; 2],
    y_px: [f64; 2],
    x: [f64; 2],
    y: [f64; 2],
}

impl Chart {
    fn point(&self, x: f64, y: f64) -> (f64, f64) {
        let along = |value: f64, [low, high]: [f64; 2]| if high > low { (value - low) / (high - low) } else { 0.5 };
        let (u, v) = (along(x, self.x), along(y, self.y));
        (self.x_px[0] + u * (self.x_px[1] - self.x_px[0]), self.y_px[1] - v * (self.y_px[1] - self.y_px[0]))
    }

    fn frame(&self, out: &mut String) {
        let [x, right] = self.x_px;
        let [y, bottom] = self.y_px;
        let (width, height) = (right - x, bottom - y);
        put!(out, r##"<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="none" stroke="#cccccc"/>"##);
        for (value, at) in [(self.y[1], y + 9.0), (self.y[0], bottom)] {
            put!(out, r#"<text x="{}" y="{at:.1}" text-anchor="end" class="s">{}</text>"#, x - 5.0, short(value));
        }
    }

    fn line(&self, out: &mut String, points: impl Iterator<Item = (f64, f64)>, style: &str) {
        let points = points.filter(|(_, y)| y.is_finite()).map(|(x, y)| self.point(x, y));
        let points: Vec<String> = points.map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        put!(out, r#"<polyline points="{}" fill="none" {style}/>"#, points.join(" "));
    }
}

/// Four digits that mean something.
fn short(value: f64) -> String {
    if value == 0.0 || (0.01..1000.0).contains(&value.abs()) { format!("{value:.3}") } else { format!("{value:.1e}") }
}

fn range(values: impl Iterator<Item = f64>) -> [f64; 2] {
    let [low, high] = values
        .filter(|value| value.is_finite())
        .fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], value| [low.min(value), high.max(value)]);
    if high > low {
        [low, high]
    } else if low.is_finite() {
        [low - 0.5, low + 0.5]
    } else {
        [0.0, 1.0]
    }
}

/// The whole picture.
pub(super) fn svg(report: &Report) -> String {
    let (drawn, still): (Vec<usize>, Vec<usize>) = (0..report.dims.len()).partition(|dim| moves(report, *dim));
    let height = TOP_PX + ROW_PX * drawn.len() as f64 + 52.0;
    let mut out = String::new();
    put!(
        out,
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH_PX}" height="{height}" viewBox="0 0 {WIDTH_PX} {height}" font-family="sans-serif" font-size="13">"#
    );
    put!(out, "<style>.s{{font-size:10px;fill:#666666}}</style>");
    put!(out, r#"<rect width="100%" height="100%" fill="white"/>"#);
    let title = format!("{}: open-loop error, {} answers at {} Hz", report.policy, report.looks, report.fps);
    put!(out, r#"<text x="{}" y="22" font-size="15">{}</text>"#, LEFT[0], escaped(&title));
    let episode = report.traces.keys().next().copied().unwrap_or_default();
    let legend = [
        (LEFT[0], RECORDED, format!("recorded, episode {episode}"), ""),
        (LEFT[0] + 170.0, PREDICTED, "the policy's first action".to_owned(), ""),
        (RIGHT[0], PREDICTED, "mean".to_owned(), ""),
        (RIGHT[0] + 62.0, P90, "p90".to_owned(), ""),
        (RIGHT[0] + 116.0, RECORDED, "mean action".to_owned(), r#" stroke-dasharray="4 3""#),
    ];
    for (x, colour, words, dashes) in legend {
        put!(out, r#"<path d="M{x} 44h16" stroke="{colour}" stroke-width="2"{dashes}/>"#);
        put!(out, r#"<text x="{}" y="48" class="s">{}</text>"#, x + 20.0, escaped(&words));
    }
    for (place, dim) in drawn.into_iter().enumerate() {
        let described = &report.dims[dim];
        let top = TOP_PX + ROW_PX * place as f64;
        let name = format!("{} {}", described.name, described.unit);
        put!(out, r#"<text x="12" y="{}">{}</text>"#, top + ROW_PX / 2.0, escaped(name.trim_end()));
        trace(&mut out, report, dim, [top, top + ROW_PX - 16.0]);
        ahead(&mut out, described, [top, top + ROW_PX - 16.0]);
    }
    let bottom = height - 40.0;
    if !still.is_empty() {
        let names: Vec<&str> = still.iter().map(|dim| report.dims[*dim].name.as_str()).collect();
        let words = format!("the same throughout, recorded and answered: {}", names.join(", "));
        put!(out, r#"<text x="{}" y="{}" class="s">{}</text>"#, LEFT[0], height - 14.0, escaped(&words));
    }
    put!(
        out,
        r#"<text x="{}" y="{bottom}" class="s" text-anchor="middle">row of the episode</text>"#,
        (LEFT[0] + LEFT[1]) / 2.0
    );
    put!(
        out,
        r#"<text x="{}" y="{bottom}" class="s" text-anchor="middle">absolute error, by row ahead (1 to {})</text>"#,
        (RIGHT[0] + RIGHT[1]) / 2.0,
        report.dims.first().map_or(0, |dim| dim.ahead.len())
    );
    put!(out, "</svg>");
    out
}

/// Whether there is anything to see.
fn moves(report: &Report, dim: usize) -> bool {
    let described = &report.dims[dim];
    described.mean_action.p90 > 0.0 || described.mean_action.mean > 0.0 || described.ahead.iter().any(|e| e.mean > 0.0)
}

fn trace(out: &mut String, report: &Report, dim: usize, y_px: [f64; 2]) {
    let Some(trace) = report.traces.values().next() else { return };
    let of =
        |rows: &[Vec<f64>]| -> Vec<f64> { rows.iter().map(|row| row.get(dim).copied().unwrap_or(f64::NAN)).collect() };
    let (recorded, predicted) = (of(&trace.recorded), of(&trace.predicted));
    let chart = Chart {
        x_px: LEFT,
        y_px,
        x: range(trace.rows.iter().map(|row| *row as f64)),
        y: range(recorded.iter().chain(&predicted).copied()),
    };
    chart.frame(out);
    for (values, colour) in [(recorded, RECORDED), (predicted, PREDICTED)] {
        let points = trace.rows.iter().map(|row| *row as f64).zip(values);
        chart.line(out, points, &format!(r#"stroke="{colour}" stroke-width="1.5" stroke-opacity="0.85""#));
    }
}

fn ahead(out: &mut String, dim: &DimReport, y_px: [f64; 2]) {
    let steps = dim.ahead.len();
    let highest = dim.ahead.iter().map(|errors| errors.p90).chain([dim.mean_action.mean]);
    let [_, high] = range(highest.chain([0.0]));
    let chart = Chart { x_px: RIGHT, y_px, x: [0.5, steps as f64 + 0.5], y: [0.0, high] };
    chart.frame(out);
    let level = dim.mean_action.mean;
    chart.line(
        out,
        [(0.5, level), (steps as f64 + 0.5, level)].into_iter(),
        &format!(r#"stroke="{RECORDED}" stroke-dasharray="4 3""#),
    );
    for (which, colour) in [(false, PREDICTED), (true, P90)] {
        let points = dim
            .ahead
            .iter()
            .enumerate()
            .map(|(step, errors)| (step as f64 + 1.0, if which { errors.p90 } else { errors.mean }));
        for (x, y) in points.clone().filter(|(_, y)| y.is_finite()).map(|(x, y)| chart.point(x, y)) {
            put!(out, r#"<circle cx="{x:.1}" cy="{y:.1}" r="3" fill="{colour}"/>"#);
        }
        chart.line(out, points, &format!(r#"stroke="{colour}" stroke-width="1.5""#));
    }
}
