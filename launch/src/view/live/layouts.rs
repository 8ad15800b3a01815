//! Three arrangements of the same entities, one for each question: how does it drive, why does it decide that, where does time go?

use super::super::event::Seen;
use super::super::layout::{self, Content, Part, Writer};
use super::super::log::LogError;
use rerun::RecordingStream;
use rerun::blueprint::components as parts;
use rerun::external::re_sdk_types::blueprint::archetypes as bp;

/// What the view is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Use {
    /// Pictures, the world with plan and gate, gripper, status
    #[default]
    Drive,
    /// The picture with its patches, the tokens and what they were chosen over
    Decision,
    /// Stages, ages, lateness of ticks, what was dropped
    Timing,
}

/// Sends the layout for `seen`, and makes it the active one.
pub(super) fn send(stream: &RecordingStream, layout: Use, seen: &Seen, has_tokens: bool) -> Result<(), LogError> {
    let content = Content::of(seen, has_tokens);
    layout::send_with(stream, "t", |writer| match layout {
        Use::Drive => drive(writer, &content),
        Use::Decision => decision(writer, &content),
        Use::Timing => timing(writer, &content),
    })
}

fn plot(writer: &mut Writer<'_>, name: &str, origin: &str, contents: &[&str]) -> Result<Part, LogError> {
    let legend = bp::PlotLegend::new().with_corner(parts::Corner2D::LeftTop);
    writer.view("TimeSeries", name, origin, contents.iter().copied(), &[("PlotLegend", &legend)])
}

fn text(writer: &mut Writer<'_>, name: &str, origin: &str) -> Result<Part, LogError> {
    writer.view("TextDocument", name, origin, ["+ $origin"], &[])
}

fn pictures(writer: &mut Writer<'_>, content: &Content, patches: bool) -> Result<Vec<Part>, LogError> {
    let camera = content.camera();
    let rgb = format!("+ /{camera}/rgb");
    let (grid, weights) = (format!("+ /{camera}/patches"), format!("+ /{camera}/weights"));
    let mut contents = vec![rgb.as_str(), "+ /world/chunk/**", "+ /world/gripper/**", "+ /world/gate/**"];
    if patches {
        contents.extend([grid.as_str(), weights.as_str()]);
    }
    let mut pictures = vec![writer.view("2D", "camera", camera, contents, &[])?];
    if content.has_depth() {
        let depth = format!("{camera}/depth");
        pictures.push(writer.view("2D", "depth", &depth, ["+ $origin"], &[])?);
    }
    Ok(pictures)
}

/// Left: what the robot sees, and how it is doing. Middle: the world, gripper and command. Right: tokens and what happened.
fn drive(writer: &mut Writer<'_>, content: &Content) -> Result<u128, LogError> {
    let mut left = pictures(writer, content, false)?;
    left.push(text(writer, "status", "progress")?);
    let left = writer.container(parts::ContainerKind::Vertical, &left, &[3.0, 3.0, 3.4])?;
    let world = writer.world(content)?;
    let gripper = plot(writer, "gripper, 1 = open", "gripper", &["+ $origin/**"])?;
    let command = plot(writer, "age of commands, ms", "command", &["+ $origin/age_ms"])?;
    let hold = plot(writer, "gate holds", "command", &["+ $origin/hold"])?;
    let plots = writer.container(parts::ContainerKind::Horizontal, &[gripper, command, hold], &[1.0, 1.4, 0.8])?;
    let middle = writer.container(parts::ContainerKind::Vertical, &[world, plots], &[5.6, 2.2])?;
    let mut right = Vec::new();
    if content.has_tokens() {
        right.push(writer.token_space()?);
    }
    right.push(writer.happened()?);
    let right = writer.container(parts::ContainerKind::Vertical, &right, &[3.0, 2.4])?;
    Ok(writer.container(parts::ContainerKind::Horizontal, &[left, middle, right], &[2.4, 4.6, 2.8])?.0)
}

/// Left: the picture as the policy cuts it. Middle: the tokens on their grid. Right: each token and what it was chosen over.
fn decision(writer: &mut Writer<'_>, content: &Content) -> Result<u128, LogError> {
    let mut left = pictures(writer, content, true)?;
    let mut shares = vec![3.0, 2.0];
    shares.truncate(left.len());
    if content.has_tokens() {
        // Where the sampled points are, in the colour of their patch's weight.
        left.push(writer.world(content)?);
        shares.push(2.4);
    }
    let left = writer.container(parts::ContainerKind::Vertical, &left, &shares)?;
    let none = bp::PlotLegend::new().with_visible(false);
    let bars =
        writer.view("BarChart", "confidence of each token", "confidence", ["+ $origin"], &[("PlotLegend", &none)])?;
    let middle = if content.has_tokens() {
        let tokens = writer.token_space()?;
        writer.container(parts::ContainerKind::Vertical, &[tokens, bars], &[5.0, 1.8])?
    } else {
        let world = writer.world(content)?;
        writer.container(parts::ContainerKind::Vertical, &[world, bars], &[5.0, 1.8])?
    };
    let decision = text(writer, "decision", "decision")?;
    let happened = writer.happened()?;
    let right = writer.container(parts::ContainerKind::Vertical, &[decision, happened], &[4.0, 1.6])?;
    Ok(writer.container(parts::ContainerKind::Horizontal, &[left, middle, right], &[2.6, 4.0, 3.0])?.0)
}

/// Left: where a look's time goes. Middle: ages and ticks. Right: what was left out, by whom.
fn timing(writer: &mut Writer<'_>, content: &Content) -> Result<u128, LogError> {
    let stacked = plot(writer, "stages stacked: each line is the sum up to it, ms", "time/stacked", &["+ $origin/**"])?;
    let looks = plot(writer, "looks: alone, and from exposure, ms", "looks", &["+ $origin/**"])?;
    let left = writer.container(parts::ContainerKind::Vertical, &[stacked, looks], &[3.0, 2.0])?;
    let ages = plot(writer, "ages and quantiles since the start, ms", "ages", &["+ $origin/**"])?;
    let ticks = plot(writer, "lateness of ticks since the start, ms", "ticks", &["+ $origin/**"])?;
    let command = plot(writer, "age of commands, ms", "command", &["+ $origin/age_ms"])?;
    let middle = writer.container(parts::ContainerKind::Vertical, &[ages, ticks, command], &[2.0, 2.0, 1.4])?;
    let counts = plot(
        writer,
        "counters of the daemon",
        "counts",
        &["+ $origin/**", "- $origin/ticks", "- $origin/commands_sent"],
    )?;
    let view = plot(writer, "this view: left out, shrunk", "view", &["+ $origin/**"])?;
    let status = text(writer, "status", "progress")?;
    let right = writer.container(parts::ContainerKind::Vertical, &[counts, view, status], &[2.0, 1.4, 2.4])?;
    let camera = pictures(writer, content, false)?;
    let left = writer.container(
        parts::ContainerKind::Vertical,
        &[left, camera.into_iter().next().unwrap_or_default()],
        &[5.0, 2.0],
    )?;
    Ok(writer.container(parts::ContainerKind::Horizontal, &[left, middle, right], &[3.4, 3.0, 2.8])?.0)
}
