//! `builtin_interfaces`, `std_msgs` and `geometry_msgs`.

use super::message;

message! {
    /// A moment: `[sec, nanosec]`.
    #[derive(Copy, Eq, Default)]
    Time = "builtin_interfaces/msg/Time" {
        /// Whole seconds; may be negative.
        sec: i32,
        /// 0..1e9.
        nanosec: u32,
    }
}
message! {
    /// When and in which axes.
    #[derive(Default)]
    Header = "std_msgs/msg/Header" {
        /// When.
        stamp: Time,
        /// Name of the axes.
        frame_id: String,
    }
}
message! {
    /// One string.
    RosString = "std_msgs/msg/String" {
        /// The string.
        data: String,
    }
}
message! {
    /// Three numbers; what they are, the field says.
    #[derive(Copy, Default)]
    Vector3 = "geometry_msgs/msg/Vector3" {
        /// First.
        x: f64,
        /// Second.
        y: f64,
        /// Third.
        z: f64,
    }
}
message! {
    /// A place, metres.
    #[derive(Copy, Default)]
    Point = "geometry_msgs/msg/Point" {
        /// Metres.
        x: f64,
        /// Metres.
        y: f64,
        /// Metres.
        z: f64,
    }
}
message! {
    /// An orientation; the real part comes last.
    #[derive(Copy)]
    Quaternion = "geometry_msgs/msg/Quaternion" {
        /// i.
        x: f64,
        /// j.
        y: f64,
        /// k.
        z: f64,
        /// Real part.
        w: f64,
    }
}
message! {
    /// Place and orientation.
    #[derive(Copy)]
    Pose = "geometry_msgs/msg/Pose" {
        /// Metres.
        position: Point,
        /// Of unit length.
        orientation: Quaternion,
    }
}
message! {
    /// Velocity.
    #[derive(Copy, Default)]
    Twist = "geometry_msgs/msg/Twist" {
        /// Metres per second.
        linear: Vector3,
        /// Radians per second.
        angular: Vector3,
    }
}
message! {
    /// Velocity of the end effector, as a servo node takes it.
    #[derive(Default)]
    TwistStamped = "geometry_msgs/msg/TwistStamped" {
        /// When and in which axes.
        header: Header,
        /// The velocity.
        twist: Twist,
    }
}
message! {
    /// A pose as plain ROS 2 has it.
    PoseStamped = "geometry_msgs/msg/PoseStamped" {
        /// When and in which axes.
        header: Header,
        /// The pose.
        pose: Pose,
    }
}
