//! The BSON corpus of MongoDB's specifications: every valid document arrives equal, in its documented wider form, or is refused by
//! path; every broken one is an error.
//!
//! The corpus has a licence that does not go with ours, so it is no part of this repository: `ARROWLOAD_BSON_CORPUS` names its
//! folder (`source/bson-corpus/tests` of mongodb/specifications, or `test/bson_corpus` of PyMongo's source package).

use std::path::PathBuf;

use bson::{Bson, Document};
use serde_json::Value;

use crate::support::{emulator, read, source};
use crate::types;

fn corpus() -> Option<Vec<(String, Value)>> {
    let Some(folder) = std::env::var_os("ARROWLOAD_BSON_CORPUS").map(PathBuf::from) else {
        let why = "ARROWLOAD_BSON_CORPUS does not name the folder of the BSON corpus";
        arrowload_testkit::skip("bson_corpus", why);
        return None;
    };
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
        .collect();
    files.sort();
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).expect("a file");
        let name = path.file_stem().expect("a name").to_string_lossy();
        (
            name.into_owned(),
            serde_json::from_str(&text).expect("JSON"),
        )
    };
    Some(files.iter().map(read).collect())
}

fn hex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hex");
    (0..text.len()).step_by(2).map(digit).collect()
}

/// The name of a case, its bytes, and what they are as extended JSON.
type Case<'a> = (String, Vec<u8>, &'a Value);

fn cases<'a>(corpus: &'a [(String, Value)], list: &str, field: &str) -> Vec<Case<'a>> {
    let mut found = Vec::new();
    for (file, content) in corpus {
        for case in content[list].as_array().into_iter().flatten() {
            let name = format!(
                "{file}: {}",
                case["description"].as_str().unwrap_or_default()
            );
            // Some have bytes that are valid, and not what a writer would write.
            for (key, json) in [
                (field, "canonical_extjson"),
                ("degenerate_bson", "canonical_extjson"),
                ("converted_bson", "converted_extjson"),
            ] {
                if let Some(text) = case[key].as_str() {
                    found.push((name.clone(), hex(text), &case[json]));
                }
            }
        }
    }
    found
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "tests print")]
async fn every_valid_document_arrives_or_is_refused_by_path() {
    let Some(corpus) = corpus() else { return };
    let (emulator, mut equal, mut refused) = (emulator(), 0, 0);
    let source = source(&emulator).await;
    let cases = cases(&corpus, "valid", "canonical_bson");
    assert!(cases.len() > 700, "{} documents", cases.len());
    for (number, (name, bytes, expected)) in cases.into_iter().enumerate() {
        let collection = format!("valid_{number}");
        emulator.seed("test", &collection, [bytes.clone()]);
        let query = format!("{{\"collection\": {collection:?}}}");
        let sent = Document::from_reader(bytes.as_slice()).expect(&name);
        match read(&source, &query).await {
            Ok(batch) => {
                assert_eq!(batch.num_rows(), 1, "{name}");
                let mut came = types::document(&batch, 0);
                if let Some(id) = came.remove("_id") {
                    // It stands first, wherever it was.
                    let mut whole = Document::from_iter([("_id".to_owned(), id)]);
                    whole.extend(came);
                    came = whole;
                }
                let mut expected = sent.clone();
                if let Some(id) = expected.remove("_id") {
                    let mut whole = Document::from_iter([("_id".to_owned(), id)]);
                    whole.extend(expected);
                    expected = whole;
                }
                let (one, other) = (Bson::Document(expected), Bson::Document(came));
                assert!(types::same(&one, &other), "{name}: {one} came as {other}");
                equal += 1;
            }
            Err(error) => {
                let path = error.get("path").unwrap_or_default().to_owned();
                assert!(!path.is_empty(), "{name}: {error}");
                assert!(
                    error.message().contains(&format!("`{path}`")),
                    "{name}: {error}"
                );
                refused += 1;
            }
        }
        // As extended JSON every value keeps its type.
        let query = format!(
            "{{\"collection\": {collection:?}, \"mixed\": \"json\", \"json\": {:?}}}",
            sent.keys().collect::<Vec<_>>()
        );
        let batch = read(&source, &query)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let expected = expected.as_str().expect("extended JSON");
        let expected: Value = serde_json::from_str(expected).expect("JSON");
        for (key, value) in types::document(&batch, 0) {
            let found: Value = match &value {
                Bson::Null => Value::Null,
                Bson::String(text) => serde_json::from_str(text).expect("JSON"),
                other => panic!("{name}: {other}"),
            };
            assert_eq!(json(&found), json(&expected[&key]), "{name}");
        }
    }
    println!("{equal} documents arrived equal, {refused} were refused by their path");
    assert!(
        equal >= refused * 20,
        "{equal} arrived, {refused} were refused"
    );
}

/// JSON in which a double is compared as the number that its text stands for, and a regular expression's options in any order.
fn json(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            if let Some(text) = fields.get("$numberDouble").and_then(Value::as_str) {
                let number: f64 = text.parse().expect("a double");
                let number = if number.is_nan() { f64::NAN } else { number };
                return format!("{:016x}", number.to_bits()).into();
            }
            let field = |(name, value): (&String, &Value)| {
                let value = match (name.as_str(), value.as_str()) {
                    ("options", Some(text)) => types::sorted(text).into(),
                    _ => json(value),
                };
                (name.clone(), value)
            };
            Value::Object(fields.iter().map(field).collect())
        }
        Value::Array(items) => items.iter().map(json).collect(),
        other => other.clone(),
    }
}

#[tokio::test]
async fn every_broken_document_is_an_error() {
    let Some(corpus) = corpus() else { return };
    let emulator = emulator();
    let source = source(&emulator).await;
    let broken = cases(&corpus, "decodeErrors", "bson");
    assert!(broken.len() >= 70, "{} documents", broken.len());
    for (number, (name, bytes, _)) in broken.into_iter().enumerate() {
        let collection = format!("broken_{number}");
        emulator.seed("test", &collection, [bytes]);
        for options in ["", ", \"mixed\": \"json\""] {
            let query = format!("{{\"collection\": {collection:?}{options}}}");
            if let Ok(batch) = read(&source, &query).await {
                panic!("{name}: came as {batch:?}");
            }
        }
    }
}
