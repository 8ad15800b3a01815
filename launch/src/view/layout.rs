//! The arrangement of the viewer that every recording brings along ("drive").
//!
//! From: what the first picture has. To: a rerun blueprint in the stream. Written entity by entity, because rerun's own
//! builder cannot place the eye of a 3D view. Ids are constants: a script can ask for one view by its id.

use super::event::Seen;
use super::log::LogError;
use super::scene::camera_path;
use nalgebra::{Rotation3, Vector3};
use rerun::blueprint::{components as parts, datatypes};
use rerun::external::re_log_types::BlueprintActivationCommand;
use rerun::external::re_sdk_types::blueprint::archetypes as bp;
use rerun::{AsComponents, RecordingStream, RecordingStreamBuilder};

/// The eye keeps this part of the camera's distance, so that the scene fills the view.
const EYE_DISTANCE_SHARE: f64 = 0.85;
/// And this part of its height: from above, the hand hides what it is about to do.
const EYE_HEIGHT_SHARE: f64 = 0.75;
/// It stands beside the camera: seen from the camera itself, a depth cloud looks flat.
const EYE_AZIMUTH_RAD: f64 = 0.6;

/// What there is to arrange.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Content {
    camera: &'static str,
    has_depth: bool,
    has_tokens: bool,
    /// Eye position and what it looks at, in the 3D view's frame.
    eye_m: Option<[[f32; 3]; 2]>,
}

impl Content {
    pub(super) fn of(seen: &Seen, has_tokens: bool) -> Self {
        let eye_m = seen.frame.base_from_camera.as_ref().map(|pose| {
            let camera_m = pose.translation.vector;
            let ahead = pose.rotation * Vector3::z();
            // The gripper, or a point before the camera where nobody reports a gripper.
            let state = seen.state.as_ref().map(|state| state.base_from_ee.translation.vector);
            let target_m = state.unwrap_or(camera_m + ahead);
            let mut beside = Rotation3::from_axis_angle(&Vector3::z_axis(), EYE_AZIMUTH_RAD) * (camera_m - target_m);
            beside.z *= EYE_HEIGHT_SHARE;
            [target_m + EYE_DISTANCE_SHARE * beside, target_m].map(|v| [v.x as f32, v.y as f32, v.z as f32])
        });
        Self { camera: camera_path(&seen.frame), has_depth: seen.frame.depth.is_some(), has_tokens, eye_m }
    }

    pub(super) fn camera(&self) -> &'static str {
        self.camera
    }

    pub(super) fn has_depth(&self) -> bool {
        self.has_depth
    }

    pub(super) fn has_tokens(&self) -> bool {
        self.has_tokens
    }

    fn world(&self) -> &'static str {
        if self.eye_m.is_some() { "world" } else { "camera_frame" }
    }
}

/// Sends the layout and makes it the active one.
pub(super) fn send(stream: &RecordingStream, content: &Content) -> Result<(), LogError> {
    send_with(stream, "look", |writer| writer.drive(content))
}

