//! The errors of object stores and of the local disk as ours: the one place that says which kind each of them is.

use std::error::Error as StdError;
use std::io;
use std::path::Path;

use arrowload_core::{Error, ErrorKind};

/// What an error of a store or of the disk means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Its kind.
    pub kind: ErrorKind,
    /// Whether a retry may help: after network errors, and if a store is busy.
    pub transient: bool,
}

impl Fault {
    const fn lasting(kind: ErrorKind) -> Self {
        Self {
            kind,
            transient: false,
        }
    }

    /// Of an object store.
    pub fn of_store(error: &object_store::Error) -> Self {
        use object_store::Error as E;
        Self::lasting(match error {
            E::NotFound { .. } => ErrorKind::NotFound,
            E::AlreadyExists { .. } => ErrorKind::TargetExists,
            E::Precondition { .. } | E::NotModified { .. } => ErrorKind::Conflict,
            E::PermissionDenied { .. } => ErrorKind::PermissionDenied,
            E::Unauthenticated { .. } => ErrorKind::Authentication,
            E::NotSupported { .. } | E::NotImplemented { .. } => ErrorKind::Unsupported,
            E::InvalidPath { .. } | E::UnknownConfigurationKey { .. } => ErrorKind::InvalidOption,
            E::JoinError { .. } => ErrorKind::Unexpected,
            // The store in a local folder has no kinds of its own for what the disk says.
            E::Generic { store, source } => {
                let beneath = causes(source.as_ref())
                    .find_map(|cause| cause.downcast_ref())
                    .map(Self::of_io);
                match beneath {
                    Some(fault) if *store == "LocalFileSystem" || fault.is_of_a_disk() => {
                        return fault;
                    }
                    // There is no network: a file is shorter than it has to be.
                    None if *store == "LocalFileSystem" => ErrorKind::InvalidData,
                    _ => return Self::NETWORK,
                }
            }
            _ => return Self::NETWORK,
        })
    }

    /// What the network does, for all that is known.
    const NETWORK: Self = Self {
        kind: ErrorKind::Connection,
        transient: true,
    };

    /// Of the local disk.
    pub fn of_io(error: &io::Error) -> Self {
        use io::ErrorKind as E;
        Self::lasting(match error.kind() {
            E::NotFound => ErrorKind::NotFound,
            E::PermissionDenied | E::ReadOnlyFilesystem => ErrorKind::PermissionDenied,
            E::StorageFull | E::QuotaExceeded | E::FileTooLarge => ErrorKind::ResourceExhausted,
            E::AlreadyExists | E::DirectoryNotEmpty => ErrorKind::TargetExists,
            E::InvalidFilename => ErrorKind::InvalidOption,
            E::Interrupted | E::TimedOut | E::WouldBlock => {
                return Self {
                    kind: ErrorKind::Io,
                    transient: true,
                };
            }
            _ => ErrorKind::Io,
        })
    }

    /// Of the first error of a store or of the disk in a chain of causes, as the libraries above them hand it on.
    pub fn beneath(error: &(dyn StdError + 'static)) -> Option<Self> {
        causes(error).find_map(|cause| match cause.downcast_ref::<io::Error>() {
            // One that wraps another error has no kind of its own.
            Some(wrapper) if wrapper.get_ref().is_some() => None,
            Some(error) => Some(Self::of_io(error)),
            None => cause.downcast_ref().map(Self::of_store),
        })
    }

    /// Whether it comes from a disk, and not from the network.
    fn is_of_a_disk(self) -> bool {
        matches!(
            self.kind,
            ErrorKind::ResourceExhausted | ErrorKind::PermissionDenied
        )
    }

    /// The error that says so, with this sentence.
    pub fn error(
        self,
        message: impl Into<String>,
        source: impl StdError + Send + Sync + 'static,
    ) -> Error {
        let error = Error::new(self.kind, message).with_source(source);
        if self.transient {
            error.transient()
        } else {
            error
        }
    }
}

/// An error and what caused it, outermost first.
fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| cause(*error))
}

