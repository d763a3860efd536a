//! Which files a name means: one, those of a folder, or those that fit a pattern; on the disk, or in an object store. They come in
//! the order of their names.

use std::collections::{BTreeMap, HashSet};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use arrowload_common_object_store::{blocking, from_io};
use arrowload_core::{Error, ErrorKind, Result, Secret, url_scheme};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::object_store::path::Path as StorePath;
use datafusion::object_store::{GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt};
use futures::TryStreamExt;
use glob::{MatchOptions, Pattern};
use url::Url;

use crate::file::{DataFile, Store, store_error};
use crate::kind::{ENDINGS, Kind};

/// How many folders deep a dataset may be.
const DEPTH: usize = 32;

/// How patterns are read: a `*` stops at a slash, and `**` does not.
const MATCHING: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// Where names are looked up.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    pub(crate) folder: PathBuf,
    pub(crate) storage_options: BTreeMap<String, Secret>,
}

/// Whether a file or folder is not data: `_SUCCESS`, `.crc`, `_delta_log`. A folder `_day=1` is.
pub(crate) fn is_hidden(name: &str) -> bool {
    name.starts_with('.') || (name.starts_with('_') && !name.contains('='))
}

fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?', '['])
}

impl Places {
    /// The files that a name means; none if there is no such file. `declared` says that their format is known, so that files of a
    /// folder need no known extension.
    ///
    /// # Errors
    /// When a folder, pattern or store holds no data file, or cannot be listed.
    pub(crate) async fn files(
        &self,
        name: &str,
        declared: bool,
        runtime: &RuntimeEnv,
    ) -> Result<Vec<DataFile>> {
        if let Some(scheme) = url_scheme(name)
            && name.contains("://")
        {
            if scheme == "file" {
                let path = file_path(name)?;
                return local(path, name.to_owned(), declared).await;
            }
            return self.remote(name, declared, runtime).await;
        }
        local(self.folder.join(name), name.to_owned(), declared).await
    }

    async fn remote(
        &self,
        name: &str,
        declared: bool,
        runtime: &RuntimeEnv,
    ) -> Result<Vec<DataFile>> {
        let is_web = name.starts_with("http://") || name.starts_with("https://");
        // A `?` begins the query of a URL of the web; in that of a store it is part of a pattern.
        let (plain, pattern) = match name.find(['*', '[', '?']).filter(|_| !is_web) {
            None => (name, None),
            Some(at) => {
                let slash = name[..at].rfind('/').map_or(at, |slash| slash + 1);
                (&name[..slash], Some(&name[slash..]))
            }
        };
        let url = Url::parse(plain).map_err(|error| {
            let message = format!("the URL is malformed: {error}");
            Error::new(ErrorKind::InvalidOption, message)
        })?;
        let (store, path) = arrowload_common_object_store::open(&url, &self.storage_options)?;
        let store = Store {
            url: register(runtime, &url, &store)?,
            store,
        };
        let remote = Remote {
            name,
            base: plain,
            store,
            root: path,
            is_web,
        };
        if let Some(pattern) = pattern {
            let pattern = parse_pattern(pattern)?;
            return remote.listed(declared, Some(&pattern)).await;
        }
        if plain.ends_with('/') && !is_web {
            return remote.listed(declared, None).await;
        }
        match remote.head().await {
            Ok(meta) => Ok(vec![remote.file(meta, Vec::new(), name.to_owned())]),
            Err(error) if error.kind() == ErrorKind::NotFound && !is_web => {
                let listed = remote.listed(declared, None).await;
                listed.map_err(|_| error)
            }
            Err(error) => Err(error),
        }
    }
}

fn file_path(name: &str) -> Result<PathBuf> {
    let rest = name.trim_start_matches("file://");
    if is_pattern(rest) {
        return Ok(PathBuf::from(rest));
    }
    let malformed = || {
        let message = format!("`{name}` is no URL of a local file");
        Error::new(ErrorKind::InvalidOption, message)
    };
    let url = Url::parse(name).map_err(|_| malformed())?;
    url.to_file_path().map_err(|()| malformed())
}

