//! How fast the loader is, and how fast it could be: `cargo bench`. Loads take turns with what they are compared with, and medians are
//! told, as a machine is not equally fast all the time.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_ipc::writer::StreamWriter;
use arrowload_core::{
    BatchStream, Error, ErrorKind, Input, LoadSpec, Loader, LoaderDescriptor, Result, Settings,
    load,
};
use arrowload_plugin_template::PluginTemplateLoader;

const BATCHES: i64 = 100;
const ROWS_EACH: i64 = 20_000;
const RUNS: usize = 5;

/// The rows, which are made before anything is measured. Let them be like those that your users have.
fn rows() -> Result<Vec<RecordBatch>> {
    (0..BATCHES)
        .map(|number| {
            let ids = number * ROWS_EACH..(number + 1) * ROWS_EACH;
            let names = ids.clone().map(|id| format!("name number {id}"));
            let amounts = ids.clone().map(|id| id as f64 / 8.0);
            Ok(RecordBatch::try_from_iter([
                (
                    "id",
                    Arc::new(Int64Array::from_iter_values(ids)) as ArrayRef,
                ),
                ("name", Arc::new(StringArray::from_iter_values(names)) as _),
                (
                    "amount",
                    Arc::new(Float64Array::from_iter_values(amounts)) as _,
                ),
            ])?)
        })
        .collect()
}

/// The limit: the same rows into the same store, without a promise. Replace it by what your store's own client does at best.
fn limit(folder: &Path, batches: &[RecordBatch]) -> Result<f64> {
    let begun = Instant::now();
    let file = BufWriter::new(File::create(folder.join("limit.arrows"))?);
    let mut writer = StreamWriter::try_new(file, &batches[0].schema())?;
    for batch in batches {
        writer.write(batch)?;
    }
    let file = writer.into_inner()?.into_inner();
    file.map_err(|error| Error::from(error.into_error()))?
        .sync_all()?;
    Ok(begun.elapsed().as_secs_f64())
}

async fn one_load(loader: &Loader, target: &str, batches: &[RecordBatch]) -> Result<f64> {
    let stream = BatchStream::from_batches(batches[0].schema(), batches.to_vec());
    let begun = Instant::now();
    let report = load(loader, &LoadSpec::new(target), &Input::stream(stream)).await?;
    let seconds = begun.elapsed().as_secs_f64();
    // A benchmark of a load that lost rows says nothing.
    match report.rows == (BATCHES * ROWS_EACH) as u64 {
        true => Ok(seconds),
        false => Err(Error::new(ErrorKind::Unexpected, "rows are missing")),
    }
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

#[tokio::main]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut settings = Settings::new();
    settings.set("root", folder.path().display().to_string(), "the benchmark");
    let descriptor = LoaderDescriptor::of::<PluginTemplateLoader>(
        env!("CARGO_PKG_NAME"),
        env!("CARGO_PKG_VERSION"),
    );
    let loader = Loader::connect(&descriptor, &settings, 0).await?;
    let batches = rows()?;
    let (mut loads, mut limits) = (Vec::new(), Vec::new());
    for run in 0..RUNS {
        loads.push(one_load(&loader, &format!("run_{run}"), &batches).await?);
        limits.push(limit(folder.path(), &batches)?);
    }
    let (own, limit) = (median(loads), median(limits));
    let rows = (BATCHES * ROWS_EACH) as f64;
    writeln!(
        std::io::stdout(),
        "{:.0} rows/s, {:.2} of the limit ({:.0} rows/s)",
        rows / own,
        limit / own,
        rows / limit
    )?;
    Ok(())
}
