//! Why the policy chose that: probability of every cell, and what each patch of the picture is worth to the chosen tokens.
//!
//! From: looks and the pictures that they were made of, and a policy of the view's own in this process, on a thread of low priority. To:
//! `tokens/cells_probability`, `<camera>/weights`, `world/explained`. The daemon computes nothing for it. One look at a time, the newest
//! that is whole; the others are left out and counted. An explanation whose policy answers otherwise than the daemon's says so.

use super::super::log::LogError;
use super::super::tokens::TokenSpace;
use super::robot::Robot;
use crate::background::lower_priority;
use egogrid_policies::bundle::Bundle;
use egogrid_policies::explain::{ExplainError, Explainer};
use egogrid_policies::registry::LoadOptions;
use egogrid_runtime::execution::{Cancel, Environment, ExecutionError, GraphOptions};
use egogrid_runtime::observation::Observation;
use egogrid_runtime::perception::depth::SensorRules;
use egogrid_runtime::schedule::Token;
use egogrid_sim_bridge::convert::{depth_crc32, rgb_crc32, wire_to_observation, wire_to_stamp};
use egogrid_sim_bridge::message::{PolicyLook, PolicyToken};
use rerun::{Color, Points2D, Points3D, Radius, RecordingStream};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;

/// Looks that wait for their picture, which comes more rarely.
const LOOKS_MAX: usize = 8;
/// Of patches that are worth nothing.
const GREY: f32 = 150.0;
/// Of a patch's side: the largest disc leaves something of the picture to see.
const DISC_MAX: f32 = 0.3;

/// What explains, and how.
#[derive(Debug, Clone)]
pub struct ExplainConfig {
    /// Of the policy that drives.
    pub bundle: Bundle,
    /// ONNX Runtime of this process.
    pub environment: Environment,
    /// Where its graphs run.
    pub graph: GraphOptions,
    /// Side of the blocks of patches that are covered; `None`: only cells.
    pub occlusion_block: Option<u32>,
}

/// One look, with what it was made of.
struct Job {
    look: PolicyLook,
    observation: Observation,
    rules: SensorRules,
}

/// What came of it.
pub(super) struct Explained {
    look: u64,
    /// Whether the view's policy chose the same tokens.
    same: bool,
    cells: Vec<f32>,
    points_xyz_m: Vec<[f32; 3]>,
    /// `[rows, columns]`, nats.
    weights: Option<Vec<f32>>,
    observation: Observation,
}

/// The explaining thread and what it is given.
pub(super) struct Explain {
    jobs: Option<SyncSender<Job>>,
    answers: Receiver<Result<Explained, String>>,
    thread: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    cancel: Cancel,
    digest: String,
    points_in_base: bool,
    patches: [u32; 2],
    looks: VecDeque<PolicyLook>,
    busy: bool,
    /// Explained, and left out for newer ones.
    counts: [u64; 2],
}

