//! Infers the type of a column from all of its values.

use arrow_schema::{DataType, TimeUnit};

use crate::number::{self, Float, NumberStyle, Parts, Shape};
use crate::rules::{Numbers, Rules};
use crate::text::Text;
use crate::time::{self, Stamp};
use crate::types::{ColumnType, UTC, decimal};

/// What one number is.
#[derive(Debug, Clone, Copy)]
pub struct Number {
    /// Digits before the point.
    pub whole: usize,
    /// Digits after it.
    pub scale: usize,
    /// Whether it is an integer of 64 bits.
    pub int64: bool,
    /// Whether only a float holds it: it has an exponent, or is `NaN`, infinite or `-0.0`.
    pub float_form: bool,
    /// Whether a float holds it without rounding.
    pub exact: bool,
    /// Whether it has 15 to 17 significant digits, as printed floats have.
    printed: bool,
}

impl Number {
    /// A number of few digits, 14 at most, that is not `-0`.
    #[inline]
    pub fn short(whole: usize, scale: usize) -> Self {
        Self {
            whole,
            scale,
            int64: scale == 0,
            float_form: false,
            exact: true,
            printed: false,
        }
    }

    /// A number that no float holds, and that is written with an exponent.
    pub fn inexact() -> Self {
        Self {
            whole: 0,
            scale: 0,
            int64: false,
            float_form: true,
            exact: false,
            printed: false,
        }
    }
}

/// What one value is.
#[derive(Debug, Clone, Copy)]
pub enum Class {
    /// A word for true or false.
    Boolean,
    /// A number.
    Number(Number),
    /// A date.
    Date,
    /// A time of day.
    Time,
    /// A date and a time.
    Stamp(Stamp),
    /// Anything else.
    Text,
}

/// What a value is, by the first grammar that it fits.
pub fn classify(value: &[u8], rules: &Rules) -> Class {
    let text = Text::of(value);
    if let Some(number) = number_of(text, rules.numbers) {
        Class::Number(number)
    } else if rules.boolean(value, true).is_some() {
        Class::Boolean
    } else if rules.date(text).is_some() {
        Class::Date
    } else if let Some(stamp) = rules.stamp(text) {
        Class::Stamp(stamp)
    } else if time::clock(text, false).is_some() {
        Class::Time
    } else {
        Class::Text
    }
}

/// The number that a text is, by the strict grammar.
#[inline]
pub fn number_of(text: Text<'_>, style: NumberStyle) -> Option<Number> {
    if style.is_plain() {
        return plain_number(text);
    }
    let mut plain = Vec::new();
    style.normalise(text.bytes(), &mut plain)?;
    plain_number(Text::of(&plain))
}

fn plain_number(text: Text<'_>) -> Option<Number> {
    if number::strict_integer(text).is_some() {
        let whole = text.sign().1.len();
        return Some(Number {
            whole,
            scale: 0,
            int64: true,
            float_form: false,
            exact: whole <= 15 || number::exact(text).is_some(),
            printed: false,
        });
    }
    let parts = Parts::of(text, 2, true).filter(|parts| parts.is_number());
    let Some(parts) = parts else {
        number::float_parts(text, true)?;
        let exact = number::exact(text).is_some();
        return Some(Number {
            whole: 0,
            scale: 0,
            int64: false,
            float_form: true,
            exact,
            printed: false,
        });
    };
    let (whole, scale) = (parts.whole.len(), parts.fraction.len());
    let short = whole + scale <= 15;
    let significant = match number::float_parts(text, true)? {
        _ if short && !parts.negative => 0,
        Float::Finite { significant, .. } => significant,
        Float::Special(_) => 0,
    };
    let negative_zero = parts.negative && significant == 0;
    Some(Number {
        whole,
        scale,
        int64: false,
        float_form: negative_zero,
        exact: short || number::exact(text).is_some(),
        printed: (15..=17).contains(&significant),
    })
}

/// What all numbers of a column have been so far.
#[derive(Debug, Clone)]
pub struct NumberProfile {
    whole: usize,
    scale: usize,
    least_scale: usize,
    pointed: bool,
    int64: bool,
    float_form: bool,
    exact: bool,
    printed: bool,
}

impl Default for NumberProfile {
    fn default() -> Self {
        Self {
            whole: 0,
            scale: 0,
            least_scale: usize::MAX,
            pointed: false,
            int64: true,
            float_form: false,
            exact: true,
            printed: false,
        }
    }
}

