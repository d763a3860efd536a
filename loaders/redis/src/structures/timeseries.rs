//! A sample of a RedisTimeSeries.

use std::collections::HashSet;

use arrow_schema::Schema;
use arrowload_core::Result;
use xxhash_rust::xxh3::xxh3_64;

use super::values::{Values, Words};
use super::{Facts, IfNotExists, Refused, Row, Structure, Written, column, wanted};
use crate::RedisOptions;
use crate::encode::milliseconds;
use crate::pipeline::{Pipeline, Role};

/// Series that are remembered; beyond, a series is created once more, which changes nothing.
const SERIES: usize = 1 << 20;

pub(super) struct Timeseries {
    time: usize,
    value: usize,
    labels: Vec<(Vec<u8>, usize)>,
    retention: Option<String>,
    policy: &'static str,
    /// The series that this load has created, or seen to exist, by the hash of their key.
    series: HashSet<u64>,
    words: Words,
}

impl Structure for Timeseries {
    const FACTS: Facts = Facts {
        name: "timeseries",
        encodes: false,
        if_not_exists: IfNotExists::Refused("for timeseries set duplicate_policy = first"),
        count: None,
        module: Some(("RedisTimeSeries", [b"TS.QUERYINDEX", b"arrowload=module"])),
        ..Facts::ITEMS
    };

    fn new(schema: &Schema, options: &RedisOptions) -> Result<Self> {
        let by = (schema, options);
        let label = |(label, name): (&String, &String)| {
            Ok((label.clone().into_bytes(), column(schema, "labels", name)?))
        };
        Ok(Self {
            time: wanted(by, "time_column", &options.time_column)?,
            value: wanted(by, "value_column", &options.value_column)?,
            labels: options.labels.iter().map(label).collect::<Result<_>>()?,
            retention: options.retention.map(|retention| retention.to_string()),
            policy: options.duplicate_policy.word(),
            series: HashSet::new(),
            words: Words::default(),
        })
    }

    fn write(&mut self, row: &Row<'_>, values: &mut Values, out: &mut Pipeline) -> Written {
        values.words.clear();
        let time = milliseconds(&row.columns[self.time], row.row)
            .map_err(|why| Refused::at(&values.names[self.time], why))?;
        values.words.push(time.to_string().as_bytes());
        values.push_number(row, self.value)?;
        values.words.push(b"ON_DUPLICATE");
        values.words.push(self.policy.as_bytes());
        self.create(row, values, out)?;
        values.command(b"TS.ADD", row, out);
        Ok(())
    }
}

impl Timeseries {
    /// Creates the series of a sample, with its labels, when it is met first. That it is there already is not an error.
    fn create(&mut self, row: &Row<'_>, values: &mut Values, out: &mut Pipeline) -> Written {
        let hash = xxh3_64(row.key);
        if self.series.contains(&hash) {
            return Ok(());
        }
        let words = &mut self.words;
        words.clear();
        if let Some(retention) = &self.retention {
            words.push(b"RETENTION");
            words.push(retention.as_bytes());
        }
        words.push(b"DUPLICATE_POLICY");
        words.push(self.policy.as_bytes());
        if !self.labels.is_empty() {
            words.push(b"LABELS");
        }
        for (label, index) in &self.labels {
            if !row.columns[*index].is_null(row.row) {
                values.plain(row, *index)?;
                words.push(label);
                words.push(&values.scratch);
            }
        }
        words.write(Role::Try, b"TS.CREATE", row, out);
        if self.series.len() >= SERIES {
            self.series.clear();
        }
        self.series.insert(hash);
        Ok(())
    }
}
