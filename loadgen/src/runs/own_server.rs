//! A server of the bench's own: a child process on free ports, its data in a temporary folder.

use crate::LoadError;
use frontrow_server::config::ENV_PREFIX;
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How long a server may take to open, and to close.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running child. Dropped, it is killed; [`OwnServer::stop`] lets it end well.
#[derive(Debug)]
pub(crate) struct OwnServer {
    child: Child,
    /// Where HTTP is.
    pub(crate) url: String,
    folder: TempDir,
}

/// What `frontrow serve --json` says of itself, as far as it is needed.
#[derive(Deserialize)]
struct Opened {
    http: String,
}

impl OwnServer {
    /// Starts `program`; data goes below `above`.
    pub(crate) async fn start(program: &Path, above: &Path) -> Result<Self, LoadError> {
        let failed = |reason: String| LoadError::OwnServer { program: program.to_owned(), reason };
        let file = |source| LoadError::File { path: above.to_owned(), source };
        std::fs::create_dir_all(above).map_err(file)?;
        let folder = tempfile::Builder::new().prefix("frontrow-bench-").tempdir_in(above).map_err(file)?;
        let mut child = Command::new(program)
            .args(["serve", "--json", "--no-demo"])
            .envs([
                (format!("{ENV_PREFIX}SERVER__HTTP"), "127.0.0.1:0".into()),
                (format!("{ENV_PREFIX}SERVER__TCP"), "127.0.0.1:0".into()),
                (format!("{ENV_PREFIX}SERVER__CORE_PORTS"), "0".into()),
                (format!("{ENV_PREFIX}SERVER__DATA"), folder.path().join("data").into_os_string()),
                (format!("{ENV_PREFIX}LOG_OUTPUT__LEVEL"), "warn".into()),
            ])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        let stdout = child.stdout.take().ok_or_else(|| failed("it has no standard output".to_owned()))?;
        let opened = timeout(PATIENCE, opening(BufReader::new(stdout))).await;
        let opened = opened.map_err(|_| failed(format!("it did not open within {PATIENCE:?}")))?;
        let opened = opened.map_err(failed)?;
        Ok(Self { child, url: format!("http://{}", opened.http), folder })
    }

    /// Its data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Asks it to end and waits for it.
    pub(crate) async fn stop(mut self) -> Result<(), LoadError> {
        if let Some(pid) = self.child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
            let _ = kill_process(pid, Signal::TERM);
        }
        // If it does not end, dropping the child kills it.
        let _ = timeout(PATIENCE, self.child.wait()).await;
        let folder = self.folder.path().to_owned();
        self.folder.close().map_err(|source| LoadError::File { path: folder, source })
    }
}

/// Reads until what was said is one JSON object.
async fn opening(mut out: impl AsyncReadExt + Unpin) -> Result<Opened, String> {
    let mut said = Vec::new();
    loop {
        let read = out.read_buf(&mut said).await.map_err(|error| error.to_string())?;
        if let Ok(opened) = serde_json::from_slice(&said) {
            return Ok(opened);
        }
        if read == 0 {
            return Err(format!("it ended and said: {}", String::from_utf8_lossy(&said).trim()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_no_server_is_told() {
        let above = tempfile::tempdir_in(std::env::temp_dir()).expect("a folder");
        let error = OwnServer::start(Path::new("/bin/true"), above.path()).await.expect_err("it ends");
        assert!(error.to_string().contains("it ended"), "{error}");
    }

    #[tokio::test]
    async fn what_a_server_says_is_read() {
        let said = b"{\"ok\":true,\"http\":\"127.0.0.1:1\",\n\"tcp\":\"127.0.0.1:2\"}\n".as_slice();
        assert_eq!(opening(said).await.expect("opened").http, "127.0.0.1:1");
        assert!(opening(b"no".as_slice()).await.is_err());
    }
}
