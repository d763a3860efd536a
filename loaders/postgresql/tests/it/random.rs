//! Tables of random columns, shapes and options, read back by the server's own text. A failure names its seed.

use std::sync::Arc;

use arrow_array::*;
use arrow_cast::cast;
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use arrowload_core::{BatchStream, Input, load};
use arrowload_testkit::canonical_rows;
use serde_json::json;

use crate::reader;
use crate::server::database;
use crate::support::with;

/// A generator of numbers that the seed decides (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Often small, at times as large as it may be.
    fn integer(&mut self, bits: u32) -> i64 {
        let shift = 64 - self.below(u64::from(bits)) as u32 - 1;
        (self.next() as i64) >> shift.min(63)
    }

    fn text(&mut self) -> String {
        const LETTERS: [&str; 12] = [
            "a", "Z", " ", "\"", "\\", "é", "名", "🦀", "\n", ",", "{", "\u{1}",
        ];
        let length = if self.below(50) == 0 {
            5_000
        } else {
            self.below(20)
        };
        (0..length)
            .map(|_| LETTERS[self.below(12) as usize])
            .collect()
    }

    /// An array of this many rows, and the type that its column has in all batches.
    fn array(&mut self, kind: u64, rows: usize) -> ArrayRef {
        let nulls = [0, 2, 10][self.below(3) as usize];
        macro_rules! of {
            ($array:ty, $make:expr) => {{
                let values: Vec<_> = (0..rows)
                    .map(|_| {
                        if nulls > 0 && self.below(nulls) == 0 {
                            None
                        } else {
                            Some($make(self))
                        }
                    })
                    .collect();
                Arc::new(<$array>::from(values)) as ArrayRef
            }};
        }
        let micros = |random: &mut Self| random.integer(57);
        match kind {
            0 => of!(BooleanArray, |random: &mut Self| random.below(2) == 0),
            1 => of!(Int8Array, |random: &mut Self| random.next() as i8),
            2 => of!(Int16Array, |random: &mut Self| random.integer(16) as i16),
            3 => of!(Int32Array, |random: &mut Self| random.integer(32) as i32),
            4 => of!(Int64Array, |random: &mut Self| random.integer(64)),
            5 => of!(UInt32Array, |random: &mut Self| random.next() as u32),
            6 => of!(UInt64Array, |random: &mut Self| random.next()),
            7 => of!(Float32Array, |random: &mut Self| f32::from_bits(
                random.next() as u32
            )),
            8 => of!(Float64Array, |random: &mut Self| f64::from_bits(
                random.next()
            )),
            9 => of!(StringArray, Self::text),
            10 => cast(&of!(StringArray, Self::text), &DataType::Utf8View).expect("a view"),
            11 => cast(
                &of!(StringArray, Self::text),
                &DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
            )
            .expect("a dictionary"),
            12 => cast(&of!(StringArray, Self::text), &DataType::LargeUtf8).expect("large text"),
            13 => {
                let texts = of!(StringArray, Self::text);
                cast(&texts, &DataType::BinaryView).expect("binary")
            }
            14 => of!(Date32Array, |random: &mut Self| random.integer(21) as i32),
            15 => of!(TimestampMicrosecondArray, micros),
            16 => {
                let stamps = of!(TimestampMicrosecondArray, micros);
                cast(
                    &stamps,
                    &DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
                )
                .expect("a zone")
            }
            17 => of!(
                Time64MicrosecondArray,
                |random: &mut Self| (random.below(86_400_000_000)) as i64
            ),
            18 => self.decimals(rows, nulls),
            _ => {
                let lists = (0..rows).map(|_| {
                    (self.below(4) > 0).then(|| {
                        (0..self.below(5))
                            .map(|_| (self.below(5) > 0).then(|| self.integer(32) as i32))
                            .collect::<Vec<_>>()
                    })
                });
                Arc::new(ListArray::from_iter_primitive::<types::Int32Type, _, _>(
                    lists.collect::<Vec<_>>(),
                ))
            }
        }
    }

    fn decimals(&mut self, rows: usize, nulls: u64) -> ArrayRef {
        let values = (0..rows).map(|_| {
            let digits = self.below(38) as u32 + 1;
            let wide =
                (i128::from(self.next()) << 64 | i128::from(self.next())) % 10_i128.pow(digits);
            (nulls == 0 || self.below(nulls) > 0).then_some(wide)
        });
        Arc::new(
            Decimal128Array::from_iter(values.collect::<Vec<_>>())
                .with_precision_and_scale(38, 17)
                .expect("a scale"),
        )
    }
}

const KINDS: u64 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn random_tables_arrive_as_they_were_sent() {
    let Some(database) = database("random").await else {
        return;
    };
    let (loader, client) = (database.loader().await, database.client().await);
    for seed in 0..120_u64 {
        let mut random = Random(seed);
        let kinds: Vec<u64> = (0..random.below(7) + 1)
            .map(|_| random.below(KINDS))
            .collect();
        let mut batches = Vec::new();
        for _ in 0..random.below(4) + 1 {
            let (rows, before) = (
                [0, 1, 7, 255, 256, 257, 700][random.below(7) as usize],
                random.below(3) as usize,
            );
            let columns: Vec<ArrayRef> = kinds
                .iter()
                .map(|kind| random.array(*kind, rows + before).slice(before, rows))
                .collect();
            let fields: Vec<Field> = columns
                .iter()
                .enumerate()
                .map(|(number, array)| {
                    Field::new(format!("c{number}"), array.data_type().clone(), true)
                })
                .collect();
            batches.push(
                RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("a batch"),
            );
        }
        let schema = batches[0].schema();
        let mode = ["create", "append", "overwrite"][random.below(3) as usize];
        let size = [1, 100, 1_000][random.below(3) as usize];
        let options = json!({
            "mode": mode, "batch_size": size, "parallelism": random.below(3) + 1,
            "verify": if random.below(2) == 0 { "counts" } else { "checksum" }
        });
        let table = format!("t{seed}");
        // An append adds to what is there.
        let repeats = if mode == "append" { 2 } else { 1 };
        for _ in 0..repeats {
            let stream = BatchStream::from_batches(Arc::clone(&schema), batches.clone());
            load(
                &loader,
                &with(&table, options.clone()),
                &Input::stream(stream),
            )
            .await
            .unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
        }
        let mut sent: Vec<String> = batches.iter().flat_map(canonical_rows).collect();
        sent = (0..repeats).flat_map(|_| sent.clone()).collect();
        sent.sort();
        let read = reader::read(&client, &table)
            .await
            .expect("read")
            .expect("a table");
        let read = canonical_rows(&read);
        let differing = sent.iter().zip(&read).find(|(sent, read)| sent != read);
        assert!(
            differing.is_none() && sent.len() == read.len(),
            "seed {seed}, {options}: {} rows, {differing:?}",
            read.len()
        );
    }
}
