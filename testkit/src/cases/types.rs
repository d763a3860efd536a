//! A column of one type: it arrives equal, equal as a wider type, or is refused before the first write, as declared.

use arrow_array::{Array, ArrayRef, RecordBatch, new_null_array};
use arrow_schema::{Field, Schema};
use arrow_select::concat::concat;
use arrowload_core::{ErrorKind, TypeSupport, load, plan_load};
use std::sync::Arc;

use crate::TypeCase;
use crate::context::{CaseResult, Context, Verdict, ensure, many};

/// Tries the values, the values among nulls, and nulls alone; `arrived` is what the table of types says.
pub(crate) async fn arrives(
    context: &Context<'_>,
    case: &TypeCase,
    arrived: &mut String,
) -> CaseResult {
    let declared = context
        .subject
        .descriptor()
        .supports_type(case.values.data_type());
    *arrived = declared.to_string();
    let loader = context.connect().await?;
    let (target, batches) = (context.target(), batches(case)?);
    let spec = context.spec(&target);
    let schema = batches[0].schema();
    let plan = plan_load(&loader, &spec, &many(Arc::clone(&schema), Vec::new()))
        .await
        .map_err(|error| format!("no plan: {error:#}"))?;
    let planned = plan
        .columns
        .iter()
        .find(|column| column.name == "value")
        .ok_or("the plan lacks the column")?;
    let loaded = load(&loader, &spec, &many(schema, batches.clone())).await;
    let refuses = matches!(planned.support, TypeSupport::Unsupported(_));
    match (&declared, loaded) {
        (TypeSupport::Exact | TypeSupport::Widened(_), Ok(_)) => {
            ensure!(!refuses, "it loads what its plan refuses");
            context
                .expect(&target, &batches.iter().collect::<Vec<_>>())
                .await?;
            let read = context
                .subject
                .read(&target)
                .await?
                .ok_or("the target is gone")?;
            let column = read
                .column_by_name("value")
                .ok_or("the column did not come back")?;
            if declared == TypeSupport::Exact && column.data_type() != case.values.data_type() {
                // The reader may know fewer types than the loader: the values were compared above.
                tracing::debug!(case = case.name, read = %column.data_type(), "read back as another type");
            }
            Ok(Verdict::Passed)
        }
        (TypeSupport::Exact | TypeSupport::Widened(_), Err(error)) => Err(format!(
            "it is declared as {declared}, and refused: {error:#}"
        )),
        (TypeSupport::Unsupported(_), Ok(_)) => {
            Err(format!("it is declared as {declared}, and taken"))
        }
        (TypeSupport::Unsupported(_), Err(error)) => {
            ensure!(refuses, "the plan does not refuse it: {}", planned.support);
            ensure!(
                error.kind() == ErrorKind::UnsupportedType,
                "it is refused as {:?}: {error:#}",
                error.kind()
            );
            ensure!(
                error.get("column") == Some("value") && error.to_string().contains("value"),
                "the column is not named: {error}"
            );
            ensure!(
                context.rows(&target).await?.is_none(),
                "it was refused, and a target is left behind"
            );
            Ok(Verdict::Passed)
        }
    }
}

fn batches(case: &TypeCase) -> Result<Vec<RecordBatch>, String> {
    let values = &case.values;
    let mut shapes: Vec<ArrayRef> = vec![Arc::clone(values), values.slice(values.len() - 1, 1)];
    // Unions have no nulls of their own.
    if !matches!(values.data_type(), arrow_schema::DataType::Union(..)) {
        let nulls = new_null_array(values.data_type(), 2);
        shapes.push(
            concat(&[values.as_ref(), nulls.as_ref(), values.as_ref()])
                .map_err(|error| format!("the case cannot be made: {error}"))?,
        );
        shapes.push(nulls);
    }
    let mut first = 0;
    let batch = |values: ArrayRef| {
        let ids: ArrayRef = Arc::new(arrow_array::Int64Array::from_iter_values(
            first..first + values.len() as i64,
        ));
        first += values.len() as i64;
        let schema = Schema::new(vec![
            Field::new("id", ids.data_type().clone(), true),
            case.field.clone(),
        ]);
        RecordBatch::try_new(Arc::new(schema), vec![ids, values])
            .map_err(|error| format!("the case cannot be made: {error}"))
    };
    shapes.into_iter().map(batch).collect()
}
