//! Bytes that are changed at random never end in a panic, and the walker and the observer agree on which are broken.

use bson::{Bson, doc};

use super::What;
use super::column::Walker;
use super::observe::{Observed, Observer};
use super::shape::{Mixed, Shaper};

/// A document with a value of every type.
fn everything() -> Vec<u8> {
    let document = doc! {
        "_id": bson::oid::ObjectId::from_bytes([7; 12]),
        "double": 1.5, "text": "grüße", "int": 5, "long": 7_i64, "yes": true, "none": Bson::Null,
        "at": bson::DateTime::from_millis(1_700_000_000_000),
        "decimal": Bson::Decimal128("12.345".parse().expect("a decimal")),
        "bytes": bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![1, 2, 3] },
        "uuid": bson::Binary { subtype: bson::spec::BinarySubtype::Uuid, bytes: vec![9; 16] },
        "code": Bson::JavaScriptCode("f()".into()), "symbol": Bson::Symbol("s".into()),
        "stamp": bson::Timestamp { time: 5, increment: 6 },
        "list": [1, 2, 3], "deep": { "a": [{ "b": "c" }, { "b": "d" }], "e": {} },
    };
    document.to_vec().expect("a document")
}

/// A generator that needs no crate: xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % most as u64) as usize
    }
}

#[test]
fn mutations_are_read_or_refused() {
    let good = everything();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut read, mut refused) = (0, 0);
    for _ in 0..30_000 {
        let mut bytes = good.clone();
        for _ in 0..=random.below(3) {
            match random.below(4) {
                0 => {
                    let at = random.below(bytes.len());
                    bytes[at] = random.below(256) as u8;
                }
                1 => {
                    let at = random.below(bytes.len());
                    bytes.truncate(at.max(1));
                }
                2 => {
                    let at = random.below(bytes.len());
                    bytes.insert(at, random.below(256) as u8);
                }
                _ => {
                    let at = random.below(bytes.len());
                    bytes.remove(at);
                    bytes.push(0);
                }
            }
        }
        if random.below(2) == 0 && bytes.len() >= 4 {
            let length = bytes.len() as i32;
            bytes[..4].copy_from_slice(&length.to_le_bytes());
        }
        let (mut observer, mut observed) = (Observer::default(), Observed::default());
        let seen = observer.add(&mut observed, &bytes);
        let mut shaper = Shaper {
            mixed: Mixed::Json,
            ..Shaper::default()
        };
        let Ok(columns) = shaper.columns(&observed) else {
            panic!("`json` holds everything");
        };
        let mut walker = Walker::new(&columns, false);
        let walked = walker.append(&bytes).and_then(|()| walker.finish());
        match (seen, walked) {
            (Ok(()), Ok(batch)) => {
                assert_eq!(batch.num_rows(), 1);
                batch.columns().iter().for_each(|column| {
                    column.to_data().validate_full().expect("a valid array");
                });
                read += 1;
            }
            (Err(_), Err(_)) => refused += 1,
            (Ok(()), Err(fault)) => panic!("only the walker refuses {bytes:?}: {fault:?}"),
            (Err(fault), Ok(_)) => panic!("only the observer refuses {bytes:?}: {fault:?}"),
        }
    }
    assert!(
        read > 1000 && refused > 10_000,
        "{read} read, {refused} refused"
    );
}

#[test]
fn other_documents_than_those_observed_are_refused_and_not_misread() {
    let (mut observer, mut observed) = (Observer::default(), Observed::default());
    let first = doc! { "a": 1, "b": { "c": "x" } }.to_vec().expect("bytes");
    observer.add(&mut observed, &first).expect("a document");
    let columns = Shaper::default().columns(&observed).expect("columns");
    for (other, path) in [
        (doc! { "a": "text" }, "a"),
        (doc! { "b": 1 }, "b"),
        (doc! { "b": { "c": 1.5 } }, "b.c"),
        (doc! { "b": { "d": 1 } }, "b.d"),
        (doc! { "z": Bson::Null }, "z"),
    ] {
        let mut walker = Walker::new(&columns, false);
        walker.append(&first).expect("the first");
        let fault = walker
            .append(&other.to_vec().expect("bytes"))
            .expect_err("another type");
        assert_eq!(fault.path(), path);
        assert!(!matches!(fault.what, What::Broken(_)));
    }
    let mut walker = Walker::new(&columns, false);
    for each in [
        doc! { "b": { "c": "y" }, "a": 2 },
        doc! {},
        doc! { "a": Bson::Null },
    ] {
        walker
            .append(&each.to_vec().expect("bytes"))
            .expect("another order, and missing fields");
    }
    let batch = walker.finish().expect("a batch");
    assert_eq!(batch.num_rows(), 3);
    assert_eq!(batch.column(0).null_count(), 2);
}
