//! Readers that are not ours: pyarrow and DuckDB, in the Python that `ARROWLOAD_PYTHON` names.

use std::path::Path;
use std::process::Command;

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_select::concat::concat_batches;

/// Answers with the interpreter that has pyarrow and duckdb, or why there is none.
///
/// It is `ARROWLOAD_PYTHON`, which `cargo xtask test` sets, else `python3`.
///
/// # Errors
/// A sentence for a person: the interpreter is missing, or lacks the packages.
pub fn interpreter() -> Result<String, String> {
    let python = std::env::var("ARROWLOAD_PYTHON").unwrap_or_else(|_| "python3".into());
    let output = Command::new(&python).args(["-c", "import pyarrow, duckdb"]).output();
    let output = output.map_err(|error| format!("{python} does not start: {error}"))?;
    if output.status.success() {
        return Ok(python);
    }
    Err(format!("{python} has no pyarrow and duckdb; run `cargo xtask test`, or set ARROWLOAD_PYTHON"))
}

/// Whether tests that need Python run. If not, the reason is printed; if `ARROWLOAD_REQUIRE` names `python`, that is a
/// failure.
#[expect(clippy::panic, clippy::print_stderr, reason = "a skipped test says so, and a required one fails")]
pub fn available() -> bool {
    let Err(why) = interpreter() else { return true };
    let required = std::env::var("ARROWLOAD_REQUIRE").unwrap_or_default();
    if required.split(',').any(|name| name.trim() == "python") {
        panic!("ARROWLOAD_REQUIRE names python, and {why}");
    }
    eprintln!("skipped: {why}");
    false
}

const READ: &str = r#"
import sys, pyarrow as pa, pyarrow.parquet, pyarrow.dataset, pyarrow.ipc, os, glob
kind, path = sys.argv[1], sys.argv[2]
def files():
    if not os.path.isdir(path): return [path]
    return sorted(f for f in glob.glob(glob.escape(path) + '/**/*', recursive=True)
        if os.path.isfile(f) and not any(p.startswith(('.', '_')) for p in os.path.relpath(f, path).split(os.sep)))
def one(file):
    if kind == 'parquet': return pa.parquet.ParquetFile(file).read()
    if kind == 'arrow': return pa.ipc.open_file(file).read_all()
    if kind == 'arrows': return pa.ipc.open_stream(file).read_all()
    if kind == 'sql':
        import duckdb
        return duckdb.sql(sys.argv[3].replace('$file', "'" + file.replace("'", "''") + "'")).to_arrow_table()
    raise SystemExit('unknown kind ' + kind)
tables = [one(f) for f in files()]
table = pa.concat_tables(tables, promote_options='default')
table = table.replace_schema_metadata(None)
out = sys.stdout.buffer
with pa.ipc.new_stream(out, table.schema) as writer:
    for batch in table.combine_chunks().to_batches():
        writer.write_batch(batch)
"#;

/// Reads a file, or a folder's files, with pyarrow: `kind` is `parquet`, `arrow` or `arrows`. `None` if nothing is there.
///
/// # Errors
/// What Python says.
pub fn read(kind: &str, path: &Path) -> Result<Option<RecordBatch>, String> {
    run(&[kind], path)
}

/// Reads a file, or each file of a folder, with DuckDB: `$file` stands for its name in the query.
///
/// # Errors
/// What Python says.
pub fn query(sql: &str, path: &Path) -> Result<Option<RecordBatch>, String> {
    run(&["sql", sql], path)
}

fn run(kind: &[&str], path: &Path) -> Result<Option<RecordBatch>, String> {
    if !has_files(path) {
        return Ok(None);
    }
    let mut command = Command::new(interpreter()?);
    command.args(["-c", READ, kind[0]]).arg(path).args(&kind[1..]);
    let output = command.output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(text.lines().last().unwrap_or("Python failed").to_owned());
    }
    let reader = StreamReader::try_new(output.stdout.as_slice(), None).map_err(|error| error.to_string())?;
    let schema = reader.schema();
    let batches = reader.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    concat_batches(&schema, &batches).map(Some).map_err(|error| error.to_string())
}

/// Whether a reader would see a file.
fn has_files(path: &Path) -> bool {
    let hidden = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(['.', '_']));
    if !path.is_dir() {
        return path.exists();
    }
    let Ok(entries) = std::fs::read_dir(path) else { return false };
    entries.filter_map(|entry| Some(entry.ok()?.path())).any(|path| !hidden(&path) && has_files(&path))
}
