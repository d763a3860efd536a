//! Which columns of a file a query passes on as they are: only those can be read with the types of a load's target, because nothing
//! in the query depends on their types.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use arrow_schema::{DataType, SchemaRef};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr, GroupByExpr, Ident, OrderByKind, Query, Select, SelectItem, SetExpr,
    Statement as SqlStatement, TableFactor, WildcardAdditionalOptions, visit_expressions,
};

/// The target's types by the columns of the one table that the statement reads, if it hands them on as they are.
pub(crate) fn types(statement: &Statement, target: &SchemaRef) -> BTreeMap<String, DataType> {
    offered(statement, target).unwrap_or_default()
}

/// Whether the statement returns every row and column of one table, as they are.
pub(crate) fn is_whole(statement: &Statement) -> bool {
    let Statement::Statement(statement) = statement else {
        return false;
    };
    let SqlStatement::Query(query) = statement.as_ref() else {
        return false;
    };
    let all = |select: &Select| {
        let [SelectItem::Wildcard(options)] = select.projection.as_slice() else {
            return false;
        };
        is_plain(options) && select.selection.is_none() && select.top.is_none()
    };
    query.limit_clause.is_none() && query.fetch.is_none() && plain_select(query).is_some_and(all)
}

fn offered(statement: &Statement, target: &SchemaRef) -> Option<BTreeMap<String, DataType>> {
    let Statement::Statement(statement) = statement else {
        return None;
    };
    let SqlStatement::Query(query) = statement.as_ref() else {
        return None;
    };
    let select = plain_select(query)?;
    let touched = touched(query, select)?;
    let mut outputs: Vec<(String, String)> = Vec::new();
    for item in &select.projection {
        match item {
            SelectItem::Wildcard(options) if is_plain(options) => {
                let names = target.fields().iter().map(|field| field.name());
                outputs.extend(names.map(|name| (name.clone(), name.clone())));
            }
            SelectItem::UnnamedExpr(value) => {
                if let Some(name) = column(value) {
                    outputs.push((name.clone(), name));
                }
            }
            SelectItem::ExprWithAlias { expr, alias } => {
                if let Some(name) = column(expr) {
                    outputs.push((name, normal(alias)));
                }
            }
            _ => return None,
        }
    }
    // A column that is computed with is read as it is found.
    let computed: BTreeSet<String> = select.projection.iter().flat_map(computed).collect();
    let mut types: BTreeMap<String, Option<DataType>> = BTreeMap::new();
    for (source, output) in outputs {
        let Ok(field) = target.field_with_name(&output) else {
            continue;
        };
        if touched.contains(&source) || touched.contains(&output) || computed.contains(&source) {
            continue;
        }
        let wanted = field.data_type();
        types
            .entry(source)
            .and_modify(|known| {
                if known.as_ref() != Some(wanted) {
                    *known = None;
                }
            })
            .or_insert_with(|| Some(wanted.clone()));
    }
    let types = types.into_iter();
    Some(
        types
            .filter_map(|(name, kind)| Some((name, kind?)))
            .collect(),
    )
}

/// A query of one table, whose rows do not depend on the types of columns but in its WHERE and ORDER BY.
fn plain_select(query: &Query) -> Option<&Select> {
    let SetExpr::Select(select) = query.body.as_ref() else {
        return None;
    };
    let no_groups = matches!(
        &select.group_by,
        GroupByExpr::Expressions(by, modifiers) if by.is_empty() && modifiers.is_empty()
    );
    let [from] = select.from.as_slice() else {
        return None;
    };
    let is_table = matches!(&from.relation, TableFactor::Table { args: None, alias, .. }
        if alias.as_ref().is_none_or(|alias| alias.columns.is_empty()));
    let plain = query.with.is_none()
        && query.pipe_operators.is_empty()
        && select.distinct.is_none()
        && select.having.is_none()
        && select.qualify.is_none()
        && select.prewhere.is_none()
        && select.exclude.is_none()
        && select.lateral_views.is_empty()
        && select.connect_by.is_empty()
        && select.sort_by.is_empty()
        && from.joins.is_empty()
        && no_groups
        && is_table;
    plain.then_some(select)
}

fn is_plain(options: &WildcardAdditionalOptions) -> bool {
    options.opt_ilike.is_none()
        && options.opt_exclude.is_none()
        && options.opt_except.is_none()
        && options.opt_replace.is_none()
        && options.opt_rename.is_none()
}

/// As the engine reads names: those without quotes are lower case.
fn normal(name: &Ident) -> String {
    match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_lowercase(),
    }
}

fn column(value: &Expr) -> Option<String> {
    match value {
        Expr::Identifier(name) => Some(normal(name)),
        Expr::CompoundIdentifier(parts) => parts.last().map(normal),
        _ => None,
    }
}

/// The columns within an item that is more than a column.
fn computed(item: &SelectItem) -> Vec<String> {
    let (SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. }) = item
    else {
        return Vec::new();
    };
    if column(value).is_some() {
        return Vec::new();
    }
    names(value).unwrap_or_default()
}

/// The columns that an expression names; `None` if it asks other tables.
fn names(value: &Expr) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let walked = visit_expressions(value, |part| {
        if matches!(
            part,
            Expr::Subquery(_) | Expr::InSubquery { .. } | Expr::Exists { .. }
        ) {
            return ControlFlow::Break(());
        }
        names.extend(column(part));
        ControlFlow::Continue(())
    });
    walked.is_continue().then_some(names)
}

/// The columns that rows are chosen or ordered by; `None` if that is not known.
fn touched(query: &Query, select: &Select) -> Option<BTreeSet<String>> {
    let mut touched = BTreeSet::new();
    if let Some(condition) = &select.selection {
        touched.extend(names(condition)?);
    }
    if let Some(order) = &query.order_by {
        let OrderByKind::Expressions(by) = &order.kind else {
            return None;
        };
        for by in by {
            // A number is the place of a column.
            touched.insert(column(&by.expr)?);
        }
    }
    let subqueries = select.projection.iter().any(|item| match item {
        SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. } => {
            names(value).is_none()
        }
        _ => false,
    });
    (!subqueries).then_some(touched)
}
