//! Writes the seeds of the fuzz target into a folder: a stream of each type of Arrow, plain and compressed.

use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_flight::FlightData;
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{CompressionContext, DictionaryTracker, IpcDataGenerator, IpcWriteOptions};
use arrow_schema::Schema;
use arrowload_testkit::type_cases;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("name a folder")?);
    std::fs::create_dir_all(&folder)?;
    for (kind, compression) in [("plain", None), ("lz4", Some(CompressionType::LZ4_FRAME)), ("zstd", Some(CompressionType::ZSTD))] {
        for (index, case) in type_cases().into_iter().enumerate() {
            let schema = Arc::new(Schema::new(vec![case.field.clone()]));
            let batch = RecordBatch::try_new(Arc::clone(&schema), vec![case.values])?;
            let options = IpcWriteOptions::default().try_with_compression(compression)?;
            let (generator, mut tracker) = (IpcDataGenerator::default(), DictionaryTracker::new(false));
            let mut messages = vec![FlightData::from(generator.schema_to_bytes_with_dictionary_tracker(&schema, &mut tracker, &options))];
            let (dictionaries, body) = generator.encode(&batch, &mut tracker, &options, &mut CompressionContext::default())?;
            messages.extend(dictionaries.into_iter().map(FlightData::from));
            messages.push(body.into());
            let mut bytes = Vec::new();
            for message in messages {
                bytes.extend(u32::try_from(message.data_header.len())?.to_le_bytes());
                bytes.extend(u32::try_from(message.data_body.len())?.to_le_bytes());
                bytes.extend_from_slice(&message.data_header);
                bytes.extend_from_slice(&message.data_body);
            }
            std::fs::write(folder.join(format!("{kind}-{index}")), bytes)?;
        }
    }
    Ok(())
}
