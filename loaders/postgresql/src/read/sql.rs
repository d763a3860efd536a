//! Parses as much of SQL as is needed to find parameters, and to recognise a query over a single table.

use std::ops::Range;

/// The kind of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A key word or a name.
    Word,
    /// A name in double quotes.
    Quoted,
    /// `$1` or `$name`.
    Param,
    /// One character that is none of these, or a constant.
    Other,
}

/// A piece of a statement. White space and comments lie between pieces.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) at: Range<usize>,
    /// How many parentheses and brackets are open around it.
    pub(super) depth: usize,
}

/// A statement, and its pieces.
#[derive(Debug, Clone)]
pub(super) struct Sql<'a> {
    pub(super) text: &'a str,
    pub(super) tokens: Vec<Token>,
}

fn starts_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn is_word(byte: u8) -> bool {
    starts_word(byte) || byte.is_ascii_digit()
}

/// The end of what begins at `start`, and what it is; `None` for white space and comments.
fn piece(bytes: &[u8], start: usize) -> (usize, Option<Kind>) {
    let rest = &bytes[start..];
    let run = |from: usize, is: fn(u8) -> bool| {
        bytes[from..]
            .iter()
            .position(|byte| !is(*byte))
            .map_or(bytes.len(), |count| from + count)
    };
    match rest {
        [b'-', b'-', ..] => (run(start, |byte| byte != b'\n'), None),
        [b'/', b'*', ..] => (comment(bytes, start), None),
        [b'\'', ..] => (quoted(bytes, start, b'\'', false), Some(Kind::Other)),
        [b'e' | b'E', b'\'', ..] => (quoted(bytes, start + 1, b'\'', true), Some(Kind::Other)),
        [b'"', ..] => (quoted(bytes, start, b'"', false), Some(Kind::Quoted)),
        [b'$', digit, ..] if digit.is_ascii_digit() => (
            run(start + 1, |byte| byte.is_ascii_digit()),
            Some(Kind::Param),
        ),
        [b'$', ..] => dollar(bytes, start, run(start + 1, is_word)),
        [byte, ..] if starts_word(*byte) => (
            run(start, |byte| is_word(byte) || byte == b'$'),
            Some(Kind::Word),
        ),
        [byte, ..] if byte.is_ascii_digit() => (
            run(start, |byte| is_word(byte) || byte == b'.'),
            Some(Kind::Other),
        ),
        [byte, ..] if byte.is_ascii_whitespace() => (start + 1, None),
        _ => (start + 1, Some(Kind::Other)),
    }
}

/// A text between `$tag$`s, or a named parameter.
fn dollar(bytes: &[u8], start: usize, end: usize) -> (usize, Option<Kind>) {
    if bytes.get(end) == Some(&b'$') {
        let tag = &bytes[start..=end];
        let close = bytes[end + 1..]
            .windows(tag.len())
            .position(|window| window == tag);
        return (
            close.map_or(bytes.len(), |close| end + 1 + close + tag.len()),
            Some(Kind::Other),
        );
    }
    (
        end,
        Some(if end > start + 1 {
            Kind::Param
        } else {
            Kind::Other
        }),
    )
}

fn quoted(bytes: &[u8], start: usize, quote: u8, escapes: bool) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if escapes => at += 2,
            byte if byte == quote && bytes.get(at + 1) == Some(&quote) => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Comments may hold comments.
fn comment(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0);
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => (at, depth) = (at + 2, depth + 1),
            [b'*', b'/', ..] if depth == 1 => return at + 2,
            [b'*', b'/', ..] => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
    }
    bytes.len()
}

impl<'a> Sql<'a> {
    /// Splits a statement into tokens. A semicolon at its end is left out.
    pub(super) fn parse(text: &'a str) -> Self {
        let bytes = text.as_bytes();
        let (mut tokens, mut at, mut depth) = (Vec::new(), 0, 0_usize);
        while at < bytes.len() {
            let (end, kind) = piece(bytes, at);
            if let Some(kind) = kind {
                if matches!(bytes[at], b')' | b']') {
                    depth = depth.saturating_sub(1);
                }
                tokens.push(Token {
                    kind,
                    at: at..end,
                    depth,
                });
                if matches!(bytes[at], b'(' | b'[') {
                    depth += 1;
                }
            }
            at = end;
        }
        let mut sql = Self { text, tokens };
        while sql
            .tokens
            .last()
            .is_some_and(|last| &text[last.at.clone()] == ";")
        {
            sql.tokens.pop();
        }
        sql.text = &text[..sql.tokens.last().map_or(0, |last| last.at.end)];
        sql
    }

