//! Where a table is: on the local disk, or in an object store.

use std::path::{Path, PathBuf};

use arrowload_common_object_store::{Location, check_key, check_scheme, real_path, settings};
use arrowload_common_parquet::Destination;
use arrowload_core::{Error, ErrorKind, Result};
use deltalake::DeltaTableBuilder;
use deltalake::logstore::LogStoreRef;
use url::Url;

use crate::config::DeltaLakeConfig;
use crate::error::from_delta;

/// Keys of the Delta library's own, which no object store has.
const LIBRARY_KEYS: [&str; 25] = [
    "aws_access_key_id_dynamodb",
    "aws_ec2_metadata_disabled",
    "aws_ec2_metadata_timeout",
    "aws_endpoint_url_dynamodb",
    "aws_force_credential_load",
    "aws_iam_role_arn",
    "aws_iam_role_session_name",
    "aws_profile",
    "aws_region_dynamodb",
    "aws_role_session_name",
    "aws_s3_addressing_style",
    "aws_s3_allow_unsafe_rename",
    "aws_s3_locking_provider",
    "aws_secret_access_key_dynamodb",
    "aws_session_token_dynamodb",
    "certificate_path",
    "concurrency_limit",
    "delta_dynamo_billing_mode",
    "delta_dynamo_max_elapsed_request_time",
    "delta_dynamo_table_name",
    "init_backoff",
    "max_backoff",
    "max_concurrency",
    "max_retries",
    "retry_timeout",
];

/// The place that a target names, and its log.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) log_store: LogStoreRef,
    /// The table's folder, on the local disk.
    pub(crate) local: Option<PathBuf>,
}

impl Place {
    /// What distinguishes the table from others on the local disk, however it was named. Tables in object stores have no such
    /// identity: buckets of the same name may be on two servers.
    pub(crate) fn identity(&self) -> Option<String> {
        let path = self.local.as_deref()?;
        Some(real_path(path).display().to_string())
    }

    /// Finds a target, below the configured path if it is relative.
    pub(crate) fn find(config: &DeltaLakeConfig, target: &str) -> Result<Self> {
        match Location::find(config.table_path.as_deref(), "table_path", target)? {
            Location::Local(path) => Self::local(path),
            #[cfg(test)]
            Location::Store(url) if url.scheme() == "faulty" => {
                Ok(crate::tests::place(url.host_str().unwrap_or_default()))
            }
            Location::Store(url) => Self::store(config, url),
        }
    }

    fn local(path: PathBuf) -> Result<Self> {
        let url = Url::from_directory_path(&path)
            .map_err(|()| invalid(format!("`{}` is not a folder's name", path.display())))?;
        let builder = DeltaTableBuilder::from_url(url).map_err(from_delta)?;
        Ok(Self {
            log_store: builder.build_storage().map_err(from_delta)?,
            local: Some(path),
        })
    }

    fn store(config: &DeltaLakeConfig, url: Url) -> Result<Self> {
        if matches!(url.scheme(), "http" | "https") {
            return Err(invalid(format!(
                "a table cannot be at a URL of {}://; write a path, or a URL of file, s3, gs, az or abfss",
                url.scheme()
            )));
        }
        check_scheme(url.scheme())?;
        for key in config.storage_options.keys() {
            if !LIBRARY_KEYS
                .iter()
                .any(|known| known.eq_ignore_ascii_case(key))
            {
                check_key(key)?;
            }
        }
        register_stores();
        let options = settings(&config.storage_options).into_iter().collect();
        let builder = DeltaTableBuilder::from_url(url).map_err(from_delta)?;
        Ok(Self {
            log_store: builder
                .with_storage_options(options)
                .build_storage()
                .map_err(from_delta)?,
            local: None,
        })
    }

    /// Where data files go.
    pub(crate) fn destination(&self) -> Destination {
        match &self.local {
            Some(folder) => Destination::local_in_place(folder),
            None => Destination::store(
                self.log_store.object_store(None),
                object_store::path::Path::default(),
            ),
        }
    }

    /// The error of a table that could not be opened, in the words of the load that would be refused.
    pub(crate) fn refusal(&self, error: Error) -> Error {
        self.check_writable().err().unwrap_or(error)
    }

    /// Refuses a place on the local disk where no table can be written. An object store says so when it is written to.
    pub(crate) fn check_writable(&self) -> Result<()> {
        let Some(folder) = &self.local else {
            return Ok(());
        };
        // The existing part of the path: the folder itself, or the one in which it would be created.
        let there = folder.ancestors().find(|path| path.exists());
        let there = there.unwrap_or(Path::new("/"));
        if !there.is_dir() {
            return Err(invalid(format!(
                "`{}` is a file, and a table is a folder",
                there.display()
            )));
        }
        let log = folder.join("_delta_log");
        if log.exists() && !log.is_dir() {
            return Err(invalid(format!(
                "`{}` is a file, and a table's log is a folder",
                log.display()
            )));
        }
        if !may_write(there) {
            let message = format!("`{}` may not be written", there.display());
            return Err(
                Error::new(ErrorKind::PermissionDenied, message).with("path", there.display())
            );
        }
        Ok(())
    }
}

/// Whether writing is allowed. On systems where this cannot be asked, the first write finds out.
#[cfg(unix)]
fn may_write(folder: &Path) -> bool {
    use rustix::fs::{Access, AtFlags, CWD, accessat};
    use rustix::io::Errno;
    let asked = Access::WRITE_OK | Access::EXEC_OK;
    let answer = accessat(CWD, folder, asked, AtFlags::EACCESS);
    !matches!(answer, Err(Errno::ACCESS | Errno::ROFS))
}

#[cfg(not(unix))]
fn may_write(_: &Path) -> bool {
    true
}

/// Makes the object stores known to the library. It does so by itself where the linker keeps its constructors.
fn register_stores() {
    #[cfg(feature = "aws")]
    deltalake::aws::register_handlers(None);
    #[cfg(feature = "azure")]
    deltalake::azure::register_handlers(None);
    #[cfg(feature = "gcp")]
    deltalake::gcp::register_handlers(None);
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidOption, message)
}
