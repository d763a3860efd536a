//! Tables that Python's `csv` writes, in the dialects that it has.

use std::io::Write;
use std::process::{Command, Stdio};

use arrowload_common_csv::{LineEnd, Options};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::read;
use crate::table::{assert_same, cells, table, written};

const WRITER: &str = r#"
import csv, json, sys, io
for line in sys.stdin:
    job = json.loads(line)
    out = io.StringIO(newline='')
    writer = csv.writer(out, **job['dialect'])
    writer.writerows(job['rows'])
    sys.stdout.write(json.dumps(out.getvalue()) + '\n')
"#;

/// The files that Python writes for the jobs, or why it does not.
fn files(jobs: &[Value]) -> Result<Vec<String>, String> {
    let python = std::env::var("ARROWLOAD_PYTHON").unwrap_or_else(|_| "python3".into());
    let mut child = Command::new(&python)
        .args(["-c", WRITER])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{python} does not start: {error}"))?;
    let input: String = jobs.iter().map(|job| format!("{job}\n")).collect();
    let mut stdin = child.stdin.take().expect("piped");
    let feeder = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child
        .wait_with_output()
        .map_err(|error| error.to_string())?;
    feeder
        .join()
        .expect("no panic")
        .map_err(|error| error.to_string())?;
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    Ok(text
        .lines()
        .map(|line| serde_json::from_str(line).expect("a string"))
        .collect())
}

/// Tables of so many rows that Python writes are read back, told the dialect or not.
fn reads_back(sizes: std::ops::Range<usize>, told: bool) {
    // QUOTE_MINIMAL, QUOTE_ALL, QUOTE_NONNUMERIC: Python writes nothing for None in all but the second.
    let dialects = [
        (json!({}), LineEnd::Crlf),
        (
            json!({"delimiter": ";", "lineterminator": "\n"}),
            LineEnd::Lf,
        ),
        (
            json!({"delimiter": "\t", "quotechar": "'", "lineterminator": "\n"}),
            LineEnd::Lf,
        ),
        (
            json!({"delimiter": "|", "quoting": 2, "lineterminator": "\r"}),
            LineEnd::Cr,
        ),
        (
            json!({"doublequote": false, "escapechar": "\\", "lineterminator": "\n"}),
            LineEnd::Lf,
        ),
        (json!({"quoting": 1}), LineEnd::Crlf),
        (
            json!({"delimiter": "^", "quoting": 1, "lineterminator": "\n"}),
            LineEnd::Lf,
        ),
        (
            json!({"quoting": 3, "escapechar": "\\", "quotechar": null, "lineterminator": "\n"}),
            LineEnd::Lf,
        ),
    ];
    let mut runner = TestRunner::deterministic();
    let mut jobs = Vec::new();
    for index in 0..120 {
        let batch = table(sizes.clone())
            .new_tree(&mut runner)
            .expect("a table")
            .current();
        jobs.push((batch, &dialects[index % dialects.len()]));
    }
    let requests: Vec<Value> = jobs
        .iter()
        .map(|(batch, (dialect, _))| {
            let names: Vec<Option<String>> = batch
                .schema()
                .fields()
                .iter()
                .map(|field| Some(field.name().clone()))
                .collect();
            let mut rows = vec![names];
            // Python before 3.13 leaves a `\r` without quotes where lines end in `\n`; it does not read that back itself.
            rows.extend(written(batch).into_iter().map(|row| {
                row.into_iter()
                    .map(|cell| cell.map(|text| text.replace('\r', "")))
                    .collect()
            }));
            let mut dialect = dialect.clone();
            if !told && let Some(dialect) = dialect.as_object_mut() {
                // Told of a quote, Python escapes it; else a value in quotes cannot be told from a quoted value.
                dialect.retain(|_, value| !value.is_null());
            }
            json!({"dialect": dialect, "rows": rows})
        })
        .collect();
    let files = match files(&requests) {
        Ok(files) => files,
        Err(why) => {
            arrowload_testkit::skip("python", &why);
            return;
        }
    };
    assert_eq!(files.len(), jobs.len());
    for ((batch, (dialect, end)), file) in jobs.iter().zip(&files) {
        let text = |key: &str| dialect.get(key).and_then(Value::as_str);
        let none = dialect.get("quotechar").is_some_and(Value::is_null);
        let quote = if none {
            ""
        } else {
            text("quotechar").unwrap_or("\"")
        };
        let declared = Options {
            delim: Some(text("delimiter").unwrap_or(",").into()),
            quote: Some(quote.into()),
            escape: Some(text("escapechar").unwrap_or(quote).into()),
            new_line: Some(*end),
            header: Some(true),
            skip: Some(0),
            skip_footer: Some(0),
            comment: Some(String::new()),
            trim: Some(false),
            ..Options::default()
        };
        let options = if told { declared } else { Options::default() };
        let found = read(file.as_bytes(), &options)
            .unwrap_or_else(|error| panic!("{error}\n{dialect}\n{file}"));
        assert_eq!(
            found.names().len(),
            batch.num_columns(),
            "{}\n{file}",
            found.layout.dialect
        );
        let expected: Vec<Vec<String>> = cells(std::slice::from_ref(batch))
            .into_iter()
            .map(|row| row.into_iter().map(|cell| cell.replace('\r', "")).collect())
            .collect();
        // Python makes no difference between the empty text and None, but where it quotes every text.
        let blank = |rows: &[Vec<String>]| -> Vec<Vec<String>> {
            rows.iter()
                .map(|row| {
                    row.iter()
                        .map(|cell| {
                            if cell == "~" {
                                String::new()
                            } else {
                                cell.clone()
                            }
                        })
                        .collect()
                })
                .collect()
        };
        assert_same(&blank(&expected), &blank(&found.cells()));
    }
}

#[test]
fn what_python_writes_reads_back_equal() {
    reads_back(1..15, true);
}

#[test]
fn what_python_writes_reads_back_equal_by_detection_alone() {
    reads_back(8..40, false);
}
