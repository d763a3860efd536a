//! A small disk for tests of a full disk: a file system in memory.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A file system of a few MiB. When it is dropped, or the test's process ends in whatever way, it is gone.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
    /// Ends, and takes the file system along, when its input does.
    holder: Child,
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        // It may have ended already.
        let _ = self.holder.wait();
    }
}

impl SmallDisk {
    /// Mounts one: for everybody to see where the user may do that, else where only a process of ours sees it, into which `/proc`
    /// leads. There its path is not its [canonical](std::fs::canonicalize) one.
    ///
    /// # Errors
    /// A sentence for a person: only Linux has such views, and not every machine allows them.
    pub fn mount(mebibytes: u32) -> Result<Self, String> {
        Self::mount_for_all(mebibytes).or_else(|_| Self::mount_in_a_view(mebibytes))
    }

    fn mount_for_all(mebibytes: u32) -> Result<Self, String> {
        let script = format!(
            "folder=$(mktemp -d) && mount -t tmpfs -o size={mebibytes}m,mode=777 small $folder || exit 1; \
             echo $folder; cat; umount -l $folder; rmdir $folder"
        );
        let mut command = Command::new("sh");
        command.args(["-c", &script]);
        Self::held_by(command, |_, folder| folder.into())
    }

    fn mount_in_a_view(mebibytes: u32) -> Result<Self, String> {
        let script = format!(
            "mount -t tmpfs -o size={mebibytes}m,mode=777 small /mnt && echo /mnt && exec cat"
        );
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script]);
        Self::held_by(command, |id, folder| {
            PathBuf::from(format!("/proc/{id}/root{folder}"))
        })
    }

    fn held_by(
        mut command: Command,
        path: impl FnOnce(u32, &str) -> PathBuf,
    ) -> Result<Self, String> {
        let mut holder = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("{command:?} does not start: {error}"))?;
        let mut folder = String::new();
        if let Some(output) = holder.stdout.take() {
            // Without an answer it is not ready.
            let _ = BufReader::new(output).read_line(&mut folder);
        }
        let path = path(holder.id(), folder.trim());
        let disk = Self { path, holder };
        if folder.starts_with('/') && disk.path.is_dir() {
            Ok(disk)
        } else {
            Err("a file system in memory cannot be mounted here".into())
        }
    }

    /// A new one, or `None` with the reason printed; a failure if `ARROWLOAD_REQUIRE` names `mount`.
    pub fn available(mebibytes: u32) -> Option<Self> {
        Self::mount(mebibytes)
            .map_err(|why| crate::skip("mount", &why))
            .ok()
    }

    /// Its root.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Fills it, but for about this many bytes, with a file of this name in its root.
    ///
    /// # Errors
    /// What the system says, but for a full disk.
    pub fn fill(&self, name: &str, but_for: u64) -> std::io::Result<()> {
        let mut file = std::fs::File::create(self.path.join(name))?;
        let page = [0; 4096];
        loop {
            match file.write_all(&page) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => break,
                Err(error) => return Err(error),
            }
        }
        let filled = file.metadata()?.len();
        file.set_len(filled.saturating_sub(but_for))
    }

    /// The names of everything on it, folders before what is in them, sorted.
    pub fn names(&self) -> Vec<PathBuf> {
        let mut names = Vec::new();
        collect(&self.path, &mut names);
        names.sort();
        let own = |path: PathBuf| path.strip_prefix(&self.path).map(Path::to_owned).ok();
        names.into_iter().filter_map(own).collect()
    }
}

fn collect(folder: &Path, names: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, names);
        }
        names.push(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_disk_is_soon_full() {
        let Some(disk) = SmallDisk::available(1) else {
            return;
        };
        disk.fill("a", 8192).expect("filled");
        let left = std::fs::write(disk.path().join("b"), [1; 8192]);
        left.expect("there is room for this");
        let full = std::fs::write(disk.path().join("c"), [1; 8192]).expect_err("it is full");
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
        assert_eq!(disk.names(), ["a", "b", "c"].map(PathBuf::from));
        let path = disk.path().to_owned();
        drop(disk);
        assert!(!path.exists());
    }
}
