//! Opens files, row group by row group: the decoded rows of each are compared with the number that it
//! states.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use arrow_schema::SchemaRef;
use bytes::Bytes;
use datafusion::arrow::array::RecordBatch;
use datafusion::common::ScalarValue;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::{
    ParquetAccessPlan, ParquetFileMetrics, ParquetFileReaderFactory, RowGroupAccessPlanFilter,
};
use datafusion::datasource::physical_plan::{
    FileOpenFuture, FileOpener, FileScanConfig, FileSource,
};
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_expr::simplifier::PhysicalExprSimplifier;
use datafusion::physical_expr_adapter::{
    DefaultPhysicalExprAdapterFactory, PhysicalExprAdapterFactory, replace_columns_with_literals,
};
use datafusion::physical_optimizer::pruning::PruningPredicate;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::ObjectStore;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::{AsyncFileReader, ParquetObjectReader};
use parquet::file::metadata::ParquetMetaData;

use crate::error::{at, malformed, through};
use crate::facts::Facts;
use crate::int96;
use crate::source::ParquetRows;

pub(crate) struct Opener(Arc<Inner>);

struct Inner {
    source: ParquetRows,
    store: Arc<dyn ObjectStore>,
    /// Without a limit, which would end a row group early; the scan counts rows itself.
    config: FileScanConfig,
    partition: usize,
}

impl Opener {
    pub(crate) fn new(
        source: ParquetRows,
        store: Arc<dyn ObjectStore>,
        config: &FileScanConfig,
        partition: usize,
    ) -> Self {
        let mut config = config.clone();
        config.limit = None;
        Self(Arc::new(Inner {
            source,
            store,
            config,
            partition,
        }))
    }
}

impl FileOpener for Opener {
    fn open(&self, file: PartitionedFile) -> Result<FileOpenFuture> {
        let inner = Arc::clone(&self.0);
        Ok(async move { inner.open(file).await }.boxed())
    }
}

type Batches = BoxStream<'static, Result<RecordBatch>>;

impl Inner {
    async fn open(self: Arc<Self>, file: PartitionedFile) -> Result<Batches> {
        let object = file.object_meta.clone();
        let (loading, options) = (&self.source.loading, &self.source.options);
        let facts = Facts::load(&self.store, &object, loading, options).await?;
        let groups = self.wanted(&facts, &file);
        let one = Arc::new(OneFile {
            store: Arc::clone(&self.store),
            metadata: Arc::clone(&facts.metadata),
        });
        let source = self
            .source
            .inner
            .clone()
            .with_parquet_file_reader_factory(one);
        let opener =
            source.create_file_opener(Arc::clone(&self.store), &self.config, self.partition)?;
        let opened = OpenFile {
            name: object.location.to_string(),
            roots: self.roots(&facts.schema),
            file,
            facts,
            opener,
            scan: self,
        };
        let opened = Arc::new(opened);
        let batches = stream::iter(groups).then(move |group| Arc::clone(&opened).group(group));
        Ok(batches.try_flatten().boxed())
    }

    /// The row groups that belong to the range of the file, without those in which no row can be wanted.
    fn wanted(&self, facts: &Facts, file: &PartitionedFile) -> Vec<usize> {
        let groups = facts.metadata.row_groups();
        let mut filter = RowGroupAccessPlanFilter::new(ParquetAccessPlan::new_all(groups.len()));
        if let Some(range) = &file.range {
            filter.prune_by_range(groups, range);
        }
        match self.pruning(&facts.schema, file) {
            Ok(Some(predicate)) => {
                let metrics = ParquetFileMetrics::new(
                    self.partition,
                    file.object_meta.location.as_ref(),
                    self.source.metrics(),
                );
                let descr = facts.metadata.file_metadata().schema_descr();
                filter.prune_by_statistics(&facts.schema, descr, groups, &predicate, &metrics);
            }
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, "no row group is passed over"),
        }
        filter.build().row_group_indexes()
    }

    /// The predicate in the terms of the file.
    fn pruning(
        &self,
        schema: &SchemaRef,
        file: &PartitionedFile,
    ) -> Result<Option<PruningPredicate>> {
        let Some(predicate) = self.source.predicate.clone() else {
            return Ok(None);
        };
        let table = self.source.table_schema();
        let parts = table
            .table_partition_cols()
            .iter()
            .zip(&file.partition_values);
        let parts: HashMap<String, ScalarValue> = parts
            .map(|(field, value)| (field.name().clone(), value.clone()))
            .collect();
        let predicate = replace_columns_with_literals(predicate, &parts)?;
        let factory = self.config.expr_adapter_factory.clone();
        let factory: Arc<dyn PhysicalExprAdapterFactory> =
            factory.unwrap_or_else(|| Arc::new(DefaultPhysicalExprAdapterFactory));
        let adapter = factory.create(Arc::clone(table.file_schema()), Arc::clone(schema))?;
        let predicate =
            PhysicalExprSimplifier::new(schema).simplify(adapter.rewrite(predicate)?)?;
        let predicate = PruningPredicate::try_new(predicate, Arc::clone(schema))?;
        Ok((!predicate.always_true()).then_some(predicate))
    }

    /// The names of the columns that are read.
    fn roots(&self, schema: &SchemaRef) -> HashSet<String> {
        let table = self.source.table_schema().table_schema();
        let Some(projection) = self.source.projection() else {
            return schema
                .fields()
                .iter()
                .map(|field| field.name().clone())
                .collect();
        };
        let columns = projection.column_indices().into_iter();
        let fields = columns.filter_map(|index| table.fields().get(index));
        fields.map(|field| field.name().clone()).collect()
    }
}

