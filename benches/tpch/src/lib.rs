//! TPC-H tables as Arrow batches: the data of the benches and of the large tests.
//!
//! The rows come from the [`tpchgen`] crate, so they are the same on every machine and in every run.

use std::sync::{Arc, LazyLock};

use arrow_array::builder::{
    Date32Builder, Decimal128Builder, Int32Builder, Int64Builder, StringBuilder,
};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use tpchgen::generators::{
    LineItem, LineItemGenerator, LineItemGeneratorIterator, Order, OrderGenerator,
    OrderGeneratorIterator,
};

const DECIMAL: DataType = DataType::Decimal128(15, 2);

static LINEITEM: LazyLock<SchemaRef> = LazyLock::new(|| {
    schema(&[
        ("l_orderkey", DataType::Int64),
        ("l_partkey", DataType::Int64),
        ("l_suppkey", DataType::Int64),
        ("l_linenumber", DataType::Int32),
        ("l_quantity", DECIMAL),
        ("l_extendedprice", DECIMAL),
        ("l_discount", DECIMAL),
        ("l_tax", DECIMAL),
        ("l_returnflag", DataType::Utf8),
        ("l_linestatus", DataType::Utf8),
        ("l_shipdate", DataType::Date32),
        ("l_commitdate", DataType::Date32),
        ("l_receiptdate", DataType::Date32),
        ("l_shipinstruct", DataType::Utf8),
        ("l_shipmode", DataType::Utf8),
        ("l_comment", DataType::Utf8),
    ])
});

static ORDERS: LazyLock<SchemaRef> = LazyLock::new(|| {
    schema(&[
        ("o_orderkey", DataType::Int64),
        ("o_custkey", DataType::Int64),
        ("o_orderstatus", DataType::Utf8),
        ("o_totalprice", DECIMAL),
        ("o_orderdate", DataType::Date32),
        ("o_orderpriority", DataType::Utf8),
        ("o_clerk", DataType::Utf8),
        ("o_shippriority", DataType::Int32),
        ("o_comment", DataType::Utf8),
    ])
});

fn schema(columns: &[(&str, DataType)]) -> SchemaRef {
    let field = |(name, data_type): &(&str, DataType)| Field::new(*name, data_type.clone(), false);
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

/// A table as a stream of batches; rows are generated as the iterator is driven.
///
/// Every batch holds `batch_rows` rows, but for the last.
pub struct Table<R> {
    rows: R,
    schema: SchemaRef,
    batch_rows: usize,
    left: usize,
}

/// The rows of `lineitem`, as batches.
pub type LineItems = Table<LineItemGeneratorIterator<'static>>;
/// The rows of `orders`, as batches.
pub type Orders = Table<OrderGeneratorIterator<'static>>;

impl<R> Table<R> {
    fn new(rows: R, schema: &SchemaRef, batch_rows: usize) -> Self {
        Self {
            rows,
            schema: schema.clone(),
            batch_rows: batch_rows.max(1),
            left: usize::MAX,
        }
    }

    /// The columns of every batch; none is nullable.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Stops after `rows` rows.
    #[must_use]
    pub fn limit(mut self, rows: usize) -> Self {
        self.left = rows;
        self
    }
}

impl<R, T> Iterator for Table<R>
where
    R: Iterator<Item = T>,
    T: Row,
{
    type Item = RecordBatch;

    fn next(&mut self) -> Option<RecordBatch> {
        let want = self.batch_rows.min(self.left);
        let columns = T::columns(self.rows.by_ref().take(want), want.min(1 << 20))?;
        self.left -= columns[0].len();
        #[expect(
            clippy::expect_used,
            reason = "the arrays are built from the schema above"
        )]
        let batch =
            RecordBatch::try_new(self.schema.clone(), columns).expect("columns fit the schema");
        Some(batch)
    }
}

/// `lineitem`: about 6,001,000 rows for each unit of `scale_factor`.
pub fn lineitem(scale_factor: f64, batch_rows: usize) -> LineItems {
    Table::new(
        LineItemGenerator::new(scale_factor, 1, 1).iter(),
        &LINEITEM,
        batch_rows,
    )
}

/// The first `rows` rows of `lineitem`, at a scale factor that is large enough to have them.
pub fn lineitem_rows(rows: usize, batch_rows: usize) -> LineItems {
    // A little over the mean of 6,000,000 rows a unit, as small tables scatter around it.
    let scale_factor = rows as f64 / 5_900_000.0 + 0.01;
    lineitem(scale_factor, batch_rows).limit(rows)
}

/// `orders`: 1,500,000 rows for each unit of `scale_factor`.
pub fn orders(scale_factor: f64, batch_rows: usize) -> Orders {
    Table::new(
        OrderGenerator::new(scale_factor, 1, 1).iter(),
        &ORDERS,
        batch_rows,
    )
}

/// A row that knows how to become columns, in the order of its schema.
trait Row: Sized {
    /// The columns of all `rows`; `None` when there is no row. `capacity` is a hint.
    fn columns(rows: impl Iterator<Item = Self>, capacity: usize) -> Option<Vec<ArrayRef>>;
}

