//! Checks the user's privileges before a load, so that it is refused at the beginning, and not by one of its
//! statements.

use arrowload_core::{Error, ErrorKind, LoadRequest, Mode, Result, Verify};

use crate::PostgresqlOptions;
use crate::catalog::{Look, Table};
use crate::ident::quote;
use crate::layout::{Layout, Way};
use crate::ledger::{Ledger, State};

type Request = LoadRequest<PostgresqlOptions>;

/// Refuses a load for which the user lacks a privilege.
pub(crate) fn check(
    look: &Look,
    layout: &Layout,
    request: &Request,
    ledger: &Ledger,
) -> Result<()> {
    let grant = Grant(&look.user);
    match &look.table {
        Some(table) => on_table(&grant, table, layout, request)?,
        None => grant.on_schema(&layout.place.schema, look.may_create)?,
    }
    if layout.way == Way::Staged {
        let database = format!("DATABASE {}", quote(&look.database));
        grant.check(look.may_stage, "TEMPORARY", &database)?;
    }
    match &look.ledger.table {
        Some(table) => {
            let name = ledger.place().sql();
            grant.check(table.privileges.insert, "INSERT", &name)?;
            grant.check(table.privileges.select, "SELECT", &name)?;
            if ledger.state(&look.ledger)? == State::Old && !table.privileges.owner {
                return Err(ledger.explain_migration(&look.user));
            }
            Ok(())
        }
        None => grant
            .on_schema(&ledger.place().schema, look.ledger.may_create)
            .map_err(|error| ledger.explain_creation(error)),
    }
}

fn on_table(grant: &Grant<'_>, table: &Table, layout: &Layout, request: &Request) -> Result<()> {
    let (name, has) = (layout.place.sql(), table.privileges);
    let replaces = request.load.mode == Mode::Overwrite;
    // Rows are counted, or read back.
    let reads = request.load.mode == Mode::Upsert
        || request.load.verify == Verify::Checksum
        || (replaces && table.keeps_rows)
        || ((replaces || layout.way == Way::Staged) && !request.load.limits().is_empty());
    grant.check(has.insert, "INSERT", &name)?;
    grant.check(has.delete || !replaces, "DELETE", &name)?;
    grant.check(
        has.update || request.load.mode != Mode::Upsert,
        "UPDATE",
        &name,
    )?;
    grant.check(has.select || !reads, "SELECT", &name)?;
    // The lock that keeps other writers out asks for more than the right to insert.
    let locks = layout.keeps_writers_out(request);
    grant.check(has.update || has.delete || !locks, "UPDATE", &name)?;
    if layout.changes_table() && !has.owner {
        let message = format!(
            "the load alters {name}, which only its owner may; load as its owner, or GRANT the owner's role to {}",
            quote(grant.0)
        );
        return Err(Error::new(ErrorKind::PermissionDenied, message));
    }
    // COPY does not work under row security, and a DELETE would skip rows that are not shown.
    if table.row_security {
        let message = format!(
            "the row-level security of {name} applies to the user {}, and a load cannot copy under it; load as the table's owner, \
             or ALTER ROLE {} BYPASSRLS",
            grant.0,
            quote(grant.0)
        );
        return Err(Error::new(ErrorKind::PermissionDenied, message));
    }
    Ok(())
}

/// What the user has been granted.
struct Grant<'a>(&'a str);

impl Grant<'_> {
    fn check(&self, has: bool, privilege: &str, what: &str) -> Result<()> {
        if has {
            return Ok(());
        }
        let message = format!(
            "the user {} lacks a privilege: GRANT {privilege} ON {what} TO {}",
            self.0,
            quote(self.0)
        );
        Err(Error::new(ErrorKind::PermissionDenied, message))
    }

    fn on_schema(&self, schema: &str, may_create: Option<bool>) -> Result<()> {
        let schema = format!("SCHEMA {}", quote(schema));
        self.check(may_create == Some(true), "CREATE", &schema)
    }
}
