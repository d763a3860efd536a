//! A Spark that runs as long as its tests: a program in Python that answers statements.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;

/// Answers each statement with its rows, as a line of JSON.
const SERVER: &str = r#"
import sys, json, os, pyspark, delta
builder = (pyspark.sql.SparkSession.builder.master("local[2]")
    .config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
    .config("spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog")
    .config("spark.ui.enabled", "false").config("spark.driver.host", "127.0.0.1").config("spark.driver.bindAddress", "127.0.0.1")
    .config("spark.sql.session.timeZone", "UTC").config("spark.sql.shuffle.partitions", "2").config("spark.log.level", "ERROR")
    .config("spark.ui.showConsoleProgress", "false").config("spark.databricks.delta.snapshotPartitions", "2"))
spark = delta.configure_spark_with_delta_pip(builder).getOrCreate()
print("ready", flush=True)
for line in sys.stdin:
    text = json.loads(line)
    try:
        if text.startswith("python "): exec(text[7:])
        else: print("rows " + json.dumps([row.asDict(True) for row in spark.sql(text).collect()], default=str), flush=True)
        if text.startswith("python "): print("rows []", flush=True)
    except Exception as error: print("failed " + str(error).replace("\n", " ")[:2000], flush=True)
os._exit(0)
"#;

pub(super) struct Spark {
    /// Where it leaves what it makes beside tables.
    _folder: tempfile::TempDir,
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Spark {
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    pub(super) fn start() -> Option<Self> {
        let required = std::env::var("ARROWLOAD_REQUIRE")
            .unwrap_or_default()
            .split(',')
            .any(|name| name.trim() == "spark");
        let python = std::env::var("ARROWLOAD_SPARK_PYTHON").unwrap_or_else(|_| "python3".into());
        let found = Command::new(&python)
            .args(["-c", "import pyspark, delta"])
            .stderr(Stdio::null())
            .status();
        if !found.is_ok_and(|status| status.success()) {
            assert!(
                !required,
                "ARROWLOAD_REQUIRE names spark, and {python} has no pyspark and delta-spark"
            );
            eprintln!(
                "skipped: {python} has no pyspark and delta-spark; set ARROWLOAD_SPARK_PYTHON"
            );
            return None;
        }
        let mut command = Command::new(python);
        let folder = tempfile::tempdir().expect("a folder");
        command.current_dir(folder.path());
        let mut child = command
            .args(["-c", SERVER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let answers = BufReader::new(child.stdout.take().expect("an output"));
        let mut spark = Self {
            _folder: folder,
            child,
            answers,
        };
        if spark.line("ready").is_none() {
            assert!(
                !required,
                "ARROWLOAD_REQUIRE names spark, and it does not start"
            );
            eprintln!(
                "skipped: Spark does not start; it needs Java, and Maven Central for the jars of Delta"
            );
            return None;
        }
        Some(spark)
    }

    /// The next line of ours; Spark's own are passed over.
    pub(super) fn line(&mut self, prefix: &str) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.answers.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if let Some(rest) = line.trim_end().strip_prefix("failed ") {
                panic!("Spark: {rest}");
            }
            if let Some(rest) = line.trim_end().strip_prefix(prefix) {
                return Some(rest.to_owned());
            }
        }
    }

    pub(super) fn sql(&mut self, sql: &str) -> Value {
        let input = self.child.stdin.as_mut().expect("an input");
        writeln!(input, "{}", Value::from(sql))
            .and_then(|()| input.flush())
            .expect("Spark listens");
        let answer = self
            .line("rows ")
            .unwrap_or_else(|| panic!("Spark is gone at {sql}"));
        serde_json::from_str(&answer).expect("JSON")
    }

    /// One column of the rows of a table, in their order by `id`.
    pub(super) fn column(&mut self, path: &Path, column: &str) -> Value {
        let rows = self.sql(&format!(
            "SELECT {column} AS x FROM delta.`{}` ORDER BY id",
            path.display()
        ));
        rows.as_array()
            .expect("rows")
            .iter()
            .map(|row| row["x"].clone())
            .collect()
    }
}

impl Drop for Spark {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
