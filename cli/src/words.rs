//! The words of a query outside of its parentheses: enough to find a clause of the query itself, without understanding SQL.

/// The words at the top level of a query, in upper case: keywords, plain names and numbers. Left out are strings, quoted names,
/// comments, parameters, names behind a dot, and everything in parentheses.
pub(crate) fn top_level_words(sql: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut depth = 0_usize;
    let mut rest = sql;
    let mut before = ' ';
    while let Some(first) = rest.chars().next() {
        let length = length(rest, first);
        let (token, behind) = rest.split_at(length);
        match first {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            // A letter before a string says how its backslashes are read.
            _ if is_of_word(first)
                && token.eq_ignore_ascii_case("e")
                && behind.starts_with('\'') =>
            {
                rest = &behind[quoted(behind, '\'', true)..];
                before = '\'';
                continue;
            }
            _ if is_of_word(first) && depth == 0 && before != '.' => {
                words.push(token.to_uppercase());
            }
            _ => (),
        }
        before = first;
        rest = behind;
    }
    words
}

fn is_of_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// How many bytes the next token has.
fn length(rest: &str, first: char) -> usize {
    match first {
        '\'' | '"' | '`' => quoted(rest, first, false),
        '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
        '/' if rest.starts_with("/*") => comment(rest),
        '$' => dollar(rest),
        _ if is_of_word(first) => word(rest),
        _ => first.len_utf8(),
    }
}

fn word(rest: &str) -> usize {
    // PostgreSQL has names with a $ within.
    let is_within = |letter: char| is_of_word(letter) || letter == '$';
    rest.find(|letter| !is_within(letter)).unwrap_or(rest.len())
}

/// What is in quotes, to the end of the text if they are not closed; two quotes are one within.
fn quoted(rest: &str, quote: char, has_escapes: bool) -> usize {
    let mut letters = rest.char_indices().skip(1).peekable();
    while let Some((at, letter)) = letters.next() {
        if letter == '\\' && has_escapes {
            letters.next();
        } else if letter == quote && letters.next_if(|(_, next)| *next == quote).is_none() {
            return at + quote.len_utf8();
        }
    }
    rest.len()
}

/// A comment, and those within it.
fn comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(found) = rest[at..].find(['/', '*']) {
        at += found;
        let pair = rest.get(at..at + 2);
        match pair {
            Some("/*") => depth += 1,
            Some("*/") => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

/// A string between two tags, or a parameter.
fn dollar(rest: &str) -> usize {
    let name = rest[1..].find(|letter| !is_of_word(letter));
    let end = name.map_or(rest.len(), |name| 1 + name);
    let is_number = rest[1..].starts_with(|letter: char| letter.is_ascii_digit());
    if is_number || !rest[end..].starts_with('$') {
        return end;
    }
    let (tag, behind) = rest.split_at(end + 1);
    behind.find(tag).map_or(rest.len(), |at| 2 * tag.len() + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_words_of_the_query_itself_are_found() {
        for (sql, words) in [
            ("select a from t limit 5;", "SELECT A FROM T LIMIT 5"),
            (
                "select * from (select a from t order by a limit 5) s",
                "SELECT FROM S",
            ),
            (
                "select 'it''s limit', \"a \"\" limit\", `limit` from t",
                "SELECT FROM T",
            ),
            ("select 1 -- limit 5\n, 2", "SELECT 1 2"),
            ("select 1 -- limit 5", "SELECT 1"),
            ("select /* limit /* 5 */ limit */ 1 / 2 * 3", "SELECT 1 2 3"),
            ("select /*/ limit */ 1", "SELECT 1"),
            ("select $$limit $ $a$$, $b$ limit $$ $b$, c", "SELECT C"),
            (
                "select a where b < $limit and c < $1",
                "SELECT A WHERE B AND C",
            ),
            ("select t.limit, a$b from s.offset", "SELECT T A$B FROM S"),
            (r"select E'\' limit', e", "SELECT E"),
            (r"select '\' limit", r"SELECT LIMIT"),
            ("select ')', a, (')' limit) b, é", "SELECT A B É"),
            ("select 'limit", "SELECT"),
            ("select $a$ limit", "SELECT"),
            ("select /* limit", "SELECT"),
            ("a) limit ((b) c", "A LIMIT"),
            ("", ""),
        ] {
            assert_eq!(top_level_words(sql).join(" "), words, "{sql}");
        }
    }
}
