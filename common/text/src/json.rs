//! Values as JSON, straight into bytes: the one escaper, and the one walker of nested values.

use std::collections::HashSet;
use std::hash::Hash;
use std::ops::Range;

use arrow_array::RecordBatch;
use arrow_schema::Schema;
use arrowload_core::{Error, ErrorKind, Result};

use crate::column::{Column, Member, Refused, Values, member};
use crate::format::{Format, MapKeys, Nul};
use crate::refused;

/// What follows the backslash for each byte that must be escaped; `u` for those that have a number.
const ESCAPES: [u8; 256] = {
    let mut escapes = [0; 256];
    let mut byte = 0;
    while byte < 0x20 {
        escapes[byte] = b'u';
        byte += 1;
    }
    escapes[0x08] = b'b';
    escapes[0x09] = b't';
    escapes[0x0A] = b'n';
    escapes[0x0C] = b'f';
    escapes[0x0D] = b'r';
    escapes[b'"' as usize] = b'"';
    escapes[b'\\' as usize] = b'\\';
    escapes
};

/// How many bytes at the beginning need no escape. Eight are looked at at once: a byte below 0x20, and one that is zero after
/// a quote or backslash has been taken away, borrow from their highest bit.
fn plain(text: &[u8]) -> usize {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    let mut at = 0;
    while let Some(chunk) = text[at..].first_chunk() {
        let word = u64::from_le_bytes(*chunk);
        let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word;
        let found = below(word, 0x20)
            | below(word ^ (ONES * u64::from(b'"')), 1)
            | below(word ^ (ONES * u64::from(b'\\')), 1);
        // Borrows go upwards only, so that the lowest that is found is there.
        let found = found & HIGH;
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let rest = text[at..]
        .iter()
        .position(|byte| ESCAPES[usize::from(*byte)] != 0);
    rest.map_or(text.len(), |rest| at + rest)
}

/// Adds a JSON string. The text is UTF-8; only what must be is escaped.
pub fn string(mut text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    loop {
        let (clean, rest) = text.split_at(plain(text));
        out.extend_from_slice(clean);
        let Some((byte, rest)) = rest.split_first() else {
            break;
        };
        match ESCAPES[usize::from(*byte)] {
            b'u' => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            letter => out.extend_from_slice(&[b'\\', letter]),
        }
        text = rest;
    }
    out.push(b'"');
}

/// Adds a JSON string with NUL bytes as the format has them.
#[inline]
pub(crate) fn checked_string(
    text: &[u8],
    format: &Format<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Refused> {
    if format.nul == Nul::Escape || !text.contains(&0) {
        string(text, out);
        return Ok(());
    }
    let Nul::Replace(replacement) = format.nul else {
        return Err(
            "holds text with a NUL byte, which PostgreSQL cannot store; set replace_nul to put something in its place",
        );
    };
    let pieces: Vec<&[u8]> = text.split(|byte| *byte == 0).collect();
    string(&pieces.join(replacement.as_bytes()), out);
    Ok(())
}

/// A name as the key of an object, with its colon: made once, and written for each row.
pub fn key(name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.len() + 3);
    string(name.as_bytes(), &mut key);
    key.push(b':');
    key
}

/// Adds columns of a row as an object, each with its [`key`].
///
/// # Errors
/// The number of the column whose value the format has no JSON for, and why.
#[inline]
pub fn object<'a>(
    columns: impl Iterator<Item = (&'a [u8], &'a Column)>,
    row: usize,
    format: &Format<'_>,
    out: &mut Vec<u8>,
) -> Result<(), (usize, Refused)> {
    out.push(b'{');
    for (index, (key, column)) in columns.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(key);
        column.json(row, format, out).map_err(|why| (index, why))?;
    }
    out.push(b'}');
    Ok(())
}

#[inline]
fn separated<T>(
    out: &mut Vec<u8>,
    [open, close]: [u8; 2],
    items: impl Iterator<Item = T>,
    mut write: impl FnMut(&mut Vec<u8>, T) -> Result<(), Refused>,
) -> Result<(), Refused> {
    out.push(open);
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(out, item)?;
    }
    out.push(close);
    Ok(())
}

impl Column {
    /// Adds a value as JSON, `null` included. Integers and decimals are numbers with all their digits, whatever JavaScript makes
    /// of them.
    ///
    /// # Errors
    /// Why the format has no JSON for the value. What has been added by then stays.
    #[inline]
    pub fn json(&self, row: usize, format: &Format<'_>, out: &mut Vec<u8>) -> Result<(), Refused> {
        if self.is_missing(row) {
            out.extend_from_slice(b"null");
            return Ok(());
        }
        self.write::<true>(row, format, out)
    }

