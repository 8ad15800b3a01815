//! `egogrid record`: everything that a robot and its daemon say, to MCAP files, from anywhere on the network.
//!
//! The daemon does not notice: it drops for a listener that is behind. Ends at Ctrl-C, SIGTERM or after `--duration-s`.

use crate::cli::RecordArgs;
use crate::commands::print_json;
use crate::commands::waiting::wait_for;
use crate::exit::{CommandError, CommandResult};
use crate::recording::{Recording, RecordingEnd, RecordingState};
use crate::wire;
use anyhow::anyhow;
use egogrid_sim_bridge::endpoint::ask_run_info;
use egogrid_sim_bridge::recording::{Place, RecordingRules, run_info_topic};
use indicatif::{HumanBytes, ProgressBar};
use serde::Serialize;
use std::path::Path;
use std::time::Duration;

/// How long a daemon may take to say what runs.
const INFO_WAIT_MAX: Duration = Duration::from_secs(2);
/// How long the disk may take at the end.
const END_MAX: Duration = Duration::from_secs(20);
const TELL_EVERY: Duration = Duration::from_millis(200);

/// What is printed at the end.
#[derive(Debug, Serialize)]
struct Summary {
    place: String,
    files: u64,
    deleted: u64,
    messages: u64,
    bytes: u64,
    /// Without room on the disk.
    lost: u64,
    /// More than the disk could take in time.
    dropped: u64,
    too_large: u64,
    /// Why it is not whole.
    problem: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// Exit code 2 for a place that cannot be used, 3 where messages are missing at the end, 4 where nobody listens.
pub fn run(args: &RecordArgs) -> CommandResult {
    let rules = rules(args)?;
    // A name with an ending is a file, and every other one a directory.
    let place = match args.out.extension() {
        Some(ending) if ending == "mcap" => Place::File(args.out.clone()),
        Some(ending) if !args.out.is_dir() => {
            let ending = ending.to_string_lossy();
            return Err(CommandError::usage(anyhow!(
                "{} ends in .{ending}; expected F.mcap, or a directory for files of a bounded size",
                args.out.display()
            )));
        }
        _ => Place::Directory(args.out.clone()),
    };
    let listening = wire::listen(&args.wire)?;
    let first: Vec<_> = match ask_run_info(&listening.session, listening.keys.robot(), INFO_WAIT_MAX) {
        Ok(info) => vec![(run_info_topic(&listening.keys), info)],
        Err(error) => {
            eprintln!("warning: {error}; what runs there is recorded when it says so by itself");
            Vec::new()
        }
    };
    let asked = first.len() as u64;
    let recording = Recording::start(&listening.session, &listening.keys, &listening.cameras, place, rules, first)?;
    eprintln!("recording {} to {}; Ctrl-C ends it", listening.keys.robot().as_str(), args.out.display());
    wait(&recording, args.duration_s.map(Duration::from_secs_f64))?;
    let end = recording.finish(END_MAX);
    let summary = Summary::of(&args.out, &end, asked);
    if args.json {
        print_json(&summary);
    } else {
        summary.print();
    }
    match summary.problem {
        None => Ok(()),
        Some(problem) => Err(CommandError::check(anyhow!("the recording is not whole: {problem}"))),
    }
}

fn rules(args: &RecordArgs) -> CommandResult<RecordingRules> {
    if args.disk_mb_max < args.file_mb_max {
        return Err(CommandError::usage(anyhow!(
            "--disk-mb-max is {}, and one file alone may have --file-mb-max {}; raise the first or lower the second",
            args.disk_mb_max,
            args.file_mb_max
        )));
    }
    Ok(RecordingRules {
        file_bytes_max: args.file_mb_max << 20,
        disk_bytes_max: args.disk_mb_max << 20,
        free_bytes_min: args.free_mb_min << 20,
        ..RecordingRules::default()
    })
}

/// Shows how it goes until it is to end.
fn wait(recording: &Recording, duration: Option<Duration>) -> CommandResult {
    let bar = ProgressBar::new_spinner();
    let mut told = None;
    wait_for(duration, TELL_EVERY, || -> Option<()> {
        let state = recording.state();
        bar.set_message(line(&state, recording.dropped()));
        bar.tick();
        // Once for each reason, also where no terminal shows the line above.
        if state.pause != told {
            if let Some(pause) = &state.pause {
                bar.suspend(|| eprintln!("warning: {pause}"));
            }
            told = state.pause;
        }
        None
    })?;
    bar.finish_and_clear();
    Ok(())
}

fn line(state: &RecordingState, dropped: u64) -> String {
    let figures = &state.figures;
    let lost = figures.lost + dropped;
    let lost = if lost == 0 { String::new() } else { format!(", {lost} NOT recorded") };
    format!("{} messages, {}{lost}", figures.written, HumanBytes(figures.bytes))
}

impl Summary {
    /// `asked`: messages that were not heard but asked for.
    fn of(place: &Path, end: &RecordingEnd, asked: u64) -> Self {
        let figures = &end.state.figures;
        let problem = match (&end.state.pause, end.stuck) {
            (_, true) => Some("the disk did not answer in time".to_owned()),
            (Some(pause), false) => Some(pause.clone()),
            // What the daemon answered on request is no message.
            (None, false) if figures.written + figures.lost + end.dropped <= asked => Some(
                "nothing was heard; check --robot and --cameras, and beyond loopback that this certificate is one of `watchers`"
                    .to_owned(),
            ),
            (None, false) if figures.lost + end.dropped + end.too_large > 0 => Some(format!(
                "{} messages had no room, {} came too fast for the disk, {} were too large",
                figures.lost, end.dropped, end.too_large
            )),
            (None, false) => None,
        };
        Self {
            place: place.display().to_string(),
            files: figures.files,
            deleted: figures.deleted,
            messages: figures.written,
            bytes: figures.bytes,
            lost: figures.lost,
            dropped: end.dropped,
            too_large: end.too_large,
            problem,
        }
    }

    fn print(&self) {
        println!("{}: {} messages, {}, {} files", self.place, self.messages, HumanBytes(self.bytes), self.files);
        if self.deleted > 0 {
            println!("          {} old recordings were deleted to stay within the limit", self.deleted);
        }
        println!("          open it in Foxglove, or: egogrid replay {} BUNDLE", self.place);
    }
}
