//! Where the buffers of a batch lie, checked against its columns: Arrow's decoder trusts lengths and counts that a message states.

use std::ops::Range;
use std::vec::IntoIter;

use arrow_ipc::{CompressionType, MetadataVersion, RecordBatch};
use arrow_schema::{DataType, Field, Fields, UnionMode};
use arrowload_core::{Error, ErrorKind, Result};

use crate::error::{malformed, unsupported};
use crate::swap::{Swap, Unit};

/// Stands in place of a length where a buffer is not compressed after all.
const NOT_COMPRESSED: i64 = -1;

/// Bytes that one byte of LZ4 can stand for: a length grows by 255 with each.
const LZ4_RATIO: u64 = 255;

/// Bytes that one byte of Zstandard can stand for: a block of four repeats a byte 131,072 times.
const ZSTD_RATIO: u64 = 32_768;

/// What the smallest frame of either codec may unpack to beyond its ratio.
const RATIO_SLACK: u64 = 1 << 17;

/// Rows and nulls of a column, or of values within it.
#[derive(Debug, Clone, Copy)]
struct Node {
    rows: usize,
    nulls: usize,
}

/// A buffer: where it lies, and its bytes when unpacked.
#[derive(Debug)]
struct Part {
    range: Range<usize>,
    bytes: usize,
}

/// Facts about the bytes that are known before their batch is examined.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Body<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) version: MetadataVersion,
    pub(crate) big_endian: bool,
    /// Bytes that it may unpack to.
    pub(crate) max_bytes: u64,
}

/// Checks a batch, and answers what has to be swapped if its numbers lie the other way round.
pub(crate) fn check(rows: RecordBatch<'_>, fields: &Fields, body: Body<'_>) -> Result<Vec<Swap>> {
    if body.big_endian && rows.compression().is_some() {
        return Err(unsupported("big-endian numbers in compressed buffers"));
    }
    let count = usize::try_from(rows.length())
        .map_err(|_| malformed(format!("a batch of {} rows", rows.length())))?;
    let nodes = rows.nodes().into_iter().flatten().map(|node| {
        let (rows, nulls) = (node.length(), node.null_count());
        match (usize::try_from(rows), usize::try_from(nulls)) {
            (Ok(rows), Ok(nulls)) if nulls <= rows => Ok(Node { rows, nulls }),
            _ => Err(malformed(format!("{nulls} nulls in {rows} rows"))),
        }
    });
    let mut walk = Walk {
        nodes: nodes.collect::<Result<Vec<_>>>()?.into_iter(),
        parts: parts(rows, body)?.into_iter(),
        views: rows
            .variadicBufferCounts()
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .into_iter(),
        version: body.version,
        is_packed: rows.compression().is_some(),
        swaps: Vec::new(),
    };
    for field in fields {
        let found = walk.column(field)?;
        if found != count {
            return Err(
                malformed(format!("a column of {found} rows in a batch of {count}"))
                    .with("column", field.name()),
            );
        }
    }
    let left = (walk.nodes.len(), walk.parts.len(), walk.views.len());
    match left {
        (0, 0, 0) => Ok(if body.big_endian {
            walk.swaps
        } else {
            Vec::new()
        }),
        (nodes, buffers, views) => Err(malformed(format!(
            "{nodes} nodes, {buffers} buffers and {views} counts of buffers belong to no column"
        ))),
    }
}