struct OpenFile {
    name: String,
    roots: HashSet<String>,
    file: PartitionedFile,
    facts: Facts,
    opener: Arc<dyn FileOpener>,
    scan: Arc<Inner>,
}

impl OpenFile {
    /// The batches of one row group, and an error if they are not all that it states.
    async fn group(self: Arc<Self>, index: usize) -> Result<Batches> {
        let place = Arc::clone(&self);
        let at = move |error: DataFusionError| at(error, &place.name, index);
        let batches = self.open_group(index).await.map_err(&at)?;
        Ok(batches.map_err(at).boxed())
    }

    async fn open_group(&self, index: usize) -> Result<Batches> {
        let metadata = &self.facts.metadata;
        let mut reader = reader(&self.scan.store, &self.file);
        let group = metadata.row_group(index);
        let unit = self.scan.source.options.int96;
        int96::check(&mut reader, group, |root| self.roots.contains(root), unit)
            .await
            .map_err(through)?;
        let mut plan = ParquetAccessPlan::new_none(metadata.num_row_groups());
        plan.scan(index);
        let mut file = self.file.clone();
        // Statistics of the file would answer for its columns in place of their values.
        file.range = None;
        file.statistics = None;
        file.extensions = Some(Arc::new(plan));
        let stated = u64::try_from(group.num_rows()).unwrap_or(0);
        let batches = self.opener.open(file)?.await?;
        Ok(counted(batches, stated).boxed())
    }
}

/// Compares rows with how many there have to be.
fn counted(
    batches: Batches,
    stated: u64,
) -> impl futures::Stream<Item = Result<RecordBatch>> + Send {
    stream::try_unfold(Some((batches, 0_u64)), move |state| async move {
        let Some((mut batches, before)) = state else {
            return Ok(None);
        };
        let batch = batches.try_next().await?;
        let rows = before + batch.as_ref().map_or(0, |batch| batch.num_rows() as u64);
        let is_over = batch.is_none() && rows < stated;
        if is_over || rows > stated {
            let more = if is_over { "" } else { " or more" };
            return Err(through(malformed(format!(
                "it states {stated} rows, and {rows}{more} are in it"
            ))));
        }
        Ok(batch.map(|batch| (batch, Some((batches, rows)))))
    })
}

fn reader(store: &Arc<dyn ObjectStore>, file: &PartitionedFile) -> ParquetObjectReader {
    let object = &file.object_meta;
    ParquetObjectReader::new(Arc::clone(store), object.location.clone()).with_file_size(object.size)
}

/// Reads a file of which the footer is known.
#[derive(Debug)]
struct OneFile {
    store: Arc<dyn ObjectStore>,
    metadata: Arc<ParquetMetaData>,
}

impl ParquetFileReaderFactory for OneFile {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        _: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let name = file.object_meta.location.as_ref();
        Ok(Box::new(Reader {
            metrics: ParquetFileMetrics::new(partition, name, metrics),
            inner: reader(&self.store, &file),
            metadata: Arc::clone(&self.metadata),
        }))
    }
}

struct Reader {
    metrics: ParquetFileMetrics,
    inner: ParquetObjectReader,
    metadata: Arc<ParquetMetaData>,
}

impl AsyncFileReader for Reader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        self.metrics
            .bytes_scanned
            .add((range.end - range.start) as usize);
        self.inner.get_bytes(range)
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, parquet::errors::Result<Vec<Bytes>>> {
        let bytes: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        self.metrics.bytes_scanned.add(bytes as usize);
        self.inner.get_byte_ranges(ranges)
    }

    fn get_metadata<'a>(
        &'a mut self,
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        let metadata = Arc::clone(&self.metadata);
        async move { Ok(metadata) }.boxed()
    }
}
