//! Batches of a file or a stream, in its order.

use std::io::{Cursor, Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use arrowload_core::{Error, ErrorKind, Result};

use crate::decode::{Decoded, Decoder, projected};
use crate::error::{cut, from_io, malformed};
use crate::footer::{self, Block, Footer, LEAD_BYTES};
use crate::message::{MAGIC, Next, next_head, parse, read_body};

/// Bytes that a batch may unpack to, by default.
const MAX_BATCH_BYTES: u64 = 4 << 30;

/// How Arrow data is read.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct IpcOptions {
    /// The numbers of the columns that are wanted, in the order in which they are wanted; all by default.
    pub projection: Option<Vec<usize>>,
    /// Of a file that is read by its footer, the numbers of the batches that are wanted; all by default.
    pub batches: Option<Range<usize>>,
    /// Bytes that one batch may unpack to, if it is compressed; 4 GiB by default.
    pub max_batch_bytes: u64,
    /// Takes a stream that ends without its end marker, so that batches may be missing; refused by default.
    pub no_end_marker: bool,
}

impl Default for IpcOptions {
    fn default() -> Self {
        Self {
            projection: None,
            batches: None,
            max_batch_bytes: MAX_BATCH_BYTES,
            no_end_marker: false,
        }
    }
}

trait Seekable: Read + Seek + Send {}

impl<T: Read + Seek + Send> Seekable for T {}

/// The batches of a file or a stream. It ends with the first error; each error names the input.
pub struct IpcReader {
    name: Arc<str>,
    schema: SchemaRef,
    decoder: Decoder,
    input: Input,
    ended: bool,
}

enum Input {
    /// The batches of a file, found by its footer.
    Blocks {
        file: Box<dyn Seekable>,
        blocks: Vec<Block>,
        wanted: Range<usize>,
    },
    /// Message after message.
    Forward(Forward),
}

struct Forward {
    input: Box<dyn Read + Send>,
    /// How many bytes are left, if it is known.
    left: Option<u64>,
    /// In a file that is read forward, the messages so far, which its footer has to list.
    file: Option<Seen>,
    no_end_marker: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    batches: usize,
    dictionaries: usize,
}

impl std::fmt::Debug for IpcReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IpcReader")
            .field("name", &self.name)
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

impl IpcReader {
    /// Opens a file or a stream that can be sought: a file is read by its footer. The name is what errors call it.
    ///
    /// ```
    /// use arrowload_common_ipc::{IpcOptions, IpcReader};
    /// # use std::sync::Arc;
    /// # let numbers = Arc::new(arrow_array::Int32Array::from(vec![1, 2, 3])) as _;
    /// # let batch = arrow_array::RecordBatch::try_from_iter([("a", numbers)])?;
    /// # let mut writer = arrow_ipc::writer::FileWriter::try_new(Vec::new(), &batch.schema())?;
    /// # writer.write(&batch)?;
    /// # let file = std::io::Cursor::new(writer.into_inner()?);
    /// let reader = IpcReader::open("numbers.arrow", file, &IpcOptions::default())?;
    /// assert_eq!(reader.schema().field(0).name(), "a");
    /// let rows: usize = reader.map(|batch| Ok(batch?.num_rows())).sum::<arrowload_core::Result<_>>()?;
    /// assert_eq!(rows, 3);
    /// # Ok::<(), arrowload_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// When it is neither, is malformed or cut off, or has no such columns or batches.
    pub fn open(
        name: &str,
        mut input: impl Read + Seek + Send + 'static,
        options: &IpcOptions,
    ) -> Result<Self> {
        let opened = (|| {
            let length = input.seek(SeekFrom::End(0)).map_err(from_io)?;
            input.rewind().map_err(from_io)?;
            let mut first = Vec::new();
            let mut lead = input.by_ref().take(LEAD_BYTES);
            lead.read_to_end(&mut first).map_err(from_io)?;
            input.rewind().map_err(from_io)?;
            match first.starts_with(MAGIC) {
                true => Self::by_footer(name, input, length, options),
                false => Self::begin(name, Box::new(input), Some(length), options),
            }
        })();
        opened.map_err(|error| error.with("file", name))
    }