impl NumberProfile {
    /// Whether a number of few digits ([`Number::short`]) changes nothing.
    #[inline]
    pub fn covers(&self, whole: usize, scale: usize) -> bool {
        whole <= self.whole && scale <= self.scale && scale >= self.least_scale
    }

    /// Looks at one number; whether it changed what the column is.
    #[inline]
    pub fn add(&mut self, number: Number) -> bool {
        let pointed = number.scale > 0;
        let changed = (pointed && !self.pointed)
            || number.scale > self.scale
            || (number.float_form && !self.float_form)
            || (!number.exact && self.exact && (self.pointed || self.float_form))
            || (!number.int64 && !pointed && !number.float_form && self.int64);
        self.whole = self.whole.max(number.whole);
        self.scale = self.scale.max(number.scale);
        self.least_scale = self.least_scale.min(number.scale);
        self.pointed |= pointed;
        self.int64 &= number.int64;
        self.float_form |= number.float_form;
        self.exact &= number.exact;
        self.printed |= number.printed;
        changed
    }

    /// Joins what another part of the file has shown; whether it changed what the column is.
    pub fn merge(&mut self, later: &Self) -> bool {
        let before = (self.pointed, self.scale, self.float_form);
        self.whole = self.whole.max(later.whole);
        self.scale = self.scale.max(later.scale);
        self.least_scale = self.least_scale.min(later.least_scale);
        self.pointed |= later.pointed;
        self.int64 &= later.int64;
        self.float_form |= later.float_form;
        self.exact &= later.exact;
        self.printed |= later.printed;
        before != (self.pointed, self.scale, self.float_form)
    }

    /// The type that holds every number as it is written; none if no type does, or none that is wanted.
    pub fn data_type(&self, prefer: Numbers) -> Option<DataType> {
        let float = || match prefer {
            Numbers::Decimal => None,
            _ => self.exact.then_some(DataType::Float64),
        };
        if self.float_form {
            return float();
        }
        if !self.pointed && self.int64 {
            return Some(DataType::Int64);
        }
        if self.pointed && prefer == Numbers::Float {
            return float();
        }
        let printed = self.printed && self.least_scale != self.scale && self.exact;
        if self.pointed && printed && prefer == Numbers::Auto {
            return Some(DataType::Float64);
        }
        decimal(self.whole, self.scale)
    }
}

const BOOLEAN: u8 = 1;
const NUMBER: u8 = 2;
const DATE: u8 = 4;
const TIME: u8 = 8;
const STAMP: u8 = 16;
const ZONED: u8 = 32;
const ALL: u8 = 63;

/// What all values of a column have been so far.
#[derive(Debug, Clone)]
pub struct Profile {
    values: u64,
    /// What every value could be.
    families: u8,
    numbers: NumberProfile,
    /// Digits of the fractions of seconds.
    places: u8,
    /// Whether nanoseconds hold every timestamp.
    nanoseconds: bool,
    micros: bool,
    /// The value that made the type what it is, and its line.
    deciding: Option<(u64, String)>,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            values: 0,
            families: ALL,
            numbers: NumberProfile::default(),
            places: 0,
            nanoseconds: true,
            micros: true,
            deciding: None,
        }
    }
}

/// A value as messages show it: cut after 100 characters.
pub fn shown(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    match text.char_indices().nth(100) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.into_owned(),
    }
}

#[derive(Debug, Clone, Copy)]
enum LikelyKind {
    Number(Shape),
    Date,
    Nothing,
}

/// What most of the next values of a column will be. It is apart from its [`Profile`], so that it can stay in registers while
/// one value after the other is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Likely {
    kind: LikelyKind,
    values: u64,
    whole: usize,
    scale: usize,
    least_scale: usize,
}

impl Likely {
    /// Whether a value, the first `len` bytes of `tail`, is one of them.
    #[inline(always)]
    pub fn holds(&mut self, tail: &[u8], len: usize) -> bool {
        let holds = match self.kind {
            LikelyKind::Number(shape) => match shape.whole(tail, len) {
                Some(whole) => {
                    self.whole = self.whole.max(whole);
                    self.least_scale = self.least_scale.min(self.scale);
                    true
                }
                None => match other_number(tail, len, self.scale) {
                    Some((whole, scale)) => {
                        self.whole = self.whole.max(whole);
                        self.least_scale = self.least_scale.min(scale);
                        true
                    }
                    None => false,
                },
            },
            LikelyKind::Date => time::date(Text::new(tail, len)).is_some(),
            LikelyKind::Nothing => false,
        };
        self.values += u64::from(holds);
        holds
    }
}

