//! Bytes bent in every way, as messages and as files: an error or rows, never a panic that nobody knew of, and no memory that
//! nothing asked for. A program of its own, as it limits the memory of the whole process.
#![expect(
    clippy::expect_used,
    clippy::print_stderr,
    clippy::panic,
    reason = "a test that cannot go on says so and ends"
)]

use std::alloc::System;
use std::io::Cursor;
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::RecordBatch;
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{
    CompressionContext, DictionaryTracker, EncodedData, FileWriter, IpcDataGenerator,
    IpcWriteOptions, StreamWriter,
};
use arrow_schema::Schema;
use arrowload_common_ipc::{Decoded, Decoder, IpcOptions, IpcReader};
use arrowload_core::{ErrorKind, Result};
use arrowload_testkit::type_cases;
use cap::Cap;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

const MAX_BATCH_BYTES: u64 = 1 << 20;

/// Beyond what stands when a decoder begins.
const MAX_BYTES: usize = 16 << 20;

const CODECS: [Option<CompressionType>; 3] = [
    None,
    Some(CompressionType::LZ4_FRAME),
    Some(CompressionType::ZSTD),
];

/// A batch of each type.
fn batches() -> Vec<RecordBatch> {
    let cases = type_cases().into_iter();
    let batches = cases.map(|case| {
        let schema = Arc::new(Schema::new(vec![case.field.clone()]));
        RecordBatch::try_new(schema, vec![case.values]).expect("a batch")
    });
    batches.collect()
}

fn options(compression: Option<CompressionType>) -> IpcWriteOptions {
    IpcWriteOptions::default()
        .try_with_compression(compression)
        .expect("a compression")
}

/// The messages of a batch, and of a second one that refers to dictionaries again.
fn messages(batch: &RecordBatch, options: &IpcWriteOptions) -> Vec<EncodedData> {
    let (generator, mut tracker) = (IpcDataGenerator::default(), DictionaryTracker::new(false));
    let schema = batch.schema();
    let schema = generator.schema_to_bytes_with_dictionary_tracker(&schema, &mut tracker, options);
    let mut messages = vec![schema];
    for _ in 0..2 {
        let (dictionaries, rows) = generator
            .encode(
                batch,
                &mut tracker,
                options,
                &mut CompressionContext::default(),
            )
            .expect("encoded");
        messages.extend(dictionaries);
        messages.push(rows);
    }
    messages
}

/// Bends some bytes: flips them, overwrites them with extremes, cuts or repeats a part.
fn bend(random: &mut SmallRng, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        return;
    }
    let at = random.random_range(0..bytes.len());
    match random.random_range(0..5) {
        0 => {
            for _ in 0..random.random_range(1..8) {
                let at = random.random_range(0..bytes.len());
                bytes[at] ^= 1 << random.random_range(0..8);
            }
        }
        1 => {
            let extremes: [i64; 8] = [
                i64::MAX,
                i64::MIN,
                -1,
                1 << 40,
                1 << 31,
                u32::MAX.into(),
                0,
                1 << 62,
            ];
            let extreme = extremes[random.random_range(0..extremes.len())].to_le_bytes();
            for (byte, new) in bytes[at..].iter_mut().zip(extreme) {
                *byte = new;
            }
        }
        2 => bytes.truncate(at),
        3 => bytes.extend_from_within(..),
        _ => {
            let to = random.random_range(0..bytes.len());
            bytes.swap(at, to);
        }
    }
}

fn decode(messages: Vec<EncodedData>) -> Result<usize> {
    let mut decoder = Decoder::new(MAX_BATCH_BYTES);
    messages.into_iter().try_fold(0, |rows, message| {
        let body = message.arrow_data.into();
        Ok(match decoder.decode(&message.ipc_message, body)? {
            Decoded::Batch(batch) => rows + batch.num_rows(),
            _ => rows,
        })
    })
}

