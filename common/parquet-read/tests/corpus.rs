//! The whole of apache/parquet-testing, whose folder `ARROWLOAD_PARQUET_TESTING` names, read here and by pyarrow, DuckDB and polars:
//! equal, or refused where they refuse. What is found is written to `benches/results/parquet-testing.md` if `ARROWLOAD_BLESS` is set.
#![expect(
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test that cannot go on says so and ends"
)]

use std::fmt::Write as _;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::SchemaRef;
use arrowload_common_parquet_read::{ParquetOptions, parquet_format};
use arrowload_testkit::python;
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl,
};
use datafusion::error::DataFusionError;
use datafusion::prelude::SessionContext;

/// Files that we read otherwise than others do, and why.
const EXPLAINED: &[(&str, &str)] = &[
    (
        "bad_data/ARROW-RS-GH-6229-LEVELS.parquet",
        "it has too few repetition levels",
    ),
    (
        "data/datapage_v1-corrupt-checksum.parquet",
        "the checksum of a page is not that of its bytes; DuckDB and polars do not look",
    ),
    (
        "data/int96_from_spark.parquet",
        "one timestamp was written as a day 290,000 years before Christ, by an overflow; it is refused, and others wrap it",
    ),
    (
        "data/nation.dict-malformed.parquet",
        "the page of its dictionary is malformed",
    ),
    (
        "data/rle-dict-uncompressed-corrupt-checksum.parquet",
        "the checksum of a page is not that of its bytes; DuckDB and polars do not look",
    ),
];

/// Reads each file as others do, and compares; a line for each: the name, what became of ours, and what each other said.
const COMPARE: &str = include_str!("compare.py");

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if path.extension().is_some_and(|ending| ending == "parquet") {
            files.push(path);
        }
    }
    files.sort();
    files
}

async fn read(path: &Path) -> Result<(SchemaRef, Vec<RecordBatch>), DataFusionError> {
    let context = SessionContext::new();
    let format = parquet_format(ParquetOptions::default());
    let options = ListingOptions::new(format)
        .with_file_extension("")
        .with_collect_stat(true);
    let url = ListingTableUrl::parse(path.to_str().expect("a path of text"))?;
    let config = ListingTableConfig::new(url).with_listing_options(options);
    let config = config.infer_schema(&context.state()).await?;
    context.register_table("t", Arc::new(ListingTable::try_new(config)?))?;
    let rows = context.sql("SELECT * FROM t").await?;
    let schema = Arc::new(rows.schema().as_arrow().clone());
    let batches = rows.collect().await?;
    let decoded: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let counted = context
        .sql("SELECT count(*) FROM t")
        .await?
        .collect()
        .await?;
    let counted = counted[0].column(0).as_primitive::<Int64Type>().value(0);
    assert_eq!(
        counted,
        decoded as i64,
        "{}: count(*) is not the number of rows",
        path.display()
    );
    Ok((schema, batches))
}

fn write(path: &Path, schema: &SchemaRef, batches: &[RecordBatch]) {
    let file = BufWriter::new(File::create(path).expect("a file"));
    let mut writer = StreamWriter::try_new(file, schema).expect("a writer");
    for batch in batches {
        writer.write(batch).expect("written");
    }
    writer.finish().expect("finished");
}

#[test]
fn every_file_is_read_as_others_read_it_or_refused() {
    let Some(corpus) = std::env::var_os("ARROWLOAD_PARQUET_TESTING").map(PathBuf::from) else {
        eprintln!("skipped: ARROWLOAD_PARQUET_TESTING names no clone of apache/parquet-testing");
        return;
    };
    let python = python::interpreter().expect("a Python");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let mut requests = String::new();
    let (mut panics, mut refusals) = (Vec::new(), Vec::new());
    for (index, path) in files(&corpus).into_iter().enumerate() {
        let name = path
            .strip_prefix(&corpus)
            .expect("below")
            .display()
            .to_string();
        let file = path.clone();
        let outcome = runtime.block_on(runtime.spawn(async move { read(&file).await }));
        let ours = match outcome {
            Ok(Ok((schema, batches))) => {
                let ours = folder.path().join(format!("{index}.arrows"));
                write(&ours, &schema, &batches);
                ours.display().to_string()
            }
            Ok(Err(error)) => {
                let here = corpus.display().to_string();
                let error = in_a_line(&error).replace(&format!("{here}/"), "");
                let error = error.replace(&format!("{}/", here.trim_start_matches('/')), "");
                eprintln!("refused {name}: {error}");
                refusals.push((name.clone(), error));
                String::new()
            }
            Err(panic) => {
                panics.push(format!("{name}: {panic}"));
                String::new()
            }
        };
        let _ = writeln!(requests, "{name}\t{}\t{ours}", path.display());
    }
    let list = folder.path().join("list");
    std::fs::write(&list, requests).expect("written");
    let compared = Command::new(python)
        .args(["-c", COMPARE])
        .stdin(File::open(list).expect("a list"))
        .stderr(Stdio::inherit())
        .output()
        .expect("Python runs");
    assert!(compared.status.success(), "the comparison failed");
    let lines = String::from_utf8(compared.stdout).expect("text");
    let table = table(&lines, &refusals);
    eprintln!("{table}");
    if std::env::var_os("ARROWLOAD_BLESS").is_some() {
        let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../benches/results");
        std::fs::write(results.join("parquet-testing.md"), &table).expect("written");
    }
    assert!(panics.is_empty(), "{panics:#?}");
    let unexplained: Vec<&str> = lines
        .lines()
        .filter(|line| {
            line.contains("\tBAD") && !EXPLAINED.iter().any(|(name, _)| line.starts_with(name))
        })
        .collect();
    assert!(unexplained.is_empty(), "{unexplained:#?}");
}

/// The innermost error, in a line.
fn in_a_line(error: &DataFusionError) -> String {
    let text = match error.find_root() {
        DataFusionError::External(ours) => ours.to_string(),
        other => other.to_string(),
    };
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn table(lines: &str, refusals: &[(String, String)]) -> String {
    let (mut read, mut refused, mut as_pyarrow) = (0, 0, 0);
    let mut rows = String::new();
    for line in lines.lines() {
        let mut cells: Vec<String> = line.split('\t').map(str::to_owned).collect();
        cells.truncate(5);
        read += usize::from(cells[1] == "read");
        refused += usize::from(cells[1] == "refused");
        as_pyarrow += usize::from(cells[2] == "equal");
        let explained = EXPLAINED.iter().find(|(name, _)| *name == cells[0]);
        let error = refusals.iter().find(|(name, _)| *name == cells[0]);
        let why = explained.map(|(_, why)| (*why).to_owned());
        let why = why
            .or_else(|| error.map(|(_, error)| error.clone()))
            .unwrap_or_default();
        let why: String = why.replace('|', "\\|").chars().take(200).collect();
        let _ = writeln!(rows, "| {} | {why} |", cells.join(" | "));
    }
    format!(
        "# apache/parquet-testing\n\nEach file as read here, and by pyarrow, DuckDB and polars; `cargo xtask torture parquet-testing` writes this. \
         `equal`: the other reads the same values; `refuses`: it reads nothing; `reads`: it reads what is refused here. DuckDB puts shredded \
         variants together, which the others leave as they are stored.\n\n{read} files are read, {as_pyarrow} of them equal to pyarrow's \
         reading; {refused} are refused.\n\n| file | here | pyarrow | DuckDB | polars | |\n|---|---|---|---|---|---|\n{rows}"
    )
}
