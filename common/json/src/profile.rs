//! What all values at one place of the rows have been so far.

use arrowload_common_text_files::number::NumberStyle;
use arrowload_common_text_files::{Number, NumberProfile, number_of, shown};

use crate::lexer::{Lexer, Num, Step};
use crate::names::{Key, Names, duplicate, key_text};
use crate::options::DuplicateKeys;

pub(crate) const BOOLEAN: u8 = 1;
pub(crate) const NUMBER: u8 = 2;
pub(crate) const STRING: u8 = 4;
pub(crate) const OBJECT: u8 = 8;
pub(crate) const ARRAY: u8 = 16;
/// Objects or arrays that are nested too deep to be types.
pub(crate) const DEEP: u8 = 32;

/// Keys that objects at one place may have and be structs. What has more is a map, and JSON text.
const MOST_KEYS: usize = 1_000;
/// How deep structs and lists are nested. What is deeper is JSON text.
const MOST_LEVELS: u32 = 64;

/// What all values at one place have been.
#[derive(Debug, Clone, Default)]
pub(crate) struct Profile {
    /// The values that are not null.
    pub(crate) values: u64,
    /// Their kinds.
    pub(crate) seen: u8,
    pub(crate) numbers: NumberProfile,
    pub(crate) members: Option<Box<Members>>,
    pub(crate) items: Option<Box<Profile>>,
    /// The value that made this what it is, and its place in the text.
    pub(crate) deciding: Option<(u64, String)>,
}

/// The members of objects.
#[derive(Debug, Clone, Default)]
pub(crate) struct Members {
    pub(crate) names: Names,
    pub(crate) profiles: Vec<Profile>,
    /// The number of the last object that had each.
    filled: Vec<u64>,
    objects: u64,
    /// Whether there are too many, and none is kept.
    pub(crate) wide: bool,
    /// Whether there may be as many as there are: these are the columns.
    unbounded: bool,
}

impl Members {
    /// The columns of a table.
    pub(crate) fn columns() -> Self {
        Self {
            unbounded: true,
            ..Self::default()
        }
    }

    /// The member of a name, which is added if it is not there.
    pub(crate) fn named(&mut self, name: &[u8]) -> &mut Profile {
        let index = self.names.find(name).unwrap_or_else(|| self.add(name));
        &mut self.profiles[index]
    }

    pub(crate) fn get(&self, name: &[u8]) -> Option<&Profile> {
        self.names
            .find(name)
            .and_then(|index| self.profiles.get(index))
    }

    fn add(&mut self, name: &[u8]) -> usize {
        self.profiles.push(Profile::default());
        self.filled.push(0);
        self.names.push(name)
    }

    fn widen(&mut self) {
        let (unbounded, objects) = (self.unbounded, self.objects);
        *self = Self {
            wide: true,
            unbounded,
            objects,
            ..Self::default()
        };
    }

    fn merge(&mut self, later: &Self) {
        if self.wide || later.wide {
            self.widen();
            return;
        }
        for (name, profile) in later.names.iter().zip(&later.profiles) {
            self.named(name).merge(profile);
        }
        if self.names.len() > MOST_KEYS && !self.unbounded {
            self.widen();
        }
    }

    /// Looks at an object, whose `{` has been read.
    pub(crate) fn object(&mut self, lexer: &mut Lexer<'_>, duplicates: DuplicateKeys) -> Step<()> {
        lexer.down()?;
        self.objects += 1;
        let mut next = 0;
        if lexer.blanks() == b'}' {
            lexer.at += 1;
            lexer.up();
            return Ok(());
        }
        loop {
            let start = lexer.at;
            let index = match self.names.read(lexer, next)? {
                Key::Known(index) => index,
                Key::Unknown(_) if self.wide => usize::MAX,
                Key::Unknown(key) => {
                    let name = key_text(lexer, key);
                    if self.names.len() >= MOST_KEYS && !self.unbounded {
                        self.widen();
                        usize::MAX
                    } else {
                        self.add(&name)
                    }
                }
            };
            match self.profiles.get_mut(index) {
                None => lexer.skip()?,
                Some(profile) => {
                    if self.filled[index] == self.objects && duplicates == DuplicateKeys::Error {
                        return lexer.fault(start, duplicate(self.names.get(index)));
                    }
                    self.filled[index] = self.objects;
                    if !profile.is_like_before(lexer)? {
                        profile.value(lexer, duplicates)?;
                    }
                    next = index + 1;
                }
            }
            match lexer.blanks() {
                b',' => {
                    lexer.at += 1;
                    lexer.blanks();
                }
                b'}' => break,
                _ => return lexer.expected("`,` or `}`"),
            }
        }
        lexer.at += 1;
        lexer.up();
        Ok(())
    }
}

