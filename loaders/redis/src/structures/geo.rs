//! A place: a member of a geospatial index.

use arrow_schema::Schema;
use arrowload_core::Result;

use super::values::Values;
use super::{Facts, Row, Structure, Written, maybe, wanted};
use crate::RedisOptions;
use crate::pipeline::Pipeline;

pub(super) struct Geo {
    longitude: usize,
    latitude: usize,
    member: Option<usize>,
    if_not_exists: bool,
}

impl Structure for Geo {
    const FACTS: Facts = Facts {
        name: "geo",
        count: Some(b"ZCARD"),
        ..Facts::ITEMS
    };

    fn new(schema: &Schema, options: &RedisOptions) -> Result<Self> {
        let by = (schema, options);
        Ok(Self {
            longitude: wanted(by, "longitude_column", &options.longitude_column)?,
            latitude: wanted(by, "latitude_column", &options.latitude_column)?,
            member: maybe(schema, "member_column", &options.member_column)?,
            if_not_exists: options.if_not_exists,
        })
    }

    fn write(&mut self, row: &Row<'_>, values: &mut Values, out: &mut Pipeline) -> Written {
        values.words.clear();
        if self.if_not_exists {
            values.words.push(b"NX");
        }
        values.push_number(row, self.longitude)?;
        values.push_number(row, self.latitude)?;
        values.push_member(row, self.member)?;
        values.command(b"GEOADD", row, out);
        Ok(())
    }
}
