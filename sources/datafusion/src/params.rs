//! Bound parameters as the engine's scalars.

use arrowload_core::{Param, Params, Result};
use datafusion::common::ParamValues;
use datafusion::scalar::ScalarValue;

use crate::error::from_datafusion;

/// The engine's form of a query's parameters; `None` if it has none.
pub(crate) fn values(params: &Params) -> Result<Option<ParamValues>> {
    let scalar = |param: &Param| ScalarValue::try_from_array(param.array(), 0).map_err(from_datafusion);
    Ok(match params {
        Params::Positional(values) if !values.is_empty() => Some(ParamValues::from(values.iter().map(scalar).collect::<Result<Vec<_>>>()?)),
        Params::Named(values) if !values.is_empty() => {
            let named = values.iter().map(|(name, param)| Ok((name.clone(), scalar(param)?)));
            Some(ParamValues::from(named.collect::<Result<Vec<(String, ScalarValue)>>>()?))
        }
        _ => None,
    })
}