fn cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    // An `io::Error` does not call the error that it wraps its source.
    let wrapped = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    match wrapped {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

/// An error of an object store.
pub fn from_store(error: object_store::Error) -> Error {
    Fault::of_store(&error).error(format!("the object store failed: {}", said(&error)), error)
}

/// The text of a store's error, with causes that the error itself does not show: that a certificate is not trusted, or
/// a name is unknown.
pub fn said(error: &object_store::Error) -> String {
    let text = error.to_string();
    let root = causes(error).last().map(ToString::to_string);
    match root.filter(|root| !text.contains(root.as_str())) {
        Some(root) => format!("{text}: {root}"),
        None => text,
    }
}

/// An error of the local disk at a file or folder.
pub fn from_io(path: &Path, error: io::Error) -> Error {
    let fault = Fault::of_io(&error);
    let what = match fault.kind {
        ErrorKind::NotFound => "does not exist",
        ErrorKind::PermissionDenied => "may not be used",
        ErrorKind::ResourceExhausted => "does not fit on the disk",
        ErrorKind::TargetExists => "exists already",
        _ => "could not be used",
    };
    fault
        .error(format!("`{}` {what}: {error}", path.display()), error)
        .with("path", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(store: &'static str, source: impl Into<io::Error>) -> object_store::Error {
        object_store::Error::Generic {
            store,
            source: Box::new(source.into()),
        }
    }

    #[test]
    fn errors_of_the_disk_have_kinds() {
        use io::ErrorKind as E;
        for (native, kind, transient) in [
            (E::NotFound, ErrorKind::NotFound, false),
            (E::PermissionDenied, ErrorKind::PermissionDenied, false),
            (E::ReadOnlyFilesystem, ErrorKind::PermissionDenied, false),
            (E::StorageFull, ErrorKind::ResourceExhausted, false),
            (E::QuotaExceeded, ErrorKind::ResourceExhausted, false),
            (E::FileTooLarge, ErrorKind::ResourceExhausted, false),
            (E::AlreadyExists, ErrorKind::TargetExists, false),
            (E::DirectoryNotEmpty, ErrorKind::TargetExists, false),
            (E::TimedOut, ErrorKind::Io, true),
            (E::BrokenPipe, ErrorKind::Io, false),
            (E::Other, ErrorKind::Io, false),
        ] {
            let error = from_io(Path::new("x"), native.into());
            assert_eq!(
                (error.kind(), error.is_transient()),
                (kind, transient),
                "{native}"
            );
        }
    }

    #[test]
    fn errors_of_stores_have_kinds() {
        use object_store::Error as E;
        let (path, source) = (|| "x".to_owned(), || "why".into());
        let cases = [
            (
                E::NotFound {
                    path: path(),
                    source: source(),
                },
                ErrorKind::NotFound,
                false,
            ),
            (
                E::AlreadyExists {
                    path: path(),
                    source: source(),
                },
                ErrorKind::TargetExists,
                false,
            ),
            (
                E::Precondition {
                    path: path(),
                    source: source(),
                },
                ErrorKind::Conflict,
                false,
            ),
            (
                E::PermissionDenied {
                    path: path(),
                    source: source(),
                },
                ErrorKind::PermissionDenied,
                false,
            ),
            (
                E::Unauthenticated {
                    path: path(),
                    source: source(),
                },
                ErrorKind::Authentication,
                false,
            ),
            (
                E::NotSupported { source: source() },
                ErrorKind::Unsupported,
                false,
            ),
            (
                E::Generic {
                    store: "S3",
                    source: source(),
                },
                ErrorKind::Connection,
                true,
            ),
            (
                generic("S3", io::ErrorKind::ConnectionReset),
                ErrorKind::Connection,
                true,
            ),
        ];
        for (native, kind, transient) in cases {
            let text = native.to_string();
            let error = from_store(native);
            assert_eq!(
                (error.kind(), error.is_transient()),
                (kind, transient),
                "{text}"
            );
        }
    }

    #[test]
    fn a_full_or_broken_disk_beneath_a_store_does_not_pass() {
        for (native, kind) in [
            (io::ErrorKind::StorageFull, ErrorKind::ResourceExhausted),
            (io::ErrorKind::QuotaExceeded, ErrorKind::ResourceExhausted),
            (io::ErrorKind::PermissionDenied, ErrorKind::PermissionDenied),
            (io::ErrorKind::Other, ErrorKind::Io),
        ] {
            let error = from_store(generic("LocalFileSystem", native));
            assert_eq!(
                (error.kind(), error.is_transient()),
                (kind, false),
                "{native}"
            );
        }
        let short = from_store(object_store::Error::Generic {
            store: "LocalFileSystem",
            source: "the range ends behind the file".into(),
        });
        assert_eq!(
            (short.kind(), short.is_transient()),
            (ErrorKind::InvalidData, false)
        );
    }

    #[test]
    fn the_cause_is_found_below_other_errors() {
        let outer = Error::new(ErrorKind::Unexpected, "a library failed");
        let full = outer
            .clone()
            .with_source(generic("LocalFileSystem", io::ErrorKind::StorageFull));
        assert_eq!(
            Fault::beneath(&full),
            Some(Fault::lasting(ErrorKind::ResourceExhausted))
        );
        let denied = outer
            .clone()
            .with_source(io::Error::from(io::ErrorKind::PermissionDenied));
        assert_eq!(
            Fault::beneath(&denied).map(|fault| fault.kind),
            Some(ErrorKind::PermissionDenied)
        );
        let wrapped = io::Error::other(generic("S3", io::ErrorKind::ConnectionReset));
        assert_eq!(
            Fault::beneath(&outer.clone().with_source(wrapped)),
            Some(Fault::NETWORK)
        );
        assert_eq!(Fault::beneath(&outer), None);
    }
}
