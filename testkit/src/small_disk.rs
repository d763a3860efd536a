//! A disk that is soon full, for tests: a file system in memory, which only the test sees.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A file system of a few MiB. When it is dropped, or the test's process ends in whatever way, it is gone.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
    holder: Child,
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

impl SmallDisk {
    /// Mounts one in a process of its own, whose view of the file system it is in.
    ///
    /// # Errors
    /// A sentence for a person: only Linux has such views, and not every machine allows them.
    pub fn mount(mebibytes: u32) -> Result<Self, String> {
        // Whoever may not mount may still do so as the root of a view of their own.
        let as_root = ["--mount"].as_slice();
        let as_user = ["--user", "--map-root-user", "--mount"].as_slice();
        Self::mount_with(as_root, mebibytes).or_else(|_| Self::mount_with(as_user, mebibytes))
    }

    fn mount_with(view: &[&str], mebibytes: u32) -> Result<Self, String> {
        let script = format!(
            "mount -t tmpfs -o size={mebibytes}m,mode=777 small /mnt && echo ready && exec cat"
        );
        let mut holder = Command::new("unshare")
            .args(view)
            .args(["sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("`unshare` does not start: {error}"))?;
        let mut line = String::new();
        if let Some(output) = holder.stdout.take() {
            // Without an answer it is not ready.
            let _ = BufReader::new(output).read_line(&mut line);
        }
        let path = PathBuf::from(format!("/proc/{}/root/mnt", holder.id()));
        let disk = Self { path, holder };
        if line.trim() == "ready" && disk.path.is_dir() {
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