impl Profile {
    /// Goes over a value that is what those before were, and changes nothing. Whether it was one.
    #[inline(always)]
    fn is_like_before(&mut self, lexer: &mut Lexer<'_>) -> Step<bool> {
        match (lexer.blanks(), self.seen) {
            (b'"', STRING) => {
                lexer.string()?;
            }
            (b'0'..=b'9', NUMBER) => match lexer.short_number() {
                Some((whole, scale, end)) if self.numbers.covers(whole, scale) => lexer.at = end,
                _ => return Ok(false),
            },
            _ => return Ok(false),
        }
        self.values += 1;
        Ok(true)
    }

    /// The last place in the text that [`places`](Self::places) asks for.
    pub(crate) fn last_place(&self) -> u64 {
        let members = self.members.iter().flat_map(|members| &members.profiles);
        let below = members.chain(self.items.as_deref()).map(Self::last_place);
        let own = self.deciding.as_ref().map_or(0, |(place, _)| *place);
        below.fold(own, u64::max)
    }

    #[inline]
    fn saw(&mut self, kind: u8) -> bool {
        self.values += 1;
        let changed = self.seen & kind == 0;
        self.seen |= kind;
        changed
    }

    /// Looks at a number; whether it changed what the values are.
    #[inline]
    fn number(&mut self, lexer: &Lexer<'_>, num: &Num) -> bool {
        let (whole, scale) = (num.whole as usize, num.scale as usize);
        if whole + scale <= 14 && !num.exponent && (num.mantissa != 0 || !num.negative) {
            return !self.numbers.covers(whole, scale)
                && self.numbers.add(Number::short(whole, scale));
        }
        let text = lexer.text(num.start, num.end);
        let number = number_of(text, NumberStyle::default());
        self.numbers.add(number.unwrap_or_else(Number::inexact))
    }

    #[cold]
    fn decided(&mut self, lexer: &Lexer<'_>, start: usize) {
        let end = (start + 400).min(lexer.at).min(lexer.len);
        self.deciding = Some((start as u64, shown(&lexer.data[start..end.max(start)])));
    }

    /// Looks at a value.
    pub(crate) fn value(&mut self, lexer: &mut Lexer<'_>, duplicates: DuplicateKeys) -> Step<()> {
        let byte = lexer.blanks();
        let start = lexer.at;
        let changed = match byte {
            b'"' => {
                // The type of the last value counts too, even if its row is cut off.
                let read = lexer.string();
                let changed = self.saw(STRING);
                read?;
                changed
            }
            b'-' | b'0'..=b'9' => {
                let mut num = Num::default();
                lexer.number(&mut num)?;
                self.saw(NUMBER) | self.number(lexer, &num)
            }
            b't' => {
                lexer.literal(b"true")?;
                self.saw(BOOLEAN)
            }
            b'f' => {
                lexer.literal(b"false")?;
                self.saw(BOOLEAN)
            }
            b'n' => return lexer.literal(b"null"),
            b'{' | b'[' if lexer.depth() >= MOST_LEVELS => {
                lexer.skip()?;
                self.saw(DEEP)
            }
            b'{' => {
                lexer.at += 1;
                let members = self.members.get_or_insert_default();
                let read = members.object(lexer, duplicates);
                let changed = self.saw(OBJECT);
                read?;
                changed
            }
            b'[' => {
                lexer.at += 1;
                let read = self.array(lexer, duplicates);
                let changed = self.saw(ARRAY);
                read?;
                changed
            }
            _ => return lexer.expected("a value"),
        };
        if changed {
            self.decided(lexer, start);
        }
        Ok(())
    }

    fn array(&mut self, lexer: &mut Lexer<'_>, duplicates: DuplicateKeys) -> Step<()> {
        lexer.down()?;
        let items = self.items.get_or_insert_default();
        if lexer.blanks() == b']' {
            lexer.at += 1;
            lexer.up();
            return Ok(());
        }
        loop {
            items.value(lexer, duplicates)?;
            match lexer.blanks() {
                b',' => lexer.at += 1,
                b']' => break,
                _ => return lexer.expected("`,` or `]`"),
            }
        }
        lexer.at += 1;
        lexer.up();
        Ok(())
    }

    /// Joins what another part of the file has shown, which comes after this one.
    pub(crate) fn merge(&mut self, later: &Self) {
        let before = self.seen;
        self.values += later.values;
        self.seen |= later.seen;
        let changed = self.numbers.merge(&later.numbers) || before != self.seen;
        if let Some(members) = &later.members {
            self.members.get_or_insert_default().merge(members);
        }
        if let Some(items) = &later.items {
            self.items.get_or_insert_default().merge(items);
        }
        if changed || self.deciding.is_none() {
            self.deciding = later.deciding.clone().or(self.deciding.take());
        }
    }

    /// Turns places in the text into lines.
    pub(crate) fn places(&mut self, line: &impl Fn(u64) -> u64) {
        if let Some((place, _)) = &mut self.deciding {
            *place = line(*place);
        }
        if let Some(members) = &mut self.members {
            for profile in &mut members.profiles {
                profile.places(line);
            }
        }
        if let Some(items) = &mut self.items {
            items.places(line);
        }
    }
}