/// The same for any arrangement; `timeline` is the one that is shown.
pub(super) fn send_with(
    stream: &RecordingStream,
    timeline: &str,
    arrange: impl FnOnce(&mut Writer<'_>) -> Result<u128, LogError>,
) -> Result<(), LogError> {
    let application = super::APPLICATION;
    let (blueprint, storage) = RecordingStreamBuilder::new(application).enabled(true).blueprint().memory()?;
    blueprint.set_time_sequence("blueprint", 0);
    let mut writer = Writer { stream: &blueprint, next_id: 1 };
    let root = arrange(&mut writer)?;
    let viewport = bp::ViewportBlueprint::new().with_root_container(uuid_bytes(root));
    blueprint.log("viewport", &viewport.with_auto_layout(false).with_auto_views(false))?;
    blueprint.log("blueprint_panel", &bp::PanelBlueprint::new().with_state(parts::PanelState::Hidden))?;
    blueprint.log("selection_panel", &bp::PanelBlueprint::new().with_state(parts::PanelState::Hidden))?;
    let time = bp::TimePanelBlueprint::new().with_state(parts::PanelState::Collapsed).with_timeline(timeline);
    blueprint.log("time_panel", &time.with_fps(8.0))?;
    let messages = storage.take();
    let Some(blueprint_id) = blueprint.store_info().map(|info| info.store_id) else { return Ok(()) };
    let activate = BlueprintActivationCommand { blueprint_id, make_active: true, make_default: true };
    stream.send_blueprint(messages, activate);
    Ok(())
}

fn uuid_bytes(id: u128) -> rerun::datatypes::Uuid {
    id.to_be_bytes().into()
}

/// The text form of an id, as it stands in blueprint paths.
fn uuid_text(id: u128) -> String {
    let hex = format!("{id:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// One dark colour: rerun's own gradient competes with the points.
fn ground() -> bp::Background {
    bp::Background::new(parts::BackgroundKind::SolidColor).with_color([14, 16, 20])
}

/// Time, level and text: every line is from the same entity.
fn log_columns() -> bp::TextLogColumns {
    let column = |kind, visible: bool| datatypes::TextLogColumn { kind, visible: visible.into() };
    bp::TextLogColumns::new().with_text_log_columns([
        column(datatypes::TextLogColumnKind::EntityPath, false),
        column(datatypes::TextLogColumnKind::LogLevel, true),
        column(datatypes::TextLogColumnKind::Body, true),
    ])
}

/// A view or a container that is already written: its id and its path.
pub(super) type Part = (u128, String);

pub(super) struct Writer<'a> {
    stream: &'a RecordingStream,
    next_id: u128,
}

impl Writer<'_> {
    /// Left: what the robot sees. Middle: the world, times and gripper. Right: tokens, confidence, what happened.
    fn drive(&mut self, content: &Content) -> Result<u128, LogError> {
        let camera = content.camera;
        let rgb = format!("+ /{camera}/rgb");
        let on_picture = ["+ /world/chunk/**", "+ /world/gripper/**", "+ /world/gate/**"];
        let picture = self.view("2D", "camera", camera, [rgb.as_str()].into_iter().chain(on_picture), &[])?;
        let mut left = vec![picture];
        if content.has_depth {
            let depth = format!("{camera}/depth");
            left.push(self.view("2D", "depth", &depth, ["+ $origin"], &[])?);
        }
        left.push(self.view("TextDocument", "run", "progress", ["+ $origin"], &[])?);
        let left = self.container(parts::ContainerKind::Vertical, &left, &[3.0, 3.0, 2.2])?;

        let world = self.world(content)?;
        let legend = bp::PlotLegend::new().with_corner(parts::Corner2D::LeftTop);
        let open = bp::ScalarAxis::new().with_range([-0.1, 1.1]);
        let times: &[(&str, &dyn AsComponents)] = &[("PlotLegend", &legend)];
        let big = self.view("TimeSeries", "time per stage, ms", "time", ["+ $origin/**", "- $origin/own/**"], times)?;
        let small = self.view("TimeSeries", "stages outside ONNX, ms", "time/own", ["+ $origin/**"], times)?;
        let times = self.container(parts::ContainerKind::Tabs, &[big, small], &[])?;
        let properties: &[(&str, &dyn AsComponents)] = &[("PlotLegend", &legend), ("ScalarAxis", &open)];
        let gripper = self.view("TimeSeries", "gripper, 1 = open", "gripper", ["+ $origin/**"], properties)?;
        let plots = self.container(parts::ContainerKind::Horizontal, &[times, gripper], &[3.2, 1.6])?;
        let middle = self.container(parts::ContainerKind::Vertical, &[world, plots], &[5.6, 2.6])?;

        let mut right = Vec::new();
        if content.has_tokens {
            right.push(self.token_space()?);
        }
        let none = bp::PlotLegend::new().with_visible(false);
        let bars = "confidence: translation, rotation, gripper of each step";
        right.push(self.view("BarChart", bars, "confidence", ["+ $origin"], &[("PlotLegend", &none)])?);
        right.push(self.happened()?);
        let shares: &[f32] = if content.has_tokens { &[4.0, 1.8, 2.4] } else { &[1.0, 1.0] };
        let right = self.container(parts::ContainerKind::Vertical, &right, shares)?;
        Ok(self.container(parts::ContainerKind::Horizontal, &[left, middle, right], &[2.2, 4.6, 3.0])?.0)
    }

    pub(super) fn world(&mut self, content: &Content) -> Result<Part, LogError> {
        let depth = format!("- /{}/depth", content.camera);
        let mut eye = bp::EyeControls3D::new().with_kind(parts::Eye3DKind::Orbital);
        if let Some([position, target]) = content.eye_m {
            eye = eye.with_position(position).with_look_target(target).with_eye_up([0.0, 0.0, 1.0]);
        }
        let grid = bp::LineGrid3D::new().with_visible(false);
        let ground = ground();
        let properties: &[(&str, &dyn AsComponents)] =
            &[("EyeControls3D", &eye), ("LineGrid3D", &grid), ("Background", &ground)];
        // The depth picture would be drawn as a second cloud.
        self.view("3D", "world", content.world(), ["+ $origin/**", depth.as_str()], properties)
    }

    pub(super) fn token_space(&mut self) -> Result<Part, LogError> {
        let eye = bp::EyeControls3D::new().with_kind(parts::Eye3DKind::Orbital).with_position([2.1, -3.0, 1.7]);
        let eye = eye.with_look_target([0.0; 3]).with_eye_up([0.0, 0.0, 1.0]);
        let grid = bp::LineGrid3D::new().with_visible(false);
        let ground = ground();
        let properties: &[(&str, &dyn AsComponents)] =
            &[("EyeControls3D", &eye), ("LineGrid3D", &grid), ("Background", &ground)];
        self.view("3D", "translation tokens on their grid", "tokens", ["+ $origin/**"], properties)
    }

    pub(super) fn happened(&mut self) -> Result<Part, LogError> {
        let columns = log_columns();
        let columns: &[(&str, &dyn AsComponents)] = &[("TextLogColumns", &columns)];
        self.view("TextLog", "what happened", "log", ["+ $origin"], columns)
    }

    fn id(&mut self) -> u128 {
        self.next_id += 1;
        self.next_id - 1
    }

    pub(super) fn view<'c>(
        &mut self,
        class: &str,
        name: &str,
        origin: &str,
        contents: impl IntoIterator<Item = &'c str>,
        properties: &[(&str, &dyn AsComponents)],
    ) -> Result<Part, LogError> {
        let id = self.id();
        let path = format!("view/{}", uuid_text(id));
        let queries = contents.into_iter().map(|query| parts::QueryExpression(query.into()));
        self.stream.log(format!("{path}/ViewContents"), &bp::ViewContents::new(queries))?;
        let view = bp::ViewBlueprint::new(class).with_display_name(name);
        self.stream.log(path.as_str(), &view.with_space_origin(format!("/{origin}")))?;
        for (property, archetype) in properties {
            self.stream.log(format!("{path}/{property}"), *archetype)?;
        }
        Ok((id, path))
    }

    pub(super) fn container(
        &mut self,
        kind: parts::ContainerKind,
        inside: &[Part],
        shares: &[f32],
    ) -> Result<Part, LogError> {
        let id = self.id();
        let path = format!("container/{}", uuid_text(id));
        let contents = inside.iter().map(|(_, path)| parts::IncludedContent(path.as_str().into()));
        let container = bp::ContainerBlueprint::new(kind).with_contents(contents);
        let shares = shares.iter().copied();
        let container = match kind {
            parts::ContainerKind::Tabs => {
                container.with_active_tab(inside.first().map_or("", |(_, path)| path.as_str()))
            }
            parts::ContainerKind::Horizontal => {
                container.with_col_shares(shares.map(Into::into).map(parts::ColumnShare))
            }
            _ => container.with_row_shares(shares.map(Into::into).map(parts::RowShare)),
        };
        self.stream.log(path.as_str(), &container)?;
        Ok((id, path))
    }
}
