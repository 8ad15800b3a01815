//! Small pictures of a report, as SVG inside the page: colours are the page's own variables, so that light and dark both work.

use super::page;
use crate::markup::{escaped, put};

const BAR_PX: [f64; 2] = [220.0, 20.0];

/// A rate as a bar of the whole scale, with its interval as a line.
pub(super) fn bar(rate: f64, [low, high]: [f64; 2]) -> String {
    let [width, height] = BAR_PX;
    let at = |share: f64| share * (width - 4.0) + 2.0;
    let (low_px, high_px, middle) = (at(low), at(high), height / 2.0);
    let mut out = String::new();
    put!(
        out,
        r#"<svg class="bar" viewBox="0 0 {width} {height}" preserveAspectRatio="none" role="img" aria-label="{:.1} %, between {:.1} and {:.1} %">"#,
        100.0 * rate,
        100.0 * low,
        100.0 * high
    );
    put!(out, r#"<rect class="ground" x="0" y="4" width="{width}" height="{:.1}" rx="3"/>"#, height - 8.0);
    put!(out, r#"<rect class="rate" x="0" y="4" width="{:.1}" height="{:.1}" rx="3"/>"#, at(rate), height - 8.0);
    let line = format!("M{low_px:.1} {middle}H{high_px:.1}M{low_px:.1} 3V{0:.1}M{high_px:.1} 3V{0:.1}", height - 3.0);
    // Twice: a seam in the colour of the page keeps the line apart from the bar.
    put!(out, r#"<path class="seam" d="{line}"/><path class="interval" d="{line}"/></svg>"#);
    out
}

/// A difference around zero, on a scale from `-widest` to `widest`.
pub(super) fn difference(value: f64, [low, high]: [f64; 2], widest: f64) -> String {
    let [width, height] = BAR_PX;
    let at = |share: f64| (share / widest + 1.0) / 2.0 * (width - 12.0) + 6.0;
    let (zero, middle) = (at(0.0), height / 2.0);
    let clear = if low > 0.0 || high < 0.0 { "clear" } else { "open" };
    let mut out = String::new();
    put!(
        out,
        r#"<svg class="around {clear}" viewBox="0 0 {width} {height}" role="img" aria-label="{} points, between {} and {}">"#,
        page::points(value),
        page::points(low),
        page::points(high)
    );
    put!(out, r#"<path class="zero" d="M{zero:.1} 0V{height}"/>"#);
    put!(
        out,
        r#"<path class="interval" d="M{0:.1} {middle}H{1:.1}M{0:.1} 4V{2:.1}M{1:.1} 4V{2:.1}"/>"#,
        at(low),
        at(high),
        height - 4.0
    );
    put!(out, r#"<circle class="dot" cx="{:.1}" cy="{middle}" r="4"/></svg>"#, at(value));
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

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 230.0;
const LEFT: f64 = 48.0;
const BOTTOM: f64 = 38.0;
/// Labels nearer to each other than this would overlap.
const LABEL_PX: f64 = 46.0;

/// From 0 to 1 along the axis.
fn places(points: &[Point]) -> Vec<f64> {
    let values: Option<Vec<f64>> = points.iter().map(|point| point.value).collect();
    let spread = values.map(|values| {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (values, low, high)
    });
    match spread {
        Some((values, low, high)) if high > low && (high - low).is_finite() => {
            values.iter().map(|value| (value - low) / (high - low)).collect()
        }
        _ => (0..points.len()).map(|index| index as f64 / (points.len().max(2) - 1) as f64).collect(),
    }
}

/// Success over the values of an axis, with intervals.
pub(super) fn sweep(axis: &str, points: &[Point]) -> String {
    let places = places(points);
    let x = |place: f64| LEFT + 28.0 + place * (WIDTH - LEFT - 64.0);
    let y = |rate: f64| 12.0 + (1.0 - rate) * (HEIGHT - BOTTOM - 12.0);
    let mut out = String::new();
    let told: Vec<String> =
        points.iter().map(|point| format!("{}: {:.1} %", point.label, 100.0 * point.rate)).collect();
    put!(
        out,
        r#"<svg class="sweep" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="success over {}: {}">"#,
        escaped(axis),
        escaped(&told.join(", "))
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
    // A line only where there is something between the points.
    if points.iter().all(|point| point.value.is_some()) {
        let line: Vec<String> =
            order.iter().map(|&index| format!("{:.1} {:.1}", x(places[index]), y(points[index].rate))).collect();
        put!(out, r#"<path class="line" d="M{}"/>"#, line.join("L"));
    }
    let mut labelled = f64::NEG_INFINITY;
    for &index in &order {
        let (point, at) = (&points[index], x(places[index]));
        let [low, high] = point.interval.map(y);
        let left = at - 4.0;
        put!(
            out,
            r#"<g><title>{}: {}, {}</title><path class="interval" d="M{at:.1} {low:.1}V{high:.1}M{left:.1} {low:.1}h8M{left:.1} {high:.1}h8"/><circle class="dot" cx="{at:.1}" cy="{:.1}" r="4.5"/></g>"#,
            escaped(&point.label),
            page::percent(point.rate),
            page::between(point.interval),
            y(point.rate)
        );
        if at - labelled >= LABEL_PX || points.len() == 1 {
            labelled = at;
            put!(
                out,
                r#"<text x="{at:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
                HEIGHT - 14.0,
                escaped(&shortened(&point.label))
            );
        }
    }
    out.push_str("</svg>");
    out
}

/// What fits below a point.
fn shortened(label: &str) -> String {
    const LETTERS_MAX: usize = 12;
    if label.chars().count() <= LETTERS_MAX {
        return label.to_owned();
    }
    label.chars().take(LETTERS_MAX - 1).chain(['…']).collect()
}

/// Shares of a whole, side by side.
pub(super) fn shares(parts: &[(&str, f64)]) -> String {
    const WHOLE: f64 = 640.0;
    let mut out = String::new();
    put!(
        out,
        r#"<svg class="shares" viewBox="0 0 {WHOLE} 26" preserveAspectRatio="none" role="img" aria-label="where time went">"#
    );
    let mut left = 0.0;
    for (index, (name, share)) in parts.iter().enumerate() {
        let width = share * WHOLE;
        put!(
            out,
            r#"<rect class="part{index}" x="{left:.1}" y="0" width="{width:.1}" height="26"><title>{}: {}</title></rect>"#,
            escaped(name),
            page::percent(*share)
        );
        left += width;
    }
    out.push_str("</svg>");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(label: &str, value: Option<f64>) -> Point {
        Point { label: label.to_owned(), value, rate: 0.5, interval: [0.4, 0.6] }
    }

    #[test]
    fn points_stand_where_their_numbers_are_and_side_by_side_without() {
        let numbers = [point("0", Some(0.0)), point("50", Some(50.0)), point("200", Some(200.0))];
        assert_eq!(places(&numbers), [0.0, 0.25, 1.0]);
        assert_eq!(places(&[point("base", None), point("sync", None), point("x", Some(1.0))]), [0.0, 0.5, 1.0]);
        assert_eq!(places(&[point("1", Some(1.0))]), [0.0]);
        assert_eq!(places(&[point("1", Some(1.0)), point("1", Some(1.0))]), [0.0, 1.0]);
        assert!(sweep("x", &numbers).contains("class=\"line\"") && !sweep("x", &[point("a", None)]).contains("line\""));
    }

    #[test]
    fn pictures_hold_no_number_that_is_none() {
        let odd = [point("a", Some(f64::INFINITY)), point("b", Some(0.0))];
        for picture in
            [sweep("<x>", &odd), bar(0.0, [0.0, 1.0]), difference(0.0, [-1.0, 1.0], 1.0), shares(&[("a", 0.0)])]
        {
            assert!(!picture.contains("NaN") && !picture.contains("inf") && !picture.contains("<x>"), "{picture}");
        }
        assert!(
            difference(0.2, [0.1, 0.3], 0.3).contains("clear") && difference(0.2, [-0.1, 0.3], 0.3).contains("open")
        );
    }
}
