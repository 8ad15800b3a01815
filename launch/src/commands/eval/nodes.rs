//! `egogrid eval join`, and the options of an evaluation that lets nodes join.

use crate::cli::{Common, EvalJoinArgs, LinkArgs, ServeArgs};
use crate::commands::waiting::interrupt_flag;
use crate::evaluation::{Joining, Link, join as join_evaluation};
use crate::exit::{CommandError, CommandResult, Failure};
use crate::wire::certificates;
use anyhow::anyhow;
use egogrid_sim_bridge::session::RobotName;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Where nodes may join, if they may.
///
/// # Errors
/// Arguments that do not belong together.
pub(super) fn served(args: &ServeArgs) -> CommandResult<Option<Link>> {
    let (endpoint, listen) = match (&args.serve, &args.router) {
        (Some(endpoint), _) => (endpoint, true),
        (None, Some(endpoint)) => (endpoint, false),
        (None, None) => return Ok(None),
    };
    link(&args.link, endpoint, listen, args.peers.clone()).map(Some)
}

fn link(args: &LinkArgs, endpoint: &str, listen: bool, peers: Vec<String>) -> CommandResult<Link> {
    let tls = certificates(&args.certificates)?;
    let name = RobotName::new(&args.name).map_err(CommandError::usage)?;
    Ok(Link { name, endpoint: endpoint.to_owned(), listen, tls, peers })
}

/// Runs the command.
///
/// # Errors
/// Exit code 2 for another plan, 4 for nobody there, 130 when interrupted: what was not brought runs again elsewhere.
pub(super) fn join(common: &Common, args: &EvalJoinArgs) -> CommandResult {
    let link = link(&args.link, &args.connect, false, vec![args.peer.clone()])?;
    let node = args.node.clone().unwrap_or_else(|| format!("{}-{}", crate::machine::host_name(), std::process::id()));
    let interrupted = interrupt_flag();
    let joining = Joining {
        config: &args.config,
        link: &link,
        node: &node,
        workers: args.workers,
        patience: Duration::from_secs(args.patience_s),
        interrupted: &interrupted,
    };
    let brought = join_evaluation(common, &joining)?;
    eprintln!("node {node}: {brought} episodes brought");
    if interrupted.load(Ordering::Relaxed) {
        let error = anyhow!("interrupted; what was not brought is run elsewhere");
        return Err(CommandError { failure: Failure::Interrupted, error });
    }
    Ok(())
}
