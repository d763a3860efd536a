//! Which versions of a table can be read, by number and by time. After a clean-up of the log, the first ones are missing.

use std::collections::{BTreeMap, HashMap};

use arrowload_common_object_store::from_store;
use arrowload_core::{Error, ErrorKind, Result};
use chrono::{DateTime, TimeDelta, Utc};
use deltalake::logstore::LogStoreRef;
use object_store::ObjectStore;

use crate::config::Version;

/// What a table's log holds.
#[derive(Debug, Default)]
pub(crate) struct Versions {
    /// The commits, and when they were written.
    commits: BTreeMap<u64, DateTime<Utc>>,
    /// The complete checkpoints, and when they were written. A version can be read from one without the commits before it.
    checkpoints: BTreeMap<u64, DateTime<Utc>>,
}

/// What the name of a file in a log says.
#[derive(Debug, PartialEq, Eq)]
enum Name {
    Commit(u64),
    /// A checkpoint, and the number of the parts that it has.
    Checkpoint(u64, usize),
}

impl Versions {
    /// Lists a table's log.
    pub(crate) async fn list(log_store: &LogStoreRef) -> Result<Self> {
        let store = log_store.object_store(None);
        let listed = store.list_with_delimiter(Some(log_store.log_path())).await;
        let files = listed.map_err(from_store)?.objects;
        let files = files.iter().filter_map(|file| {
            let name = Name::parse(file.location.filename()?)?;
            Some((name, file.last_modified))
        });
        Ok(Self::of(files))
    }

    fn of(files: impl Iterator<Item = (Name, DateTime<Utc>)>) -> Self {
        let mut versions = Self::default();
        let mut parts: HashMap<(u64, usize), usize> = HashMap::new();
        for (name, written) in files {
            match name {
                Name::Commit(version) => drop(versions.commits.insert(version, written)),
                Name::Checkpoint(version, of) => {
                    let found = parts.entry((version, of)).or_default();
                    *found += 1;
                    if *found == of {
                        versions.checkpoints.insert(version, written);
                    }
                }
            }
        }
        versions
    }

    /// The number of the version that is asked for, if it can be read.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], which says whether it is not there yet, or no longer.
    pub(crate) fn find(&self, version: Version) -> Result<u64> {
        let number = match version {
            Version::Number(number) => number,
            Version::Time(time) => self.of_time(time)?,
        };
        let newest = self.newest();
        let oldest = self.oldest();
        match (newest, oldest) {
            (Some(newest), _) if number > newest => not_found(format!(
                "the table has no version {number} yet: the newest is {newest}"
            )),
            (Some(_), Some(oldest)) if !self.is_readable(number) => not_found(format!(
                "version {number} of the table is no longer there: its log was cleaned up, and the oldest version that can be read is {oldest}"
            )),
            _ => Ok(number),
        }
    }

    fn newest(&self) -> Option<u64> {
        let (commit, checkpoint) = (self.commits.keys().last(), self.checkpoints.keys().last());
        commit.max(checkpoint).copied()
    }

    fn oldest(&self) -> Option<u64> {
        match self.commits.contains_key(&0) {
            true => Some(0),
            false => self.checkpoints.keys().next().copied(),
        }
    }

    /// Whether a checkpoint, or the beginning, and all commits that follow it up to the version are there.
    fn is_readable(&self, version: u64) -> bool {
        let checkpoint = self.checkpoints.range(..=version).next_back();
        let first = checkpoint.map_or(0, |(checkpoint, _)| checkpoint + 1);
        (first..=version).all(|version| self.commits.contains_key(&version))
    }

    /// The last version that was there at this time.
    fn of_time(&self, asked: DateTime<Utc>) -> Result<u64> {
        // If the commit of a version was removed, the version existed when its checkpoint was written, but it is not known
        // since when.
        let mut written = self.checkpoints.clone();
        written.extend(&self.commits);
        let mut found = None;
        let mut last = DateTime::<Utc>::MIN_UTC;
        let first = written
            .first_key_value()
            .map(|(version, time)| (*version, *time));
        for (version, time) in written {
            // As other engines do it: versions are later than those before them, whatever the clocks of their writers said.
            last = time.max(last + TimeDelta::milliseconds(1));
            if last > asked {
                break;
            }
            found = Some(version);
        }
        match (found, first) {
            (Some(version), _) => Ok(version),
            (None, Some((0, time))) => not_found(format!(
                "the table has no version of {asked}: its first is of {time}"
            )),
            (None, Some((version, time))) => not_found(format!(
                "the table has no version of {asked}: its log was cleaned up, and the oldest that is left, {version}, is of {time}"
            )),
            (None, None) => not_found("the table's log is empty".into()),
        }
    }
}

