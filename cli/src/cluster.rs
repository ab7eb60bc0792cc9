//! What is done about a cluster at a node that does not run.

use crate::args::{Cluster, Common};
use crate::backup::{configured, refused};
use crate::failure::Failure;
use crate::show::Out;
use frontrow_server::Founding;
use serde_json::json;

/// Puts its data into a cluster's record, or takes it out of its cluster.
pub(crate) fn run(common: &Common, what: &Cluster, out: Out) -> Result<(), Failure> {
    let refused = |error: frontrow_server::cluster::FoundError| refused(error.to_string());
    match what {
        Cluster::Found { epoch, replace, above, config } => {
            let config = configured(common, config.as_deref())?;
            let founding = Founding { epoch: *epoch, replace: *replace, above: *above };
            let epoch = frontrow_server::found_cluster(&config, founding).map_err(refused)?;
            let text = format!(
                "etcd has it on record: cluster {} goes on from this data, above epoch {epoch}. Now: frontrow serve, here and \
                 at the other node, which follows; what only that one has is kept in its cut/.",
                config.cluster.name
            );
            out.say(&json!({"ok": true, "epoch": epoch, "text": text}), &text);
        }
        Cluster::Leave { config } => {
            let config = configured(common, config.as_deref())?;
            let name = frontrow_server::leave_cluster(&config).map_err(refused)?;
            let text = format!(
                "This data is not in cluster {name} any more. If another node of it serves, both sell the same seats from now on."
            );
            out.say(&json!({"ok": true, "cluster": name, "text": text}), &text);
        }
    }
    Ok(())
}