/// The buffers: within the body, and not unpacking to more than there is room for, or than their bytes can stand for.
fn parts(rows: RecordBatch<'_>, body: Body<'_>) -> Result<Vec<Part>> {
    let codec = rows.compression().map(|compression| compression.codec());
    let ratio = match codec {
        None => None,
        Some(CompressionType::LZ4_FRAME) => Some(LZ4_RATIO),
        Some(CompressionType::ZSTD) => Some(ZSTD_RATIO),
        Some(other) => return Err(unsupported(format!("the codec {}", other.0))),
    };
    let mut unpacked = 0_u64;
    let parts = rows.buffers().into_iter().flatten().map(|buffer| {
        let range = usize::try_from(buffer.offset()).ok().and_then(|from| {
            let to = from.checked_add(usize::try_from(buffer.length()).ok()?)?;
            (to <= body.bytes.len()).then_some(from..to)
        });
        let range = range.ok_or_else(|| {
            let (length, at) = (buffer.length(), buffer.offset());
            let of = body.bytes.len();
            malformed(format!(
                "a buffer of {length} bytes at {at} of a body of {of}"
            ))
        })?;
        let packed = &body.bytes[range.clone()];
        let bytes = match ratio {
            Some(ratio) if !packed.is_empty() => {
                let claimed = claim(packed, ratio)?;
                unpacked = unpacked.saturating_add(claimed.unwrap_or(0));
                claimed.map_or(packed.len() - 8, |bytes| bytes as usize)
            }
            _ => packed.len(),
        };
        Ok(Part { range, bytes })
    });
    let parts = parts.collect::<Result<Vec<_>>>()?;
    if unpacked > body.max_bytes {
        let message = format!(
            "a batch unpacks to {unpacked} bytes, and max_batch_bytes is {}; raise it if whoever wrote it can be trusted",
            body.max_bytes
        );
        return Err(Error::new(ErrorKind::InvalidData, message));
    }
    Ok(parts)
}

/// The bytes that a compressed buffer says it unpacks to; nothing if it is not compressed.
fn claim(packed: &[u8], ratio: u64) -> Result<Option<u64>> {
    let (claimed, rest) = packed
        .split_first_chunk::<8>()
        .ok_or_else(|| malformed("a compressed buffer without its length"))?;
    let claimed = i64::from_le_bytes(*claimed);
    if claimed == NOT_COMPRESSED {
        return Ok(None);
    }
    let possible = (rest.len() as u64)
        .saturating_mul(ratio)
        .saturating_add(RATIO_SLACK);
    match u64::try_from(claimed) {
        Ok(bytes) if bytes <= possible => Ok(Some(bytes)),
        _ => Err(malformed(format!(
            "a buffer of {} bytes that unpacks to {claimed}",
            packed.len()
        ))),
    }
}

/// Takes nodes and buffers in the order of the columns, as the decoder will.
struct Walk {
    nodes: IntoIter<Node>,
    parts: IntoIter<Part>,
    views: IntoIter<i64>,
    version: MetadataVersion,
    is_packed: bool,
    swaps: Vec<Swap>,
}

impl Walk {
    /// Checks a column, or the values within one, and returns how many rows it has.
    fn column(&mut self, field: &Field) -> Result<usize> {
        self.values(field.data_type())
            .map_err(|error| error.with("column", field.name()))
    }

    fn part(&mut self) -> Result<Part> {
        self.parts
            .next()
            .ok_or_else(|| malformed("there are fewer buffers than the columns need"))
    }

    /// Takes a buffer that has to hold some bytes.
    fn part_of(&mut self, bytes: Option<usize>) -> Result<Part> {
        let part = self.part()?;
        if bytes.is_some_and(|bytes| bytes <= part.bytes) {
            return Ok(part);
        }
        Err(malformed(format!(
            "a buffer of {} bytes is too short for its rows",
            part.bytes
        )))
    }

    /// Takes a buffer of numbers, which are turned round if they lie the other way. Arrow's decoder panics where the last one
    /// is not whole.
    fn numbers(&mut self, bytes: Option<usize>, unit: Unit) -> Result<Part> {
        let part = self.part_of(bytes)?;
        if !part.bytes.is_multiple_of(unit.bytes()) {
            let message = format!("{} bytes of numbers of {}", part.bytes, unit.bytes());
            return Err(malformed(message));
        }
        self.swaps.push(Swap {
            range: part.range.clone(),
            unit,
        });
        Ok(part)
    }

    /// Takes the bits that say what is not null. Without nulls it may be missing.
    fn validity(&mut self, node: Node) -> Result<()> {
        let bytes = if node.nulls > 0 {
            node.rows.div_ceil(8)
        } else {
            0
        };
        self.part_of(Some(bytes)).map(|_| ())
    }

