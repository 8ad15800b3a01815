//! A recording in the view: every message and every picture, from the first to the last.
//!
//! From: MCAP files, of the demo, of a daemon or of `egogrid record`. To: the same entities and layouts as the live view. Nobody has to keep up
//! with anything here, so nothing is left out and no picture is made smaller.

use super::draw::{Draw, Knows, Told};
use super::{FLUSH_MAX, LiveConfig, LiveError, TokenSpace, ViewFigures, open};
use crate::view::log::LogError;
use egogrid_sim_bridge::codec::Message;
use egogrid_sim_bridge::message::{Image, PointCloud2};
use egogrid_sim_bridge::recording::{ReadError, RecordedMessage};
use std::borrow::Cow;
use std::time::Duration;

/// Why a recording is not shown, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum PlayError {
    /// The screen.
    #[error(transparent)]
    Screen(#[from] LiveError),
    /// The file, with its byte.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Pictures of one exposure: they wait for the look that says where its camera was.
#[derive(Default)]
struct Exposure(Vec<RecordedMessage>);

/// Draws all of `messages`; `tell` is told how many there were, from time to time.
///
/// # Errors
/// A screen that cannot be opened or takes no more, or a recording that cannot be read on: what came before is shown then.
pub fn play(
    messages: impl Iterator<Item = Result<RecordedMessage, ReadError>>,
    config: LiveConfig,
    tell: &mut dyn FnMut(u64),
) -> Result<ViewFigures, PlayError> {
    let ended = |error: LogError| LiveError::Ended(error.to_string());
    let stream = open(&config.screen)?;
    let knows = Knows {
        tokens: config.tokenizer.map(TokenSpace::new),
        patches: config.patches,
        layout: config.layout,
        layout_wait: Duration::ZERO,
        explain: None,
    };
    let mut draw = Draw::new(stream, knows).map_err(ended)?;
    let (mut figures, mut exposure, mut unread) = (ViewFigures::default(), Exposure::default(), None);
    for message in messages {
        match message {
            Ok(message) => one(message, &mut draw, &mut exposure, &mut figures).map_err(ended)?,
            Err(error) => {
                unread = Some(error);
                break;
            }
        }
        tell(figures.messages + figures.pictures);
    }
    exposure.draw(&mut draw, &mut figures).map_err(ended)?;
    draw.flush(FLUSH_MAX).map_err(ended)?;
    figures.unreadable = draw.unreadable();
    match unread {
        None => Ok(figures),
        Some(error) => Err(error.into()),
    }
}

fn one(
    message: RecordedMessage,
    draw: &mut Draw,
    exposure: &mut Exposure,
    figures: &mut ViewFigures,
) -> Result<(), LogError> {
    if message.ros_type == Image::ROS_TYPE || message.ros_type == PointCloud2::ROS_TYPE {
        if exposure.has(&message.topic) {
            exposure.draw(draw, figures)?;
        }
        exposure.0.push(message);
        return Ok(());
    }
    figures.messages += 1;
    draw.message(&told(&message))
}

fn told(message: &RecordedMessage) -> Told<'_> {
    Told { topic: &message.topic, log_ns: message.log_ns, payload: Cow::Borrowed(&message.payload) }
}

impl Exposure {
    fn has(&self, topic: &str) -> bool {
        self.0.iter().any(|message| message.topic == topic)
    }

    fn draw(&mut self, draw: &mut Draw, figures: &mut ViewFigures) -> Result<(), LogError> {
        let Some(first) = self.0.first() else { return Ok(()) };
        draw.back_to(first.log_ns);
        figures.pictures += self.0.len() as u64;
        draw.pictures(&self.0.iter().map(told).collect::<Vec<_>>(), 1)?;
        self.0.clear();
        Ok(())
    }
}
