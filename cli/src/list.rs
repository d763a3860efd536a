//! `arrowload list`.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Schema, SchemaRef};
use arrowload::{BatchStream, Client, Connections, Listed, Listing, Registry};
use futures::StreamExt;

use crate::args::{Common, Kind, ListArgs};
use crate::exit::{Exit, Failure};
use crate::input;
use crate::output::Output;

pub(crate) async fn command(args: ListArgs, common: &Common) -> Result<Exit, Failure> {
    let mut listing = Listing::new(match args.what {
        Kind::Catalogs => Listed::Catalogs,
        Kind::Schemas => Listed::Schemas,
        Kind::Tables => Listed::Tables,
        Kind::Columns => Listed::Columns,
        Kind::TableTypes => Listed::TableTypes,
        Kind::Types => Listed::Types,
        Kind::Info => Listed::Info,
    });
    let narrows =
        |flag: &str, given: bool, kinds: &[Kind]| match given && !kinds.contains(&args.what) {
            true => Err(Failure::usage(format!(
                "{flag} does not narrow a list of {}",
                listing.what
            ))),
            false => Ok(()),
        };
    narrows(
        "--catalog",
        args.catalog.is_some(),
        &[Kind::Schemas, Kind::Tables, Kind::Columns],
    )?;
    narrows(
        "--schema",
        args.schema.is_some(),
        &[Kind::Schemas, Kind::Tables, Kind::Columns],
    )?;
    narrows(
        "--name",
        args.name.is_some(),
        &[Kind::Tables, Kind::Columns],
    )?;
    (listing.catalog, listing.schema, listing.name) = (args.catalog, args.schema, args.name);
    let (registry, connections) = (Registry::linked()?, Connections::discover()?);
    let source = input::listed(&args.from, &registry, &connections)?;
    let client = Client::builder()
        .registry(registry)
        .connections(connections)
        .source(source)
        .build()?;
    let output = Output::of(args.format, args.out)?;
    let batches = client.list(listing).await?;
    let schema = shown_schema(batches.schema());
    let shown = {
        let schema = Arc::clone(&schema);
        batches.map(move |batch| Ok(as_shown(&batch?, &schema)?))
    };
    output
        .take(&client, BatchStream::new(schema, shown), args.wide, common)
        .await
}

/// Columns of unions and lists are text, which every format can hold.
fn shown_schema(schema: &SchemaRef) -> SchemaRef {
    let shown = |field: &FieldRef| match field.data_type().is_nested() {
        true => Arc::new(Field::new(field.name(), DataType::Utf8, true)),
        false => Arc::clone(field),
    };
    Arc::new(Schema::new(
        schema.fields().iter().map(shown).collect::<Vec<_>>(),
    ))
}

fn as_shown(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = batch
        .columns()
        .iter()
        .map(|column| -> Result<ArrayRef, ArrowError> {
            if !column.data_type().is_nested() {
                return Ok(Arc::clone(column));
            }
            let formatter = ArrayFormatter::try_new(column, &FormatOptions::default())?;
            let text = (0..column.len()).map(|row| {
                column
                    .is_valid(row)
                    .then(|| formatter.value(row).try_to_string())
                    .transpose()
            });
            Ok(Arc::new(text.collect::<Result<StringArray, _>>()?))
        });
    RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<_, _>>()?)
}