impl Explain {
    /// Starts the thread; the policy is loaded with the first look, which says with which statistics.
    pub(super) fn start(config: ExplainConfig, patches: [u32; 2]) -> Result<Self, ExecutionError> {
        let cancel = config.environment.cancel()?;
        let (jobs, inbox) = sync_channel(1);
        let (outbox, answers) = sync_channel(1);
        let stop = Arc::<AtomicBool>::default();
        let (digest, points_in_base) =
            (config.bundle.digest().to_owned(), crate::assemble::points_in_base(&config.bundle));
        let graph = GraphOptions { cancel: Some(cancel.clone()), ..config.graph.clone() };
        let config = ExplainConfig { graph, ..config };
        let ends = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            // Before the policy is loaded: ONNX Runtime's threads inherit it.
            lower_priority();
            work(&config, &inbox, &outbox, &ends);
        });
        let (thread, looks, counts) = (Some(thread), VecDeque::new(), [0; 2]);
        Ok(Self {
            jobs: Some(jobs),
            answers,
            thread,
            stop,
            cancel,
            digest,
            points_in_base,
            patches,
            looks,
            busy: false,
            counts,
        })
    }

    /// One more look. In words what is wrong with it, if it cannot be explained.
    pub(super) fn look(&mut self, look: &PolicyLook) -> Option<String> {
        if self.jobs.is_some() && look.bundle_sha256 != self.digest {
            let [found, expected] =
                [&look.bundle_sha256, &self.digest].map(|digest| digest.get(..12).unwrap_or(digest));
            self.jobs = None;
            return Some(format!(
                "nothing is explained: the daemon's bundle is {found}, and --bundle is {expected}; give the daemon's"
            ));
        }
        if look.tokens.is_empty() || self.jobs.is_none() {
            return None;
        }
        if self.looks.len() == LOOKS_MAX {
            self.looks.pop_front();
            self.counts[1] += 1;
        }
        self.looks.push_back(look.clone());
        None
    }

    /// Gives the thread the newest look whose picture is there, if it has nothing to do.
    pub(super) fn give(&mut self, robot: &Robot, rules: Option<SensorRules>) {
        let (Some(jobs), Some(rules), false) = (&self.jobs, rules, self.busy) else { return };
        let found = self.looks.iter().enumerate().rev().find_map(|(at, look)| Some((at, observation(look, robot)?)));
        let Some((at, observation)) = found else { return };
        // Older ones are of no use any more.
        self.counts[1] += at as u64;
        self.looks.drain(..at);
        let Some(look) = self.looks.pop_front() else { return };
        self.busy = jobs.try_send(Job { look, observation, rules }).is_ok();
    }

    /// An explanation, or in words why there are none any more.
    pub(super) fn answer(&mut self) -> Option<Result<Explained, String>> {
        match self.answers.try_recv() {
            Ok(answer) => {
                self.busy = false;
                self.counts[0] += u64::from(answer.is_ok());
                Some(answer)
            }
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => {
                self.jobs.take().map(|_| Err("nothing is explained any more: its thread has ended".to_owned()))
            }
        }
    }

    /// Explained, and left out.
    pub(super) fn counts(&self) -> [u64; 2] {
        self.counts
    }

    /// Draws one; `camera` is where pictures are, `size_px` how large they are drawn.
    pub(super) fn draw(
        &self,
        stream: &RecordingStream,
        explained: &Explained,
        tokens: Option<&TokenSpace>,
        camera: &str,
        size_px: [u32; 2],
    ) -> Result<(), LogError> {
        if let Some(tokens) = tokens {
            tokens.probabilities(stream, &explained.cells)?;
        }
        let Some(weights) = &explained.weights else { return Ok(()) };
        let largest = weights.iter().fold(0.0_f32, |largest, weight| largest.max(weight.abs()));
        let share = |weight: f32| if largest > 0.0 { weight / largest } else { 0.0 };
        let [rows, columns] = self.patches;
        let [width, height] = [size_px[0] as f32 / columns as f32, size_px[1] as f32 / rows as f32];
        let center = |patch: u32| [width * ((patch % columns) as f32 + 0.5), height * ((patch / columns) as f32 + 0.5)];
        let dots = Points2D::new((0..rows * columns).map(center))
            .with_colors(weights.iter().map(|&weight| color(share(weight))))
            .with_radii(
                weights
                    .iter()
                    .map(|&weight| Radius::new_scene_units(DISC_MAX * width.min(height) * share(weight).abs().sqrt())),
            );
        stream.log(format!("{camera}/weights"), &dots)?;
        self.points(stream, explained, |patch| weights.get(patch).map_or(color(0.0), |&weight| color(share(weight))))
    }

    /// The points where it sampled depth, each in the colour of its patch.
    fn points(
        &self,
        stream: &RecordingStream,
        explained: &Explained,
        color: impl Fn(usize) -> Color,
    ) -> Result<(), LogError> {
        let patches = (self.patches[0] * self.patches[1]) as usize;
        let points = &explained.points_xyz_m;
        if points.is_empty() || !points.len().is_multiple_of(patches) {
            return Ok(());
        }
        let samples = points.len() / patches;
        let (path, points) = match (self.points_in_base, &explained.observation.frame.base_from_camera) {
            (true, _) => ("world/explained", points.clone()),
            (false, Some(pose)) => ("world/explained", super::super::scene::transformed(pose, points)),
            (false, None) => ("camera_frame/explained", points.clone()),
        };
        let colors: Vec<Color> = (0..points.len()).map(|point| color(point / samples)).collect();
        stream.log(path, &Points3D::new(points).with_colors(colors).with_radii([Radius::new_ui_points(4.0)]))?;
        Ok(())
    }
}

