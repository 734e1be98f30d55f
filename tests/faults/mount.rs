//! A file system of its own for a store, so that it can be filled and made read-only.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A small file system in memory. Unmounted when dropped.
pub struct Mount(PathBuf);

impl Mount {
    /// `None` if the test may not mount: that takes root, and more than a container usually gives it.
    pub fn new(folder: PathBuf) -> Option<Self> {
        std::fs::create_dir_all(&folder).unwrap();
        let options = ["-t", "tmpfs", "-o", "size=3m", "traceprobe-faults"];
        run(Command::new("mount").args(options).arg(&folder)).then_some(Self(folder))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes it `ro` or `rw`.
    pub fn remount(&self, mode: &str) {
        assert!(run(Command::new("mount").args(["-o", &format!("remount,{mode}")]).arg(&self.0)), "{mode}");
    }

    /// Writes a file until nothing fits any more. Returns its path.
    pub fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = std::fs::File::create(&path).unwrap();
        while std::io::Write::write(&mut file, &[b'x'; 4_096]).is_ok_and(|written| written > 0) {}
        path
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily, because a probe that a failed test left may still have files open.
        run(Command::new("umount").arg("-l").arg(&self.0));
    }
}

fn run(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}
