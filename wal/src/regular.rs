//! Opens regular files, and nothing else.
//!
//! To open a pipe waits for who writes to it, for good if nobody does: whatever has a file's name in a data directory is
//! opened without waiting and looked at before a byte is read. A link to a regular file is one.

use std::fs::{File, FileType, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// What has a file's name and is none. Comes inside an [`io::Error`]; see [`no_file`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is no file, but {what}")]
pub struct NoFile {
    path: PathBuf,
    what: &'static str,
}

impl NoFile {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn error(path: &Path, kind: Option<FileType>) -> io::Error {
        let what = match kind {
            Some(kind) if kind.is_fifo() => "a pipe",
            Some(kind) if kind.is_dir() => "a folder",
            Some(kind) if kind.is_socket() => "a socket",
            Some(kind) if kind.is_symlink() => "a link that leads nowhere",
            _ => "a device",
        };
        io::Error::new(ErrorKind::InvalidInput, NoFile { path: path.into(), what })
    }
}

/// What is there instead of a file, if that is what an error of this module says.
pub fn no_file(error: &io::Error) -> Option<&NoFile> {
    error.get_ref()?.downcast_ref()
}

/// Opens a regular file for reading.
pub fn open(path: &Path) -> io::Result<File> {
    open_with(path, OFlags::empty(), OpenOptions::new().read(true))
}

/// Opens a regular file as `options` say, with these flags of the system's.
pub fn open_with(path: &Path, flags: OFlags, options: &mut OpenOptions) -> io::Result<File> {
    let kind = || std::fs::metadata(path).ok().map(|about| about.file_type());
    let mut open = |more: OFlags| options.custom_flags((flags | more).bits().cast_signed()).open(path);
    let file = match open(OFlags::NONBLOCK | OFlags::NOCTTY) {
        // A file server has a lease on it, which only regular files have: the kernel takes that back within its time.
        Err(error) if error.kind() == ErrorKind::WouldBlock && kind().is_some_and(|kind| kind.is_file()) => {
            open(OFlags::NOCTTY)
        }
        opened => opened,
    };
    let file = file.map_err(|error| match error.raw_os_error() {
        // A folder that was to be written to; a socket, a device without a driver, a pipe that nobody reads.
        Some(code) if is_of_no_file(code) => NoFile::error(path, kind()),
        // A name that is there, and nothing behind it: whoever asks whether there is a file must not hear that there is none.
        _ if error.kind() == ErrorKind::NotFound => match std::fs::symlink_metadata(path) {
            Ok(about) => NoFile::error(path, Some(about.file_type())),
            Err(_) => error,
        },
        _ => error,
    })?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(NoFile::error(path, Some(about.file_type())));
    }
    // A kernel may answer a request at io_uring with EAGAIN for it.
    let flags = rustix::fs::fcntl_getfl(&file)?;
    rustix::fs::fcntl_setfl(&file, flags - OFlags::NONBLOCK)?;
    Ok(file)
}

fn is_of_no_file(code: i32) -> bool {
    use rustix::io::Errno;
    [Errno::ISDIR, Errno::NXIO, Errno::NODEV].map(Errno::raw_os_error).contains(&code)
}

/// Makes an empty file that is yet to get its name, or empties the one that an interrupted attempt left there. What is no
/// file gives way: nobody looks for anything under such a name.
pub fn create(path: &Path) -> io::Result<File> {
    create_with(path, OpenOptions::new().read(true).write(true))
}

/// The same as `options`, which say how it is to be opened, say.
pub fn create_with(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let options = options.create(true).truncate(true);
    match open_with(path, OFlags::empty(), options) {
        Err(error) if no_file(&error).is_some() => {
            // A folder stays: there may be something in it.
            std::fs::remove_file(path).map_err(|_| error)?;
            open_with(path, OFlags::empty(), options)
        }
        opened => opened,
    }
}

/// All of a regular file.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = open(path)?;
    let mut bytes = Vec::with_capacity(usize::try_from(file.metadata()?.len()).unwrap_or(0));
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, Mode, mkfifoat};
    use std::io::Write;
    use std::sync::mpsc;
    use std::time::Duration;

    /// What `look` says, on a thread of its own: one that waited for good would have the test wait.
    fn in_time<T: Send + 'static>(look: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || tell.send(look()));
        told.recv_timeout(Duration::from_secs(20)).expect("it does not wait")
    }

    #[test]
    fn what_is_no_file_is_named_and_not_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        mkfifoat(CWD, path("pipe"), Mode::RUSR | Mode::WUSR).expect("a pipe");
        std::os::unix::fs::symlink("pipe", path("link")).expect("a link");
        std::os::unix::fs::symlink("away/file", path("dangling")).expect("a link");
        let _listens = std::os::unix::net::UnixListener::bind(path("socket")).expect("a socket");
        let there = [("pipe", "a pipe"), ("link", "a pipe"), ("socket", "a socket"), (".", "a folder")];
        let there = there.into_iter().chain([("dangling", "a link that leads nowhere")]);
        for (name, what) in there.chain([("/dev/null", "a device")]) {
            let path = path(name);
            for write in [false, true] {
                let of = path.clone();
                let opened = in_time(move || {
                    open_with(&of, OFlags::empty(), OpenOptions::new().read(!write).write(write))
                });
                let error = opened.expect_err("it is no file");
                assert_eq!(error.to_string(), format!("it is no file, but {what}"));
                assert_eq!(no_file(&error).expect("typed").path(), path);
            }
        }
        assert_eq!(read(&path("none")).expect_err("there is none").kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_link_to_a_file_is_one_and_is_read_as_any_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("file"), "all of it").expect("a file");
        std::os::unix::fs::symlink("file", path("link")).expect("a link");
        assert_eq!(read(&path("link")).expect("read"), b"all of it");
        let file = open(&path("link")).expect("opened");
        assert!(!rustix::fs::fcntl_getfl(&file).expect("flags").contains(OFlags::NONBLOCK));
    }

    #[test]
    fn what_is_in_the_way_of_an_unfinished_file_gives_way_but_for_a_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file.tmp");
        std::fs::write(&path, "left behind").expect("a file");
        assert_eq!(create(&path).expect("made").metadata().expect("about it").len(), 0);
        std::fs::remove_file(&path).expect("it is there");
        mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).expect("a pipe");
        let of = path.clone();
        in_time(move || create(&of)).expect("made").write_all(b"new").expect("written");
        assert_eq!(std::fs::read(&path).expect("a file"), b"new");
        std::fs::remove_file(&path).expect("it is there");
        std::fs::create_dir(&path).expect("a folder");
        let error = create(&path).expect_err("a folder stays");
        assert_eq!(error.to_string(), "it is no file, but a folder");
    }
}
