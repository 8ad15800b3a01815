//! What the pages share: head, style, figures in words.

use crate::markup::{escaped, put};

const STYLE: &str = include_str!("report.css");

/// Up to the first section.
pub(super) fn opened(title: &str, kicker: &str, about: &str) -> String {
    let mut out = String::new();
    let title = escaped(title);
    put!(out, r#"<!doctype html><html lang="en"><head><meta charset="utf-8">"#);
    put!(out, r#"<meta name="viewport" content="width=device-width, initial-scale=1">"#);
    // Nothing is fetched, even if a name in the run tried to.
    put!(
        out,
        r#"<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">"#
    );
    put!(out, "<title>{title}</title><style>{STYLE}</style></head><body><main>");
    put!(out, r#"<header><p class="kicker">{}</p><h1>{title}</h1><p>{}</p></header>"#, escaped(kicker), escaped(about));
    out
}

pub(super) fn close(out: &mut String) {
    put!(out, "</main></body></html>");
}

pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

pub(super) fn between([low, high]: [f64; 2]) -> String {
    format!("{:.1} … {:.1} %", 100.0 * low, 100.0 * high)
}

/// Percentage points with a sign; a minus as wide as a plus.
pub(super) fn points(share: f64) -> String {
    format!("{:+.1}", 100.0 * share).replace('-', "−")
}

/// Large numbers in groups of three.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = {
        let head = digits.len() % 3;
        let rest = digits.as_bytes()[head..].chunks(3).filter_map(|group| std::str::from_utf8(group).ok());
        std::iter::once(&digits[..head]).filter(|head| !head.is_empty()).chain(rest).collect()
    };
    groups.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_at_a_glance() {
        let numbers = [0, 12, 999, 1000, 1_234_567].map(grouped);
        assert_eq!(numbers, ["0", "12", "999", "1 000", "1 234 567"]);
        assert_eq!((points(-0.0123), points(0.5)), ("−1.2".to_owned(), "+50.0".to_owned()));
    }
}
