//! A small real file system of the test's own: ext4 in a file, mounted through a loop device. Needs root.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Mounted until it is dropped.
pub(crate) struct SmallDisk {
    folder: tempfile::TempDir,
    /// Where the image lies, if that is a file system of its own that can run out of room.
    backing: Option<PathBuf>,
}

fn run(program: &str, words: &[&str]) -> Result<(), String> {
    let out = Command::new(program).args(words).output().map_err(|error| format!("{program}: {error}"))?;
    if out.status.success() {
        return Ok(());
    }
    Err(format!("{program} {}: {}", words.join(" "), String::from_utf8_lossy(&out.stderr).trim()))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary folder's name is text")
}

impl SmallDisk {
    /// A file system of so many MiB; why not, if this machine or user cannot have one. With `promised` it lies on
    /// memory that has only so many MiB: beyond them what it is given to write fails, as on a dying disk.
    pub(crate) fn mount(mib: u64, promised: Option<u64>) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let (backing, mount) = (folder.path().join("backing"), folder.path().join("disk"));
        for made in [&backing, &mount] {
            std::fs::create_dir(made).map_err(|error| error.to_string())?;
        }
        let mut disk = Self { folder, backing: None };
        if let Some(promised) = promised {
            run("mount", &["-t", "tmpfs", "-o", &format!("size={promised}m"), "tmpfs", text(&backing)])?;
            disk.backing = Some(backing.clone());
        }
        let image = backing.join("image");
        let file = File::create(&image).and_then(|file| file.set_len(mib << 20));
        file.map_err(|error| error.to_string())?;
        run("mkfs.ext4", &["-q", "-O", "^has_journal", "-E", "nodiscard", text(&image)])?;
        run("mount", &["-o", "loop", text(&image), text(&mount)])?;
        Ok(disk)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    /// Takes everything away that was written: what is there reads as zeros, and to be written again needs room.
    pub(crate) fn lose(&self) {
        let image = self.backing().join("image");
        let bytes = std::fs::metadata(&image).expect("it is there").len().to_string();
        run("fallocate", &["--punch-hole", "--offset", "0", "--length", &bytes, text(&image)])
            .expect("holes");
    }

    /// Where the image lies.
    pub(crate) fn backing(&self) -> PathBuf {
        self.folder.path().join("backing")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // One that is still in use stays until its last user is gone.
        let _ = run("umount", &["-l", text(&self.path())]);
        if let Some(backing) = &self.backing {
            let _ = run("umount", &["-l", text(backing)]);
        }
    }
}
