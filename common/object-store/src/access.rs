//! A local file that replaces another keeps who may read and write it.

use std::io;
use std::path::Path;

/// Gives a file that is about to replace `old` its owner, group and permissions, and never wider ones: where the group cannot be
/// kept, the new one may do no more than others. Nothing happens if there is no `old`, and on systems other than Unix.
///
/// # Errors
/// If the permissions of one of them cannot be read, or those of `new` not set.
#[cfg(unix)]
pub fn keep_access(old: &Path, new: &Path) -> io::Result<()> {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

    let was = match fs::metadata(old) {
        Ok(was) if was.is_file() => was,
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let is = fs::metadata(new)?;
    let mode = was.mode() & 0o777;
    // First what both files allow, so that no new owner or group can do more in between.
    let narrow = is.mode() & mode;
    if is.mode() & 0o7777 != narrow {
        fs::set_permissions(new, Permissions::from_mode(narrow))?;
    }
    let mut has_group = is.gid() == was.gid();
    if !has_group {
        has_group = chown(new, None, Some(was.gid())).is_ok();
    }
    if is.uid() != was.uid() {
        // Only a privileged user may give files away.
        let _ = chown(new, Some(was.uid()), None);
    }
    let mode = match has_group {
        true => mode,
        false => (mode & 0o707) | (mode & ((mode & 0o007) << 3)),
    };
    // A file system may refuse to set even the mode that a file has.
    if mode == narrow {
        return Ok(());
    }
    match fs::set_permissions(new, Permissions::from_mode(mode)) {
        // It belongs to another user by now, whose file has no more than was allowed before.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        set => set,
    }
}

/// The same, where files have no such permissions.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub fn keep_access(_old: &Path, _new: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

    use super::*;

    #[test]
    fn a_file_that_replaces_another_keeps_its_access() {
        let folder = tempfile::tempdir().expect("a folder");
        let (old, new) = (folder.path().join("old"), folder.path().join("new"));
        fs::write(&new, "new").expect("written");
        fs::set_permissions(&new, Permissions::from_mode(0o644)).expect("set");
        keep_access(&old, &new).expect("nothing is there");
        let mode = || fs::metadata(&new).expect("a file").mode() & 0o7777;
        assert_eq!(mode(), 0o644);
        fs::write(&old, "old").expect("written");
        for wanted in [0o600, 0o640, 0o444, 0o666] {
            fs::set_permissions(&old, Permissions::from_mode(wanted)).expect("set");
            keep_access(&old, &new).expect("kept");
            assert_eq!(mode(), wanted, "{wanted:o}");
        }
        // Only a privileged user can try this.
        if chown(&old, Some(12345), Some(23456)).is_ok() {
            keep_access(&old, &new).expect("kept");
            let kept = fs::metadata(&new).expect("a file");
            assert_eq!((kept.uid(), kept.gid()), (12345, 23456));
        }
    }
}