/// A short number of another shape, with no more digits after its point.
#[inline(never)]
fn other_number(tail: &[u8], len: usize, most: usize) -> Option<(usize, usize)> {
    number::short(Text::new(tail, len), most).filter(|(_, scale)| *scale <= most)
}

impl Profile {
    /// Whether nothing more can be learnt: the column is text.
    #[inline]
    pub fn is_text(&self) -> bool {
        self.families == 0
    }

    /// What most of the next values will be, and what changes nothing.
    pub fn likely(&self, rules: &Rules) -> Likely {
        let kind = match self.families {
            NUMBER if rules.numbers.is_plain() => {
                LikelyKind::Number(Shape::new(self.numbers.scale))
            }
            DATE if rules.date_format.is_none() => LikelyKind::Date,
            _ => LikelyKind::Nothing,
        };
        Likely {
            kind,
            values: 0,
            whole: self.numbers.whole,
            scale: self.numbers.scale,
            least_scale: self.numbers.least_scale,
        }
    }

    /// Takes in the values that were as they were likely to be.
    pub fn take(&mut self, likely: Likely) {
        self.values += likely.values;
        if let LikelyKind::Number(_) = likely.kind {
            self.numbers.whole = likely.whole;
            self.numbers.least_scale = likely.least_scale;
        }
    }

    /// Looks at one value, the first `len` bytes of `tail`; whether it changed what the column is.
    pub fn value(&mut self, tail: &[u8], len: usize, rules: &Rules) -> bool {
        self.values += 1;
        let text = Text::new(tail, len);
        let (families, mut changed) = (self.families, self.values == 1);
        if families & NUMBER != 0 {
            match number_of(text, rules.numbers) {
                Some(number) => changed |= self.numbers.add(number),
                None => self.families &= !NUMBER,
            }
        }
        if families & BOOLEAN != 0 && rules.boolean(text.bytes(), true).is_none() {
            self.families &= !BOOLEAN;
        }
        if families & DATE != 0 && rules.date(text).is_none() {
            self.families &= !DATE;
        }
        if families & TIME != 0 {
            match time::clock(text, false) {
                Some(clock) => {
                    changed |= self.places <= 6 && clock.places > 6;
                    self.places = self.places.max(clock.places);
                }
                None => self.families &= !TIME,
            }
        }
        if families & (STAMP | ZONED) != 0 {
            match rules.stamp(text) {
                Some(stamp) => {
                    self.families &= !if stamp.zoned { STAMP } else { ZONED };
                    let (nanoseconds, micros) = (
                        stamp.units(1_000_000_000).is_some(),
                        stamp.units(1_000_000).is_some(),
                    );
                    changed |= self.micros && !micros;
                    self.nanoseconds &= nanoseconds;
                    self.micros &= micros;
                }
                None => self.families &= !(STAMP | ZONED),
            }
        }
        changed || (self.values > 1 && self.families != families)
    }

    /// Remembers the value that changed what the column is, and its line.
    pub fn decided(&mut self, line: u64, value: &[u8]) {
        self.deciding = Some((line, shown(value)));
    }

    /// Joins what another part of the file has shown, which comes after this one.
    pub fn merge(&mut self, later: Self) {
        let families = self.families;
        self.values += later.values;
        self.families &= later.families;
        let changed = self.numbers.merge(&later.numbers) || families != self.families;
        self.places = self.places.max(later.places);
        self.nanoseconds &= later.nanoseconds;
        self.micros &= later.micros;
        if self.deciding.is_none() || changed {
            self.deciding = later.deciding.or(self.deciding.take());
        }
    }

    /// With its lines counted from `first` on.
    pub fn after(mut self, first: u64) -> Self {
        if let Some((line, _)) = &mut self.deciding {
            *line += first;
        }
        self
    }

    /// Whether it is anything but text.
    pub fn is_typed(&self, rules: &Rules) -> bool {
        self.values > 0 && self.data_type(rules) != DataType::Utf8
    }

    fn data_type(&self, rules: &Rules) -> DataType {
        if self.values == 0 {
            return DataType::Utf8;
        }
        let zone = (self.families & ZONED != 0).then(|| UTC.into());
        if self.families & BOOLEAN != 0 {
            DataType::Boolean
        } else if self.families & DATE != 0 {
            DataType::Date32
        } else if self.families & (STAMP | ZONED) != 0 {
            match (self.micros, self.nanoseconds) {
                (true, _) => DataType::Timestamp(TimeUnit::Microsecond, zone),
                (false, true) => DataType::Timestamp(TimeUnit::Nanosecond, zone),
                (false, false) => DataType::Utf8,
            }
        } else if self.families & TIME != 0 {
            let unit = if self.places > 6 {
                TimeUnit::Nanosecond
            } else {
                TimeUnit::Microsecond
            };
            DataType::Time64(unit)
        } else if self.families & NUMBER != 0 {
            self.numbers
                .data_type(rules.prefer)
                .unwrap_or(DataType::Utf8)
        } else {
            DataType::Utf8
        }
    }

