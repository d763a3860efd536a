//! A file that is given together with a query: its table name in the query, whether the query reads it, and suggestions
//! for a misspelt file name.

use std::path::Path;

use arrowload::core::nearest;

/// A file, or files, of `--from`.
pub(crate) struct Beside<'a> {
    /// Its path or URL.
    pub(crate) place: &'a str,
    /// The tables that it is.
    pub(crate) names: &'a [String],
}

impl Beside<'_> {
    /// Whether a text names this file: by its path, or by its name alone.
    pub(crate) fn is_called(&self, text: &str) -> bool {
        let last = |path: &str| path.rsplit(['/', '\\']).next().map(str::to_owned);
        if text == self.place || Some(text.to_owned()) == last(self.place) {
            return true;
        }
        let real = |path: &str| Path::new(path).canonicalize().ok();
        real(text).is_some_and(|path| Some(path) == real(self.place))
    }

    /// Whether a query seems to read it, judged by its words. A pattern or a folder in the query may include it.
    pub(crate) fn is_read_by(&self, sql: &str) -> bool {
        words(sql).iter().any(|word| {
            let is_name = |name: &String| *name == word.text || *name == word.text.to_lowercase();
            let is_table = !word.is_text && self.names.iter().any(is_name);
            let is_wide = word.text.contains(['*', '?', '['])
                || word.text.ends_with('/')
                || Path::new(&word.text).is_dir();
            is_table || (word.is_quoted && (is_wide || self.is_called(&word.text)))
        })
    }

    /// Its tables, for a message.
    pub(crate) fn tables(&self) -> String {
        let mut names: Vec<String> = self.names.iter().rev().cloned().collect();
        names.dedup_by_key(|name| name.to_lowercase());
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        names.join(" and ")
    }
}

/// A name or a text of a query.
#[derive(Debug, PartialEq)]
struct Word {
    text: String,
    /// It is in quotes of any kind.
    is_quoted: bool,
    /// It is in single quotes: a text, or the name of a file.
    is_text: bool,
}

/// The names and text literals of a query, without comments.
fn words(sql: &str) -> Vec<Word> {
    let (mut words, mut rest) = (Vec::new(), sql);
    let after = |text: &'_ str, end: &str| text.find(end).map_or(text.len(), |at| at + end.len());
    while let Some(first) = rest.chars().next() {
        if rest.starts_with("--") {
            rest = &rest[after(rest, "\n")..];
        } else if rest.starts_with("/*") {
            rest = &rest[after(rest, "*/")..];
        } else if matches!(first, '\'' | '"' | '`') {
            let (mut text, mut letters) = (String::new(), rest[1..].char_indices().peekable());
            let mut end = rest.len();
            while let Some((at, letter)) = letters.next() {
                if letter != first {
                    text.push(letter);
                } else if letters.next_if(|(_, next)| *next == first).is_some() {
                    text.push(first);
                } else {
                    end = at + 2;
                    break;
                }
            }
            words.push(Word {
                text,
                is_quoted: true,
                is_text: first == '\'',
            });
            rest = &rest[end..];
        } else {
            let in_word = |letter: char| letter.is_alphanumeric() || letter == '_';
            let end = rest.find(|letter| !in_word(letter)).unwrap_or(rest.len());
            if end > 0 {
                words.push(Word {
                    text: rest[..end].to_owned(),
                    is_quoted: false,
                    is_text: false,
                });
            }
            rest = &rest[end.max(first.len_utf8())..];
        }
    }
    words
}

/// `; did you mean …?` with the name of an existing file or folder next to the missing one; else nothing.
pub(crate) fn meant(path: &Path) -> String {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    let entries = std::fs::read_dir(folder.unwrap_or(Path::new(".")));
    let names: Vec<String> = entries
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let near = nearest(&name, names.iter().map(String::as_str));
    near.map_or_else(String::new, |near| {
        let near = path.with_file_name(near);
        format!("; did you mean `{}`?", near.display())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_reads_a_file_by_its_tables_or_its_name() {
        let names = ["Orders", "orders", "data"].map(str::to_owned);
        let beside = Beside {
            place: "/shop/Orders.csv",
            names: &names,
        };
        for sql in [
            "SELECT * FROM data",
            "SELECT * FROM DATA AS d JOIN 'other.csv' o ON d.id = o.id",
            "SELECT * FROM \"Orders\"",
            "SELECT count(*) FROM orders -- of today",
            "SELECT * FROM '/shop/Orders.csv'",
            "SELECT * FROM read_csv('Orders.csv', skip => 1)",
            "SELECT * FROM '/shop/*.csv'",
        ] {
            assert!(beside.is_read_by(sql), "{sql}");
        }
        for sql in [
            "SELECT 1",
            "SELECT * FROM other",
            "SELECT 'data' FROM other -- data",
            "SELECT 'it''s data' /* data */ FROM 'other.csv'",
            "SELECT * FROM database",
        ] {
            assert!(!beside.is_read_by(sql), "{sql}");
        }
        assert_eq!(beside.tables(), "`data` and `orders`");
    }
}
