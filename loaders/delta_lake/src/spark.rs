//! Which SQL expressions of a table give the same result here as in Spark, which wrote them. Others are
//! refused.

use arrow_schema::DataType;
use arrowload_core::arrow_types::is_text;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::{
    Between, BinaryExpr, Case, Cast, InList, Like, ScalarFunction,
};
use datafusion::logical_expr::{Expr, ExprSchemable, Operator, lit};

/// The fields of a date or time that both count alike.
const FIELDS: [&str; 7] = ["year", "quarter", "month", "day", "hour", "minute", "doy"];

const COMPARISONS: [Operator; 8] = [
    Operator::Eq,
    Operator::NotEq,
    Operator::Lt,
    Operator::LtEq,
    Operator::Gt,
    Operator::GtEq,
    Operator::IsDistinctFrom,
    Operator::IsNotDistinctFrom,
];

/// The expression in a form that computes what Spark does, or why there is none.
pub(crate) fn alike(expression: Expr, columns: &DFSchema) -> Result<Expr> {
    check(&expression, columns)?;
    Ok(expression.transform_up(|part| rewrite(part, columns))?.data)
}

fn unlike(what: impl std::fmt::Display) -> DataFusionError {
    DataFusionError::Plan(format!("{what} may mean something else to Spark"))
}

fn check(part: &Expr, columns: &DFSchema) -> Result<()> {
    let of = |part: &Expr| Ok::<_, DataFusionError>(kind(part.get_type(columns)?));
    let same = |left: &Expr, right: &Expr| match comparable(left, &of(left)?, right, &of(right)?) {
        true => Ok(()),
        false => Err(unlike(format!("comparing {left} and {right}"))),
    };
    match part {
        Expr::Column(_) | Expr::Literal(..) => return Ok(()),
        Expr::Alias(_) | Expr::Not(_) | Expr::IsNull(_) | Expr::IsNotNull(_) => {}
        Expr::IsTrue(_) | Expr::IsFalse(_) | Expr::IsNotTrue(_) | Expr::IsNotFalse(_) => {}
        Expr::Negative(inner) if is_integer(&of(inner)?) || is_float(&of(inner)?) => {}
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
            Operator::And | Operator::Or => {}
            op if COMPARISONS.contains(op) => same(left, right)?,
            Operator::Plus | Operator::Minus | Operator::Multiply
                if is_integer(&of(left)?) && is_integer(&of(right)?) => {}
            Operator::Plus | Operator::Minus | Operator::Multiply
                if is_float(&of(left)?) && is_float(&of(right)?) => {}
            Operator::Modulo if is_integer(&of(left)?) && is_integer(&of(right)?) => {}
            Operator::StringConcat
                if of(left)? == DataType::Utf8 && of(right)? == DataType::Utf8 => {}
            _ => return Err(unlike(part)),
        },
        Expr::Between(Between {
            expr, low, high, ..
        }) => {
            same(expr, low)?;
            same(expr, high)?;
        }
        Expr::InList(InList { expr, list, .. }) => {
            list.iter().try_for_each(|item| same(expr, item))?
        }
        Expr::Like(Like {
            expr,
            pattern,
            escape_char: None,
            ..
        }) if of(expr)? == DataType::Utf8
            && text(pattern).is_some_and(|pattern| !pattern.contains('\\')) => {}
        Expr::Case(Case {
            expr,
            when_then_expr,
            else_expr,
        }) => {
            for (when, _) in when_then_expr {
                expr.as_ref().map_or(Ok(()), |expr| same(expr, when))?;
            }
            let results = when_then_expr
                .iter()
                .map(|(_, then)| then.as_ref())
                .chain(else_expr.as_deref());
            let kinds = results.map(of).collect::<Result<Vec<_>>>()?;
            if kinds
                .iter()
                .any(|kind| *kind != kinds[0] && *kind != DataType::Null)
            {
                return Err(unlike(part));
            }
        }
        Expr::Cast(Cast { expr, data_type })
            if casts_alike(expr, &of(expr)?, &kind(data_type.clone())) => {}
        Expr::ScalarFunction(function) => check_function(function, &of)?,
        _ => return Err(unlike(part)),
    }
    let mut outcome = Ok(());
    part.apply_children(|child| {
        outcome = check(child, columns);
        Ok(if outcome.is_ok() {
            datafusion::common::tree_node::TreeNodeRecursion::Continue
        } else {
            datafusion::common::tree_node::TreeNodeRecursion::Stop
        })
    })?;
    outcome
}

