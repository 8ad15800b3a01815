//! What every page and picture that is written by hand needs: text that stays text, and lines that cannot fail.

/// Appends a line to a `String`; writing to one does not fail.
macro_rules! put {
    ($out:expr, $($arg:tt)*) => { {
        use std::fmt::Write as _;
        let _ = writeln!($out, $($arg)*);
    } };
}
pub(crate) use put;

/// Text inside HTML or SVG, also between quotes. Control characters, which XML has not, become the sign for what cannot be shown.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(character),
            character if character.is_control() => out.push(char::REPLACEMENT_CHARACTER),
            character => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        assert_eq!(
            escaped("<a href='x' id=\"y\">&\u{0}\n"),
            "&lt;a href=&#39;x&#39; id=&quot;y&quot;&gt;&amp;\u{fffd}\n"
        );
        let mut out = String::new();
        put!(out, "{}", escaped("öpen → 1"));
        assert_eq!(out, "öpen → 1\n");
    }
}
