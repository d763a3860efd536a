//! Writes the seeds of the fuzz targets into a folder for each: every type of Arrow, plain and compressed.

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{
    CompressionContext, DictionaryTracker, FileWriter, IpcDataGenerator, IpcWriteOptions,
    StreamWriter,
};
use arrow_schema::Schema;
use arrowload_testkit::type_cases;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("name a folder")?);
    let (messages, input) = (folder.join("messages"), folder.join("input"));
    fs::create_dir_all(&messages)?;
    fs::create_dir_all(&input)?;
    let codecs = [
        ("plain", None),
        ("lz4", Some(CompressionType::LZ4_FRAME)),
        ("zstd", Some(CompressionType::ZSTD)),
    ];
    for (kind, compression) in codecs {
        let options = IpcWriteOptions::default().try_with_compression(compression)?;
        for (index, case) in type_cases().into_iter().enumerate() {
            let schema = Arc::new(Schema::new(vec![case.field.clone()]));
            let batch = RecordBatch::try_new(Arc::clone(&schema), vec![case.values])?;
            let name = format!("{kind}-{index}");
            fs::write(messages.join(&name), as_messages(&batch, &options)?)?;
            let mut file = FileWriter::try_new_with_options(Vec::new(), &schema, options.clone())?;
            file.write(&batch)?;
            fs::write(input.join(format!("file-{name}")), file.into_inner()?)?;
            let mut stream =
                StreamWriter::try_new_with_options(Vec::new(), &schema, options.clone())?;
            stream.write(&batch)?;
            fs::write(input.join(format!("stream-{name}")), stream.into_inner()?)?;
        }
    }
    Ok(())
}

fn as_messages(batch: &RecordBatch, options: &IpcWriteOptions) -> Result<Vec<u8>, Box<dyn Error>> {
    let (generator, mut tracker) = (IpcDataGenerator::default(), DictionaryTracker::new(false));
    let schema = batch.schema();
    let schema = generator.schema_to_bytes_with_dictionary_tracker(&schema, &mut tracker, options);
    let mut context = CompressionContext::default();
    let (dictionaries, rows) = generator.encode(batch, &mut tracker, options, &mut context)?;
    let mut bytes = Vec::new();
    for message in [schema].into_iter().chain(dictionaries).chain([rows]) {
        for part in [message.ipc_message, message.arrow_data] {
            bytes.extend(u32::try_from(part.len())?.to_le_bytes());
            bytes.extend(part);
        }
    }
    Ok(bytes)
}
