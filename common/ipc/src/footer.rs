//! The footer of a file: where its batches and dictionaries lie.

use std::io::{Read, Seek, SeekFrom};

use arrow_ipc::root_as_footer;
use arrowload_core::Result;
use bytes::Bytes;

use crate::decode::Decoder;
use crate::error::{cut, from_io, malformed};
use crate::message::{MAGIC, Next, next_head, parse, read_body, read_part};

/// The bytes after the footer: its length, and the magic.
const TRAILER_BYTES: u64 = 10;

/// The bytes before the first block: the magic, filled to eight bytes.
pub(crate) const LEAD_BYTES: u64 = 8;

/// Where a message lies in a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block {
    offset: u64,
    /// Bytes of its prefix and head.
    head: u64,
    body: u64,
}

/// The blocks of a file.
#[derive(Debug, Default)]
pub(crate) struct Footer {
    pub(crate) batches: Vec<Block>,
    pub(crate) dictionaries: Vec<Block>,
}

/// Reads the footer from the end of a file of this many bytes, and gives its columns to the decoder.
pub(crate) fn read(
    input: &mut (impl Read + Seek),
    length: u64,
    decoder: &mut Decoder,
) -> Result<Footer> {
    let end = length
        .checked_sub(TRAILER_BYTES)
        .filter(|end| *end >= LEAD_BYTES);
    let end = end.ok_or_else(|| cut("its lead"))?;
    input.seek(SeekFrom::Start(end)).map_err(from_io)?;
    let trailer = read_part(input, TRAILER_BYTES, Some(TRAILER_BYTES), "its footer")?;
    let bytes = footer_bytes(&trailer)?;
    let start = end.checked_sub(bytes).filter(|start| *start >= LEAD_BYTES);
    let start = start.ok_or_else(|| malformed(format!("a footer of {bytes} bytes")))?;
    input.seek(SeekFrom::Start(start)).map_err(from_io)?;
    parse_footer(
        &read_part(input, bytes, Some(bytes), "its footer")?,
        start,
        decoder,
    )
}

/// The length of the footer, from what is behind it.
pub(crate) fn footer_bytes(trailer: &[u8]) -> Result<u64> {
    let (length, magic) = trailer
        .split_first_chunk::<4>()
        .ok_or_else(|| cut("its footer"))?;
    if magic != MAGIC {
        return Err(cut("its rows or its footer"));
    }
    let length = i32::from_le_bytes(*length);
    u64::try_from(length).map_err(|_| malformed(format!("a footer of {length} bytes")))
}

/// The blocks of a footer that begins at a place of its file.
pub(crate) fn parse_footer(bytes: &[u8], start: u64, decoder: &mut Decoder) -> Result<Footer> {
    let footer = root_as_footer(bytes).map_err(malformed)?;
    let schema = footer
        .schema()
        .ok_or_else(|| malformed("a footer without a schema"))?;
    decoder.set_schema(schema)?;
    Ok(Footer {
        batches: blocks(footer.recordBatches().iter().flatten(), start)?,
        dictionaries: blocks(footer.dictionaries().iter().flatten(), start)?,
    })
}

fn blocks<'b>(
    stated: impl Iterator<Item = &'b arrow_ipc::Block>,
    end_of_blocks: u64,
) -> Result<Vec<Block>> {
    let block = |stated: &arrow_ipc::Block| {
        let block = Block {
            offset: u64::try_from(stated.offset()).ok()?,
            head: u64::try_from(stated.metaDataLength()).ok()?,
            body: u64::try_from(stated.bodyLength()).ok()?,
        };
        let end = block
            .offset
            .checked_add(block.head)?
            .checked_add(block.body)?;
        (block.offset >= LEAD_BYTES && end <= end_of_blocks).then_some(block)
    };
    let outside = || malformed("a block that lies outside of its file");
    stated
        .map(|stated| block(stated).ok_or_else(outside))
        .collect()
}

/// Reads the message of a block: its head and body.
pub(crate) fn read_block(input: &mut (impl Read + Seek), block: Block) -> Result<(Vec<u8>, Bytes)> {
    input.seek(SeekFrom::Start(block.offset)).map_err(from_io)?;
    let lead = read_part(input, block.head, Some(block.head), "the head of a block")?;
    let Next::Head(head) = next_head(&mut lead.as_slice())? else {
        return Err(malformed("a block without a message"));
    };
    let (_, body) = parse(&head)?;
    if body != block.body {
        return Err(malformed(format!(
            "a message with a body of {body} bytes in a block with one of {}",
            block.body
        )));
    }
    let body = read_body(input, body, Some(body))?;
    Ok((head, body))
}
