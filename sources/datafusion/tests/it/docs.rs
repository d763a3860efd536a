//! The reference page of all options, `docs/reading.md`, is made of their documentation. `ARROWLOAD_WRITE_DOCS=1` writes it anew.

use std::fmt::Write;

use serde_json::Value;

/// An example of each option, as SQL has it.
const EXAMPLES: &[(&str, &str)] = &[
    ("binary_as_string", "true"),
    ("blank_lines", "'skip'"),
    ("comment", "'#'"),
    ("compression", "'gzip'"),
    ("date_format", "'%d/%m/%Y'"),
    ("decimal_separator", "','"),
    ("delim", "';'"),
    ("duplicate_keys", "'last'"),
    ("empty", "'null'"),
    ("encoding", "'windows-1252'"),
    ("escape", "'\\'"),
    ("false_values", "['N', 'no']"),
    ("filename", "true"),
    ("flatten", "true"),
    ("format", "'array'"),
    ("header", "false"),
    ("header_rows", "2"),
    ("hive_partitioning", "false"),
    ("hive_types", "{'month': 'text'}"),
    ("infer_rows", "'all'"),
    ("int96", "'ns'"),
    ("max_depth", "500"),
    ("max_row_bytes", "1000000"),
    ("mixed", "'error'"),
    ("names", "['id', 'zip']"),
    ("new_line", "'crlf'"),
    ("null_text", "['NA', '-']"),
    ("numbers", "'decimal'"),
    ("pruning", "false"),
    ("quote", "''''"),
    ("ragged", "'pad'"),
    ("records", "'$.data.items[*]'"),
    ("separator", "'_'"),
    ("skip", "3"),
    ("skip_footer", "1"),
    ("strict_types", "{'zip': 'int64'}"),
    ("thousands_separator", "'.'"),
    ("timestamp_format", "'%d/%m/%Y %H:%M:%S'"),
    ("trim", "true"),
    ("true_values", "['Y', 'yes']"),
    ("types", "{'zip': 'text', 'amount': 'decimal(20,2)'}"),
];

const HEAD: &str = "# Reading files

<!-- Made by `cargo test -p arrowload-datafusion --test it -- docs` with ARROWLOAD_WRITE_DOCS=1, of the options' own documentation. -->

The embedded engine reads CSV, JSON, Arrow and Parquet files by their content: the name of a file is a hint. What is found (the
dialect, the encoding, each type and why) stands in a plan, in `FROM peek('x.csv')`, and in the log at `debug`. What is declared is
not looked for. The same options are

- values of table functions in SQL: `FROM read_csv('x.csv', delim => ';')`, `read_json`, `read_arrow`, `read_parquet`, and `read`
  for whatever format a file has; the first value is a file, a folder, a pattern or a URL, or a list of them;
- keys of a connection to the embedded engine: `read = { csv = { delim = \";\" }, any = { filename = true } }`;
- in Rust: `client.read(\"x.csv\").option(\"delim\", \";\")`.

An option that a format does not have is refused, with the nearest one that it has.

Several files are one table: columns go by their names, a file without a column has nulls there, and types are widened where every
value stays as it is. Where no type holds the values of two files, the error names both.

Nothing is left out, changed or guessed silently:

- Lines above or below a CSV table are left out where they are unlike its rows: single fields or a line with a key, few of them, and
  at the end after an empty line. A warning says which. What could be rows is refused with its line; `skip` and `skip_footer` say
  otherwise. A line that begins with `#`, where that was found to begin comments, is refused if it has the fields of a row; `comment`
  says what it is.
- Text with a few broken bytes is UTF-8, and its broken rows are refused. Another encoding is a guess, which `peek` says; signs such as
  `µ` or `£` alone are those of windows-1252, and where letters are too few for a guess, `encoding` must be declared.
- Where `NULL` or `null` is found to stand for null, it is a word in columns that are declared text, unless `null_text` says so.
  Fields that `ragged = \"pad\"` fills are null, whatever else stands for null.
- A float that a load's target has is taken for a column whose values it holds without rounding; a float in `types` rounds.
- Two columns of one name in an Arrow or Parquet file are refused; in CSV the second `a` is `a_2`.
- JSON values of several kinds are JSON text. A column that is JSON text in one file and plain text in another is refused; `types`
  says which it is.
- `date_format` refuses a time that is not midnight. `%f` after a point are the digits of a fraction, more than nine are refused, and
  so is `%Z`: the name of a zone is no offset.
- With `records`, a document in which the path leads nowhere is refused, and so is a key that stands twice on the way.

A folder that is a table of Delta Lake, Iceberg or Hudi is refused, as files stay in it that are no longer part of the table: a Delta
table is read as `delta://folder`. A pattern (`folder/*.parquet`) names the files as they are. Names in a folder that begin with `.` or
`_` are no data, as for Spark: `folder/*.csv` takes `_b.csv`, and `folder` does not.

";

/// Options without a default of their own that are not looked for in a file: their text says what holds without them.
const NOT_LOOKED_FOR: [&str; 12] = [
    "date_format",
    "decimal_separator",
    "filename",
    "hive_partitioning",
    "infer_rows",
    "max_depth",
    "max_row_bytes",
    "records",
    "separator",
    "thousands_separator",
    "timestamp_format",
    "types",
];

fn shown(key: &str, value: &Value) -> String {
    match value {
        Value::Null if NOT_LOOKED_FOR.contains(&key) => String::new(),
        Value::Null => "found".into(),
        Value::String(text) if text.is_empty() => "none".into(),
        Value::Array(items) if items.is_empty() => "none".into(),
        Value::Object(entries) if entries.is_empty() => "none".into(),
        Value::String(text) => format!("`{text}`"),
        other => format!("`{other}`"),
    }
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    for (format, title) in [
        ("csv", "CSV"),
        ("json", "JSON"),
        ("arrow", "Arrow"),
        ("parquet", "Parquet"),
    ] {
        let schema = arrowload_datafusion::read_options(format).expect("known");
        let _ = write!(
            page,
            "## {title}\n\n| option | what it does | default | example |\n|---|---|---|---|\n"
        );
        for key in schema.keys() {
            let property = &schema.as_value()["properties"][key];
            let text = property["description"].as_str().expect("documented");
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            let example = EXAMPLES.iter().find(|(known, _)| *known == key);
            let (_, example) = example.unwrap_or_else(|| panic!("`{key}` has no example"));
            let default = shown(key, &property["default"]);
            let cell = |text: &str| text.replace('|', "\\|");
            let _ = writeln!(
                page,
                "| `{key}` | {} | {default} | `{key} => {}` |",
                cell(&text),
                cell(example)
            );
        }
        page.push('\n');
    }
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

#[test]
fn the_page_of_options_is_as_the_options_are() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reading.md");
    let page = page();
    if std::env::var_os("ARROWLOAD_WRITE_DOCS").is_some() {
        std::fs::write(path, &page).expect("written");
    }
    let known = std::fs::read_to_string(path).expect("a page");
    assert!(
        known == page,
        "docs/reading.md is old: set ARROWLOAD_WRITE_DOCS=1 and run this test"
    );
}
