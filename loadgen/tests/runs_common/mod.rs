//! A small server in this process, and the load generator's program against it.

use frontrow_server::Running;
use frontrow_server::config::{self, Machine};
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

/// A server that lives as long as the test.
pub(crate) struct Server {
    running: Option<Running>,
    pub(crate) folder: TempDir,
    pub(crate) url: String,
}

impl Server {
    /// Settings for tiny halls; `more` are pairs like `("LIMITS__CONNECTIONS", "5")`.
    pub(crate) fn start_with(more: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let data = folder.path().join("data");
        let settings = [
            ("SERVER__TCP", "127.0.0.1:0"),
            ("SERVER__HTTP", "127.0.0.1:0"),
            ("SERVER__CORE_PORTS", "0"),
            ("SERVER__DATA", data.to_str().expect("UTF-8")),
            ("SERVER__CORES", "2"),
            ("SERVER__PIN", "false"),
            ("PARTITIONS__COUNT", "4"),
            ("PARTITIONS__REQUESTS_REMEMBERED", "16384"),
            ("PARTITIONS__WAITING", "1024"),
            ("LOG__SEGMENT", "1MiB"),
        ];
        let all = settings.iter().chain(more);
        let env = all.map(|(key, value)| (format!("{}{key}", config::ENV_PREFIX), (*value).to_owned()));
        let config = config::read(None, env, &Machine::probe()).into_result().expect("a configuration");
        let running = frontrow_server::start(&config, false).expect("a server");
        let url = format!("http://{}", running.http);
        Self { running: Some(running), folder, url }
    }

    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// Runs the program against this server, with reports in `out`.
    pub(crate) fn load(&self, words: &[&str]) -> Said {
        self.load_at(&self.url, words)
    }

    /// The same, with this address in place of the server's own.
    pub(crate) fn load_at(&self, url: &str, words: &[&str]) -> Said {
        let data = self.folder.path().join("data");
        let place = ["--server", url, "--data", data.to_str().expect("UTF-8")];
        loadgen(&[words, &place].concat(), self.folder.path())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop();
        }
    }
}

/// What the program said, and its exit code.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Fails the test unless it ended with `code` and said all of `words`.
    #[track_caller]
    pub(crate) fn expect(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, code, "{}\n{}", self.out, self.err);
        for word in words {
            assert!(
                self.out.contains(word) || self.err.contains(word),
                "{word:?} is not in\n{}\n{}",
                self.out,
                self.err
            );
        }
        self
    }
}

/// The program, in the folder `at`.
pub(crate) fn loadgen(words: &[&str], at: &Path) -> Said {
    let output = Command::new(env!("CARGO_BIN_EXE_frontrow-loadgen"))
        .args(words)
        .current_dir(at)
        .env_remove("FRONTROW_URL")
        .env_remove("FRONTROW_DATA")
        .env_remove("FRONTROW_ADMIN_KEY")
        .output()
        .expect("it runs");
    Said::of(&output)
}
