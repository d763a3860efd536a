//! Bound parameters as the engine's scalars.

use arrowload_core::{Error, ErrorKind, Param, Params, Result};
use datafusion::common::ParamValues;
use datafusion::logical_expr::LogicalPlan;
use datafusion::scalar::ScalarValue;

use crate::error::from_datafusion;

/// Refuses values for parameters that the query does not have.
pub(crate) fn check_used(plan: &LogicalPlan, params: &Params) -> Result<()> {
    let given: Vec<String> = match params {
        Params::Positional(values) => (1..=values.len())
            .map(|number| format!("${number}"))
            .collect(),
        Params::Named(values) => values.iter().map(|(name, _)| format!("${name}")).collect(),
        _ => return Ok(()),
    };
    let known = plan.get_parameter_names().map_err(from_datafusion)?;
    match given.iter().find(|name| !known.contains(*name)) {
        Some(unused) => {
            let message =
                format!("a value is given for {unused}, and the query has no such parameter");
            Err(Error::new(ErrorKind::InvalidOption, message))
        }
        None => Ok(()),
    }
}

/// The engine's form of a query's parameters; `None` if it has none.
pub(crate) fn values(params: &Params) -> Result<Option<ParamValues>> {
    let scalar =
        |param: &Param| ScalarValue::try_from_array(param.array(), 0).map_err(from_datafusion);
    Ok(match params {
        Params::Positional(values) if !values.is_empty() => Some(ParamValues::from(
            values.iter().map(scalar).collect::<Result<Vec<_>>>()?,
        )),
        Params::Named(values) if !values.is_empty() => {
            let named = values
                .iter()
                .map(|(name, param)| Ok((name.clone(), scalar(param)?)));
            Some(ParamValues::from(
                named.collect::<Result<Vec<(String, ScalarValue)>>>()?,
            ))
        }
        _ => None,
    })
}