fn parse_pattern(pattern: &str) -> Result<Pattern> {
    Pattern::new(pattern).map_err(|error| {
        let message = format!("the pattern `{pattern}` is malformed: {error}");
        Error::new(ErrorKind::InvalidOption, message)
    })
}

/// Makes a store known to the engine, whose own readers find it by its URL. One URL of the web is one store.
fn register(
    runtime: &RuntimeEnv,
    url: &Url,
    store: &Arc<dyn ObjectStore>,
) -> Result<ObjectStoreUrl> {
    let malformed = |error: datafusion::error::DataFusionError| {
        Error::new(
            ErrorKind::InvalidOption,
            format!("the URL is malformed: {error}"),
        )
    };
    let base = &url[..url::Position::BeforePath];
    let known = match url.query() {
        None => base.to_owned(),
        Some(_) => {
            let id = xxhash_rust::xxh3::xxh3_64(url.as_str().as_bytes());
            format!("query-{id:016x}://web")
        }
    };
    let store_url = ObjectStoreUrl::parse(&known).map_err(malformed)?;
    runtime.register_object_store(store_url.as_ref(), Arc::clone(store));
    Ok(store_url)
}

/// A place in a store.
struct Remote<'a> {
    /// As it was written, and the same without its pattern.
    name: &'a str,
    base: &'a str,
    store: Store,
    root: StorePath,
    is_web: bool,
}

impl Remote<'_> {
    fn file(&self, meta: ObjectMeta, folders: Vec<String>, shown: String) -> DataFile {
        DataFile::new(self.store.clone(), meta, None, shown, folders)
    }

    async fn head(&self) -> Result<ObjectMeta> {
        let store = &self.store.store;
        match store.head(&self.root).await {
            Ok(meta) => return Ok(meta),
            Err(error) if !self.is_web => return Err(store_error(self.name, error)),
            Err(_) => {}
        }
        // Some servers, and signed URLs, allow only GET.
        let got = store.get_opts(&self.root, GetOptions::default()).await;
        let got = got.map_err(|error| store_error(self.name, error))?;
        Ok(got.meta)
    }

    async fn listed(&self, declared: bool, pattern: Option<&Pattern>) -> Result<Vec<DataFile>> {
        let listing = self.store.store.list(Some(&self.root));
        let metas: Vec<ObjectMeta> = listing
            .try_collect()
            .await
            .map_err(|error| store_error(self.name, error))?;
        let mut files = Vec::new();
        for meta in metas {
            let Some(parts) = meta.location.prefix_match(&self.root) else {
                continue;
            };
            let parts: Vec<String> = parts.map(|part| part.as_ref().to_owned()).collect();
            let below = parts.join("/");
            let Some((name, folders)) = parts.split_last() else {
                continue;
            };
            let table = folders.iter().enumerate().find_map(|(depth, folder)| {
                let format = log_of(folder)?;
                let is_log = folder != METADATA || name.ends_with(METADATA_ENDING);
                is_log.then_some((format, depth))
            });
            if let (Some((format, depth)), None) = (table, pattern) {
                let above = std::iter::once(self.base.trim_end_matches('/').to_owned());
                let above: Vec<String> = above.chain(folders[..depth].iter().cloned()).collect();
                return Err(table_of(format, &above.join("/")));
            }
            let wanted = match pattern {
                Some(pattern) => {
                    pattern.matches_with(&below, MATCHING)
                        && !folders.iter().any(|part| is_foreign(part, self.name))
                        && !is_foreign_file(name, self.name)
                }
                None => {
                    !parts.iter().any(|part| is_hidden(part))
                        && (declared || Kind::of_name(name).is_some())
                }
            };
            if wanted && meta.size > 0 {
                let base = self.base.trim_end_matches('/');
                let shown = format!("{base}/{below}");
                files.push(self.file(meta, folders.to_vec(), shown));
            }
        }
        if files.is_empty() {
            return Err(nothing(self.name, declared));
        }
        files.sort_by(|one, other| one.meta.location.cmp(&other.meta.location));
        Ok(files)
    }
}

