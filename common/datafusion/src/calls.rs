//! Calls of table functions, `FROM read_csv('x.csv', delim => ';')`: each becomes the name of a table, so that it is opened as
//! tables are. The engine's own table functions take no named values, and cannot wait for a file.

use std::ops::ControlFlow;

use arrowload_core::{Error, ErrorKind, Result};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    DictionaryField, Expr, FunctionArg, FunctionArgExpr, Ident, ObjectName, TableAlias,
    TableFactor, UnaryOperator, Value as Literal, VisitMut, VisitorMut,
};
use serde_json::{Map, Number, Value};

use crate::tables::Tables;

/// A call of a table function.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The function.
    pub function: String,
    /// The values without a name.
    pub values: Vec<Value>,
    /// The values with a name: `name => value`.
    pub named: Map<String, Value>,
}

/// Replaces the calls of these tables' functions in a statement.
pub(crate) fn replace(statement: &mut Statement, tables: &dyn Tables) -> Result<()> {
    let mut replacer = Replacer {
        tables,
        functions: tables.functions(),
        aliases: Vec::new(),
    };
    let walked = match statement {
        Statement::Statement(statement) => statement.visit(&mut replacer),
        Statement::Explain(explain) => return replace(&mut explain.statement, tables),
        _ => return Ok(()),
    };
    match walked {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Replacer<'a> {
    tables: &'a dyn Tables,
    functions: &'static [&'static str],
    aliases: Vec<String>,
}

impl Replacer<'_> {
    fn replace(&mut self, factor: &mut TableFactor) -> Result<()> {
        let TableFactor::Table {
            name, alias, args, ..
        } = factor
        else {
            return Ok(());
        };
        let Some(given) = args.as_ref() else {
            return Ok(());
        };
        let word = name.to_string().to_ascii_lowercase();
        let Some(function) = self.functions.iter().find(|known| **known == word) else {
            return Ok(());
        };
        let call = call(function, &given.args)?;
        let table = self.tables.call(call)?;
        *name = ObjectName::from(vec![Ident::with_quote('"', table)]);
        *args = None;
        if alias.is_none() {
            let count = self.aliases.iter().filter(|known| **known == word).count();
            let unique = match count {
                0 => word.clone(),
                count => format!("{word}_{}", count + 1),
            };
            self.aliases.push(word);
            *alias = Some(TableAlias {
                explicit: true,
                name: Ident::with_quote('"', unique),
                columns: Vec::new(),
            });
        }
        Ok(())
    }
}

impl VisitorMut for Replacer<'_> {
    type Break = Error;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        match self.replace(factor) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

fn call(function: &str, arguments: &[FunctionArg]) -> Result<Call> {
    let mut call = Call {
        function: function.to_owned(),
        values: Vec::new(),
        named: Map::new(),
    };
    for argument in arguments {
        match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::BinaryOp { left, op, right }))
                if op.to_string() == "=" =>
            {
                // As DuckDB writes it: `delim = ';'`.
                let Expr::Identifier(name) = left.as_ref() else {
                    return Err(no_literal(function, left));
                };
                named(&mut call, &name.value, right)?;
            }
            FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => {
                let value = literal(function, value)?;
                call.values.push(value);
            }
            FunctionArg::Named {
                name,
                arg: FunctionArgExpr::Expr(value),
                ..
            } => named(&mut call, &name.value, value)?,
            other => {
                let message = format!("{function} does not take `{other}`");
                return Err(Error::new(ErrorKind::InvalidOption, message));
            }
        }
    }
    Ok(call)
}

fn named(call: &mut Call, name: &str, value: &Expr) -> Result<()> {
    let value = literal(&call.function, value)?;
    let name = name.to_ascii_lowercase();
    if call.named.insert(name.clone(), value).is_some() {
        let message = format!("{}: `{name}` is given twice", call.function);
        return Err(Error::new(ErrorKind::InvalidOption, message).with("key", name));
    }
    Ok(())
}

fn no_literal(function: &str, value: &Expr) -> Error {
    let message = format!(
        "{function} takes values that are written out (text, numbers, true, false, lists and `{{…}}`), not `{value}`"
    );
    Error::new(ErrorKind::InvalidOption, message)
}

/// A value that is written out in SQL, as JSON.
fn literal(function: &str, expression: &Expr) -> Result<Value> {
    let refused = || no_literal(function, expression);
    Ok(match expression {
        Expr::Value(value) => match &value.value {
            Literal::Number(digits, _) => number(&digits.to_string()).ok_or_else(refused)?,
            Literal::Boolean(value) => Value::Bool(*value),
            Literal::Null => Value::Null,
            other => Value::String(other.clone().into_string().ok_or_else(refused)?),
        },
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } => match literal(function, expr)? {
            Value::Number(value) => number(&format!("-{value}")).ok_or_else(refused)?,
            _ => return Err(refused()),
        },
        Expr::Array(array) => {
            let items = array.elem.iter().map(|item| literal(function, item));
            Value::Array(items.collect::<Result<_>>()?)
        }
        Expr::Dictionary(fields) => {
            let entry = |field: &DictionaryField| {
                Ok((field.key.value.clone(), literal(function, &field.value)?))
            };
            Value::Object(fields.iter().map(entry).collect::<Result<_>>()?)
        }
        Expr::Nested(inner) => literal(function, inner)?,
        _ => return Err(refused()),
    })
}

fn number(digits: &str) -> Option<Value> {
    let whole = digits.parse::<i64>().map(Number::from).ok();
    let number = whole.or_else(|| Number::from_f64(digits.parse().ok()?))?;
    Some(Value::Number(number))
}