fn decimals(capacity: usize) -> Decimal128Builder {
    Decimal128Builder::with_capacity(capacity).with_data_type(DECIMAL)
}

fn strings(capacity: usize, mean_bytes: usize) -> StringBuilder {
    StringBuilder::with_capacity(capacity, capacity * mean_bytes)
}

/// Declares one builder per column, fills them from the rows, and finishes them in order.
macro_rules! columns {
    ($rows:ident, $row:ident, $($builder:expr => $value:expr),+ $(,)?) => {{
        let mut rows = $rows.peekable();
        rows.peek()?;
        columns!(@fill rows, $row, [] $($builder => $value,)+)
    }};
    (@fill $rows:ident, $row:ident, [$($done:ident $dv:expr,)*]) => {{
        for $row in $rows { $($done.append_value($dv);)* }
        Some(vec![$(Arc::new($done.finish()) as ArrayRef),*])
    }};
    (@fill $rows:ident, $row:ident, [$($done:ident $dv:expr,)*] $builder:expr => $value:expr, $($rest:tt)*) => {{
        let mut builder = $builder;
        columns!(@fill $rows, $row, [$($done $dv,)* builder $value,] $($rest)*)
    }};
}

impl Row for LineItem<'_> {
    fn columns(rows: impl Iterator<Item = Self>, n: usize) -> Option<Vec<ArrayRef>> {
        columns!(rows, row,
            Int64Builder::with_capacity(n) => row.l_orderkey,
            Int64Builder::with_capacity(n) => row.l_partkey,
            Int64Builder::with_capacity(n) => row.l_suppkey,
            Int32Builder::with_capacity(n) => row.l_linenumber,
            decimals(n) => i128::from(row.l_quantity) * 100,
            decimals(n) => i128::from(row.l_extendedprice.into_inner()),
            decimals(n) => i128::from(row.l_discount.into_inner()),
            decimals(n) => i128::from(row.l_tax.into_inner()),
            strings(n, 1) => row.l_returnflag,
            strings(n, 1) => row.l_linestatus,
            Date32Builder::with_capacity(n) => row.l_shipdate.to_unix_epoch(),
            Date32Builder::with_capacity(n) => row.l_commitdate.to_unix_epoch(),
            Date32Builder::with_capacity(n) => row.l_receiptdate.to_unix_epoch(),
            strings(n, 12) => row.l_shipinstruct,
            strings(n, 5) => row.l_shipmode,
            strings(n, 27) => row.l_comment,
        )
    }
}

impl Row for Order<'_> {
    fn columns(rows: impl Iterator<Item = Self>, n: usize) -> Option<Vec<ArrayRef>> {
        columns!(rows, row,
            Int64Builder::with_capacity(n) => row.o_orderkey,
            Int64Builder::with_capacity(n) => row.o_custkey,
            strings(n, 1) => row.o_orderstatus.as_str(),
            decimals(n) => i128::from(row.o_totalprice.into_inner()),
            Date32Builder::with_capacity(n) => row.o_orderdate.to_unix_epoch(),
            strings(n, 9) => row.o_orderpriority,
            strings(n, 15) => row.o_clerk.to_string(),
            Int32Builder::with_capacity(n) => row.o_shippriority,
            strings(n, 49) => row.o_comment,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::cast::AsArray;
    use arrow_array::types::{Date32Type, Decimal128Type, Int64Type};

    #[test]
    fn lineitem_starts_as_dbgen_does() {
        // 1|155190|7706|1|17|21168.23|0.04|0.02|N|O|1996-03-13|… at scale factor 1.
        let batch = lineitem(1.0, 10).next().unwrap();
        assert_eq!(batch.num_rows(), 10);
        assert_eq!(
            batch.column(1).as_primitive::<Int64Type>().value(0),
            155_190
        );
        assert_eq!(
            batch
                .column(4)
                .as_primitive::<Decimal128Type>()
                .value_as_string(0),
            "17.00"
        );
        assert_eq!(
            batch
                .column(5)
                .as_primitive::<Decimal128Type>()
                .value_as_string(0),
            "21168.23"
        );
        assert_eq!(
            batch
                .column(10)
                .as_primitive::<Date32Type>()
                .value_as_date(0)
                .unwrap()
                .to_string(),
            "1996-03-13"
        );
        assert_eq!(batch.column(14).as_string::<i32>().value(0), "TRUCK");
    }

    #[test]
    fn limits_cut_the_last_batch() {
        let sizes = |rows, batch| {
            lineitem_rows(rows, batch)
                .map(|b| b.num_rows())
                .collect::<Vec<_>>()
        };
        assert_eq!(sizes(2_500, 1_000), [1_000, 1_000, 500]);
        assert_eq!(sizes(2_000, 1_000), [1_000, 1_000]);
        assert_eq!(sizes(0, 1_000), [0; 0]);
        assert_eq!(
            orders(0.001, 1_000).map(|b| b.num_rows()).sum::<usize>(),
            1_500
        );
    }
}
