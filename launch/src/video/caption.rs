//! The caption below the picture: instruction, where the run stands, and the result in its colour.
//!
//! From: [`Progress`]. To: pixels of the frame. Letters are the 8x8 bitmaps of the `font8x8` crate, enlarged.

use crate::view::{Outcome, Progress};
use font8x8::UnicodeFonts;
use image::{ImageBuffer, Rgb};

type Frame = ImageBuffer<Rgb<u8>, Vec<u8>>;

/// Height of the caption.
pub(super) const HEIGHT_PX: u32 = 96;
const LETTER_PX: u32 = 8;
const MARGIN_PX: u32 = 10;
const GROUND: [u8; 3] = [22, 24, 28];
const TEXT: [u8; 3] = [240, 240, 240];
const QUIET: [u8; 3] = [150, 155, 165];
const SUCCESS: [u8; 3] = [70, 205, 100];
const FAILED: [u8; 3] = [240, 80, 75];
const NOT_RUN: [u8; 3] = [240, 180, 60];

/// Draws it from row `top_px` on.
pub(super) fn draw(frame: &mut Frame, top_px: u32, progress: &Progress, episodes: u32) {
    for y in top_px..frame.height() {
        for x in 0..frame.width() {
            frame.put_pixel(x, y, Rgb(GROUND));
        }
    }
    let Some(episode) = &progress.episode else { return };
    let letters = |scale: u32| ((frame.width() - 2 * MARGIN_PX) / (LETTER_PX * scale)) as usize;
    let scale = if episode.instruction.chars().count() <= letters(2) { 2 } else { 1 };
    let instruction = shortened(&episode.instruction, letters(scale));
    let place = format!(
        "{}  seed {}  episode {}/{episodes}  step {}",
        episode.task,
        episode.seed,
        episode.index.saturating_add(1),
        progress.steps
    );
    let place = shortened(&place, letters(1));
    let (result, rgb) = match &progress.outcome {
        None => ("running".to_owned(), QUIET),
        Some(Outcome::Success) => ("SUCCESS".to_owned(), SUCCESS),
        Some(Outcome::Failure) => ("FAILED".to_owned(), FAILED),
        Some(Outcome::SafetyStop { .. }) => ("STOPPED".to_owned(), FAILED),
        Some(Outcome::Harness { .. }) => ("NOT RUN".to_owned(), NOT_RUN),
    };
    let tally = match progress.judged {
        0 => String::new(),
        judged => format!("{} of {judged} so far", progress.successes),
    };
    write(frame, [MARGIN_PX, top_px + 12], &instruction, scale, TEXT);
    write(frame, [MARGIN_PX, top_px + 38], &place, 1, QUIET);
    write(frame, [MARGIN_PX, top_px + 60], &result, 3, rgb);
    let tally_px = LETTER_PX * 2 * tally.len() as u32;
    write(frame, [frame.width() - MARGIN_PX - tally_px, top_px + 64], &tally, 2, QUIET);
}

/// At most `letters_max` letters; a cut shows as dots.
fn shortened(text: &str, letters_max: usize) -> String {
    if text.chars().count() <= letters_max {
        return text.to_owned();
    }
    text.chars().take(letters_max.saturating_sub(3)).chain("...".chars()).collect()
}

/// Letters that the font lacks show as `?`. What would leave the frame is left out.
fn write(frame: &mut Frame, [left_px, top_px]: [u32; 2], text: &str, scale: u32, rgb: [u8; 3]) {
    for (index, letter) in text.chars().enumerate() {
        let rows = glyph(letter);
        for (row, bits) in rows.into_iter().enumerate() {
            for column in (0..LETTER_PX).filter(|column| bits >> column & 1 == 1) {
                let x = left_px + scale * (LETTER_PX * index as u32 + column);
                let y = top_px + scale * row as u32;
                for (dx, dy) in (0..scale * scale).map(|i| (i % scale, i / scale)) {
                    if let Some(pixel) = frame.get_pixel_mut_checked(x + dx, y + dy) {
                        *pixel = Rgb(rgb);
                    }
                }
            }
        }
    }
}

fn glyph(letter: char) -> [u8; 8] {
    let known = font8x8::BASIC_FONTS.get(letter).or_else(|| font8x8::LATIN_FONTS.get(letter));
    known.or_else(|| font8x8::BASIC_FONTS.get('?')).unwrap_or_default()
}
