//! What is refused of an incremental load's query and rows, because later loads would not read what this one leaves out.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef};
use arrowload::ErrorKind;

use super::{Cursor, FROM, KNOWN, Next, TO};
use crate::cursor::{infinities, text, value};
use crate::exit::Failure;

/// Bounds that no number is beyond, to find values that are not numbers.
const HIGHEST: &str = "cursor_highest";
const LOWEST: &str = "cursor_lowest";

impl Next<'_> {
    /// Refuses values that cannot be ordered: they would never be before a mark, or before all others.
    pub(super) async fn check_values(
        &self,
        cursor: &Cursor,
        open: &[(&str, ArrayRef)],
    ) -> Result<(), Failure> {
        let (base, column) = (self.base(), &cursor.column);
        let mut condition = format!("{column} IS NULL");
        let mut bound = open.to_vec();
        if let Some([lowest, highest]) = infinities(&cursor.kind) {
            // Engines differ in how they compare what is not a number, but none has it within these.
            condition += &format!(" OR NOT ({column} < ${HIGHEST}) OR NOT ({column} > ${LOWEST})");
            bound.extend([(HIGHEST, highest), (LOWEST, lowest)]);
        }
        let sql = format!("SELECT {column} FROM ({base}) AS source WHERE {condition} LIMIT 1");
        let (_, found) = self.ask(&sql, &self.bound(&sql, &bound)).await?;
        let Some(found) = found.first() else {
            return Ok(());
        };
        let found = match found.null_count() {
            0 => text(found)?,
            _ => "null".to_owned(),
        };
        let message = format!(
            "the cursor `{}` is {found} in some rows, and such values have no order; exclude these rows with --where or in the query. Nothing was \
             loaded, and the mark stays",
            self.wanted.cursor
        );
        Err(self.refused(ErrorKind::InvalidData, message).into())
    }

    /// Refuses a query that leaves out rows at the beginning of its window. Rows of the newest value wait for the next load, whose
    /// window begins with them, and no later one would include them. So the query is asked for a window that begins with a value
    /// that it has.
    pub(super) async fn check_begin(
        &self,
        cursor: &Cursor,
        beyond: Option<(&str, &ArrayRef)>,
        open: &[(&str, ArrayRef)],
        newest: &ArrayRef,
    ) -> Result<(), Failure> {
        /// The newest value may be changed between two questions.
        const ATTEMPTS: usize = 3;
        let (base, column) = (self.base(), &cursor.column);
        let equal =
            format!("SELECT {column} FROM ({base}) AS source WHERE {column} = ${KNOWN} LIMIT 1");
        let mut newest = Arc::clone(newest);
        for _ in 0..ATTEMPTS {
            let probe = (KNOWN, Arc::clone(&newest));
            let mut begun: Vec<_> = open
                .iter()
                .filter(|(name, _)| *name != FROM)
                .cloned()
                .collect();
            begun.extend([(FROM, Arc::clone(&newest)), probe.clone()]);
            if self.has_rows(&equal, &begun).await? {
                return Ok(());
            }
            if self.has_rows(&equal, &[open, &[probe]].concat()).await? {
                return Err(Failure::usage(format!(
                    "the query leaves out rows at the beginning of its window, which no later load would read: include rows equal to $cursor \
                     ({column} >= ${FROM})"
                )));
            }
            match self.newest_after(cursor, beyond, open).await? {
                Some(found) => newest = found,
                None => return Ok(()),
            }
        }
        Ok(())
    }

    async fn has_rows(&self, sql: &str, bound: &[(&str, ArrayRef)]) -> Result<bool, Failure> {
        let (_, found) = self.ask(sql, &self.bound(sql, bound)).await?;
        Ok(!found.is_empty())
    }

    /// Refuses a query that leaves out rows at the end of its window, because no later window would include them.
    pub(super) async fn check_end(
        &self,
        cursor: &Cursor,
        below: &str,
        open: &[(&str, ArrayRef)],
        window: &[(&str, ArrayRef)],
    ) -> Result<(), Failure> {
        const END: &str = "cursor_last";
        let (base, column, newest) = (self.base(), &cursor.column, cursor.newest());
        let last = format!("SELECT {newest} FROM ({base}) AS source WHERE {column} {below} ${END}");
        let ends = window.iter().filter(|(name, _)| *name == TO);
        let ends: Vec<_> = ends.map(|(_, end)| (END, Arc::clone(end))).collect();
        let Some(wanted) = self.newest(&last, &[open, &ends].concat()).await? else {
            return Ok(());
        };
        let found = self.newest(&last, &[window, &ends].concat()).await?;
        // Rows may have come meanwhile.
        let is_there = match &found {
            None => false,
            Some(found) => {
                let (found, wanted) = (
                    value(&text(found)?, &cursor.kind)?,
                    value(&text(&wanted)?, &cursor.kind)?,
                );
                let less = arrow_ord::cmp::lt(&found, &wanted);
                let less = less.map_err(|error| Failure::failed(error.to_string()))?;
                !less.value(0)
            }
        };
        match is_there {
            true => Ok(()),
            false => Err(Failure::usage(format!(
                "the query leaves out rows at the end of its window, which no later load would read: include all rows below $cursor_end ({column} {below} ${TO})"
            ))),
        }
    }
}
