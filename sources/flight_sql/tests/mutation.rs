//! Bytes that a server could send, bent in every way: an error or rows, never a panic, and no memory that nothing asked for.
//! A program of its own, as it limits the memory of the whole process.
#![expect(
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test that cannot go on says so and ends"
)]

use std::alloc::System;
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::RecordBatch;
use arrow_flight::FlightData;
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{CompressionContext, DictionaryTracker, IpcDataGenerator, IpcWriteOptions};
use arrow_schema::Schema;
use arrowload_flight_sql::fuzzing::decode;
use arrowload_testkit::type_cases;
use cap::Cap;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

const MAX_BATCH_BYTES: u64 = 1 << 20;

/// The messages of a batch of a type, and a second one that refers to dictionaries again.
fn messages(compression: Option<CompressionType>) -> Vec<Vec<FlightData>> {
    let cases = type_cases().into_iter();
    let streams = cases.map(|case| {
        let schema = Arc::new(Schema::new(vec![case.field.clone()]));
        let batch =
            RecordBatch::try_new(Arc::clone(&schema), vec![case.values.clone()]).expect("a batch");
        let options = IpcWriteOptions::default()
            .try_with_compression(compression)
            .expect("a compression");
        let (generator, mut tracker) = (IpcDataGenerator::default(), DictionaryTracker::new(false));
        let mut messages = vec![FlightData::from(
            generator.schema_to_bytes_with_dictionary_tracker(&schema, &mut tracker, &options),
        )];
        for _ in 0..2 {
            let (dictionaries, body) = generator
                .encode(
                    &batch,
                    &mut tracker,
                    &options,
                    &mut CompressionContext::default(),
                )
                .expect("encoded");
            messages.extend(dictionaries.into_iter().map(FlightData::from));
            messages.push(body.into());
        }
        messages
    });
    streams.collect()
}

/// Bends some bytes of one message: flips them, overwrites them with extremes, cuts or repeats a part.
fn bend(random: &mut SmallRng, messages: &mut Vec<FlightData>) {
    let index = random.random_range(0..messages.len());
    let is_header = random.random_bool(0.6);
    let message = &mut messages[index];
    let mut bytes = if is_header {
        message.data_header.to_vec()
    } else {
        message.data_body.to_vec()
    };
    match random.random_range(0..6) {
        _ if bytes.is_empty() => {}
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
            let at = random.random_range(0..bytes.len());
            let extreme = extremes[random.random_range(0..extremes.len())].to_le_bytes();
            for (byte, new) in bytes[at..].iter_mut().zip(extreme) {
                *byte = new;
            }
        }
        2 => bytes.truncate(random.random_range(0..bytes.len())),
        3 => bytes.extend_from_within(..),
        4 => {
            let (at, to) = (
                random.random_range(0..bytes.len()),
                random.random_range(0..bytes.len()),
            );
            bytes.swap(at, to);
        }
        _ => {
            messages.swap_remove(index);
            return;
        }
    }
    match is_header {
        true => message.data_header = bytes.into(),
        false => message.data_body = bytes.into(),
    }
}

#[test]
fn bent_messages_are_errors_and_take_no_memory() {
    let panics = Arc::new(AtomicUsize::new(0));
    // What the decoder of Arrow panics over is caught, and would be shouted by the default hook.
    let (counter, before) = (Arc::clone(&panics), panic::take_hook());
    panic::set_hook(Box::new(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
    }));
    let mut random = SmallRng::seed_from_u64(7);
    let (mut whole, mut failed) = (0, 0);
    for compression in [
        None,
        Some(CompressionType::LZ4_FRAME),
        Some(CompressionType::ZSTD),
    ] {
        for messages in messages(compression) {
            assert!(decode(messages.clone(), MAX_BATCH_BYTES).is_ok());
            for _ in 0..200 {
                let mut bent = messages.clone();
                for _ in 0..random.random_range(1..4) {
                    if !bent.is_empty() {
                        bend(&mut random, &mut bent);
                    }
                }
                let before = ALLOCATOR.allocated();
                ALLOCATOR.set_limit(before + (64 << 20)).expect("a limit");
                let outcome = decode(bent, MAX_BATCH_BYTES);
                ALLOCATOR.set_limit(usize::MAX).expect("no limit");
                match outcome {
                    Ok(_) => whole += 1,
                    Err(_) => failed += 1,
                }
            }
        }
    }
    panic::set_hook(before);
    assert!(
        failed > 5_000 && whole > 1_000,
        "{failed} failed, {whole} whole"
    );
    eprintln!(
        "{failed} failed, {whole} were whole, {} panics were caught",
        panics.load(Ordering::Relaxed)
    );
}
