//! `--connect`, `--robot` and the certificates of `record` and `view`: whoever only listens to a running robot.
//!
//! From: the command line. To: an open session that listens nowhere, and the robot's keys.

use crate::cli::{Certificates, Wire};
use crate::deployment::Deployment;
use crate::exit::{CommandError, CommandResult};
use anyhow::anyhow;
use egogrid_sim_bridge::endpoint::BridgeSession;
use egogrid_sim_bridge::session::{AccessConfig, Keys, RobotName, SessionConfig, TlsConfig};

/// A robot to listen to.
pub(crate) struct Listening {
    pub(crate) keys: Keys,
    pub(crate) cameras: Vec<String>,
    pub(crate) session: BridgeSession,
}

/// Connects.
///
/// # Errors
/// Exit code 2 for arguments that do not belong together, 4 where nobody listens.
pub(crate) fn listen(wire: &Wire) -> CommandResult<Listening> {
    let (keys, cameras) = match &wire.deployment {
        // The file knows both, and where a ROS 2 bridge has other names.
        Some(path) => {
            let deployment = Deployment::read(path)?;
            let cameras = deployment.pictures.cameras.iter().map(|camera| camera.name.clone()).collect();
            (deployment.keys, cameras)
        }
        None => {
            for camera in &wire.cameras {
                RobotName::new(camera).map_err(CommandError::usage)?;
            }
            (Keys::from(&RobotName::new(&wire.robot).map_err(CommandError::usage)?), wire.cameras.clone())
        }
    };
    let tls = certificates(&wire.certificates)?;
    let access =
        tls.as_ref().map(|_| AccessConfig { daemons: vec![wire.daemon_name.clone()], ..AccessConfig::default() });
    let config = SessionConfig { connect: vec![wire.connect.clone()], tls, access, ..SessionConfig::default() };
    let session = BridgeSession::open_for(&config, &keys).map_err(CommandError::missing)?;
    Ok(Listening { keys, cameras, session })
}

/// All three, or none on loopback.
///
/// # Errors
/// Some of them.
pub(crate) fn certificates(args: &Certificates) -> CommandResult<Option<TlsConfig>> {
    match (&args.root_ca_certificate, &args.certificate, &args.private_key) {
        (None, None, None) => Ok(None),
        (Some(root_ca_certificate), Some(certificate), Some(private_key)) => Ok(Some(TlsConfig {
            root_ca_certificate: root_ca_certificate.clone(),
            certificate: certificate.clone(),
            private_key: private_key.clone(),
        })),
        _ => Err(CommandError::usage(anyhow!(
            "--root-ca-certificate, --certificate and --private-key belong together; give all three, or none on loopback"
        ))),
    }
}
