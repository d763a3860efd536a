//! Bound parameters as the engine's scalars.

use std::collections::HashSet;

use arrowload_core::{Error, ErrorKind, Param, Params, Result};
use datafusion::common::ParamValues;
use datafusion::logical_expr::LogicalPlan;
use datafusion::scalar::ScalarValue;

use crate::error::from_datafusion;

/// Binds the values to the parameters of a query. Each value needs its parameter, and each parameter its value.
pub(crate) fn bind(plan: LogicalPlan, params: &Params) -> Result<LogicalPlan> {
    let given: Vec<String> = match params {
        Params::Positional(values) => (1..=values.len())
            .map(|number| format!("${number}"))
            .collect(),
        Params::Named(values) => values.iter().map(|(name, _)| format!("${name}")).collect(),
        _ => Vec::new(),
    };
    let known: HashSet<String> = plan.get_parameter_names().map_err(from_datafusion)?;
    let wrong = |message: String| Err(Error::new(ErrorKind::InvalidOption, message));
    if let Some(unused) = given.iter().find(|name| !known.contains(*name)) {
        return wrong(format!(
            "a value is given for {unused}, and the query has no such parameter"
        ));
    }
    if let Some(unset) = known.iter().filter(|name| !given.contains(name)).min() {
        return wrong(format!(
            "the query has the parameter {unset}, and no value is given for it"
        ));
    }
    match values(params)? {
        Some(values) => plan.with_param_values(values).map_err(from_datafusion),
        None => Ok(plan),
    }
}

fn values(params: &Params) -> Result<Option<ParamValues>> {
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