fn check_function(
    function: &ScalarFunction,
    of: &impl Fn(&Expr) -> Result<DataType>,
) -> Result<()> {
    let kinds = function.args.iter().map(of).collect::<Result<Vec<_>>>()?;
    let is_alike = match function.name() {
        "lower" | "upper" | "character_length" => kinds == [DataType::Utf8],
        "abs" => kinds.iter().all(|kind| is_integer(kind) || is_float(kind)),
        "concat" => !kinds.is_empty() && kinds.iter().all(|kind| *kind == DataType::Utf8),
        "coalesce" => {
            !kinds.is_empty()
                && kinds
                    .iter()
                    .all(|kind| *kind == kinds[0] || (is_integer(kind) && is_integer(&kinds[0])))
        }
        "date_part" => {
            let field = function
                .args
                .first()
                .and_then(text)
                .map(str::to_ascii_lowercase);
            let is_known = field.is_some_and(|field| FIELDS.contains(&field.as_str()));
            is_known
                && matches!(
                    kinds.get(1),
                    Some(DataType::Date32 | DataType::Timestamp(..))
                )
        }
        _ => false,
    };
    if is_alike {
        Ok(())
    } else {
        Err(unlike(Expr::ScalarFunction(function.clone())))
    }
}

/// One type for each kind of values.
fn kind(data_type: DataType) -> DataType {
    if is_text(&data_type) {
        DataType::Utf8
    } else {
        data_type
    }
}

fn is_integer(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64
    )
}

fn is_float(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Float32 | DataType::Float64)
}

fn is_decimal(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Decimal128(..))
}

fn text(part: &Expr) -> Option<&str> {
    match part {
        Expr::Literal(
            ScalarValue::Utf8(text) | ScalarValue::Utf8View(text) | ScalarValue::LargeUtf8(text),
            _,
        ) => text.as_deref(),
        _ => None,
    }
}

/// Whether a text is read as this date or time by both, whatever zone a session has.
fn is_time(text: &str, data_type: &DataType) -> bool {
    let is_date = |text: &str| {
        text.len() == 10 && chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok()
    };
    match data_type {
        DataType::Date32 => is_date(text),
        DataType::Timestamp(_, None) => {
            is_date(text)
                || chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").is_ok()
        }
        DataType::Timestamp(_, Some(_)) => chrono::DateTime::parse_from_rfc3339(text).is_ok(),
        _ => false,
    }
}

fn comparable(left: &Expr, left_type: &DataType, right: &Expr, right_type: &DataType) -> bool {
    let number = |kind: &DataType| is_integer(kind) || is_decimal(kind);
    match (left_type, right_type) {
        (DataType::Null, _) | (_, DataType::Null) => true,
        (one, other) if number(one) && number(other) => true,
        (one, other)
            if (is_float(one) && (is_float(other) || number(other)))
                || (number(one) && is_float(other)) =>
        {
            true
        }
        (DataType::Utf8, kind) if text(left).is_some() => {
            *kind == DataType::Utf8 || text(left).is_some_and(|text| is_time(text, kind))
        }
        (kind, DataType::Utf8) if text(right).is_some() => {
            *kind == DataType::Utf8 || text(right).is_some_and(|text| is_time(text, kind))
        }
        (one, other) => one == other && !one.is_nested(),
    }
}