/// The error for a place without data files.
fn nothing(shown: &str, declared: bool) -> Error {
    let known = match declared {
        true => String::new(),
        false => format!(
            "; data files end in {ENDINGS}, and others are read by naming their format: read_csv('…')"
        ),
    };
    let message = format!("no data file is at `{shown}`; check the folder or pattern{known}");
    Error::new(ErrorKind::NotFound, message)
}

async fn local(path: PathBuf, shown: String, declared: bool) -> Result<Vec<DataFile>> {
    blocking(move || find_local(&path, &shown, declared)).await
}

/// A file below the place that was asked for.
struct Found {
    path: PathBuf,
    /// Its folders below that place.
    folders: Vec<String>,
}

fn find_local(path: &Path, shown: &str, declared: bool) -> Result<Vec<DataFile>> {
    let mut found = Vec::new();
    let root = if path.is_dir() {
        walk(path, &mut Vec::new(), declared, &mut found)?;
        path.to_owned()
    } else if path.exists() {
        found.push(Found {
            path: path.to_owned(),
            folders: Vec::new(),
        });
        path.parent().unwrap_or(path).to_owned()
    } else if is_pattern(shown) {
        matching(path, shown, declared, &mut found)?
    } else {
        return Ok(Vec::new());
    };
    let several = found.len() > 1 || path.is_dir();
    let mut files = Vec::with_capacity(found.len());
    for found in found {
        let file = local_file(found, path, &root, shown)?;
        // A mark of nothing, beside files with rows.
        if !several || file.meta.size > 0 {
            files.push(file);
        }
    }
    // A pattern with `..` may lead to one file by several ways.
    let mut seen = HashSet::new();
    files.retain(|file| seen.insert(file.meta.location.clone()));
    if files.is_empty() {
        return Err(nothing(shown, declared));
    }
    Ok(files)
}

/// The files that match a pattern, and the folder above its first part with a wildcard.
fn matching(path: &Path, shown: &str, declared: bool, found: &mut Vec<Found>) -> Result<PathBuf> {
    let whole = path.display().to_string();
    // The folder that names are relative to is not part of the pattern.
    let (base, pattern) = match whole.strip_suffix(shown) {
        Some(base) => (base, shown),
        None => ("", whole.as_str()),
    };
    let tame = Path::new(pattern)
        .components()
        .take_while(|part| !is_pattern(&part.as_os_str().to_string_lossy()));
    let root = Path::new(base).join(tame.collect::<PathBuf>());
    // All that is below, and not only its folders.
    let end = if pattern.ends_with("**") { "/*" } else { "" };
    let pattern = format!("{}{pattern}{end}", Pattern::escape(base));
    let matches = glob::glob_with(&pattern, MATCHING).map_err(|error| {
        let message = format!("the pattern `{shown}` is malformed: {error}");
        Error::new(ErrorKind::InvalidOption, message)
    })?;
    for entry in matches {
        let path = entry.map_err(|error| {
            let path = error.path().to_owned();
            from_io(&path, error.into())
        })?;
        let mut folders = below(&path, &root);
        let name = path.file_name().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        let is_data = match path.is_dir() {
            true => !is_foreign(&name, shown),
            false => !is_foreign_file(&name, shown),
        };
        if folders.iter().any(|part| is_foreign(part, shown)) || !is_data {
            continue;
        }
        if path.is_dir() {
            folders.push(name);
            walk(&path, &mut folders, declared, found)?;
        } else {
            found.push(Found { path, folders });
        }
    }
    // A pattern may fit a folder, and what is in it.
    let mut seen = HashSet::new();
    found.retain(|found| seen.insert(found.path.clone()));
    Ok(root)
}

/// Whether a pattern matches a name that is not data only by a wildcard: `_delta_log`, for `**`.
fn is_foreign(name: &str, pattern: &str) -> bool {
    is_hidden(name) && !pattern.contains(name)
}

