//! The keys of objects: the next one is predicted from the object before, others are looked up.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use crate::fault::Fault;
use crate::lexer::{Lexer, Step, unescape};

/// A key as it is most often written, with quotes and colon, eight bytes at a time.
#[derive(Debug, Clone)]
struct Predicted {
    words: Box<[u64]>,
    /// Which bytes of the last word count.
    mask: u64,
    /// The bytes with quotes and colon; none if the key is written with escapes.
    len: usize,
}

impl Predicted {
    fn new(key: &[u8]) -> Self {
        let mut written = Vec::with_capacity(key.len() + 11);
        written.push(b'"');
        written.extend_from_slice(key);
        written.extend_from_slice(b"\":");
        let plain = !key
            .iter()
            .any(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\'));
        let len = written.len();
        written.resize(len.next_multiple_of(8), 0);
        let (words, _) = written.as_chunks::<8>();
        Self {
            words: words.iter().map(|word| u64::from_le_bytes(*word)).collect(),
            mask: u64::MAX >> ((8 - len % 8) % 8 * 8),
            len: if plain { len } else { usize::MAX },
        }
    }

    /// Whether the bytes begin with this key.
    #[inline(always)]
    fn is_here(&self, data: &[u8]) -> bool {
        let Some((last, words)) = self.words.split_last() else {
            return false;
        };
        let mut rest = data;
        for word in words {
            match rest.split_first_chunk::<8>() {
                Some((bytes, after)) if u64::from_le_bytes(*bytes) == *word => rest = after,
                _ => return false,
            }
        }
        rest.first_chunk::<8>()
            .is_some_and(|bytes| (u64::from_le_bytes(*bytes) ^ last) & self.mask == 0)
    }
}

/// The keys of the objects at one place, in the order in which they were seen first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    list: Vec<Box<[u8]>>,
    predicted: Vec<Predicted>,
    index: HashMap<Box<[u8]>, usize, FixedState>,
}

/// What a key is.
pub(crate) enum Key {
    Known(usize),
    /// It lies between these places; it may have escapes.
    Unknown(crate::lexer::Str),
}

impl Names {
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn get(&self, index: usize) -> &[u8] {
        self.list.get(index).map_or(&[], |name| name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.list.iter().map(|name| &**name)
    }

    pub(crate) fn find(&self, key: &[u8]) -> Option<usize> {
        self.index.get(key).copied()
    }

    /// Adds a key that is not there.
    pub(crate) fn push(&mut self, key: &[u8]) -> usize {
        let index = self.list.len();
        self.list.push(key.into());
        self.predicted.push(Predicted::new(key));
        self.index.insert(key.into(), index);
        index
    }

    /// Reads a key and its colon; `next` is the one that is most likely.
    #[inline(always)]
    pub(crate) fn read(&self, lexer: &mut Lexer<'_>, next: usize) -> Step<Key> {
        if let Some(predicted) = self.predicted.get(next)
            && predicted.is_here(&lexer.data[lexer.at..])
            && predicted.len != usize::MAX
        {
            lexer.at += predicted.len;
            return Ok(Key::Known(next));
        }
        self.look_up(lexer)
    }

    #[inline(never)]
    fn look_up(&self, lexer: &mut Lexer<'_>) -> Step<Key> {
        let key = lexer.key()?;
        let written = &lexer.data[key.start..key.end];
        let found = if key.escaped {
            let mut plain = Vec::new();
            unescape(written, &mut plain);
            self.find(&plain)
        } else {
            self.find(written)
        };
        Ok(found.map_or(Key::Unknown(key), Key::Known))
    }
}

/// The text of a key.
pub(crate) fn key_text(lexer: &Lexer<'_>, key: crate::lexer::Str) -> Vec<u8> {
    let written = &lexer.data[key.start..key.end];
    if !key.escaped {
        return written.to_vec();
    }
    let mut plain = Vec::new();
    unescape(written, &mut plain);
    plain
}

/// The fault for a duplicate key.
#[cold]
pub(crate) fn duplicate(key: &[u8]) -> Fault {
    Fault::DuplicateKey(String::from_utf8_lossy(key).into_owned())
}