/// Casts that both do alike. A time with a zone is a date in UTC, as in a session of Spark whose zone is UTC.
fn casts_alike(part: &Expr, from: &DataType, to: &DataType) -> bool {
    let width = |kind: &DataType| kind.primitive_width().unwrap_or(0);
    match (from, to) {
        (from, to) if from == to => true,
        (DataType::Null, _) => true,
        (DataType::Utf8, to) => text(part).is_some_and(|text| is_time(text, to)),
        (from, to) if is_integer(from) && is_integer(to) => width(from) <= width(to),
        (from, DataType::Float64 | DataType::Utf8) => {
            is_integer(from) || (*to == DataType::Utf8 && *from == DataType::Date32)
        }
        (DataType::Timestamp(..), DataType::Date32) => true,
        (DataType::Date32, DataType::Timestamp(arrow_schema::TimeUnit::Microsecond, None)) => true,
        _ => false,
    }
}

fn rewrite(part: Expr, columns: &DFSchema) -> Result<Transformed<Expr>> {
    Ok(match part {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if COMPARISONS.contains(&op) => {
            let (left_type, right_type) = (left.get_type(columns)?, right.get_type(columns)?);
            let left = Box::new(operand(*left, &right_type, columns)?);
            let right = Box::new(operand(*right, &left_type, columns)?);
            Transformed::yes(Expr::BinaryExpr(BinaryExpr { left, op, right }))
        }
        Expr::Between(Between {
            expr,
            negated,
            low,
            high,
        }) => {
            let kind = expr.get_type(columns)?;
            let (low, high) = (
                Box::new(operand(*low, &kind, columns)?),
                Box::new(operand(*high, &kind, columns)?),
            );
            Transformed::yes(Expr::Between(Between {
                expr: Box::new(operand(*expr, &kind, columns)?),
                negated,
                low,
                high,
            }))
        }
        Expr::InList(InList {
            expr,
            list,
            negated,
        }) => {
            let kind = expr.get_type(columns)?;
            let list = list
                .into_iter()
                .map(|item| operand(item, &kind, columns))
                .collect::<Result<_>>()?;
            Transformed::yes(Expr::InList(InList {
                expr: Box::new(operand(*expr, &kind, columns)?),
                list,
                negated,
            }))
        }
        Expr::ScalarFunction(ScalarFunction { func, args }) if func.name() == "concat" => {
            // Of a null and a text Spark makes null.
            let joined = args.into_iter().reduce(|left, right| {
                Expr::BinaryExpr(BinaryExpr {
                    left: Box::new(left),
                    op: Operator::StringConcat,
                    right: Box::new(right),
                })
            });
            Transformed::yes(joined.unwrap_or_else(|| lit("")))
        }
        Expr::ScalarFunction(ScalarFunction { func, mut args }) if func.name() == "coalesce" => {
            let last = args.pop().map(Box::new);
            let when = args
                .into_iter()
                .map(|value| (Box::new(value.clone().is_not_null()), Box::new(value)))
                .collect::<Vec<_>>();
            match (when.is_empty(), last) {
                (true, Some(only)) => Transformed::yes(*only),
                (_, last) => Transformed::yes(Expr::Case(Case {
                    expr: None,
                    when_then_expr: when,
                    else_expr: last,
                })),
            }
        }
        other => Transformed::no(other),
    })
}

/// What is compared: zeros have no sign, and texts are times of the other side's kind.
fn operand(part: Expr, other: &DataType, columns: &DFSchema) -> Result<Expr> {
    let kind = part.get_type(columns)?;
    if text(&part).is_some() && matches!(other, DataType::Date32 | DataType::Timestamp(..)) {
        return Ok(Expr::Cast(Cast {
            expr: Box::new(part),
            data_type: other.clone(),
        }));
    }
    let wide = |part: Expr| {
        Expr::Cast(Cast {
            expr: Box::new(part),
            data_type: DataType::Float64,
        })
    };
    Ok(match kind {
        DataType::Float64 => part + lit(0.0_f64),
        DataType::Float32 => wide(part) + lit(0.0_f64),
        // The engine would make a decimal of both, which has no NaN.
        kind if is_float(other) && (is_integer(&kind) || is_decimal(&kind)) => wide(part),
        _ => part,
    })
}
