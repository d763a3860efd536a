//! Hashes: a field for each column, in one command or one transaction.

use crate::encode::{Column, floats, length};
use crate::expiry::Expires;
use crate::options::Nulls;
use crate::pipeline::{Pipeline, Role};
use crate::resp::bulk;
use crate::rows::{Refused, Rows};

/// Writes a command only if its key is not there yet. The key; then what expires it and when, or two empty texts; then the
/// command without its key.
pub(crate) const IF_NOT_EXISTS: &str = "if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end \
    redis.call(ARGV[3], KEYS[1], unpack(ARGV, 4)) \
    if ARGV[1] ~= '' then redis.call(ARGV[1], KEYS[1], ARGV[2]) end return 1";

impl Rows {
    pub(crate) fn hash(
        &mut self,
        columns: &[Column],
        row: usize,
        key: &[u8],
        number: u64,
        expires: Expires,
        out: &mut Pipeline,
    ) -> Result<(), Refused> {
        let nulls = self
            .fields
            .iter()
            .filter(|(index, _)| !columns[*index].has_no_nulls() && columns[*index].is_null(row))
            .count();
        let omitted = if self.nulls == Nulls::Omit { nulls } else { 0 };
        let written = self.fields.len() - omitted;
        if written == 0 {
            return Err(Refused {
                column: None,
                why: "all of its values are null, and a hash has at least one field; see nulls = empty".into(),
            });
        }
        if self.if_not_exists {
            if written > 3_500 {
                return Err(Refused {
                    column: None,
                    why: "it has more than 3,500 fields, which if_not_exists cannot write".into(),
                });
            }
            let (command, when) = expires.unwrap_or_default();
            out.begin_command(Role::Write, number);
            length(&mut out.bytes, b'*', 7 + 2 * written);
            for word in [
                b"EVAL".as_slice(),
                IF_NOT_EXISTS.as_bytes(),
                b"1",
                key,
                command.as_bytes(),
                itoa::Buffer::new().format(when).as_bytes(),
                b"HSET",
            ] {
                bulk(&mut out.bytes, word);
            }
            return self.fields_of(columns, row, out);
        }
        let transaction = expires.is_some() || omitted > 0;
        if transaction {
            out.begin_transaction(number);
        }
        out.begin_command(
            if transaction {
                Role::Extra
            } else {
                Role::Write
            },
            number,
        );
        length(&mut out.bytes, b'*', 2 + 2 * written);
        out.bytes.extend_from_slice(b"$4\r\nHSET\r\n");
        bulk(&mut out.bytes, key);
        self.fields_of(columns, row, out)?;
        if omitted > 0 {
            out.begin_command(Role::Extra, number);
            length(&mut out.bytes, b'*', 2 + omitted);
            out.bytes.extend_from_slice(b"$4\r\nHDEL\r\n");
            bulk(&mut out.bytes, key);
            for (_, name) in self
                .fields
                .iter()
                .filter(|(index, _)| columns[*index].is_null(row))
            {
                out.bytes.extend_from_slice(name);
            }
        }
        if let Some((command, when)) = expires {
            out.command(
                Role::Extra,
                number,
                &[
                    command.as_bytes(),
                    key,
                    itoa::Buffer::new().format(when).as_bytes(),
                ],
            );
        }
        if transaction {
            out.end_transaction(number);
        }
        Ok(())
    }

    /// The fields of a hash and their values.
    #[inline]
    fn fields_of(
        &mut self,
        columns: &[Column],
        row: usize,
        out: &mut Pipeline,
    ) -> Result<(), Refused> {
        for (index, name) in &self.fields {
            let column = &columns[*index];
            if !column.has_no_nulls() && column.is_null(row) {
                if self.nulls == Nulls::Empty {
                    out.bytes.extend_from_slice(name);
                    out.bytes.extend_from_slice(b"$0\r\n\r\n");
                }
                continue;
            }
            out.bytes.extend_from_slice(name);
            if let Some(bytes) = column.bytes(row) {
                bulk(&mut out.bytes, bytes);
                continue;
            }
            self.scratch.clear();
            if !(self.vectors
                && floats(column, row, &mut self.scratch)
                    .map_err(|why| Refused::at(&self.names[*index], why))?)
            {
                column
                    .text(row, &self.format, &mut self.scratch)
                    .map_err(|why| Refused::at(&self.names[*index], why))?;
            }
            bulk(&mut out.bytes, &self.scratch);
        }
        Ok(())
    }
}
