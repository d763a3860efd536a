//! The resources that an engine may use: memory, disk, threads.

use std::borrow::Cow;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error as _, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

/// What an engine may use. The keys of a source's connection have these names.
#[derive(Debug, Clone, Default)]
pub struct EngineOptions {
    /// Memory for sorts, joins and aggregations; what needs more spills. No limit by default.
    pub memory_limit: Option<MemoryLimit>,
    /// The folder for what spills; the system's temporary folder by default.
    pub spill_folder: Option<PathBuf>,
    /// Rows in each batch; 8192 by default.
    pub batch_size: Option<usize>,
    /// How many threads a query uses; one for each core by default.
    pub threads: Option<usize>,
}

/// A number of bytes, at least one. In a configuration: a number, or text such as `"2GB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryLimit(usize);

impl MemoryLimit {
    /// The number of bytes.
    pub fn bytes(self) -> usize {
        self.0
    }

    /// Units are powers of 1024: `K`, `M`, `G`, each also with `B` or `iB`.
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let number_end = text
            .find(|letter: char| letter.is_ascii_alphabetic())
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(number_end);
        let factor = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1.0,
            "k" | "kb" | "kib" => 1024.0,
            "m" | "mb" | "mib" => 1024.0 * 1024.0,
            "g" | "gb" | "gib" => 1024.0 * 1024.0 * 1024.0,
            _ => return None,
        };
        let bytes = number.trim().parse::<f64>().ok()? * factor;
        (bytes >= 1.0).then_some(Self(bytes as usize))
    }
}

impl<'de> Deserialize<'de> for MemoryLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;

        impl Visitor<'_> for Bytes {
            type Value = MemoryLimit;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number of bytes, or text such as \"2GB\"")
            }

            fn visit_u64<E: serde::de::Error>(self, bytes: u64) -> Result<MemoryLimit, E> {
                match usize::try_from(bytes) {
                    Ok(bytes) if bytes > 0 => Ok(MemoryLimit(bytes)),
                    _ => Err(E::invalid_value(Unexpected::Unsigned(bytes), &self)),
                }
            }

            fn visit_i64<E: serde::de::Error>(self, bytes: i64) -> Result<MemoryLimit, E> {
                let positive = u64::try_from(bytes)
                    .map_err(|_| E::invalid_value(Unexpected::Signed(bytes), &self))?;
                self.visit_u64(positive)
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<MemoryLimit, E> {
                MemoryLimit::parse(text)
                    .ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }
        }

        deserializer
            .deserialize_any(Bytes)
            .map_err(D::Error::custom)
    }
}

impl JsonSchema for MemoryLimit {
    fn schema_name() -> Cow<'static, str> {
        "MemoryLimit".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["integer", "string"],
            "pattern": "^ *[0-9]+(\\.[0-9]+)? *([kKmMgG]?([iI]?[bB])?)? *$",
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn limits_are_bytes_or_text_with_a_unit() {
        let read = |value: Value| serde_json::from_value::<MemoryLimit>(value);
        for (value, bytes) in [
            (json!(1000), 1000),
            (json!("1000"), 1000),
            (json!("1 kB"), 1024),
            (json!("1.5MiB"), 3 << 19),
            (json!("2GB"), 2 << 30),
        ] {
            let limit = read(value.clone()).unwrap_or_else(|error| panic!("{value}: {error}"));
            assert_eq!(limit.bytes(), bytes, "{value}");
        }
        for value in [
            json!("lots"),
            json!(0),
            json!(-1),
            json!("0"),
            json!("-1MB"),
            json!("1TB"),
            json!(""),
        ] {
            let error = read(value.clone()).expect_err("no size").to_string();
            assert!(error.contains("\"2GB\""), "{value}: {error}");
        }
    }
}
