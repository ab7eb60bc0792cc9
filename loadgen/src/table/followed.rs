//! The server whose answers wait for a standby: the server in this process, the standby in one of its own.

use crate::LoadError;
use crate::child::{Child, Spec, program};
use crate::table::TableOptions;
use crate::table::subject::Server;
use frontrow_server::Running;
use frontrow_venue::Plan;
use rustix::process::Signal;
use std::net::SocketAddr;
use std::path::Path;

/// A server and the standby that follows it.
pub(crate) struct Followed {
    pub(crate) server: Server,
    standby: Child,
}

impl Followed {
    /// Starts both, with their data under `folder`.
    pub(crate) fn start(options: &TableOptions, folder: &Path, plan: &Plan) -> Result<Self, LoadError> {
        let program = program(options.frontrow.as_ref())?;
        let follow = |primary: SocketAddr, running: &Running| {
            let configuration = folder.join("standby.toml");
            let written = std::fs::write(
                &configuration,
                "[server]\ntcp = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\ncore_ports = 0\n[log_output]\nlevel = \"warn\"\n",
            );
            written.map_err(|source| LoadError::File { path: configuration.clone(), source })?;
            let data = folder.join("standby");
            let args = ["backup", "--primary", &primary.to_string()].map(Into::into).into_iter();
            let args = args.chain(["--config".into(), configuration.into(), "--data".into(), data.into()]);
            let spec = Spec {
                program,
                args: args.collect(),
                cpu: None,
                user: None,
                log: folder.join("standby.log"),
            };
            let caught_up = || running.standby().filter(|standby| standby.caught_up).map(|_| ());
            Ok(spec.start(Signal::TERM, caught_up)?.0)
        };
        let (server, standby) = Server::start_followed(options, &folder.join("followed"), plan, follow)?;
        Ok(Self { server, standby })
    }

    /// Ends both, the server first: it must not wait for a standby that is gone.
    pub(crate) fn stop(self) {
        self.server.stop();
        drop(self.standby);
    }
}