    pub(crate) fn nested(
        &self,
        row: usize,
        format: &Format<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Refused> {
        let field = |out: &mut Vec<u8>, member: &Member, row| {
            if member.has_nul {
                checked_string(member.name.as_bytes(), format, out)?;
                out.push(b':');
            } else {
                out.extend_from_slice(&member.key);
            }
            member.column.json(row, format, out)
        };
        match self.values() {
            Values::List(ranges, items) => separated(out, *b"[]", ranges.get(row), |out, item| {
                items.json(item, format, out)
            }),
            Values::Struct(members) => separated(out, *b"{}", members.iter(), |out, member| {
                field(out, member, row)
            }),
            Values::Map(ranges, entries)
                if format.map_keys == MapKeys::OrEntries && !entries[0].column.is_text() =>
            {
                separated(out, *b"[]", ranges.get(row), |out, entry| {
                    separated(out, *b"{}", entries.iter(), |out, member| {
                        field(out, member, entry)
                    })
                })
            }
            Values::Map(ranges, entries) => {
                let [keys, values] = entries.as_ref();
                map(&keys.column, &values.column, ranges.get(row), format, out)
            }
            Values::Union(union, members) => {
                if !format.unions {
                    return Err("holds a union, which JSON has not");
                }
                let member = member(union, members, row)
                    .ok_or("holds a union with a member that its type does not name")?;
                out.push(b'{');
                field(out, member, union.value_offset(row))?;
                out.push(b'}');
                Ok(())
            }
            _ => Err("holds a value of a type that has no JSON"),
        }
    }
}

fn map(
    keys: &Column,
    values: &Column,
    range: Range<usize>,
    format: &Format<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Refused> {
    let write = |out: &mut Vec<u8>, entry| {
        map_key(keys, entry, format, out)?;
        out.push(b':');
        values.json(entry, format, out)
    };
    if range.len() > 1 {
        let plain = keys.is_text() && !matches!(format.nul, Nul::Replace(_));
        let twice = if plain {
            has_twins(range.clone().map(|entry| keys.bytes(entry)))
        } else {
            let written = range.clone().map(|entry| {
                let mut key = Vec::new();
                map_key(keys, entry, format, &mut key).map(|()| key)
            });
            has_twins(written.collect::<Result<Vec<_>, Refused>>()?.iter())
        };
        if twice {
            return Err("holds a map with one key twice, of which a JSON object would keep one");
        }
    }
    separated(out, *b"{}", range, write)
}

/// Adds a key of a map as a string.
fn map_key(
    keys: &Column,
    entry: usize,
    format: &Format<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Refused> {
    if keys.is_null(entry) {
        return Err("holds a map with a key that is null, which JSON cannot hold");
    }
    if keys.is_text() {
        return checked_string(keys.bytes(entry).unwrap_or_default(), format, out);
    }
    let mut key = Vec::new();
    keys.text(entry, format, &mut key)?;
    let key = std::str::from_utf8(&key)
        .map_err(|_| "holds a map with a binary key, which JSON cannot hold")?;
    checked_string(key.as_bytes(), format, out)
}

/// Whether an item occurs twice. Few are compared with each other, which needs no memory.
fn has_twins<T: Eq + Hash>(items: impl ExactSizeIterator<Item = T> + Clone) -> bool {
    const FEW: usize = 8;
    if items.len() > FEW {
        let mut seen = HashSet::with_capacity(items.len());
        return !items.into_iter().all(|item| seen.insert(item));
    }
    let mut rest = items;
    while let Some(item) = rest.next() {
        if rest.clone().any(|other| other == item) {
            return true;
        }
    }
    false
}

/// Writes rows as objects, with every column, null or not.
#[derive(Debug, Clone)]
pub struct Json {
    keys: Vec<Vec<u8>>,
    format: Format<'static>,
}

impl Json {
    /// For batches of this schema.
    pub fn new(schema: &Schema, format: Format<'static>) -> Self {
        let keys = schema.fields().iter().map(|field| key(field.name()));
        Self {
            keys: keys.collect(),
            format,
        }
    }

    /// Refuses columns that the format has no JSON for.
    ///
    /// # Errors
    /// [`ErrorKind::UnsupportedType`], naming the column.
    pub fn check(schema: &Schema, format: &Format<'_>) -> Result<()> {
        for field in schema.fields() {
            format.check(field.data_type()).map_err(|why| {
                let message = format!("column `{}`: {why}", field.name());
                Error::new(ErrorKind::UnsupportedType, message).with("column", field.name())
            })?;
        }
        Ok(())
    }

    /// Adds a line for each row; `first_row` is the number of the first in errors.
    ///
    /// # Errors
    /// When the format has no JSON for a value; the error names column and row.
    pub fn lines(&self, batch: &RecordBatch, first_row: u64, out: &mut Vec<u8>) -> Result<()> {
        self.rows(batch, first_row, out, |_, _| (), |out| out.push(b'\n'))
    }

    /// Adds the items of an array, and its opening bracket before the very first row; who adds the closing one knows the last.
    ///
    /// # Errors
    /// As [`lines`](Self::lines).
    pub fn items(&self, batch: &RecordBatch, first_row: u64, out: &mut Vec<u8>) -> Result<()> {
        let before = |out: &mut Vec<u8>, row| out.push(if row == 0 { b'[' } else { b',' });
        self.rows(batch, first_row, out, before, |_| ())
    }

    fn rows(
        &self,
        batch: &RecordBatch,
        first_row: u64,
        out: &mut Vec<u8>,
        before: impl Fn(&mut Vec<u8>, u64),
        after: impl Fn(&mut Vec<u8>),
    ) -> Result<()> {
        let columns: Vec<Column> = batch.columns().iter().map(Column::new).collect();
        for row in 0..batch.num_rows() {
            let number = first_row + row as u64;
            before(out, number);
            let members = self.keys.iter().map(Vec::as_slice).zip(&columns);
            object(members, row, &self.format, out).map_err(|(index, why)| {
                refused(batch.schema_ref().field(index).name(), why, number)
            })?;
            after(out);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::builder::{Int64Builder, MapBuilder, StringBuilder};
    use arrow_array::types::{Float64Type, Int16Type, Int32Type, IntervalMonthDayNanoType};
    use arrow_array::*;
    use arrow_schema::{DataType, Field, Fields, UnionFields};

    use super::*;
    use crate::format::Times;

    fn written(array: impl Array + 'static, format: &Format<'_>) -> Result<Vec<String>, Refused> {
        let array: ArrayRef = Arc::new(array);
        let column = Column::new(&array);
        let row = |row| {
            let mut out = Vec::new();
            column.json(row, format, &mut out)?;
            let text = String::from_utf8(out).expect("text");
            serde_json::from_str::<serde_json::Value>(&text).expect("JSON");
            Ok(text)
        };
        (0..array.len()).map(row).collect()
    }

    fn ok<const N: usize>(array: impl Array + 'static, format: &Format<'_>, expected: [&str; N]) {
        assert_eq!(
            written(array, format),
            Ok(expected.map(str::to_owned).to_vec())
        );
    }

    proptest::proptest! {
        #[test]
        fn any_text_reads_back_equal(text: String, at in 0_usize..40, special in proptest::sample::select(b"\"\\\n\r\t\x08\x0c\0\x1f ".to_vec())) {
            // Special signs at any place of the eight that are looked at together.
            let text = format!("{}{}{text}", "é".repeat(at / 3) + &"x".repeat(at), char::from(special));
            let mut out = Vec::new();
            string(text.as_bytes(), &mut out);
            proptest::prop_assert_eq!(serde_json::from_slice::<String>(&out).expect("a string"), text);
        }
    }

    #[test]
    fn only_what_must_be_is_escaped() {
        let every: String = ('\0'..='\u{ff}').collect();
        let mut out = Vec::new();
        string(every.as_bytes(), &mut out);
        assert_eq!(out, serde_json::to_vec(&every).expect("a string"));
    }

    #[test]
    fn binary_and_floats_are_as_the_format_has_them() {
        let bytes = || BinaryArray::from_opt_vec(vec![Some(b"\0\xff"), None, Some(b"")]);
        ok(bytes(), &Format::NDJSON, ["\"00ff\"", "null", "\"\""]);
        ok(
            bytes(),
            &Format::POSTGRES_JSON,
            ["\"\\\\x00ff\"", "null", "\"\\\\x\""],
        );
        ok(bytes(), &Format::REDIS, ["\"AP8=\"", "null", "\"\""]);
        let floats = |values: [f64; 3]| Float64Array::from(values.to_vec());
        ok(
            floats([f64::NAN, f64::NEG_INFINITY, 2.0]),
            &Format::NDJSON,
            ["\"NaN\"", "\"-Infinity\"", "2.0"],
        );
        for format in [Format::POSTGRES_JSON, Format::REDIS] {
            ok(floats([1e300, -0.0, 2.0]), &format, ["1e+300", "-0", "2"]);
            let refused = written(floats([f64::NAN, 1.0, 1.0]), &format);
            assert!(refused.is_err_and(|why| why.contains("NaN")));
        }
    }

    #[test]
    fn times_are_strings_or_numbers_as_the_format_has_them() {
        let zoned = || TimestampMillisecondArray::from(vec![-1_500]).with_timezone("+05:30");
        let duration = || DurationMillisecondArray::from(vec![1_500]);
        let value = IntervalMonthDayNanoType::make_value(1, -2, 0);
        let interval = || IntervalMonthDayNanoArray::from(vec![value]);
        let epoch = Format {
            times: Times::Epoch,
            ..Format::REDIS
        };
        for (format, expected) in [
            (Format::NDJSON, ["PT1.500S", "P1M-2DT0.000000000S"]),
            (Format::POSTGRES_JSON, ["PT1.500S", "P1M-2D"]),
        ] {
            ok(zoned(), &format, ["\"1969-12-31T23:59:58.500Z\""]);
            let [seconds, months] = expected.map(|text| format!("\"{text}\""));
            ok(duration(), &format, [seconds.as_str()]);
            ok(interval(), &format, [months.as_str()]);
        }
        ok(zoned(), &epoch, ["-1500"]);
        ok(duration(), &epoch, ["1500"]);
        ok(interval(), &epoch, ["\"P1M-2D\""]);
    }

    #[test]
    fn nul_bytes_are_escaped_refused_or_replaced() {
        let texts = || StringArray::from(vec!["a\0b", "c"]);
        ok(texts(), &Format::NDJSON, ["\"a\\u0000b\"", "\"c\""]);
        assert!(written(texts(), &Format::POSTGRES_JSON).is_err_and(|why| why.contains("NUL")));
        let replaced = Format {
            nul: Nul::Replace("\""),
            ..Format::POSTGRES_JSON
        };
        ok(texts(), &replaced, ["\"a\\\"b\"", "\"c\""]);
        let fields = Fields::from(vec![Field::new("n\0", DataType::Utf8, true)]);
        let structs =
            || StructArray::new(fields.clone(), vec![Arc::new(texts()) as ArrayRef], None);
        ok(
            structs(),
            &replaced,
            ["{\"n\\\"\":\"a\\\"b\"}", "{\"n\\\"\":\"c\"}"],
        );
        assert!(written(structs(), &Format::POSTGRES_JSON).is_err());
    }

    #[test]
    fn what_is_nested_may_be_sliced_and_encoded() {
        let words: DictionaryArray<Int32Type> = vec![Some("a"), None, Some("b"), Some("a")]
            .into_iter()
            .collect();
        let runs = RunArray::<Int16Type>::try_new(
            &Int16Array::from(vec![1, 3, 4]),
            &Int64Array::from(vec![Some(1), None, Some(-1)]),
        )
        .expect("runs");
        let lists = ListArray::from_iter_primitive::<Float64Type, _, _>(vec![
            Some(vec![Some(0.5), None]),
            None,
            Some(vec![]),
            Some(vec![Some(1.0)]),
        ]);
        let fixed = FixedSizeListArray::from_iter_primitive::<Int32Type, _, _>(
            (0..4).map(|row| Some([Some(row), None])),
            2,
        );
        let columns: Vec<ArrayRef> = vec![
            Arc::new(words),
            Arc::new(runs),
            Arc::new(lists),
            Arc::new(fixed),
        ];
        let fields: Fields = columns
            .iter()
            .zip(["w", "r", "l", "f"])
            .map(|(column, name)| Field::new(name, column.data_type().clone(), true))
            .collect();
        let structs = StructArray::new(fields, columns, None);
        let expected = [
            r#"{"w":"a","r":1,"l":[0.5,null],"f":[0,null]}"#,
            r#"{"w":null,"r":null,"l":null,"f":[1,null]}"#,
            r#"{"w":"b","r":null,"l":[],"f":[2,null]}"#,
            r#"{"w":"a","r":-1,"l":[1.0],"f":[3,null]}"#,
        ];
        ok(
            structs.slice(1, 3),
            &Format::NDJSON,
            [expected[1], expected[2], expected[3]],
        );
        ok(structs, &Format::NDJSON, expected);
        let empty = DictionaryArray::<Int32Type>::new(
            Int32Array::from(vec![None, None]),
            Arc::new(StringArray::from(Vec::<&str>::new())),
        );
        ok(empty, &Format::NDJSON, ["null", "null"]);
    }

    fn maps(entries: &[(&str, i64)]) -> MapArray {
        let mut maps = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
        for (key, value) in entries {
            maps.keys().append_value(key);
            maps.values().append_value(*value);
        }
        maps.append(true).expect("one length");
        maps.finish()
    }

    #[test]
    fn a_map_with_one_key_twice_is_refused() {
        for count in [2, 5, 40] {
            let names: Vec<String> = (0..count).map(|name| name.to_string()).collect();
            let mut entries: Vec<(&str, i64)> =
                names.iter().map(|name| (name.as_str(), 1)).collect();
            assert!(written(maps(&entries), &Format::NDJSON).is_ok());
            entries.push((names[0].as_str(), 2));
            for format in [Format::NDJSON, Format::POSTGRES_JSON, Format::REDIS] {
                let refused = written(maps(&entries), &format);
                assert!(refused.is_err_and(|why| why.contains("twice")), "{count}");
            }
        }
        // Keys that only differ in what is replaced.
        let replaced = Format {
            nul: Nul::Replace("?"),
            ..Format::POSTGRES_JSON
        };
        assert!(written(maps(&[("a\0", 1), ("a?", 2)]), &replaced).is_err());
    }

    #[test]
    fn keys_that_are_no_text_and_unions_are_as_the_format_has_them() {
        let mut numbers = MapBuilder::new(None, Int64Builder::new(), Int64Builder::new());
        numbers.keys().append_value(7);
        numbers.values().append_null();
        numbers.append(true).expect("one length");
        let numbers = numbers.finish();
        ok(numbers.clone(), &Format::REDIS, [r#"{"7":null}"#]);
        ok(
            numbers.clone(),
            &Format::POSTGRES_JSON,
            [r#"[{"keys":7,"values":null}]"#],
        );
        assert!(Format::NDJSON.check(numbers.data_type()).is_err());
        assert!(Format::NDJSON.check(maps(&[]).data_type()).is_ok());

        let field = |name: &str| Arc::new(Field::new(name, DataType::Int64, true));
        let union = |names: [&str; 2]| {
            UnionArray::try_new(
                [(0, field(names[0])), (3, field(names[1]))]
                    .into_iter()
                    .collect::<UnionFields>(),
                vec![3, 0, 3].into(),
                Some(vec![0, 0, 1].into()),
                vec![
                    Arc::new(Int64Array::from(vec![1])) as ArrayRef,
                    Arc::new(Int64Array::from(vec![None, Some(2)])),
                ],
            )
            .expect("a union")
        };
        // A member that is null is still that member.
        for format in [Format::REDIS, Format::POSTGRES_JSON] {
            ok(
                union(["a", "b"]),
                &format,
                [r#"{"b":null}"#, r#"{"a":1}"#, r#"{"b":2}"#],
            );
            assert!(format.check(union(["a", "b"]).data_type()).is_ok());
            assert!(format.check(union(["a", "a"]).data_type()).is_err());
        }
        assert!(Format::NDJSON.check(union(["a", "b"]).data_type()).is_err());
        assert!(written(union(["a", "b"]), &Format::NDJSON).is_err());
        let twins = DataType::Struct(vec![field("a"), field("a")].into());
        let list = DataType::new_list(twins, true);
        assert!(Format::REDIS.check(&list).is_err());
    }

    #[test]
    fn rows_are_lines_or_the_items_of_an_array() {
        let batch = RecordBatch::try_from_iter([
            (
                "a\"",
                Arc::new(Int64Array::from(vec![Some(1), None])) as ArrayRef,
            ),
            ("b", Arc::new(Float64Array::from(vec![0.5, f64::NAN]))),
        ])
        .expect("a batch");
        let json = Json::new(batch.schema_ref(), Format::NDJSON);
        let mut out = Vec::new();
        json.lines(&batch, 0, &mut out).expect("lines");
        assert_eq!(
            out,
            b"{\"a\\\"\":1,\"b\":0.5}\n{\"a\\\"\":null,\"b\":\"NaN\"}\n"
        );
        out.clear();
        json.items(&batch.slice(0, 1), 0, &mut out).expect("items");
        json.items(&batch.slice(1, 1), 1, &mut out).expect("items");
        assert_eq!(
            out,
            b"[{\"a\\\"\":1,\"b\":0.5},{\"a\\\"\":null,\"b\":\"NaN\"}"
        );
        let strict = Json::new(batch.schema_ref(), Format::POSTGRES_JSON);
        let error = strict.lines(&batch, 7, &mut out).expect_err("NaN");
        assert_eq!((error.get("column"), error.row()), (Some("b"), Some(8)));
        assert!(
            error.to_string().contains("column `b` holds NaN"),
            "{error}"
        );
    }
}
