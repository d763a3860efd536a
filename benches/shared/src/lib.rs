//! What the benchmarks share: medians, CPU time and memory from Linux's `/proc`, and the peers that live in Python.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use arrow_array::RecordBatch;
use arrow_ipc::writer::FileWriter;
use serde_json::Value;

/// Writes a benchmark's results to `benches/results`.
///
/// # Errors
/// If the file cannot be written.
pub fn save(name: &str, results: &Value) -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../results");
    std::fs::create_dir_all(&folder)?;
    Ok(std::fs::write(
        folder.join(format!("{name}.json")),
        serde_json::to_string_pretty(results)? + "\n",
    )?)
}

/// The release build of the command line, if it is there.
pub fn cli() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?.with_file_name("arrowload");
    program.is_file().then_some(program)
}

/// The median; the upper of the two in the middle.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Seconds of CPU that this process has used, and those of its children that have ended.
///
/// # Errors
/// Where there is no `/proc`.
pub fn cpu_seconds() -> Result<(f64, f64)> {
    let stat = std::fs::read_to_string("/proc/self/stat")
        .context("CPU time is read from Linux's /proc")?;
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks = |index: usize| {
        fields
            .get(index)
            .and_then(|ticks| ticks.parse::<f64>().ok())
            .context("ticks")
    };
    Ok((
        (ticks(11)? + ticks(12)?) / 100.0,
        (ticks(13)? + ticks(14)?) / 100.0,
    ))
}

/// Megabytes of memory that this process holds, and the most that it held since [`forget_peak`].
///
/// # Errors
/// Where there is no `/proc`.
pub fn memory() -> Result<(f64, f64)> {
    let status = std::fs::read_to_string("/proc/self/status")
        .context("memory is read from Linux's /proc")?;
    let field = |name: &str| {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .context("a line")?;
        Ok::<f64, anyhow::Error>(line.trim().trim_end_matches("kB").trim().parse::<f64>()? / 1024.0)
    };
    Ok((field("VmRSS:")?, field("VmHWM:")?))
}

/// Starts the peak of [`memory`] anew.
///
/// # Errors
/// Where there is no `/proc`.
pub fn forget_peak() -> Result<()> {
    std::fs::write("/proc/self/clear_refs", "5").context("the peak is reset in Linux's /proc")
}

/// A Python process that answers each line with seconds of wall clock and of CPU.
#[derive(Debug)]
pub struct Peers {
    child: Child,
    answers: BufReader<ChildStdout>,
    /// What it said of itself.
    pub versions: String,
}

impl Peers {
    /// Starts a script of `benches/python`, by the interpreter that `ARROWLOAD_PYTHON` names, or in a virtual environment with
    /// these packages, made at the first run.
    ///
    /// # Errors
    /// If Python, or a package, is not to be had.
    pub fn start(
        folder: &Path,
        script: &str,
        packages: &[&str],
        arguments: &[&str],
    ) -> Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../python")
            .join(script);
        let python = python(folder, packages)?;
        let mut child = Command::new(python)
            .arg(script)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut answers = BufReader::new(child.stdout.take().context("Python has no output")?);
        let mut versions = String::new();
        answers.read_line(&mut versions)?;
        let versions = versions
            .trim()
            .strip_prefix("ready ")
            .context("Python did not start")?
            .to_owned();
        Ok(Self {
            child,
            answers,
            versions,
        })
    }

    /// Sends a request, and answers with seconds of wall clock and of CPU.
    ///
    /// # Errors
    /// If the peer failed.
    pub fn ask(&mut self, request: &str) -> Result<(f64, f64)> {
        let input = self.child.stdin.as_mut().context("Python has no input")?;
        writeln!(input, "{request}")?;
        input.flush()?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        let (seconds, cpu) = answer
            .trim()
            .split_once(' ')
            .with_context(|| format!("Python failed at `{request}`"))?;
        Ok((seconds.parse()?, cpu.parse()?))
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        // The end of its input ends it.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// The processor, and how many cores there are.
#[must_use]
pub fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("an unknown processor", |(_, model)| model);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{model}, {cores} cores")
}

/// The rows as an Arrow IPC file that Python reads.
///
/// # Errors
/// If the file cannot be written.
pub fn arrow_file(folder: &Path, batches: &[RecordBatch]) -> Result<PathBuf> {
    let path = folder.join("lineitem.arrow");
    let first = batches.first().context("no rows")?;
    let mut writer = FileWriter::try_new(File::create(&path)?, &first.schema())?;
    for batch in batches {
        writer.write(batch)?;
    }
    writer.finish()?;
    Ok(path)
}

fn python(folder: &Path, packages: &[&str]) -> Result<PathBuf> {
    if let Some(python) = std::env::var_os("ARROWLOAD_PYTHON") {
        return Ok(python.into());
    }
    let environment = folder.join("python");
    let (python, done) = (
        environment.join("bin/python"),
        environment.join(".packages"),
    );
    let wanted = packages.join(" ");
    if std::fs::read_to_string(&done).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    let run = |command: &mut Command| -> Result<()> {
        ensure!(command.status()?.success(), "{command:?} failed");
        Ok(())
    };
    let uv = Command::new("uv")
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success());
    if uv {
        run(Command::new("uv")
            .args(["venv", "--quiet", "--clear"])
            .arg(&environment))?;
        run(Command::new("uv")
            .args(["pip", "install", "--quiet", "--python"])
            .arg(&python)
            .args(packages))?;
    } else {
        run(Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&environment))?;
        run(Command::new(&python)
            .args(["-m", "pip", "install", "--quiet"])
            .args(packages))?;
    }
    std::fs::write(done, wanted)?;
    Ok(python)
}
