//! `sensor_msgs`, and our frame that holds what belongs to one exposure.

use super::{Header, Pose, message};

message! {
    /// One picture, borrowed from the payload.
    Image<'payload> = "sensor_msgs/msg/Image" {
        /// Exposure, and the camera's optical axes.
        header: Header,
        /// Rows.
        height: u32,
        /// Columns.
        width: u32,
        /// `rgb8`, `bgr8`, `32FC1` (metres) or `16UC1` (millimetres).
        encoding: String,
        /// Byte order of pixels wider than a byte: 0 = little endian.
        is_bigendian: u8,
        /// Bytes from one row to the next.
        step: u32,
        /// `height * step` bytes, top row first.
        data: &'payload [u8],
    }
}
message! {
    /// Part of the sensor that was read; all zero = all of it.
    #[derive(Copy, Default)]
    RegionOfInterest = "sensor_msgs/msg/RegionOfInterest" {
        /// Pixels.
        x_offset: u32,
        /// Pixels.
        y_offset: u32,
        /// Pixels.
        height: u32,
        /// Pixels.
        width: u32,
        /// Whether the region is to be rectified.
        do_rectify: bool,
    }
}
message! {
    /// Calibration of a camera at one picture size.
    CameraInfo = "sensor_msgs/msg/CameraInfo" {
        /// As the image's.
        header: Header,
        /// Rows.
        height: u32,
        /// Columns.
        width: u32,
        /// `plumb_bob`, or empty.
        distortion_model: String,
        /// Distortion coefficients; all zero = rectified.
        d: Vec<f64>,
        /// `[3, 3]`, row-major: the pinhole matrix in pixels.
        k: [f64; 9],
        /// `[3, 3]`: rectification.
        r: [f64; 9],
        /// `[3, 4]`: projection.
        p: [f64; 12],
        /// Columns summed into one; 0 = 1.
        binning_x: u32,
        /// Rows summed into one; 0 = 1.
        binning_y: u32,
        /// Part of the sensor.
        roi: RegionOfInterest,
    }
}
message! {
    /// One number of a point.
    PointField = "sensor_msgs/msg/PointField" {
        /// `x`, `y`, `z`.
        name: String,
        /// Byte in the point.
        offset: u32,
        /// 7 = float32.
        datatype: u8,
        /// Numbers.
        count: u32,
    }
}
message! {
    /// Points, borrowed from the payload.
    PointCloud2<'payload> = "sensor_msgs/msg/PointCloud2" {
        /// Exposure, and the axes.
        header: Header,
        /// 1 = in no order.
        height: u32,
        /// Points.
        width: u32,
        /// What a point is made of.
        fields: Vec<PointField>,
        /// Byte order.
        is_bigendian: bool,
        /// Bytes of a point.
        point_step: u32,
        /// Bytes of all.
        row_step: u32,
        /// `width * point_step` bytes.
        data: &'payload [u8],
        /// Whether every point is finite.
        is_dense: bool,
    }
}
message! {
    /// One exposure of one camera: `CameraFrame.msg`.
    CameraFrame<'payload> = "egogrid_msgs/msg/CameraFrame" {
        /// Name of the camera.
        name: String,
        /// The picture.
        image: Image<'payload>,
        /// Depth of the same exposure.
        depth: Option<Image<'payload>>,
        /// Calibration of `image`.
        camera_info: Option<CameraInfo>,
        /// Pose of the optical axes in the base.
        base_from_camera: Option<Pose>,
    }
}