    /// Opens a file or a stream that can only be read once, from its first byte to its last. That a file is whole is known
    /// when its last batch was read: the footer has to list what was read.
    ///
    /// # Errors
    /// As [`open`](Self::open). The batches of a file cannot be chosen.
    pub fn forward(
        name: &str,
        input: impl Read + Send + 'static,
        options: &IpcOptions,
    ) -> Result<Self> {
        Self::begin(name, Box::new(input), None, options).map_err(|error| error.with("file", name))
    }

    fn by_footer(
        name: &str,
        mut file: impl Read + Seek + Send + 'static,
        length: u64,
        options: &IpcOptions,
    ) -> Result<Self> {
        let mut decoder = Decoder::new(options.max_batch_bytes);
        decoder.refuse_replacement();
        let Footer {
            batches,
            dictionaries,
        } = footer::read(&mut file, length, &mut decoder)?;
        for block in dictionaries {
            let (head, body) = footer::read_block(&mut file, block)?;
            if !matches!(decoder.decode(&head, body)?, Decoded::Nothing) {
                return Err(malformed("rows in the place of a dictionary"));
            }
        }
        let count = batches.len();
        let wanted = options.batches.clone().unwrap_or(0..count);
        if wanted.start > wanted.end || wanted.end > count {
            let message = format!("the batches {wanted:?} of a file that has {count}");
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
        let input = Input::Blocks {
            file: Box::new(file),
            blocks: batches,
            wanted,
        };
        Self::new(name, decoder, input, options)
    }

    fn begin(
        name: &str,
        input: Box<dyn Read + Send>,
        left: Option<u64>,
        options: &IpcOptions,
    ) -> Result<Self> {
        if options.batches.is_some() {
            let message = "single batches are found only in a file that can be sought";
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
        let mut decoder = Decoder::new(options.max_batch_bytes);
        let mut forward = Forward {
            input,
            left,
            file: None,
            no_end_marker: options.no_end_marker,
        };
        forward.skip_lead()?;
        if forward.file.is_some() {
            decoder.refuse_replacement();
        }
        loop {
            match forward.next(&mut decoder)? {
                Some(Decoded::Schema(_)) => break,
                Some(_) => {}
                None => return Err(malformed("there is no schema")),
            }
        }
        Self::new(name, decoder, Input::Forward(forward), options)
    }

    fn new(name: &str, mut decoder: Decoder, input: Input, options: &IpcOptions) -> Result<Self> {
        let schema = decoder
            .schema()
            .ok_or_else(|| malformed("there is no schema"))?;
        let columns = schema.fields().len();
        let wanted = options.projection.as_deref();
        if let Some(missing) = wanted
            .into_iter()
            .flatten()
            .find(|index| **index >= columns)
        {
            let message = format!("there is no column {missing}: there are {columns}");
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
        let schema = projected(schema, wanted)?;
        decoder.project(options.projection.clone());
        Ok(Self {
            name: name.into(),
            schema,
            decoder,
            input,
            ended: false,
        })
    }

    /// The columns of the batches.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// How many batches there are, if a footer says so.
    pub fn batches(&self) -> Option<usize> {
        match &self.input {
            Input::Blocks { blocks, .. } => Some(blocks.len()),
            Input::Forward(_) => None,
        }
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        match &mut self.input {
            Input::Blocks {
                file,
                blocks,
                wanted,
            } => {
                let Some(number) = wanted.next() else {
                    return Ok(None);
                };
                let Some(block) = blocks.get(number) else {
                    return Ok(None);
                };
                let batch = footer::read_block(file, *block)
                    .and_then(|(head, body)| self.decoder.decode(&head, body));
                match batch.map_err(|error| error.with("batch", number))? {
                    Decoded::Batch(batch) => Ok(Some(batch)),
                    _ => Err(malformed("a block of rows without rows").with("batch", number)),
                }
            }
            Input::Forward(forward) => loop {
                match forward.next(&mut self.decoder)? {
                    Some(Decoded::Batch(batch)) => return Ok(Some(batch)),
                    Some(_) => {}
                    None => return Ok(None),
                }
            },
        }
    }
}

impl Iterator for IpcReader {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.next_batch();
        self.ended = !matches!(next, Ok(Some(_)));
        next.map_err(|error| error.with("file", &self.name))
            .transpose()
    }
}

impl Forward {
    /// Skips what is before the messages of a file: the magic, filled with zeros to eight bytes, or by some writers to as many as
    /// their buffers are aligned to.
    fn skip_lead(&mut self) -> Result<()> {
        let mut lead = self.word(LEAD_BYTES)?;
        if lead.starts_with(MAGIC) {
            self.file = Some(Seen::default());
            while !lead.is_empty() {
                lead = self.word(4)?;
                if lead != [0; 4] {
                    break;
                }
            }
        }
        self.left = self.left.map(|left| left + lead.len() as u64);
        let none: Box<dyn Read + Send> = Box::new(std::io::empty());
        let rest = std::mem::replace(&mut self.input, none);
        self.input = Box::new(Cursor::new(lead).chain(rest));
        Ok(())
    }

    /// Reads some bytes; fewer where the input ends.
    fn word(&mut self, bytes: u64) -> Result<Vec<u8>> {
        let mut word = Vec::new();
        let mut input = self.input.by_ref().take(bytes);
        input.read_to_end(&mut word).map_err(from_io)?;
        self.left = self.left.map(|left| left.saturating_sub(word.len() as u64));
        Ok(word)
    }

    /// What the next message brings; nothing at the end.
    fn next(&mut self, decoder: &mut Decoder) -> Result<Option<Decoded>> {
        let mut counted = Counted {
            input: &mut self.input,
            read: 0,
        };
        let next = next_head(&mut counted);
        self.left = self.left.map(|left| left.saturating_sub(counted.read));
        let head = match next? {
            Next::Head(head) => head,
            Next::Marker => return self.check_end(decoder).map(|()| None),
            Next::Nothing if self.no_end_marker && self.file.is_none() => return Ok(None),
            Next::Nothing => {
                return Err(malformed(
                    "it ends without its end marker, so that batches may be missing: its writer has to close it",
                ));
            }
        };
        let (message, length) = parse(&head)?;
        let is_dictionary = message.header_as_dictionary_batch().is_some();
        let body = read_body(&mut self.input, length, self.left)?;
        self.left = self.left.map(|left| left.saturating_sub(length));
        let decoded = decoder.decode(&head, body)?;
        if let Some(seen) = &mut self.file {
            seen.dictionaries += usize::from(is_dictionary);
            seen.batches += usize::from(matches!(decoded, Decoded::Batch(_)));
        }
        Ok(Some(decoded))
    }

    /// Behind the end marker there is nothing, or the footer of a file.
    fn check_end(&mut self, decoder: &Decoder) -> Result<()> {
        let mut rest = Vec::new();
        let Some(seen) = &self.file else {
            let behind = std::io::copy(&mut self.input, &mut std::io::sink()).map_err(from_io)?;
            return match behind {
                0 => Ok(()),
                bytes => Err(malformed(format!(
                    "{bytes} bytes follow the end of the stream: two streams are not one"
                ))),
            };
        };
        self.input.read_to_end(&mut rest).map_err(from_io)?;
        let trailer = rest
            .len()
            .checked_sub(10)
            .ok_or_else(|| cut("its footer"))?;
        let (bytes, trailer) = rest.split_at(trailer);
        if footer::footer_bytes(trailer)? != bytes.len() as u64 {
            return Err(malformed("bytes between the end marker and the footer"));
        }
        let mut other = Decoder::new(0);
        let footer = footer::parse_footer(bytes, u64::MAX, &mut other)?;
        let listed = Seen {
            batches: footer.batches.len(),
            dictionaries: footer.dictionaries.len(),
        };
        if listed != *seen {
            return Err(malformed(format!(
                "the footer lists {listed:?}, and there are {seen:?}"
            )));
        }
        match other.schema() == decoder.schema() {
            true => Ok(()),
            false => Err(malformed(
                "the footer has other columns than the file begins with",
            )),
        }
    }
}

/// Counts what is read.
struct Counted<'a, R> {
    input: &'a mut R,
    read: u64,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.read += read as u64;
        Ok(read)
    }
}