/// The same for a file: `*.csv` asks for `_b.csv`, and `*` does not ask for `_SUCCESS`.
fn is_foreign_file(name: &str, pattern: &str) -> bool {
    let last = pattern.rsplit('/').next().unwrap_or(pattern);
    is_foreign(name, pattern) && (name.starts_with('.') || matches!(last, "*" | "**" | ""))
}

/// The folders between a root and a file.
fn below(path: &Path, root: &Path) -> Vec<String> {
    let between = path
        .parent()
        .and_then(|parent| parent.strip_prefix(root).ok());
    let parts = between.into_iter().flat_map(Path::components);
    parts
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .collect()
}

/// The data files of a folder and its folders, in the order of their names.
fn walk(
    folder: &Path,
    folders: &mut Vec<String>,
    declared: bool,
    found: &mut Vec<Found>,
) -> Result<()> {
    let entries = std::fs::read_dir(folder).map_err(|error| from_io(folder, error))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| from_io(folder, error))?;
        names.push(entry.file_name());
    }
    names.sort();
    for name in &names {
        let inside = folder.join(name);
        let name = name.to_string_lossy();
        let is_there = match name.as_ref() {
            METADATA => inside.is_dir() && has_metadata(&inside)?,
            name => log_of(name).is_some() && inside.is_dir(),
        };
        if let (true, Some(format)) = (is_there, log_of(&name)) {
            return Err(table_of(format, &folder.display().to_string()));
        }
    }
    for name in names {
        let (path, name) = (folder.join(&name), name.to_string_lossy().into_owned());
        if is_hidden(&name) {
            continue;
        }
        if path.is_dir() {
            if path.is_symlink() && leads_back(&path, folder) {
                let message = format!("`{}` is a link to a folder that it is in", path.display());
                return Err(Error::new(ErrorKind::InvalidData, message));
            }
            if folders.len() < DEPTH {
                folders.push(name);
                walk(&path, folders, declared, found)?;
                folders.pop();
            }
        } else if declared || Kind::of_name(&name).is_some() {
            let folders = folders.clone();
            found.push(Found { path, folders });
        }
    }
    Ok(())
}

/// The folder of the metadata of Iceberg tables, and the end of its files' names.
const METADATA: &str = "metadata";
const METADATA_ENDING: &str = ".metadata.json";

/// The format of tables that have a folder of this name, which says which of their other files count.
fn log_of(folder: &str) -> Option<&'static str> {
    match folder {
        "_delta_log" => Some("Delta Lake"),
        METADATA => Some("Iceberg"),
        ".hoodie" => Some("Hudi"),
        _ => None,
    }
}

