//! What a server has: its keys by pattern and type, counted.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arrow_array::{BooleanArray, RecordBatch, StringArray, UInt64Array};
use arrowload_core::{Error, ErrorKind, Listed, Listing, Result};
use xxhash_rust::xxh3::xxh3_128;

use crate::nodes::Nodes;
use crate::own::PREFIX;
use crate::resp::Reply;

/// More keys are not looked at. Where a wanted name has a beginning, only keys that begin so are.
const MOST_KEYS: usize = 100_000;
/// More patterns are not distinguished: what comes then is put under its first part.
const MOST_PATTERNS: usize = 1_000;

/// Lists the patterns that keys fit, with their types and how many keys there are of each. The loader's own records are left out.
pub(super) async fn list(nodes: &mut Nodes, listing: &Listing) -> Result<RecordBatch> {
    let refused = |what: String| Err(Error::new(ErrorKind::Unsupported, what));
    if listing.what != Listed::Tables {
        return refused(format!(
            "Redis has no list of {}; list its tables, which are patterns of keys",
            listing.what
        ));
    }
    if listing.catalog.is_some() || listing.schema.is_some() {
        return refused("keys are in no catalog or schema; narrow the list by the name".to_owned());
    }
    let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
    // A scan may give a key twice.
    let mut seen: HashSet<u128> = HashSet::new();
    let mut is_complete = true;
    let begin = listing.name.as_deref().map_or("", begin);
    let glob = format!("{begin}*");
    'places: for place in nodes.topology.places.clone() {
        let mut cursor = b"0".to_vec();
        loop {
            let (next, found) = nodes
                .scan_once(&place, &cursor, glob.as_bytes(), None)
                .await?;
            let is_new =
                |key: &Vec<u8>| !key.starts_with(PREFIX.as_bytes()) && seen.insert(xxh3_128(key));
            let keys: Vec<Vec<u8>> = found.into_iter().filter(is_new).collect();
            let kinds = nodes.each(&keys, &[b"TYPE"], &[]).await?;
            for (key, kind) in keys.iter().zip(kinds) {
                let kind = match kind {
                    Reply::Status(kind) => kind,
                    _ => "unknown".to_owned(),
                };
                // It has gone since it was found.
                if kind != "none" {
                    count(&mut counts, key, kind);
                }
            }
            if next == b"0" {
                break;
            }
            if seen.len() >= MOST_KEYS {
                is_complete = false;
                break 'places;
            }
            cursor = next;
        }
    }
    counts.retain(|(pattern, _), _| listing.takes_name(pattern));
    let patterns = StringArray::from_iter_values(counts.keys().map(|(pattern, _)| pattern));
    let kinds = StringArray::from_iter_values(counts.keys().map(|(_, kind)| kind));
    let keys = UInt64Array::from_iter_values(counts.values().copied());
    let complete = BooleanArray::from(vec![is_complete; counts.len()]);
    Ok(RecordBatch::try_from_iter([
        ("table_name", Arc::new(patterns) as _),
        ("table_type", Arc::new(kinds) as _),
        ("keys", Arc::new(keys) as _),
        // Whether all keys were looked at.
        ("complete", Arc::new(complete) as _),
    ])?)
}

/// The common beginning of all keys whose pattern matches a wanted name. It ends before the first wildcard, of the name or of a
/// Redis pattern, and before a digit, because a part of a key that has a digit is listed as `*`.
fn begin(name: &str) -> &str {
    let is_plain = |letter: char| letter.is_ascii_alphabetic() || matches!(letter, ':' | '-' | '.');
    let end = name.find(|letter| !is_plain(letter));
    &name[..end.unwrap_or(name.len())]
}

fn count(counts: &mut BTreeMap<(String, String), u64>, key: &[u8], kind: String) {
    let mut entry = (pattern(key), kind);
    if counts.len() >= MOST_PATTERNS && !counts.contains_key(&entry) {
        entry.0 = first(&entry.0);
        if counts.len() >= 2 * MOST_PATTERNS && !counts.contains_key(&entry) {
            entry.0 = "*".to_owned();
        }
    }
    *counts.entry(entry).or_default() += 1;
}

/// The first part of a pattern, for all that begins with it.
fn first(pattern: &str) -> String {
    match pattern.split_once(':') {
        Some((first, _)) => format!("{first}:*"),
        None => "*".to_owned(),
    }
}

/// The pattern of a key: parts with digits, such as ids, stand for any; where there is none, the last part does.
fn pattern(key: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(key) else {
        return "*".to_owned();
    };
    let parts: Vec<&str> = text.split(':').collect();
    let is_id = |part: &str| part.bytes().any(|byte| byte.is_ascii_digit());
    let has_id = parts.iter().any(|part| is_id(part));
    let last = parts.len() - 1;
    let part = |(index, part): (usize, &&str)| match *part {
        part if is_id(part) || (!has_id && last > 0 && index == last) => "*".to_owned(),
        part => escaped(part),
    };
    let parts: Vec<String> = parts.iter().enumerate().map(part).collect();
    parts.join(":")
}

/// A part as a pattern that fits it alone.
fn escaped(part: &str) -> String {
    let mut escaped = String::with_capacity(part.len());
    for letter in part.chars() {
        if matches!(letter, '*' | '?' | '[' | ']' | '\\' | '^') {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_one_kind_have_one_pattern() {
        for (key, expected) in [
            ("user:1", "user:*"),
            ("user:ada", "user:*"),
            ("user:1:orders", "user:*:orders"),
            ("session:9f86d081:data:x2", "session:*:data:*"),
            ("counter", "counter"),
            ("counter2", "*"),
            ("what?", "what\\?"),
            ("", ""),
            (":", ":*"),
        ] {
            assert_eq!(pattern(key.as_bytes()), expected, "{key}");
        }
        assert_eq!(pattern(b"\xff:1"), "*");
    }

    #[test]
    fn the_beginning_of_a_name_is_what_all_keys_of_it_begin_with() {
        for (name, expected) in [
            ("user:%", "user:"),
            ("user", "user"),
            ("a_b", "a"),
            ("%", ""),
            ("what\\?", "what"),
            ("v2:%", "v"),
            ("user:*", "user:"),
        ] {
            assert_eq!(begin(name), expected, "{name}");
            let mut listing = Listing::new(Listed::Tables);
            listing.name = Some(name.to_owned());
            for key in ["user", "user:1", "axb", "a_b", "what?", "v2:1", "v"] {
                let is_listed = listing.takes_name(&pattern(key.as_bytes()));
                assert!(!is_listed || key.starts_with(expected), "{name} {key}");
            }
        }
    }

    #[test]
    fn patterns_are_not_told_apart_for_ever() {
        let mut counts = BTreeMap::new();
        let word = |mut number: usize| {
            let mut word = String::new();
            for _ in 0..4 {
                word.push(char::from(b'a' + (number % 26) as u8));
                number /= 26;
            }
            word
        };
        for number in 0..10_000 {
            let key = format!("{}:{}:last", word(number), word(number / 2));
            count(&mut counts, key.as_bytes(), "hash".into());
        }
        assert!(counts.len() <= 2 * MOST_PATTERNS + 1, "{}", counts.len());
        assert_eq!(counts.values().sum::<u64>(), 10_000);
    }
}