fn read(bytes: Vec<u8>, is_forward: bool) -> Result<usize> {
    let mut options = IpcOptions::default();
    options.max_batch_bytes = MAX_BATCH_BYTES;
    let input = Cursor::new(bytes);
    let reader = match is_forward {
        true => IpcReader::forward("bent", input, &options),
        false => IpcReader::open("bent", input, &options),
    };
    reader?.try_fold(0, |rows, batch| Ok(rows + batch?.num_rows()))
}

/// Counts outcomes and panics.
struct Tally {
    whole: usize,
    failed: usize,
    panics: Arc<AtomicUsize>,
}

impl Tally {
    /// What the decoder of Arrow panics over is caught, and would be shouted by the default hook.
    fn new() -> Self {
        let panics = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&panics);
        panic::set_hook(Box::new(move |panic| {
            if counter.fetch_add(1, Ordering::Relaxed) == 0 {
                eprintln!("caught: {panic}");
            }
        }));
        Self {
            whole: 0,
            failed: 0,
            panics,
        }
    }

    fn limited(&mut self, read: impl FnOnce() -> Result<usize>) {
        let before = ALLOCATOR.allocated();
        ALLOCATOR.set_limit(before + MAX_BYTES).expect("a limit");
        let outcome = read();
        ALLOCATOR.set_limit(usize::MAX).expect("no limit");
        match outcome {
            Ok(_) => self.whole += 1,
            Err(error) if error.kind() == ErrorKind::InvalidData => self.failed += 1,
            Err(error) => panic!("not InvalidData: {error:#}"),
        }
    }

    fn check(&self, failed: usize, whole: usize) {
        let panics = self.panics.load(Ordering::Relaxed);
        eprintln!(
            "{} failed, {} were whole, {panics} panics were caught",
            self.failed, self.whole
        );
        assert!(
            self.failed > failed && self.whole > whole,
            "too few of a kind"
        );
        assert_eq!(
            panics, 0,
            "Arrow's decoder panicked over what was not checked"
        );
    }
}

#[test]
fn bent_bytes_are_errors_and_take_no_memory() {
    let mut random = SmallRng::seed_from_u64(7);
    let mut tally = Tally::new();
    for codec in CODECS {
        for batch in batches() {
            let messages = messages(&batch, &options(codec));
            let copy = || -> Vec<EncodedData> {
                let copy = |message: &EncodedData| EncodedData {
                    ipc_message: message.ipc_message.clone(),
                    arrow_data: message.arrow_data.clone(),
                };
                messages.iter().map(copy).collect()
            };
            assert_eq!(decode(copy()).expect("whole"), 2 * batch.num_rows());
            for _ in 0..100 {
                let mut bent = copy();
                for _ in 0..random.random_range(1..4) {
                    if bent.is_empty() {
                        continue;
                    }
                    let index = random.random_range(0..bent.len());
                    match random.random_range(0..10) {
                        0 => drop(bent.swap_remove(index)),
                        1..=6 => bend(&mut random, &mut bent[index].ipc_message),
                        _ => bend(&mut random, &mut bent[index].arrow_data),
                    }
                }
                tally.limited(|| decode(bent));
            }
            let (schema, options) = (batch.schema(), options(codec));
            let mut file = FileWriter::try_new_with_options(Vec::new(), &schema, options.clone())
                .expect("a writer");
            let mut stream =
                StreamWriter::try_new_with_options(Vec::new(), &schema, options).expect("a writer");
            for _ in 0..2 {
                file.write(&batch).expect("written");
                stream.write(&batch).expect("written");
            }
            for bytes in [
                file.into_inner().expect("a file"),
                stream.into_inner().expect("a stream"),
            ] {
                for is_forward in [false, true] {
                    assert_eq!(
                        read(bytes.clone(), is_forward).expect("whole"),
                        2 * batch.num_rows()
                    );
                    for _ in 0..30 {
                        let mut bent = bytes.clone();
                        for _ in 0..random.random_range(1..4) {
                            bend(&mut random, &mut bent);
                        }
                        tally.limited(|| read(bent, is_forward));
                    }
                }
            }
        }
    }
    tally.check(20_000, 5_000);
}
