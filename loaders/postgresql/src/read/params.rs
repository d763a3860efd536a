//! Parameters of a query: bound as the server takes them, by the same rules as loads.

use std::sync::Arc;

use arrow_schema::Field;
use arrowload_core::{Error, ErrorKind, Param, Params, Result};
use bytes::BytesMut;
use tokio_postgres::Client;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use super::sql::{Kind, Sql};
use crate::PostgresqlOptions;
use crate::catalog;
use crate::encode::bind_one;
use crate::matrix::{for_existing_column, for_new_column};
use crate::types::PgType;

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidOption, message)
}

/// A value, and its name in the query, with the `$`.
#[derive(Debug, Clone)]
pub(super) struct Value {
    name: String,
    param: Param,
}

/// The statement with numbers for names, and the values in their order.
pub(super) fn numbered(sql: &Sql<'_>, params: &Params) -> Result<(String, Vec<Value>)> {
    match params {
        Params::None => Ok((sql.text.to_owned(), Vec::new())),
        Params::Positional(values) => {
            let value = |(index, param): (usize, &Param)| Value {
                name: format!("${}", index + 1),
                param: param.clone(),
            };
            Ok((
                sql.text.to_owned(),
                values.iter().enumerate().map(value).collect(),
            ))
        }
        Params::Named(values) => {
            let (mut text, mut at, mut used) = (String::new(), 0, vec![false; values.len()]);
            for token in sql.tokens.iter().filter(|token| token.kind == Kind::Param) {
                let name = &sql.token(token)[1..];
                let Some(index) = values.iter().position(|(known, _)| known == name) else {
                    return Err(invalid(format!(
                        "the query has the parameter ${name}, and no value is given for it"
                    )));
                };
                used[index] = true;
                text.push_str(&sql.text[at..=token.at.start]);
                text.push_str(&(index + 1).to_string());
                at = token.at.end;
            }
            text.push_str(&sql.text[at..]);
            if let Some(unused) = used.iter().position(|used| !used) {
                return Err(unknown(&format!("${}", values[unused].0)));
            }
            Ok((
                text,
                values
                    .iter()
                    .map(|(name, param)| Value {
                        name: format!("${name}"),
                        param: param.clone(),
                    })
                    .collect(),
            ))
        }
        other => Err(invalid(format!(
            "these parameters are not known: {other:?}"
        ))),
    }
}

fn unknown(name: &str) -> Error {
    invalid(format!(
        "a value is given for {name}, and the query has no such parameter"
    ))
}

/// Refuses values for parameters that the query does not have, and parameters without a value.
pub(super) fn check_count(types: &[Type], values: &[Value]) -> Result<()> {
    if let Some(more) = values.get(types.len()) {
        return Err(unknown(&more.name));
    }
    if values.len() < types.len() {
        return Err(invalid(format!(
            "the query has the parameter ${}, and no value is given for it",
            values.len() + 1
        )));
    }
    Ok(())
}

/// A value in the binary form of its parameter's type; `None` for null.
#[derive(Debug)]
pub(super) struct Bound(Option<Vec<u8>>);

impl ToSql for Bound {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> std::result::Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match &self.0 {
            Some(bytes) => {
                out.extend_from_slice(bytes);
                Ok(IsNull::No)
            }
            None => Ok(IsNull::Yes),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// Encodes each value as the type that the server has found for its parameter.
pub(super) async fn bound(client: &Client, types: &[Type], values: &[Value]) -> Result<Vec<Bound>> {
    check_count(types, values)?;
    let mut all = Vec::with_capacity(values.len());
    for (pg, Value { name, param }) in types.iter().zip(values) {
        let kind = catalog::kind(client, pg.oid()).await?;
        let pg = PgType {
            oid: pg.oid(),
            name: pg.name().to_owned(),
            kind,
        };
        let field = Field::new(name, param.data_type().clone(), true);
        let explain = |why: &str| {
            let own = for_new_column(&field, &PostgresqlOptions::default()).map(|new| new.pg.name);
            let hint = own
                .map(|own| format!("; a cast in the query names the type: {name}::{own}"))
                .unwrap_or_default();
            invalid(format!("the parameter {name}: {why}{hint}")).with("parameter", name)
        };
        let (conversion, _) = for_existing_column(&field, &pg, &PostgresqlOptions::default())
            .map_err(|why| explain(&why))?;
        let bytes =
            bind_one(&Arc::clone(param.array()), &conversion)?.map_err(|why| explain(&why))?;
        all.push(Bound(bytes));
    }
    Ok(all)
}