fn not_found<T>(message: String) -> Result<T> {
    Err(Error::new(ErrorKind::NotFound, message))
}

impl Name {
    /// `N.json`, `N.checkpoint.parquet`, `N.checkpoint.PART.PARTS.parquet`, or `N.checkpoint.ID.parquet` (or `.json`), where
    /// versions have 20 digits.
    fn parse(name: &str) -> Option<Self> {
        let (number, rest) = name.split_once('.')?;
        if number.len() != 20 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let version = number.parse().ok()?;
        let parts: Vec<&str> = rest.split('.').collect();
        match parts.as_slice() {
            ["json"] => Some(Self::Commit(version)),
            ["checkpoint", "parquet"] | ["checkpoint", _, "parquet" | "json"] => {
                Some(Self::Checkpoint(version, 1))
            }
            ["checkpoint", _, parts, "parquet"] => {
                Some(Self::Checkpoint(version, parts.parse().ok()?))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).expect("a time")
    }

    /// A log with these files, each written at the second that is given.
    fn log(files: &[(&str, i64)]) -> Versions {
        let name = |name: &str| {
            let (number, rest) = name.split_once('.').expect("a name");
            Name::parse(&format!("{number:0>20}.{rest}")).expect("a file of a log")
        };
        Versions::of(files.iter().map(|(file, at)| (name(file), second(*at))))
    }

    fn refused(versions: &Versions, version: Version) -> String {
        let error = versions.find(version).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::NotFound);
        error.to_string()
    }

    #[test]
    fn a_whole_log_has_every_version() {
        let log = log(&[("0.json", 10), ("1.json", 20), ("2.json", 30)]);
        for version in 0..3 {
            assert_eq!(log.find(Version::Number(version)).expect("there"), version);
        }
        assert!(refused(&log, Version::Number(3)).contains("no version 3 yet: the newest is 2"));
        for (at, version) in [(10, 0), (19, 0), (20, 1), (1000, 2)] {
            assert_eq!(log.find(Version::Time(second(at))).expect("there"), version);
        }
        assert!(
            refused(&log, Version::Time(second(9))).contains("its first is of 1970-01-01 00:00:10")
        );
    }

    #[test]
    fn a_log_that_was_cleaned_up_says_what_is_left() {
        for log in [
            log(&[
                ("11.checkpoint.parquet", 111),
                ("11.json", 110),
                ("12.json", 120),
            ]),
            log(&[
                ("9.json", 90),
                ("11.checkpoint.parquet", 110),
                ("12.json", 120),
            ]),
            log(&[
                ("8.checkpoint.1.2.parquet", 80),
                ("11.checkpoint.1.2.parquet", 110),
                ("11.checkpoint.2.2.parquet", 110),
                ("12.json", 120),
            ]),
        ] {
            let said = refused(&log, Version::Number(3));
            assert!(
                said.contains("no longer there") && said.contains("is 11"),
                "{said}"
            );
            assert_eq!(log.find(Version::Number(11)).expect("there"), 11);
            assert_eq!(log.find(Version::Number(12)).expect("there"), 12);
            assert!(refused(&log, Version::Number(13)).contains("yet"));
            assert_eq!(log.find(Version::Time(second(115))).expect("there"), 11);
            assert!(refused(&log, Version::Time(second(5))).contains("cleaned up"));
        }
    }

    #[test]
    fn clocks_that_go_back_do_not_change_the_order() {
        let log = log(&[("0.json", 10), ("1.json", 50), ("2.json", 20)]);
        assert_eq!(log.find(Version::Time(second(30))).expect("there"), 0);
        assert_eq!(log.find(Version::Time(second(51))).expect("there"), 2);
    }

    #[test]
    fn other_files_are_no_versions() {
        for name in [
            "_last_checkpoint",
            "00000000000000000001.crc",
            "00000000000000000001.00000000000000000003.compacted.json",
            "1.json",
            "_commit_x.json.tmp",
        ] {
            assert_eq!(Name::parse(name), None, "{name}");
        }
    }
}
