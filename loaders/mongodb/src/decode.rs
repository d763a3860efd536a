//! Decodes documents that are in memory already: from a dump, a change stream, or a reply that the
//! caller has.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use arrowload_core::Result;

use crate::source::failed;
use crate::walk::column::Walker;
use crate::walk::observe::{Observed, Observer};
use crate::walk::shape::{self, Mixed, Shape, Shaper};

/// Decodes documents into batches, with the types that were found in other documents.
#[derive(Debug, Clone)]
pub struct Decoder {
    columns: Vec<(String, Shape)>,
    schema: SchemaRef,
}

impl Decoder {
    /// Infers the types from these documents.
    ///
    /// # Errors
    /// If one is broken, or the types of a path have no common type and `mixed` is [`Mixed::Error`].
    pub fn of<'a>(documents: impl IntoIterator<Item = &'a [u8]>, mixed: Mixed) -> Result<Self> {
        let (mut observer, mut observed) = (Observer::default(), Observed::default());
        for (number, document) in documents.into_iter().enumerate() {
            observer
                .add(&mut observed, document)
                .map_err(|fault| failed(&fault, document, number as u64 + 1))?;
        }
        let mut shaper = Shaper {
            mixed,
            ..Shaper::default()
        };
        let columns = shaper.columns(&observed)?;
        let schema = Arc::new(shape::schema(&columns));
        Ok(Self { columns, schema })
    }

    /// The schema of every batch.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The batch of these documents.
    ///
    /// # Errors
    /// If one is broken, or has a field or a type that was not seen; the error names its path and `_id`.
    pub fn decode<'a>(
        &self,
        documents: impl IntoIterator<Item = &'a [u8], IntoIter: Clone>,
    ) -> Result<RecordBatch> {
        let documents = documents.into_iter();
        let mut walker = Walker::new(&self.columns, false);
        for (number, document) in documents.clone().enumerate() {
            walker
                .append(document)
                .map_err(|fault| failed(&fault, document, number as u64 + 1))?;
        }
        walker.finish().map_err(|fault| {
            // Text is checked for a whole column at once; the invalid document is found by decoding
            // again.
            let (mut observer, mut observed) = (Observer::default(), Observed::default());
            let broken = documents.zip(1..).find_map(|(document, number)| {
                let fault = observer.add(&mut observed, document).err()?;
                Some(failed(&fault, document, number))
            });
            broken.unwrap_or_else(|| failed(&fault, &[], 0))
        })
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn documents_in_memory_become_batches() {
        let documents = [doc! { "_id": 1, "v": "a" }, doc! { "_id": 2, "v": "b" }];
        let bytes = documents.map(|document| document.to_vec().expect("bytes"));
        let slices = || bytes.iter().map(Vec::as_slice);
        let decoder = Decoder::of(slices(), Mixed::Error).expect("types");
        let batch = decoder.decode(slices()).expect("a batch");
        assert_eq!(
            (batch.num_rows(), batch.schema()),
            (2, Arc::clone(decoder.schema()))
        );
        let other = doc! { "_id": 3, "v": 5 }.to_vec().expect("bytes");
        let error = decoder
            .decode([other.as_slice()])
            .expect_err("another type");
        assert_eq!(
            (error.get("path"), error.get("_id")),
            (Some("v"), Some("3"))
        );
        let mut broken = bytes[0].clone();
        let place = broken.len() - 3;
        broken[place] = 0xff;
        let error = decoder
            .decode([bytes[1].as_slice(), broken.as_slice()])
            .expect_err("no UTF-8");
        assert_eq!(
            (error.get("path"), error.get("_id")),
            (Some("v"), Some("1"))
        );
    }
}
