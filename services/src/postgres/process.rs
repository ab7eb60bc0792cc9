//! One life of a server: its processes, and the shell that watches over them.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Starts a server and ends it as soon as a word or the end comes from whoever started it. At the end, unless the word is
/// `keep`, its folder goes.
const WATCH: &str = "remove=$1; shift; \"$@\" & pid=$!; read word; kill -QUIT $pid 2>/dev/null; wait $pid; \
                     [ \"$word\" = keep ] || [ -z \"$remove\" ] || rm -rf \"$remove\"";
/// What a server says when it answers.
const READY: &str = "ready to accept";
/// How long it may take until then: after SIGKILL it reads its log again.
const PATIENCE: Duration = Duration::from_secs(120);
/// How many of its last lines an error repeats.
const LINES: usize = 12;

/// The running server.
#[derive(Debug)]
pub(super) struct Process {
    shell: Child,
    word: Option<ChildStdin>,
    server: Pid,
}

impl Process {
    pub(super) fn start(
        mut shell: Command,
        server: &Path,
        data: &Path,
        settings: &[String],
        remove: Option<&Path>,
    ) -> io::Result<Self> {
        shell.args(["-c", WATCH, "frontrow-watch"]).arg(remove.unwrap_or(Path::new("")));
        shell.arg(server).arg("-D").arg(data).args(settings.iter().flat_map(|setting| ["-c", setting]));
        // A group of its own: an interrupt at the terminal is for whoever started it.
        shell.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut shell = shell.spawn()?;
        let word = shell.stdin.take();
        let log = File::options().create(true).append(true).open(data.with_file_name("server.log"))?;
        let (ready, is_ready) = channel();
        let last = Arc::new(Mutex::new(VecDeque::new()));
        if let Some(stderr) = shell.stderr.take() {
            let last = Arc::clone(&last);
            std::thread::Builder::new()
                .name("postgres-log".into())
                .spawn(move || listen(stderr, log, &ready, &last))?;
        }
        if let Some(server) = wait(&is_ready, data) {
            return Ok(Self { shell, word, server });
        }
        drop(word);
        let _ = shell.wait();
        let said: Vec<String> = last.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect();
        Err(io::Error::other(format!("it does not start: {}", said.join("\n"))))
    }

    /// All its processes: the server's first one, and one for each connection and task. Each of those leads a group of its own.
    fn all(&self) -> Vec<Pid> {
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let children = pids.filter_map(Pid::from_raw).filter(|pid| {
            // Behind the name, which is in brackets: the state, and the parent.
            stat(*pid).and_then(|fields| fields.get(1)?.parse().ok())
                == Some(self.server.as_raw_nonzero().get())
        });
        std::iter::once(self.server).chain(children).collect()
    }

    pub(super) fn kill(mut self) -> io::Result<()> {
        // Halted first: none is forked meanwhile.
        kill_process(self.server, Signal::STOP)?;
        let all = self.all();
        let handles: Vec<_> =
            all.iter().filter_map(|pid| pidfd_open(*pid, PidfdFlags::empty()).ok()).collect();
        for pid in all.iter().skip(1).chain([&self.server]) {
            let _ = kill_process(*pid, Signal::KILL);
        }
        self.say(b"keep\n");
        for handle in &handles {
            // Readable when its process has ended.
            poll(&mut [PollFd::new(handle, PollFlags::IN)], None)?;
        }
        self.shell.wait().map(drop)
    }

    pub(super) fn pause(&self) -> io::Result<()> {
        kill_process(self.server, Signal::STOP)?;
        for pid in self.all() {
            let _ = kill_process(pid, Signal::STOP);
        }
        Ok(())
    }

    pub(super) fn resume(&self) -> io::Result<()> {
        for pid in self.all().into_iter().skip(1) {
            let _ = kill_process(pid, Signal::CONT);
        }
        Ok(kill_process(self.server, Signal::CONT)?)
    }

    /// In order; its folder goes if it is a temporary one.
    pub(super) fn end(mut self) {
        let _ = self.resume();
        // Connections are cut, what is committed is written. It is gone when the shell is.
        let _ = kill_process(self.server, Signal::INT);
        if let Ok(handle) = pidfd_open(self.server, PidfdFlags::empty()) {
            let _ = poll(&mut [PollFd::new(&handle, PollFlags::IN)], None);
        }
        self.word = None;
        let _ = self.shell.wait();
    }

    pub(super) fn cpu_seconds(&self) -> f64 {
        let ticks = |pid: Pid| {
            let fields = stat(pid)?;
            // Its own time and that of children which have ended, of both kinds.
            let field = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
            (11..15).map(field).sum::<Option<f64>>()
        };
        self.all().into_iter().filter_map(ticks).sum::<f64>() / 100.0
    }

    fn say(&mut self, word: &[u8]) {
        if let Some(mut pipe) = self.word.take() {
            let _ = pipe.write_all(word);
        }
    }
}

/// `/proc/PID/stat` behind the name: state, parent, …
fn stat(pid: Pid) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    Some(stat.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

/// Keeps what the server says, and tells when it is ready. A pipe that nobody reads would halt it.
fn listen(stderr: ChildStderr, mut log: File, ready: &Sender<()>, last: &Mutex<VecDeque<String>>) {
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        let _ = writeln!(log, "{line}");
        if line.contains(READY) {
            let _ = ready.send(());
        }
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() == LINES {
            last.pop_front();
        }
        last.push_back(line);
    }
}

/// Its first process, once it is ready.
fn wait(is_ready: &Receiver<()>, data: &Path) -> Option<Pid> {
    is_ready.recv_timeout(PATIENCE).ok()?;
    let file = std::fs::read_to_string(data.join("postmaster.pid")).ok()?;
    Pid::from_raw(file.lines().next()?.trim().parse().ok()?)
}