impl Drop for Explain {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.cancel.cancel();
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic has been printed.
            let _ = thread.join();
        }
    }
}

/// In words.
pub(super) fn told(explained: &Explained) -> Option<String> {
    (!explained.same).then(|| {
        format!(
            "look {}: the view's own policy chose other tokens than the daemon's; what is explained is its own answer's cells",
            explained.look
        )
    })
}

/// Exactly what the policy saw, if it is still here.
fn observation(look: &PolicyLook, robot: &Robot) -> Option<Observation> {
    let input = look.input.as_ref()?;
    let (rgb, depth) = robot.cameras.get(&input.camera)?.at(wire_to_stamp(input.stamp).ok()?)?;
    let same_depth = match (input.depth_crc32, &depth) {
        (Some(crc32), Some(depth)) => depth_crc32(depth) == crc32,
        (None, _) => true,
        (Some(_), None) => false,
    };
    if rgb_crc32(&rgb) != input.rgb_crc32 || !same_depth {
        return None;
    }
    let depth = depth.filter(|_| input.depth_crc32.is_some());
    wire_to_observation(look, input, rgb, depth).ok()
}

fn work(
    config: &ExplainConfig,
    jobs: &Receiver<Job>,
    answers: &SyncSender<Result<Explained, String>>,
    stop: &AtomicBool,
) {
    let mut loaded: Option<Explainer> = None;
    for job in jobs {
        let explained = explain(config, &mut loaded, job, stop);
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let answer = match explained {
            Ok(None) => return,
            Ok(Some(explained)) => Ok(explained),
            Err(error) => Err(format!("nothing is explained of this look: {error}")),
        };
        let is_loaded = loaded.is_some();
        if answers.send(answer).is_err() || !is_loaded {
            return;
        }
    }
}

fn explain(
    config: &ExplainConfig,
    loaded: &mut Option<Explainer>,
    Job { look, observation, rules }: Job,
    stop: &AtomicBool,
) -> Result<Option<Explained>, ExplainError> {
    let explainer = match loaded {
        Some(explainer) => explainer,
        None => {
            let graph = config.graph.clone();
            let options = LoadOptions { stats_key: look.stats_key.clone(), graph, preprocessing: None };
            loaded.insert(Explainer::load(&config.environment, &config.bundle, &options, rules)?)
        }
    };
    let decision = explainer.decide(&observation, &tokens(&look.committed))?;
    let same = decision.chunk.token_ids.iter().eq(look.tokens.iter().map(|token| &token.id));
    let weights = match config.occlusion_block {
        None => None,
        Some(block) => {
            let goes_on = || !stop.load(Ordering::SeqCst);
            match explainer.occlude(&observation, &tokens(&look.tokens), block, &goes_on)? {
                None => return Ok(None),
                weights => weights,
            }
        }
    };
    let (cells, points_xyz_m) = (decision.cells, decision.chunk.points_xyz_m);
    Ok(Some(Explained { look: look.look, same, cells, points_xyz_m, weights, observation }))
}

fn tokens(wire: &[PolicyToken]) -> Vec<Token> {
    wire.iter().map(|token| Token { id: token.id, confidence: token.confidence }).collect()
}

/// Of -1..1: blue where the choice is more probable without it, over grey, to yellow where it hangs on it. Not transparent: the
/// viewer draws points without blending, and would show them dark.
fn color(share: f32) -> Color {
    let strength = share.abs().min(1.0);
    let [r, g, b] = if share >= 0.0 { [255.0, 210.0, 30.0] } else { [60.0, 130.0, 255.0] };
    let channel = |full: f32| (GREY + (full - GREY) * strength) as u8;
    Color::from_rgb(channel(r), channel(g), channel(b))
}