    fn values(&mut self, of: &DataType) -> Result<usize> {
        let node = self.nodes.next();
        let node = node.ok_or_else(|| malformed("there are fewer nodes than columns"))?;
        match of {
            DataType::Null => {}
            DataType::Boolean => {
                self.validity(node)?;
                self.part_of(Some(node.rows.div_ceil(8)))?;
            }
            DataType::FixedSizeBinary(width) => {
                self.validity(node)?;
                let bytes = usize::try_from(*width)
                    .ok()
                    .and_then(|width| width.checked_mul(node.rows));
                self.part_of(bytes)?;
            }
            DataType::Utf8 | DataType::Binary | DataType::LargeUtf8 | DataType::LargeBinary => {
                let is_large = matches!(of, DataType::LargeUtf8 | DataType::LargeBinary);
                self.validity(node)?;
                self.numbers(Some(0), offsets(is_large))?;
                self.part()?;
            }
            DataType::Utf8View | DataType::BinaryView => {
                self.validity(node)?;
                self.numbers(node.rows.checked_mul(16), Unit::Views)?;
                let count = self.views.next().unwrap_or(-1);
                if u64::try_from(count).is_ok_and(|count| count <= self.parts.len() as u64) {
                    (0..count).try_for_each(|_| self.part().map(|_| ()))?;
                } else {
                    return Err(malformed(format!("a column of views with {count} buffers")));
                }
            }
            DataType::List(values) | DataType::LargeList(values) | DataType::Map(values, _) => {
                self.validity(node)?;
                self.numbers(Some(0), offsets(matches!(of, DataType::LargeList(_))))?;
                self.column(values)?;
            }
            DataType::ListView(values) | DataType::LargeListView(values) => {
                let unit = offsets(matches!(of, DataType::LargeListView(_)));
                self.validity(node)?;
                self.numbers(Some(0), unit)?;
                self.numbers(Some(0), unit)?;
                self.column(values)?;
            }
            DataType::FixedSizeList(values, size) => {
                self.validity(node)?;
                let found = self.column(values)?;
                let needed = usize::try_from(*size)
                    .ok()
                    .and_then(|size| size.checked_mul(node.rows));
                if needed.is_none_or(|needed| needed > found) {
                    return Err(malformed(format!(
                        "{} lists of {size} values have {found}",
                        node.rows
                    )));
                }
            }
            DataType::Struct(fields) => {
                self.validity(node)?;
                for field in fields {
                    let found = self.column(field)?;
                    if found != node.rows {
                        let message =
                            format!("a field of {found} rows in a struct of {}", node.rows);
                        return Err(malformed(message));
                    }
                }
            }
            DataType::RunEndEncoded(ends, values) => {
                let found = (self.column(ends)?, self.column(values)?);
                if found.0 != found.1 || (node.rows > 0 && found.0 == 0) {
                    let message = format!("{} ends of {} runs", found.0, found.1);
                    return Err(malformed(message));
                }
            }
            DataType::Dictionary(keys, _) => {
                self.validity(node)?;
                self.fixed(keys, node)?;
            }
            DataType::Union(fields, mode) => {
                self.union(fields.iter().map(|(_, field)| field.as_ref()), *mode, node)?
            }
            other => {
                self.validity(node)?;
                self.fixed(other, node)?;
            }
        }
        Ok(node.rows)
    }

    /// Takes numbers of one width.
    fn fixed(&mut self, of: &DataType, node: Node) -> Result<()> {
        let width = of
            .primitive_width()
            .ok_or_else(|| unsupported(format!("a column of {of}")))?;
        self.numbers(node.rows.checked_mul(width), Unit::of(of, width))
            .map(|_| ())
    }

    fn union<'f>(
        &mut self,
        fields: impl Iterator<Item = &'f Field>,
        mode: UnionMode,
        node: Node,
    ) -> Result<()> {
        if self.version == MetadataVersion::V4 {
            self.part()?;
            if node.nulls > 0 {
                return Err(unsupported(
                    "a union of version 4 of the format with nulls of its own",
                ));
            }
        }
        self.part_of(Some(node.rows))?;
        if mode == UnionMode::Dense {
            let part = self.numbers(node.rows.checked_mul(4), Unit::Bytes(4))?;
            if !self.is_packed && part.range.start % 4 != 0 {
                return Err(malformed("offsets of a union at an odd address"));
            }
        }
        for field in fields {
            let found = self.column(field)?;
            if mode == UnionMode::Sparse && found != node.rows {
                let message = format!("a field of {found} rows in a sparse union of {}", node.rows);
                return Err(malformed(message));
            }
        }
        Ok(())
    }
}

fn offsets(is_large: bool) -> Unit {
    Unit::Bytes(if is_large { 8 } else { 4 })
}
