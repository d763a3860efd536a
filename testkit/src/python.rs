//! Readers that are not ours: pyarrow and DuckDB, in the Python that `ARROWLOAD_PYTHON` names.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_select::concat::concat_batches;
use serde_json::{Value, json};

/// Returns the interpreter that has pyarrow and duckdb, or why there is none.
///
/// It is `ARROWLOAD_PYTHON`, which `cargo xtask test` sets, else `python3`.
///
/// # Errors
/// A sentence for a person: the interpreter is missing, or lacks the packages.
pub fn interpreter() -> Result<String, String> {
    let python = std::env::var("ARROWLOAD_PYTHON").unwrap_or_else(|_| "python3".into());
    let output = Command::new(&python)
        .args(["-c", "import pyarrow, duckdb"])
        .output();
    let output = output.map_err(|error| format!("{python} does not start: {error}"))?;
    if output.status.success() {
        return Ok(python);
    }
    Err(format!(
        "{python} has no pyarrow and duckdb; set ARROWLOAD_PYTHON to a Python that has, or run `cargo xtask test`, which makes one"
    ))
}

/// Whether tests that need Python run. If not, the reason is printed; if `ARROWLOAD_REQUIRE` names `python`, that is a
/// failure.
pub fn available() -> bool {
    interpreter()
        .map_err(|why| crate::skip("python", &why))
        .is_ok()
}

/// Answers requests, one a line, each with the path of an Arrow IPC stream that it has written, or an error. `read` comes before it.
const LOOP: &str = r#"
import sys, json, pyarrow as pa, pyarrow.ipc
def answer(request):
    table = read(request)
    if table is None: return 'missing'
    with pa.ipc.new_stream(request['out'], table.schema) as writer:
        for batch in table.to_batches(): writer.write_batch(batch)
    return 'ok'
for line in sys.stdin:
    try:
        print(answer(json.loads(line)), flush=True)
    except Exception as error:
        print(type(error).__name__ + ': ' + str(error).replace('\n', ' '), flush=True)
"#;

/// Reads files, folders and tables.
const READER: &str = r#"
import os, glob, pyarrow as pa, pyarrow.parquet, pyarrow.ipc, duckdb
def files(path):
    if not os.path.isdir(path): return [path]
    return sorted(f for f in glob.glob(glob.escape(path) + '/**/*', recursive=True)
        if os.path.isfile(f) and not any(p.startswith(('.', '_')) for p in os.path.relpath(f, path).split(os.sep)))
def one(request, file):
    kind = request['kind']
    if kind == 'parquet': return pa.parquet.ParquetFile(file).read()
    if kind == 'arrow': return pa.ipc.open_file(file).read_all()
    if kind == 'arrows': return pa.ipc.open_stream(file).read_all()
    return duckdb.sql(request['sql'].replace('$file', "'" + file.replace("'", "''") + "'")).to_arrow_table()
def delta(path):
    import deltalake
    return pa.table(deltalake.DeltaTable(path).to_pyarrow_table())
catalogs = {}
def iceberg(path, name):
    from pyiceberg.catalog.sql import SqlCatalog
    from pyiceberg.exceptions import NoSuchTableError
    if path not in catalogs: catalogs[path] = SqlCatalog('default', uri='sqlite:///' + path)
    try: scan = catalogs[path].load_table(('default', name)).scan()
    except NoSuchTableError: return None
    table = scan.to_arrow()
    for i, field in enumerate(table.schema):
        # PyIceberg 0.12 takes null lists of structs for empty ones: these are as the files have them.
        if pa.types.is_list(field.type) and pa.types.is_struct(field.type.value_type):
            files = [task.file.file_path.removeprefix('file://') for task in scan.plan_files()]
            parts = [pa.parquet.ParquetFile(file).read([field.name]) for file in files]
            table = table.set_column(i, field.name, pa.concat_tables(parts)[field.name])
    return table
def read(request):
    if request['kind'] == 'delta': table = delta(request['path'])
    elif request['kind'] == 'iceberg': table = iceberg(request['path'], request['sql'])
    else: table = pa.concat_tables([one(request, f) for f in files(request['path'])], promote_options='default')
    return None if table is None else table.replace_schema_metadata(None)
"#;

/// Reads with a program of the author's.
const OWN_READER: &str = "
own_read = read
def read(request): return own_read(request['target'])
";

/// A reader in Python for a store of your own, which a [`Subject`](crate::Subject) reads back with: `script` defines
/// `read(target)`, which returns a `pyarrow.Table`, or `None` if there is no such target. The process is started at the first read,
/// and serves all of them.
///
/// ```no_run
/// let reader = arrowload_testkit::python::reader(
///     "
/// import pyarrow.csv, os
/// def read(target):
///     return pyarrow.csv.read_csv(target) if os.path.exists(target) else None
/// ",
/// );
/// let rows = reader.read("/tmp/rows.csv")?;
/// # Ok::<(), String>(())
/// ```
pub fn reader(script: impl Into<String>) -> OwnReader {
    OwnReader {
        script: script.into() + OWN_READER + LOOP,
        process: Mutex::default(),
    }
}