    /// The text of a piece.
    pub(super) fn token(&self, token: &Token) -> &'a str {
        &self.text[token.at.clone()]
    }

    fn word(&self, index: usize) -> Option<String> {
        self.tokens
            .get(index)
            .filter(|token| token.kind == Kind::Word)
            .map(|token| self.token(token).to_ascii_lowercase())
    }

    /// Whether it is a statement that `COPY` takes.
    pub(super) fn is_query(&self) -> bool {
        let first = self
            .tokens
            .iter()
            .position(|token| self.token(token) != "(");
        let word = first.and_then(|index| self.word(index));
        word.is_some_and(|word| matches!(word.as_str(), "select" | "with" | "values" | "table"))
    }

    /// For a query over one table alone: the same with another condition, in place of `{}`.
    pub(super) fn over_one_table(&self) -> Option<[String; 2]> {
        const OTHERS: [&str; 16] = [
            "group",
            "having",
            "window",
            "order",
            "limit",
            "offset",
            "fetch",
            "for",
            "union",
            "intersect",
            "except",
            "distinct",
            "into",
            "tablesample",
            "join",
            "with",
        ];
        let top = |index: usize| self.tokens[index].depth == 0;
        let is = |index: usize, word: &str| self.word(index).as_deref() == Some(word);
        if is(0, "table") {
            let (name_end, 1..) = self.name_end(1)? else {
                return None;
            };
            let rest = &self.text[self.tokens[1].at.start..];
            return (name_end == self.tokens.len())
                .then(|| [format!("SELECT * FROM {rest} WHERE "), String::new()]);
        }
        let others = |index: usize| {
            top(index)
                && self
                    .word(index)
                    .is_some_and(|word| OTHERS.contains(&word.as_str()))
        };
        if !is(0, "select") || (0..self.tokens.len()).any(others) {
            return None;
        }
        let from = (0..self.tokens.len()).find(|index| top(*index) && is(*index, "from"))?;
        let (mut end, _) = self.name_end(from + 1)?;
        if is(end, "as") {
            end += 1;
        }
        let alias = self
            .tokens
            .get(end)
            .is_some_and(|token| token.kind != Kind::Other && !is(end, "where"));
        end += usize::from(alias);
        let head = &self.text[..self.tokens[end - 1].at.end];
        match self.tokens.get(end) {
            None => Some([format!("{head} WHERE "), String::new()]),
            // A comment may end the statement.
            Some(token) if is(end, "where") => Some([
                format!("{head} WHERE "),
                format!(" AND ({}\n)", &self.text[token.at.end..]),
            ]),
            Some(_) => None,
        }
    }

    /// Behind a name with dots, and how many parts it has.
    fn name_end(&self, start: usize) -> Option<(usize, usize)> {
        let is_name = |index: usize| {
            self.tokens
                .get(index)
                .is_some_and(|token| matches!(token.kind, Kind::Word | Kind::Quoted))
        };
        let is_dot = |index: usize| {
            self.tokens
                .get(index)
                .is_some_and(|token| self.token(token) == ".")
        };
        let (mut at, mut parts) = (start, 0);
        while is_name(at) {
            (at, parts) = (at + 1, parts + 1);
            if !is_dot(at) {
                return Some((at, parts));
            }
            at += 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_told_apart() {
        let sql = Sql::parse(
            "SELECT $1, '$2 '';', $t$ $3 $t$, a$b, E'\\'$4', \"$5\" -- $6\n/* /* */ $7 */ , $name ; ;",
        );
        let params: Vec<&str> = sql
            .tokens
            .iter()
            .filter(|token| token.kind == Kind::Param)
            .map(|token| sql.token(token))
            .collect();
        assert_eq!(params, ["$1", "$name"]);
        assert!(sql.text.ends_with("$name") && sql.is_query());
        assert!(
            Sql::parse("(select 1)").is_query()
                && !Sql::parse("SHOW all").is_query()
                && !Sql::parse(" ; ").is_query()
        );
    }

    #[test]
    fn queries_over_one_table_are_known() {
        let with = |sql: &str| {
            Sql::parse(sql)
                .over_one_table()
                .map(|[head, tail]| format!("{head}X{tail}"))
        };
        let rewritten =
            |sql: &str, expected: &str| assert_eq!(with(sql).as_deref(), Some(expected));
        rewritten("TABLE s.t;", "SELECT * FROM s.t WHERE X");
        rewritten(
            "select a, (select max(x) from u) from \"T\"",
            "select a, (select max(x) from u) from \"T\" WHERE X",
        );
        rewritten(
            "SELECT t.a FROM s.t AS t WHERE a = 1 OR b -- why",
            "SELECT t.a FROM s.t AS t WHERE X AND ( a = 1 OR b\n)",
        );
        for other in [
            "SELECT a FROM t, u",
            "SELECT a FROM t JOIN u USING (a)",
            "SELECT DISTINCT a FROM t",
            "SELECT a FROM t LIMIT 1",
            "SELECT 1",
            "SELECT a FROM f(1)",
            "SELECT a FROM (SELECT 1) AS s",
            "WITH x AS (SELECT 1) SELECT * FROM x",
            "TABLE t LIMIT 1",
            "SELECT a FROM t WHERE b UNION SELECT 1",
            "SELECT a FROM t AS t(x)",
            "VALUES (1)",
        ] {
            assert_eq!(with(other), None, "{other}");
        }
    }
}
