//! `egogrid view`: looks at a running robot from any machine that may hear it, and leaves without the robot noticing; or at a recording.

use crate::assemble;
use crate::cli::{Common, ViewArgs, Why};
use crate::commands::print_json;
use crate::commands::replay::source::files;
use crate::commands::waiting::wait_for;
use crate::exit::{CommandError, CommandResult};
use crate::view::live::{ExplainConfig, LiveConfig, LiveError, LiveView, PlayError, Screen, ViewFigures, play};
use crate::wire;
use anyhow::anyhow;
use egogrid_policies::bundle::Bundle;
use egogrid_sim_bridge::endpoint::{Heard, ask_run_info};
use egogrid_sim_bridge::recording::{ReadError, ReadProblem, RecordedMessage, RecordingReader, run_info_topic};
use indicatif::ProgressBar;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a daemon may take to say what runs.
const INFO_WAIT_MAX: Duration = Duration::from_secs(2);
const TURN: Duration = Duration::from_millis(100);

/// Runs the command.
///
/// # Errors
/// Exit code 2 for wrong arguments, 3 when the viewer takes no more, 4 where nobody listens or no viewer is there.
pub fn run(common: &Common, args: &ViewArgs) -> CommandResult {
    let bundle = args.bundle.as_deref().map(assemble::bundle).transpose()?;
    let explain = explain(common, args, bundle.as_ref())?;
    let screen = match (&args.save, &args.viewer) {
        (Some(path), _) => Screen::File(path.clone()),
        (None, Some(url)) => Screen::Viewer(url.clone()),
        (None, None) => Screen::Spawned,
    };
    let shows = match &bundle {
        Some(bundle) => LiveConfig::of(bundle),
        None => {
            eprintln!("note: without --bundle there are no action cells and no patches to show");
            LiveConfig { screen: Screen::Spawned, layout: args.layout, tokenizer: None, patches: None }
        }
    };
    let config = LiveConfig { screen, layout: args.layout, ..shows };
    if let Some(recording) = &args.recording {
        return played(args, recording, config);
    }
    let listening = wire::listen(&args.wire)?;
    let (session, keys, cameras) = (&listening.session, &listening.keys, &listening.cameras);
    let view = LiveView::start_explaining(session, keys, cameras, config, explain).map_err(failed)?;
    match ask_run_info(&listening.session, listening.keys.robot(), INFO_WAIT_MAX) {
        Ok(info) => view.tell(Heard::own(run_info_topic(&listening.keys), info)),
        Err(error) => eprintln!("warning: {error}; the view shows what it hears"),
    }
    eprintln!("viewing {}; Ctrl-C ends it", listening.keys.robot().as_str());
    // Ends with a signal, when the time is over, or by itself.
    let ended = wait_for(args.duration_s.map(Duration::from_secs_f64), TURN, || view.wait(Duration::ZERO))?;
    let figures = match ended {
        Some(ended) => ended.map_err(failed)?,
        None => view.finish().map_err(failed)?,
    };
    told(args, &figures);
    Ok(())
}

fn told(args: &ViewArgs, figures: &ViewFigures) {
    if args.json {
        print_json(figures);
    } else {
        println!(
            "{} messages and {} pictures shown; left out: {} pictures, {} messages",
            figures.messages, figures.pictures, figures.pictures_left_out, figures.messages_left_out
        );
    }
}

/// All of a recording, as fast as it can be drawn.
fn played(args: &ViewArgs, recording: &Path, config: LiveConfig) -> CommandResult {
    let messages = messages_of(recording)?;
    let bar = ProgressBar::new_spinner().with_style(assemble::style("{spinner} {pos} messages drawn"));
    let figures = play(messages, config, &mut |count| bar.set_position(count));
    bar.finish_and_clear();
    let figures = figures.map_err(|error| match error {
        PlayError::Screen(error) => failed(error),
        PlayError::Read(error) if error.offset == 0 => CommandError::usage(error),
        PlayError::Read(error) => CommandError::check(anyhow!("{error}; what came before it is shown")),
    })?;
    told(args, &figures);
    Ok(())
}

/// Of one file or several. A file that ends early, as a killed recorder leaves it, is fine up to there.
fn messages_of(recording: &Path) -> CommandResult<impl Iterator<Item = Result<RecordedMessage, ReadError>>> {
    let of_file = |path: PathBuf| -> Box<dyn Iterator<Item = Result<RecordedMessage, ReadError>>> {
        match RecordingReader::open(&path) {
            Ok(reader) => Box::new(reader),
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    };
    let whole = |message: Result<RecordedMessage, ReadError>| match message {
        Err(error @ ReadError { problem: ReadProblem::Cut { .. }, .. }) => {
            eprintln!("note: {error}");
            None
        }
        other => Some(other),
    };
    Ok(files(recording).map_err(CommandError::usage)?.into_iter().flat_map(of_file).filter_map(whole))
}

/// Everything that is missing is found before anything is shown.
fn explain(common: &Common, args: &ViewArgs, bundle: Option<&Bundle>) -> CommandResult<Option<ExplainConfig>> {
    let (Some(why), Some(bundle)) = (args.explain, bundle) else { return Ok(None) };
    let ego3d = &bundle.manifest().spatialvla().map_err(CommandError::usage)?.ego3d;
    let side = ego3d.patch_rows.min(ego3d.patch_cols);
    if args.occlusion_patches > side {
        let found = args.occlusion_patches;
        return Err(CommandError::usage(anyhow!(
            "--occlusion-patches is {found}; expected 1 to {side}: the policy's picture has that many patches a side"
        )));
    }
    Ok(Some(ExplainConfig {
        bundle: bundle.clone(),
        environment: assemble::environment(common)?,
        graph: assemble::graph_options(common)?,
        occlusion_block: (why == Why::Occlusion).then_some(args.occlusion_patches),
    }))
}

fn failed(error: LiveError) -> CommandError {
    match error {
        LiveError::Ended(_) => CommandError::check(error),
        LiveError::Open(_) | LiveError::Spawn(_) | LiveError::Wire(_) | LiveError::Explain(_) => {
            CommandError::missing(error)
        }
    }
}