/// Made by [`reader`].
#[derive(Debug)]
pub struct OwnReader {
    script: String,
    process: Mutex<Option<Reader>>,
}

impl OwnReader {
    /// Reads a target; `None` if there is none.
    ///
    /// # Errors
    /// What Python says.
    pub fn read(&self, target: &str) -> Result<Option<RecordBatch>, String> {
        let start = || Reader::start(&self.script);
        ask(
            &self.process,
            start,
            &|out| json!({ "target": target, "out": out }),
        )
    }
}

/// One Python serves all tests of a process: starting one takes longer than most reads.
#[derive(Debug)]
struct Reader {
    child: Child,
    answers: BufReader<ChildStdout>,
}

static READER_PROCESS: Mutex<Option<Reader>> = Mutex::new(None);

impl Reader {
    fn start(script: &str) -> Result<Self, String> {
        let mut command = Command::new(interpreter()?);
        command
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let answers = BufReader::new(child.stdout.take().ok_or("Python has no output")?);
        Ok(Self { child, answers })
    }

    /// Whether there is something to read.
    fn ask(&mut self, request: &Value) -> Result<bool, String> {
        let gone = |error: std::io::Error| format!("Python is gone: {error}");
        let input = self.child.stdin.as_mut().ok_or("Python has no input")?;
        writeln!(input, "{request}")
            .and_then(|()| input.flush())
            .map_err(gone)?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).map_err(gone)?;
        match answer.trim() {
            "ok" => Ok(true),
            "missing" => Ok(false),
            error => Err(error.to_owned()),
        }
    }
}

/// Reads a file, or a folder's files, with pyarrow: `kind` is `parquet`, `arrow` or `arrows`; or with `delta` a table, with
/// Python's `deltalake`. `None` if nothing is there.
///
/// # Errors
/// What Python says.
pub fn read(kind: &str, path: &Path) -> Result<Option<RecordBatch>, String> {
    run(kind, "", path)
}

/// Reads a file, or each file of a folder, with DuckDB: `$file` stands for its name in the query.
///
/// # Errors
/// What Python says.
pub fn query(sql: &str, path: &Path) -> Result<Option<RecordBatch>, String> {
    run("sql", sql, path)
}

/// Reads a table of the Iceberg catalog in a SQLite file with PyIceberg: one of the namespace `default`. `None` if there is no
/// such table.
///
/// # Errors
/// What Python says.
pub fn iceberg(catalog: &Path, table: &str) -> Result<Option<RecordBatch>, String> {
    run("iceberg", table, catalog)
}

fn run(kind: &str, sql: &str, path: &Path) -> Result<Option<RecordBatch>, String> {
    let there = if kind == "delta" {
        path.join("_delta_log/00000000000000000000.json").exists()
    } else {
        has_files(path)
    };
    if !there {
        return Ok(None);
    }
    let request = |out: &Path| json!({ "kind": kind, "sql": sql, "path": path, "out": out });
    ask(
        &READER_PROCESS,
        || Reader::start(&[READER, LOOP].concat()),
        &request,
    )
}

/// Asks a process, which is started if it is not, and reads the file that it writes.
fn ask(
    process: &Mutex<Option<Reader>>,
    start: impl FnOnce() -> Result<Reader, String>,
    request: &dyn Fn(&Path) -> Value,
) -> Result<Option<RecordBatch>, String> {
    let out = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
    let request = request(out.path());
    let mut process = process.lock().unwrap_or_else(PoisonError::into_inner);
    let reader = match process.as_mut() {
        Some(reader) => reader,
        None => process.insert(start()?),
    };
    let found = reader.ask(&request)?;
    drop(process);
    if !found {
        return Ok(None);
    }
    let reader = StreamReader::try_new(out.reopen().map_err(|error| error.to_string())?, None)
        .map_err(|error| error.to_string())?;
    let schema = reader.schema();
    let batches = reader
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| error.to_string())?;
    concat_batches(&schema, &batches)
        .map(Some)
        .map_err(|error| error.to_string())
}

/// Whether a reader would see a file.
fn has_files(path: &Path) -> bool {
    let hidden = |path: &Path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(['.', '_']))
    };
    if !path.is_dir() {
        return path.exists();
    }
    let Ok(entries) = std::fs::read_dir(path) else {
        return false;
    };
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .any(|path| !hidden(&path) && has_files(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_of_the_authors_own_reads_and_says_what_is_wrong() {
        if !available() {
            return;
        }
        let script = "
import pyarrow as pa
def read(target):
    if target == 'none': return None
    return pa.table({'target': [target], 'n': [len(target)]})
";
        let reader = reader(script);
        assert_eq!(reader.read("none"), Ok(None));
        let rows = reader.read("four").expect("rows").expect("a table");
        assert_eq!((rows.num_rows(), rows.num_columns()), (1, 2));
        let broken = super::reader("def read(target): raise KeyError(target)");
        assert_eq!(broken.read("x"), Err("KeyError: 'x'".into()));
    }
}
