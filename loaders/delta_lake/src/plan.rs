//! What a load would do, in the words of plans: types, statements, guarantees.

use std::num::NonZero;
use std::thread::available_parallelism;

use arrow_schema::FieldRef;
use arrowload_core::{LoadRequest, Mode, Plan, Result, TargetColumn, TargetColumns, TypeSupport};

use crate::options::DeltaLakeOptions;
use crate::resolve::Found;
use crate::schema::to_arrow;
use crate::table::Table;
use crate::target::Target;
use crate::types::{is_cut, name, support};

/// The plan of a load into a table as it was found, of one into a table that would be made for it.
pub(crate) fn planned(
    mut plan: Plan,
    request: &LoadRequest<DeltaLakeOptions>,
    found: &Found,
) -> Plan {
    let nanoseconds = request.options.nanoseconds;
    plan.guarantees.checksum = !request.options.mixes_rows(request.load.mode);
    plan.guarantees.parallelism = request
        .load
        .parallelism
        .unwrap_or_else(|| available_parallelism().map_or(1, NonZero::get));
    match found {
        Found::Fits(target) => fill(&mut plan, request, target),
        Found::Unsupported { exists, columns } => {
            plan.target_exists = *exists;
            for (column, data_type) in plan.columns.iter_mut().zip(columns) {
                column.support = support(data_type, nanoseconds);
            }
        }
    }
    plan
}

fn fill(plan: &mut Plan, request: &LoadRequest<DeltaLakeOptions>, target: &Target) {
    plan.target_exists = target.table.is_some();
    let root = target.place.log_store.root_url();
    plan.resources = vec![
        root.to_string(),
        format!("{root}arrowload-leases/, while the load runs"),
    ];
    plan.ddl = ddl(request, target);
    if plan.target_exists {
        plan.schema_changes.clone_from(&plan.ddl);
    }
    let fields = target.mapping.schema.fields().iter();
    for (field, source) in fields.zip(&target.mapping.sources) {
        let Some(index) = *source else { continue };
        let (column, load) = (&mut plan.columns[index], request.schema.field(index));
        column.target_type = name(field.data_type());
        column.support = match field.data_type().equals_datatype(load.data_type()) {
            true => TypeSupport::Exact,
            false => TypeSupport::Widened(column.target_type.clone().into()),
        };
        let is_cut = is_cut(load.data_type(), request.options.nanoseconds);
        column.unproved = is_cut.then(|| "its times are cut to microseconds".into());
    }
}

/// What the commit does to the table's columns, as Spark would say it.
fn ddl(request: &LoadRequest<DeltaLakeOptions>, target: &Target) -> Vec<String> {
    if target.metadata.is_none() {
        return Vec::new();
    }
    let quoted = |name: &str| format!("`{}`", name.replace('`', "``"));
    let column = |field: &FieldRef| {
        let not_null = if field.is_nullable() { "" } else { " NOT NULL" };
        format!(
            "{} {}{not_null}",
            quoted(field.name()),
            name(field.data_type())
        )
    };
    let list = |fields: &[FieldRef]| fields.iter().map(column).collect::<Vec<_>>().join(", ");
    let table = format!("delta.{}", quoted(&request.target));
    let all = list(target.mapping.schema.fields());
    let replaces = request.load.mode == Mode::Overwrite && request.load.schema_evolution;
    vec![if target.table.is_none() {
        let by: Vec<String> = target
            .partition_by
            .iter()
            .map(|name| quoted(name))
            .collect();
        let by = match by.is_empty() {
            true => String::new(),
            false => format!(" PARTITIONED BY ({})", by.join(", ")),
        };
        format!("CREATE TABLE {table} ({all}) USING DELTA{by}")
    } else if replaces {
        format!("ALTER TABLE {table} REPLACE COLUMNS ({all})")
    } else {
        format!(
            "ALTER TABLE {table} ADD COLUMNS ({})",
            list(&target.mapping.added)
        )
    }]
}

/// The columns of a table.
pub(crate) fn described(table: &Table) -> Result<TargetColumns> {
    let schema = to_arrow(&table.schema())?;
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
        schema.fields().iter().map(column).collect(),
    ))
}