fn has_metadata(folder: &Path) -> Result<bool> {
    for entry in std::fs::read_dir(folder).map_err(|error| from_io(folder, error))? {
        let name = entry.map_err(|error| from_io(folder, error))?.file_name();
        if name.to_string_lossy().ends_with(METADATA_ENDING) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Refuses the folder of a table: read as plain files, rows would be in the answer that were removed or replaced.
fn table_of(format: &str, shown: &str) -> Error {
    let shown = shown.trim_end_matches('/');
    let instead = match format {
        "Delta Lake" => format!("read it as delta://{shown}"),
        _ => format!("read it with an engine that knows {format}"),
    };
    let message = format!(
        "`{shown}` is a table of {format}, and files stay in its folder that are no longer part of it: {instead}; \
         `{shown}/*.parquet` names the files as they are"
    );
    Error::new(ErrorKind::Unsupported, message)
}

/// Whether a link in a folder leads to that folder, or to one above it.
fn leads_back(link: &Path, folder: &Path) -> bool {
    match (link.canonicalize(), folder.canonicalize()) {
        (Ok(link), Ok(folder)) => folder.starts_with(link),
        _ => false,
    }
}

fn local_file(found: Found, asked: &Path, root: &Path, shown: &str) -> Result<DataFile> {
    let path = found.path;
    let meta = std::fs::metadata(&path).map_err(|error| from_io(&path, error))?;
    if !meta.is_file() {
        let message = format!(
            "`{}` is no regular file, and cannot be read twice; pipe it into standard input",
            path.display()
        );
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let plain = without_parents(&path).map_err(|error| from_io(&path, error))?;
    let location = StorePath::from_absolute_path(&plain).map_err(|error| {
        let message = format!("`{}` is no name of a file: {error}", path.display());
        Error::new(ErrorKind::InvalidOption, message)
    })?;
    let modified = meta.modified().map_err(|error| from_io(&path, error))?;
    let meta = ObjectMeta {
        location,
        last_modified: modified.into(),
        size: meta.len(),
        e_tag: None,
        version: None,
    };
    // As it was asked for: relative where that was.
    let shown = match path == asked {
        true => shown.to_owned(),
        false => {
            let prefix = prefix(shown);
            let rest = path.strip_prefix(root).unwrap_or(&path);
            match prefix {
                "" => rest.display().to_string(),
                prefix => Path::new(prefix).join(rest).display().to_string(),
            }
        }
    };
    let folders = found.folders;
    Ok(DataFile::new(
        Store::local(),
        meta,
        Some(path),
        shown,
        folders,
    ))
}

/// A path without `..`, which stores do not know: the file that the system opens. `a/..` is the folder above the one that `a` leads
/// to, if that is a link; links after the last `..` keep their names.
pub(crate) fn without_parents(path: &Path) -> std::io::Result<PathBuf> {
    let parts: Vec<Component<'_>> = path.components().collect();
    let is_parent = |part: &Component<'_>| *part == Component::ParentDir;
    let Some(last) = parts.iter().rposition(is_parent) else {
        return Ok(path.to_owned());
    };
    // On Windows `..` is the folder above in the path, whatever the links.
    if cfg!(windows) {
        return std::path::absolute(path);
    }
    let above: PathBuf = parts[..=last].iter().collect();
    let below: PathBuf = parts[last + 1..].iter().collect();
    Ok(above.canonicalize()?.join(below))
}

/// The folders before the first part of a pattern with a wildcard; the whole path of a folder.
fn prefix(shown: &str) -> &str {
    match shown.find(['*', '?', '[']) {
        None => shown,
        Some(at) => shown[..at].rfind('/').map_or("", |slash| &shown[..=slash]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path, name: &str, declared: bool) -> Vec<(String, Vec<String>)> {
        let found = find_local(&folder.join(name), name, declared);
        let found = found.unwrap_or_else(|error| panic!("{name}: {error:#}"));
        let pair = |file: &DataFile| (file.shown().to_owned(), file.folders.clone());
        found.iter().map(pair).collect()
    }

    #[test]
    fn files_come_in_the_order_of_their_names_with_their_folders() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in [
            "d/b.csv",
            "d/a.csv",
            "d/notes.txt",
            "d/_SUCCESS",
            "d/.a.csv.crc",
            "d/empty.csv",
            "d/_m=1/x.csv",
            "d/_log/0.json",
            "d/y=2/m=01/c.csv",
        ] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            let text = if name.contains("empty") { "" } else { "x\n" };
            std::fs::write(path, text).expect("written");
        }
        let shown = |name: &str, declared| -> Vec<String> {
            let all = names(folder.path(), name, declared).into_iter();
            all.map(|(shown, _)| shown).collect()
        };
        let all = ["d/_m=1/x.csv", "d/a.csv", "d/b.csv", "d/y=2/m=01/c.csv"];
        assert_eq!(shown("d", false), all);
        assert_eq!(shown("d/", false), all);
        assert_eq!(shown("d/*.csv", false), ["d/a.csv", "d/b.csv"]);
        assert_eq!(shown("d/*.txt", false), ["d/notes.txt"]);
        assert!(shown("d", true).contains(&"d/notes.txt".to_owned()));
        assert_eq!(shown("d/**/c.csv", false), ["d/y=2/m=01/c.csv"]);
        // Each file once, though the pattern fits folders too; and no log of another format.
        let below = [
            "d/_m=1/x.csv",
            "d/a.csv",
            "d/b.csv",
            "d/notes.txt",
            "d/y=2/m=01/c.csv",
        ];
        for pattern in ["d/**", "d/**/*"] {
            assert_eq!(shown(pattern, false), below, "{pattern}");
        }
        assert_eq!(shown("d/_log/*", false), ["d/_log/0.json"]);
        let (_, folders) = names(folder.path(), "d/y=*/m=*/*.csv", false).remove(0);
        assert_eq!(folders, ["y=2", "m=01"]);
        let (_, folders) = names(folder.path(), "d/y=2", false).remove(0);
        assert_eq!(folders, ["m=01"]);
        #[cfg(unix)]
        {
            let link = folder.path().join("d/back");
            std::os::unix::fs::symlink(folder.path().join("d"), link).expect("a link");
            assert!(find_local(&folder.path().join("d"), "d", false).is_err());
        }
        assert!(
            find_local(&folder.path().join("gone.csv"), "gone.csv", false)
                .expect("none")
                .is_empty()
        );
        assert!(find_local(&folder.path().join("d/*.json"), "d/*.json", false).is_err());
    }

    #[test]
    fn parents_in_names_are_those_that_the_system_knows() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["here/x.csv", "shop/a.csv", "shop/in/b.csv", "far/in/c.csv"] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            std::fs::write(path, "x\n").expect("written");
        }
        let here = folder.path().join("here");
        let shown = |name: &str| -> Vec<String> {
            let all = names(&here, name, false).into_iter();
            all.map(|(shown, _)| shown).collect()
        };
        for name in [
            "../shop/a.csv",
            "../here/../shop/a.csv",
            "../shop/in/../a.csv",
        ] {
            assert_eq!(shown(name), [name]);
        }
        let all = ["../shop/a.csv", "../shop/in/b.csv"];
        assert_eq!(shown("../shop"), all);
        assert_eq!(shown("../shop/*.csv"), all[..1]);
        assert_eq!(shown("../*/../shop/a.csv").len(), 1);
        assert!(
            find_local(&here.join("../none.csv"), "../none.csv", false)
                .expect("none")
                .is_empty()
        );
        #[cfg(unix)]
        {
            // Above what a link leads to, and not above the link.
            let link = here.join("link");
            std::os::unix::fs::symlink(folder.path().join("far/in"), link).expect("a link");
            assert_eq!(shown("link/../in/c.csv"), ["link/../in/c.csv"]);
            let found = find_local(&here.join("link/../in/c.csv"), "c", false).expect("found");
            let path = found[0].meta.location.to_string();
            assert!(path.ends_with("far/in/c.csv"), "{path}");
        }
    }

    /// Their folders hold files with rows that were removed.
    #[test]
    fn tables_with_a_log_are_not_read_as_folders_of_files() {
        for (log, format) in [
            ("_delta_log/00000000000000000000.json", "Delta Lake"),
            ("metadata/v1.metadata.json", "Iceberg"),
            (".hoodie/hoodie.properties", "Hudi"),
        ] {
            let folder = tempfile::tempdir().expect("a folder");
            for name in [log, "x.parquet"] {
                let path = folder.path().join("lake/t").join(name);
                std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
                std::fs::write(path, "x").expect("written");
            }
            for name in ["lake/t", "lake", "lake/*"] {
                let found = find_local(&folder.path().join(name), name, false);
                let error = found.map(|files| files.len()).expect_err("a table");
                assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
                let words = error.message();
                assert!(words.contains(&format!("table of {format}")), "{words}");
            }
            assert_eq!(names(folder.path(), "lake/t/*.parquet", false).len(), 1);
        }
        // A folder that is only called so.
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("d/metadata/a.csv");
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, "x\n").expect("written");
        assert_eq!(names(folder.path(), "d", false).len(), 1);
    }
}
