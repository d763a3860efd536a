//! What a load would do, in the words of plans: types, statements, guarantees.

use std::num::NonZero;
use std::thread::available_parallelism;

use arrow_schema::FieldRef;
use arrowload_core::{LoadRequest, Mode, Plan, Result, TargetColumn, TargetColumns, TypeSupport};

use crate::options::IcebergOptions;
use crate::resolve::Found;
use crate::table::Table;
use crate::target::Target;
use crate::types::{is_cut, name, support};

/// The plan of a load into a table as it was found, or of one into a table that would be made for it.
pub(crate) fn planned(
    mut plan: Plan,
    request: &LoadRequest<IcebergOptions>,
    found: &Found,
) -> Plan {
    plan.guarantees.checksum = !request.options.mixes_rows(request.load.mode);
    plan.guarantees.parallelism = request
        .load
        .parallelism
        .unwrap_or_else(|| available_parallelism().map_or(1, NonZero::get));
    match found {
        Found::Fits(target) => fill(&mut plan, request, target),
        Found::Unsupported {
            exists,
            columns,
            form,
        } => {
            plan.target_exists = *exists;
            for (column, data_type) in plan.columns.iter_mut().zip(columns) {
                column.support = support(data_type, *form);
            }
        }
    }
    plan
}

fn fill(plan: &mut Plan, request: &LoadRequest<IcebergOptions>, target: &Target) {
    plan.target_exists = target.table.is_some();
    plan.resources.extend(target.data_location());
    plan.ddl = ddl(request, target);
    if plan.target_exists {
        plan.schema_changes.clone_from(&plan.ddl);
    }
    let fields = target.columns.fields().iter();
    for (field, source) in fields.zip(&target.sources) {
        let Some(index) = *source else { continue };
        let (column, load) = (&mut plan.columns[index], request.schema.field(index));
        column.target_type = name(field.data_type());
        column.support = match support(load.data_type(), target.form) {
            TypeSupport::Exact if field.data_type().equals_datatype(load.data_type()) => {
                TypeSupport::Exact
            }
            TypeSupport::Exact if target.table.is_none() => TypeSupport::Exact,
            _ => TypeSupport::Widened(column.target_type.clone().into()),
        };
        let is_cut = is_cut(load.data_type(), target.form);
        column.unproved = is_cut.then(|| "its times are cut to microseconds".into());
    }
}

/// What the commit does to the table's columns, as Spark would say it.
fn ddl(request: &LoadRequest<IcebergOptions>, target: &Target) -> Vec<String> {
    let quoted = |name: &str| format!("`{}`", name.replace('`', "``"));
    let column = |field: &FieldRef| {
        let not_null = if field.is_nullable() { "" } else { " NOT NULL" };
        let kind = name(field.data_type());
        format!("{} {kind}{not_null}", quoted(field.name()))
    };
    let list = |fields: &[FieldRef]| fields.iter().map(column).collect::<Vec<_>>().join(", ");
    let parts = target.ident.namespace().iter().chain([&target.ident.name]);
    let table = parts.map(|part| quoted(part)).collect::<Vec<_>>().join(".");
    let all = target.columns.fields();
    let Some(old) = &target.table else {
        let by = match request.options.partition_by.as_slice() {
            [] => String::new(),
            by => format!(" PARTITIONED BY ({})", by.join(", ")),
        };
        return vec![format!(
            "CREATE TABLE {table} ({}) USING iceberg{by}",
            list(all)
        )];
    };
    if target.new_schema.is_none() {
        return Vec::new();
    }
    if request.load.mode == Mode::Overwrite {
        return vec![format!(
            "ALTER TABLE {table} REPLACE COLUMNS ({})",
            list(all)
        )];
    }
    let known = old.columns().map(|columns| columns.fields().clone());
    let known = known.unwrap_or_default();
    let mut statements = Vec::new();
    for (field, before) in all.iter().zip(known.iter()) {
        if field.data_type() != before.data_type() {
            let (column, kind) = (quoted(field.name()), name(field.data_type()));
            statements.push(format!(
                "ALTER TABLE {table} ALTER COLUMN {column} TYPE {kind}"
            ));
        }
    }
    if all.len() > known.len() {
        let added = list(&all[known.len()..]);
        statements.push(format!("ALTER TABLE {table} ADD COLUMNS ({added})"));
    }
    statements
}

/// The columns of a table.
pub(crate) fn described(table: &Table) -> Result<TargetColumns> {
    let columns = table.columns()?;
    let column = |field: &FieldRef| {
        let data_type = field.data_type();
        TargetColumn::new(
            field.name(),
            name(data_type),
            Some(data_type.clone()),
            field.is_nullable(),
        )
    };
    Ok(TargetColumns::new(
        columns.fields().iter().map(column).collect(),
    ))
}
