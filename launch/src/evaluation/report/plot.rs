//! Small pictures of a report, as SVG inside the page: colours are the page's own variables, so that light and dark both work.

use std::fmt::Write;

/// Writing to a string does not fail.
macro_rules! put {
    ($out:expr, $($arg:tt)*) => { { let _ = write!($out, $($arg)*); } };
}

const BAR_PX: [f64; 2] = [220.0, 18.0];

/// A rate as a bar of the whole scale, with its interval as a line.
pub(super) fn bar(rate: f64, [low, high]: [f64; 2]) -> String {
    let [width, height] = BAR_PX;
    let at = |share: f64| share * (width - 2.0) + 1.0;
    let middle = height / 2.0;
    let mut out = String::new();
    put!(
        out,
        r#"<svg class="bar" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="{:.0} %, between {:.0} and {:.0} %">"#,
        100.0 * rate,
        100.0 * low,
        100.0 * high
    );
    put!(out, r#"<rect class="ground" x="0" y="3" width="{width}" height="{:.1}" rx="3"/>"#, height - 6.0);
    put!(out, r#"<rect class="rate" x="0" y="3" width="{:.1}" height="{:.1}" rx="3"/>"#, at(rate), height - 6.0);
    put!(
        out,
        r#"<path class="interval" d="M{:.1} {middle}H{:.1}M{:.1} 2V{:.1}M{:.1} 2V{:.1}"/>"#,
        at(low),
        at(high),
        at(low),
        height - 2.0,
        at(high),
        height - 2.0
    );
    out.push_str("</svg>");
    out
}

/// One point of a sweep.
pub(super) struct Point {
    pub(super) label: String,
    /// Where it stands; without numbers points stand side by side.
    pub(super) value: Option<f64>,
    pub(super) rate: f64,
    pub(super) interval: [f64; 2],
}

/// Success over the values of an axis, with intervals; the first point is the arm without stress.
pub(super) fn sweep(points: &[Point]) -> String {
    const WIDTH: f64 = 460.0;
    const HEIGHT: f64 = 210.0;
    const LEFT: f64 = 44.0;
    const BOTTOM: f64 = 34.0;
    let numbers: Option<Vec<f64>> = points.iter().map(|point| point.value).collect();
    let places: Vec<f64> = match numbers {
        Some(values) if values.iter().any(|value| *value != values[0]) => {
            let (low, high) = values
                .iter()
                .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &value| (low.min(value), high.max(value)));
            values.iter().map(|value| (value - low) / (high - low)).collect()
        }
        _ => (0..points.len()).map(|index| index as f64 / (points.len().max(2) - 1) as f64).collect(),
    };
    let x = |place: f64| LEFT + 24.0 + place * (WIDTH - LEFT - 64.0);
    let y = |rate: f64| 12.0 + (1.0 - rate) * (HEIGHT - BOTTOM - 12.0);
    let mut out = String::new();
    put!(
        out,
        r#"<svg class="sweep" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="success over the values of this axis">"#
    );
    for share in [0.0, 0.25, 0.5, 0.75, 1.0] {
        put!(
            out,
            r#"<path class="grid" d="M{LEFT} {:.1}H{WIDTH}"/><text x="{:.1}" y="{:.1}" text-anchor="end">{:.0} %</text>"#,
            y(share),
            LEFT - 6.0,
            y(share) + 4.0,
            100.0 * share
        );
    }
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by(|a, b| places[*a].total_cmp(&places[*b]));
    let line: Vec<String> =
        order.iter().map(|&index| format!("{:.1} {:.1}", x(places[index]), y(points[index].rate))).collect();
    put!(out, r#"<path class="line" d="M{}"/>"#, line.join("L"));
    for &index in &order {
        let (point, at) = (&points[index], x(places[index]));
        let [low, high] = point.interval;
        put!(
            out,
            r#"<path class="interval" d="M{at:.1} {:.1}V{:.1}M{:.1} {:.1}h8M{:.1} {:.1}h8"/>"#,
            y(low),
            y(high),
            at - 4.0,
            y(low),
            at - 4.0,
            y(high)
        );
        put!(out, r#"<circle class="dot" cx="{at:.1}" cy="{:.1}" r="4"/>"#, y(point.rate));
        put!(
            out,
            r#"<text x="{at:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
            HEIGHT - 12.0,
            super::html::escaped(&point.label)
        );
    }
    out.push_str("</svg>");
    out
}

/// Shares of a whole, side by side.
pub(super) fn shares(parts: &[(&str, f64)]) -> String {
    const WIDTH: f64 = 640.0;
    let mut out = String::new();
    put!(out, r#"<svg class="shares" viewBox="0 0 {WIDTH} 26" role="img" aria-label="where time went">"#);
    let mut left = 0.0;
    for (index, (name, share)) in parts.iter().enumerate() {
        let width = share * WIDTH;
        put!(
            out,
            r#"<rect class="part{index}" x="{left:.1}" y="0" width="{width:.1}" height="26"><title>{}: {:.1} %</title></rect>"#,
            super::html::escaped(name),
            100.0 * share
        );
        left += width;
    }
    out.push_str("</svg>");
    out
}
