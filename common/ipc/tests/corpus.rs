//! The whole of apache/arrow-testing, whose folder `ARROWLOAD_ARROW_TESTING` names: broken files are read or refused by name, and
//! whole ones are read as pyarrow reads them. A program of its own, as it limits the memory of the whole process.
#![expect(
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test that cannot go on says so and ends"
)]

use std::alloc::System;
use std::fs::File;
use std::panic;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::RecordBatch;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::SchemaRef;
use arrowload_common_ipc::{IpcOptions, IpcReader};
use arrowload_core::{ErrorKind, Result};
use arrowload_testkit::python;
use cap::Cap;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// What a broken file of a few KiB may take.
const MAX_BYTES: usize = 4 << 20;

/// Compares each pair of paths, one a line: what pyarrow reads of the first, and the stream that was made of what was read here.
const COMPARE: &str = "
import sys, pyarrow as pa
def table(path):
    magic = open(path, 'rb').read(6) == b'ARROW1'
    return (pa.ipc.open_file(path) if magic else pa.ipc.open_stream(path)).read_all()
different = 0
for line in sys.stdin:
    theirs, ours = line.rstrip('\\n').split('\\t')
    try: a = table(theirs)
    except Exception as e: print('not read by pyarrow:', theirs, e); continue
    b = table(ours)
    b.validate()
    if not a.schema.equals(b.schema, check_metadata=True) or not a.equals(b):
        different += 1; print('DIFFERENT:', theirs)
sys.exit(different > 0)
";

fn corpus() -> Option<PathBuf> {
    let folder = std::env::var_os("ARROWLOAD_ARROW_TESTING").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: ARROWLOAD_ARROW_TESTING names no clone of apache/arrow-testing");
    }
    folder
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    files
}

fn open(path: &Path, is_forward: bool) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    let (name, file) = (path.display().to_string(), File::open(path)?);
    let options = IpcOptions::default();
    let mut reader = match is_forward {
        true => IpcReader::forward(&name, file, &options)?,
        false => IpcReader::open(&name, file, &options)?,
    };
    let batches = reader.by_ref().collect::<Result<_>>()?;
    Ok((Arc::clone(reader.schema()), batches))
}

#[test]
fn broken_files_are_read_or_refused_by_name() {
    let Some(corpus) = corpus() else { return };
    let panics = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&panics);
    panic::set_hook(Box::new(move |panic| {
        counter.fetch_add(1, Ordering::Relaxed);
        eprintln!("caught: {panic}");
    }));
    let (mut read, mut refused) = (0, 0);
    for kind in [
        "arrow-ipc-file",
        "arrow-ipc-stream",
        "arrow-ipc-tensor-stream",
        "forward-compatibility",
    ] {
        for path in files(&corpus.join("data").join(kind)) {
            if path.is_dir() || path.extension().is_some_and(|ending| ending == "md") {
                continue;
            }
            for is_forward in [false, true] {
                let limit = ALLOCATOR.allocated() + MAX_BYTES;
                ALLOCATOR.set_limit(limit).expect("a limit");
                let outcome = open(&path, is_forward);
                ALLOCATOR.set_limit(usize::MAX).expect("no limit");
                match outcome {
                    Ok(_) => read += 1,
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::InvalidData, "{error:#}");
                        assert_eq!(error.get("file"), path.to_str());
                        eprintln!("{error}");
                        refused += 1;
                    }
                }
            }
        }
    }
    let _ = panic::take_hook();
    eprintln!("{read} were read, {refused} refused");
    assert!(read + refused >= 2 * 138, "{}", read + refused);
    assert_eq!(panics.load(Ordering::Relaxed), 0, "panics were caught");
}

#[test]
fn whole_files_are_read_as_pyarrow_reads_them() {
    let Some(corpus) = corpus() else { return };
    let python = python::interpreter().expect("a Python");
    let folder = tempfile::tempdir().expect("a folder");
    let mut pairs = Vec::new();
    for version in files(&corpus.join("data/arrow-ipc-stream/integration")) {
        if !version.is_dir() {
            continue;
        }
        for path in files(&version) {
            let is_arrow = |ending: &std::ffi::OsStr| ending == "stream" || ending == "arrow_file";
            if !path.extension().is_some_and(is_arrow) {
                continue;
            }
            for is_forward in [false, true] {
                match open(&path, is_forward) {
                    Ok((schema, batches)) => {
                        let ours = folder.path().join(format!("{}.arrows", pairs.len()));
                        let file = File::create(&ours).expect("a file");
                        let mut writer = StreamWriter::try_new(file, &schema).expect("a writer");
                        for batch in &batches {
                            writer.write(batch).expect("written");
                        }
                        writer.finish().expect("finished");
                        pairs.push(format!("{}\t{}", path.display(), ours.display()));
                    }
                    Err(error) => eprintln!("REFUSED (forward: {is_forward}): {error}"),
                }
            }
        }
    }
    let list = folder.path().join("pairs");
    std::fs::write(&list, pairs.join("\n")).expect("written");
    let compared = Command::new(python)
        .args(["-c", COMPARE])
        .stdin(File::open(list).expect("a list"))
        .output()
        .expect("Python runs");
    let said = String::from_utf8_lossy(&compared.stdout);
    eprintln!("{said}\n{} pairs were compared", pairs.len());
    let failed = String::from_utf8_lossy(&compared.stderr);
    assert!(compared.status.success(), "{said}{failed}");
    if pairs.len() < 300 {
        panic!("only {} pairs", pairs.len());
    }
}
