//! A hash: a field for each column, in one command or one transaction.

use arrow_schema::Schema;
use arrowload_core::Result;

use super::values::{Values, expire};
use super::{Facts, Refused, Row, Structure, Written};
use crate::RedisOptions;
use crate::encode::{floats, length};
use crate::options::Nulls;
use crate::pipeline::{Pipeline, Role};
use crate::resp::bulk;

/// Writes a command only if its key is not there yet. The key; then what expires it and when, or two empty texts; then the
/// command without its key.
const IF_NOT_EXISTS: &str = "if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end \
    redis.call(ARGV[3], KEYS[1], unpack(ARGV, 4)) \
    if ARGV[1] ~= '' then redis.call(ARGV[1], KEYS[1], ARGV[2]) end return 1";

/// Fields that a script can write.
const MOST: usize = 3_500;

pub(super) struct Hash {
    if_not_exists: bool,
    /// Lists of floats are binary.
    vectors: bool,
}

impl Structure for Hash {
    const FACTS: Facts = Facts {
        name: "hash",
        ..Facts::KEYS
    };

    fn new(_: &Schema, options: &RedisOptions) -> Result<Self> {
        Ok(Self {
            if_not_exists: options.if_not_exists,
            vectors: false,
        })
    }

    fn write(&mut self, row: &Row<'_>, values: &mut Values, out: &mut Pipeline) -> Written {
        let fields = values.fields.iter();
        let nulls = fields.filter(|(index, _)| is_null(row, *index)).count();
        let omitted = match values.nulls {
            Nulls::Omit => nulls,
            Nulls::Empty => 0,
        };
        let written = values.fields.len() - omitted;
        if written == 0 {
            let why =
                "all of its values are null, and a hash has at least one field; see nulls = empty";
            return Err(Refused::row(why));
        }
        if self.if_not_exists {
            return self.write_once(row, values, written, out);
        }
        let (key, number) = (row.key, row.number);
        let transaction = values.expires.is_some() || omitted > 0;
        let role = match transaction {
            true => Role::Extra,
            false => Role::Write,
        };
        if transaction {
            out.begin_transaction(number);
        }
        out.begin_command(role, number);
        length(&mut out.bytes, b'*', 2 + 2 * written);
        out.bytes.extend_from_slice(b"$4\r\nHSET\r\n");
        bulk(&mut out.bytes, key);
        self.fields(row, values, out)?;
        if omitted > 0 {
            out.begin_command(Role::Extra, number);
            length(&mut out.bytes, b'*', 2 + omitted);
            out.bytes.extend_from_slice(b"$4\r\nHDEL\r\n");
            bulk(&mut out.bytes, key);
            let fields = values.fields.iter();
            for (_, name) in fields.filter(|(index, _)| is_null(row, *index)) {
                out.bytes.extend_from_slice(name);
            }
        }
        expire(row, values.expires, out);
        if transaction {
            out.end_transaction(number);
        }
        Ok(())
    }
}

#[inline]
fn is_null(row: &Row<'_>, index: usize) -> bool {
    let column = &row.columns[index];
    !column.has_no_nulls() && column.is_null(row.row)
}

impl Hash {
    pub(super) fn with_vectors(self) -> Self {
        Self {
            vectors: true,
            ..self
        }
    }

    /// Writes a hash if its key is not there.
    fn write_once(
        &self,
        row: &Row<'_>,
        values: &mut Values,
        written: usize,
        out: &mut Pipeline,
    ) -> Written {
        if written > MOST {
            let why = format!("it has more than {MOST} fields, which if_not_exists cannot write");
            return Err(Refused::row(why));
        }
        let (command, when) = values.expires.unwrap_or_default();
        out.begin_command(Role::Write, row.number);
        length(&mut out.bytes, b'*', 7 + 2 * written);
        let (script, mut digits) = (IF_NOT_EXISTS.as_bytes(), itoa::Buffer::new());
        let when = digits.format(when).as_bytes();
        for word in [
            b"EVAL",
            script,
            b"1",
            row.key,
            command.as_bytes(),
            when,
            b"HSET",
        ] {
            bulk(&mut out.bytes, word);
        }
        self.fields(row, values, out)
    }

    /// The fields of a hash and their values.
    #[inline]
    fn fields(&self, row: &Row<'_>, values: &mut Values, out: &mut Pipeline) -> Written {
        for (index, name) in &values.fields {
            let column = &row.columns[*index];
            if is_null(row, *index) {
                if values.nulls == Nulls::Empty {
                    out.bytes.extend_from_slice(name);
                    out.bytes.extend_from_slice(b"$0\r\n\r\n");
                }
                continue;
            }
            out.bytes.extend_from_slice(name);
            if let Some(bytes) = column.bytes(row.row) {
                bulk(&mut out.bytes, bytes);
                continue;
            }
            let scratch = &mut values.scratch;
            scratch.clear();
            let refused = |why| Refused::at(&values.names[*index], why);
            if !(self.vectors && floats(column, row.row, scratch).map_err(refused)?) {
                column
                    .text(row.row, &values.format, scratch)
                    .map_err(refused)?;
            }
            bulk(&mut out.bytes, scratch);
        }
        Ok(())
    }
}
