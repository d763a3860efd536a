//! Any table reads back equal, whoever wrote it and in whatever form.

use arrowload_common_json::{Format, Options};
use arrowload_common_text::{Format as Style, Json};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::{read, read_again};

/// Values of one kind.
fn values(kind: u8) -> BoxedStrategy<Value> {
    match kind {
        0 => any::<i64>().prop_map(|value| json!(value)).boxed(),
        1 => any::<u64>().prop_map(|value| json!(value)).boxed(),
        2 => any::<f64>()
            // The test reads by a library that does not read every float exactly.
            .prop_filter("finite and read back", |value| {
                value.is_finite()
                    && serde_json::from_str::<f64>(&json!(value).to_string()).ok() == Some(*value)
            })
            .prop_map(|value| json!(value))
            .boxed(),
        3 => any::<String>().prop_map(|value| json!(value)).boxed(),
        4 => any::<bool>().prop_map(|value| json!(value)).boxed(),
        5 => prop::collection::vec(prop::option::of(-9_i32..9), 0..4)
            .prop_map(|value| json!(value))
            .boxed(),
        6 => (
            (0_i32..9),
            "[a-c\"\\\\/é]{0,4}",
            prop::option::of(any::<bool>()),
        )
            .prop_map(|(x, y, z)| json!({"x": x, "y y": y, "z": z}))
            .boxed(),
        _ => prop::collection::vec(
            (0_i32..9).prop_map(|v| json!({"v": v, "w": [{"u": v}]})),
            0..3,
        )
        .prop_map(Value::Array)
        .boxed(),
    }
}

/// Rows of a few columns, in which values are null and keys are missing.
fn tables() -> impl Strategy<Value = Vec<Map<String, Value>>> {
    let column = (0_u8..8).prop_flat_map(|kind| {
        let value = prop_oneof![8 => values(kind).prop_map(Some), 1 => Just(Some(Value::Null)), 1 => Just(None)];
        prop::collection::vec(value, 1..12)
    });
    prop::collection::vec(("[a-dé\"\\\\ .]{1,5}", column), 1..6).prop_map(|columns| {
        let rows = columns
            .iter()
            .map(|(_, values)| values.len())
            .max()
            .unwrap_or(0);
        let row = |row: usize| {
            let cells = columns
                .iter()
                .enumerate()
                .filter_map(|(index, (name, values))| {
                    let value = values.get(row).cloned().flatten()?;
                    Some((format!("{name}{index}"), value))
                });
            cells.collect()
        };
        (0..rows).map(row).collect()
    })
}

/// Whether a value that was read is the one that was written: what is missing is null, and 1 is 1.0. JSON text counts as well,
/// where there may be some.
fn same(written: &Value, read: &Value, text: bool) -> bool {
    match (written, read) {
        (Value::Object(written), Value::Object(read)) => {
            written.keys().all(|key| read.contains_key(key))
                && read
                    .iter()
                    .all(|(key, value)| same(written.get(key).unwrap_or(&Value::Null), value, text))
        }
        (Value::Array(written), Value::Array(read)) => {
            written.len() == read.len()
                && written
                    .iter()
                    .zip(read)
                    .all(|(left, right)| same(left, right, text))
        }
        (Value::Number(left), Value::Number(right)) => {
            left == right || left.as_f64().map(f64::to_bits) == right.as_f64().map(f64::to_bits)
        }
        (left, Value::String(right)) if text && format!("{left}") == *right => true,
        (left, right) => left == right,
    }
}

fn text(rows: &[Map<String, Value>], form: usize) -> String {
    let mut compact: Vec<String> = Vec::new();
    let mut pretty: Vec<String> = Vec::new();
    for row in rows {
        compact.push(serde_json::to_string(row).expect("JSON"));
        pretty.push(serde_json::to_string_pretty(row).expect("JSON"));
    }
    match form {
        0 => compact.join("\n"),
        1 => compact.join("\r\n\r\n") + "\n",
        2 => compact.concat(),
        3 => pretty.join("\n"),
        4 => format!("[{}]", compact.join(",")),
        _ => format!(" [\n{}\n]\n", pretty.join(",\n")),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn any_table_of_serde_reads_back_equal(rows in tables(), form in 0_usize..6) {
        let text = text(&rows, form);
        let found = read(&text, &Options::default()).expect(&text);
        prop_assert_eq!(found.lines.rows, rows.len() as u64);
        prop_assert_eq!(found.lines.total(), text.lines().count() as u64);
        for (written, read) in rows.iter().zip(found.rows()) {
            let read = serde_json::from_str(&read).expect("JSON");
            prop_assert!(same(&Value::Object(written.clone()), &read, false), "{:?} {}", written, read);
        }
        // What our own writer makes of it is the same table again.
        let mut again = Vec::new();
        for batch in &found.batches {
            Json::new(batch.schema_ref(), Style::NDJSON).lines(batch, 0, &mut again).expect("JSON");
        }
        let options = Options { format: Format::Ndjson, ..Options::default() };
        let twice = read(&again, &options).expect("what was written");
        prop_assert_eq!(twice.rows(), found.rows());
    }

    #[test]
    fn a_table_of_any_values_keeps_each_as_it_is_written(
        values in prop::collection::vec((0_u8..8).prop_flat_map(values), 1..8),
    ) {
        let lines: Vec<String> = values.iter().map(|value| format!("{{\"v\":{value}}}")).collect();
        let options = Options { infer_rows: arrowload_common_json::InferRows::Rows(1), ..Options::default() };
        let (found, _) = read_again(lines.join("\n").as_bytes(), &options).expect("JSON");
        let json = found.layout.schema().field(0).metadata().len() == 1;
        for (value, row) in values.iter().zip(found.rows()) {
            let row: Value = serde_json::from_str(&row).expect("JSON");
            if json {
                let text = row["v"].as_str().expect("JSON text");
                prop_assert_eq!(text, value.to_string());
            } else {
                prop_assert!(same(value, &row["v"], true), "{} {}", value, row);
            }
        }
    }
}