    /// The type, and why.
    pub fn decide(&self, rules: &Rules) -> (ColumnType, String) {
        let data_type = self.data_type(rules);
        let reason = match &self.deciding {
            None => "it has no values".to_owned(),
            Some((line, value)) => {
                let value = value.escape_debug();
                format!(
                    "{} values, decided by `{value}` in line {line}",
                    self.values
                )
            }
        };
        (ColumnType::found(data_type), reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use DataType as T;

    fn of(values: &[&str], prefer: Numbers) -> DataType {
        let rules = Rules {
            prefer,
            ..Rules::default()
        };
        let mut profile = Profile::default();
        // In two parts, as chunks of a file are.
        let mut later = Profile::default();
        let (left, right) = values.split_at(values.len() / 2);
        for (profile, values) in [(&mut profile, left), (&mut later, right)] {
            for value in values {
                let mut likely = profile.likely(&rules);
                let holds = likely.holds(value.as_bytes(), value.len());
                profile.take(likely);
                if !holds {
                    profile.value(value.as_bytes(), value.len(), &rules);
                }
            }
        }
        profile.merge(later);
        profile.decide(&rules).0.data_type
    }

    #[test]
    fn a_type_is_what_every_value_fits() {
        let micro = T::Timestamp(TimeUnit::Microsecond, None);
        let cases: [(&[&str], DataType); 27] = [
            (&["1", "-2", "0"], T::Int64),
            (&["02134", "00501", "90210"], T::Utf8),
            (&["1", "+2"], T::Utf8),
            (&["1", "-0"], T::Float64),
            (&["1", "99999999999999999999"], T::Decimal128(38, 0)),
            (
                &["1", "12345678901234567890123456789012345678901"],
                T::Decimal256(76, 0),
            ),
            (&["1.5", "1.50"], T::Decimal128(38, 2)),
            (
                &["12345678901234567.89", "0.10", "99999999999999.99"],
                T::Decimal128(38, 2),
            ),
            (&["1", "1.5"], T::Decimal128(38, 1)),
            (&["1e5", "2"], T::Float64),
            (&["12e3456"], T::Utf8),
            (&["NaN", "1.5"], T::Float64),
            (&["0.30000000000000004", "1.5"], T::Float64),
            (
                &["0.30000000000000004", "12345678901234567.89"],
                T::Decimal128(38, 17),
            ),
            (&["-0.0", "1.5"], T::Float64),
            (&["true", "false"], T::Boolean),
            (&["t", "f"], T::Utf8),
            (&["yes", "no"], T::Utf8),
            (&["2024-01-01", "2024-12-31"], T::Date32),
            (&["2024-01-01", "0000-00-00"], T::Utf8),
            (
                &["2024-01-01 00:00:00", "2024-01-01T12:30:00.5"],
                micro.clone(),
            ),
            (
                &["2024-01-01 00:00:00", "2024-01-01T12:30:00.123456789"],
                T::Timestamp(TimeUnit::Nanosecond, None),
            ),
            (
                &["2024-01-01 00:00:00Z", "2024-01-01T12:30:00+02:00"],
                T::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
            ),
            (&["2024-01-01 00:00:00Z", "2024-01-01T12:30:00"], T::Utf8),
            (
                &["12:30:00", "00:00:00.5"],
                T::Time64(TimeUnit::Microsecond),
            ),
            (&["1", "x"], T::Utf8),
            (&[], T::Utf8),
        ];
        for (values, expected) in cases {
            assert_eq!(of(values, Numbers::Auto), expected, "{values:?}");
        }
    }

    #[test]
    fn numbers_as_they_are_wanted() {
        let values = ["0.30000000000000004", "1.5"];
        assert_eq!(of(&values, Numbers::Decimal), T::Decimal128(38, 17));
        assert_eq!(of(&["1.5", "2.25"], Numbers::Float), T::Float64);
        assert_eq!(of(&["1", "2"], Numbers::Float), T::Int64);
        assert_eq!(of(&["1e5"], Numbers::Decimal), T::Utf8);
        assert_eq!(of(&["12345678901234567.89"], Numbers::Float), T::Utf8);
    }
}
