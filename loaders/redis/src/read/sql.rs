//! The few queries that the source understands.

use arrow_schema::DataType;
use arrowload_core::{Error, ErrorKind, Result};

/// What is read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Select {
    /// Columns with the type that is asked for; none for `*`.
    pub(crate) columns: Option<Vec<(String, Option<DataType>)>>,
    pub(crate) from: From,
    pub(crate) limit: Option<u64>,
}

/// Where it is read from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum From {
    /// What loads have put under a target.
    Target(String),
    /// The hashes whose keys match.
    Keys(String),
    /// A stream, from one id to another.
    Stream {
        key: String,
        first: String,
        last: String,
    },
}

const FORMS: &str = "write SELECT * or columns, as in id::bigint, FROM target, FROM 'keys:*', or FROM STREAM 'key' [WHERE _id BETWEEN 'first' AND 'last'], and LIMIT n";

fn refused(why: &str) -> Error {
    Error::new(
        ErrorKind::Query,
        format!("the query cannot be understood by Redis's source: {why}; {FORMS}"),
    )
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    /// A word without quotes.
    Word(String),
    /// A name in double quotes.
    Name(String),
    /// A text in single quotes.
    Text(String),
    Sign(char),
}

fn tokens(sql: &str) -> Result<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut letters = sql.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            letter if letter.is_whitespace() => {}
            '\'' | '"' => {
                let mut text = String::new();
                loop {
                    match letters.next() {
                        None => return Err(refused("a quote is not closed")),
                        Some(next) if next == letter && letters.peek() == Some(&letter) => {
                            letters.next();
                            text.push(letter);
                        }
                        Some(next) if next == letter => break,
                        Some(next) => text.push(next),
                    }
                }
                tokens.push(if letter == '"' {
                    Token::Name(text)
                } else {
                    Token::Text(text)
                });
            }
            letter if letter.is_alphanumeric() || letter == '_' => {
                let mut word = String::from(letter);
                while let Some(next) =
                    letters.next_if(|next| next.is_alphanumeric() || *next == '_')
                {
                    word.push(next);
                }
                tokens.push(Token::Word(word));
            }
            sign => tokens.push(Token::Sign(sign)),
        }
    }
    if tokens.last() == Some(&Token::Sign(';')) {
        tokens.pop();
    }
    Ok(tokens)
}

struct Parser {
    tokens: std::vec::IntoIter<Token>,
    next: Option<Token>,
}

impl Parser {
    fn take(&mut self) -> Option<Token> {
        let following = self.tokens.next();
        std::mem::replace(&mut self.next, following)
    }

    fn word(&mut self, word: &str) -> bool {
        let found =
            matches!(&self.next, Some(Token::Word(next)) if next.eq_ignore_ascii_case(word));
        if found {
            self.take();
        }
        found
    }

    fn expect(&mut self, word: &str) -> Result<()> {
        if self.word(word) {
            Ok(())
        } else {
            Err(refused(&format!("{word} is missing")))
        }
    }

    fn sign(&mut self, sign: char) -> bool {
        let found = self.next == Some(Token::Sign(sign));
        if found {
            self.take();
        }
        found
    }

    fn text(&mut self, what: &str) -> Result<String> {
        match self.take() {
            Some(Token::Text(text)) => Ok(text),
            _ => Err(refused(&format!("{what} is missing, in single quotes"))),
        }
    }

    fn number(&mut self) -> Result<u64> {
        match self.take() {
            Some(Token::Word(word)) => word
                .parse()
                .map_err(|_| refused(&format!("invalid number `{word}`"))),
            _ => Err(refused("a number is missing")),
        }
    }

    fn column(&mut self) -> Result<(String, Option<DataType>)> {
        let name = match self.take() {
            Some(Token::Word(name) | Token::Name(name)) => name,
            _ => return Err(refused("a column is missing")),
        };
        if !self.sign(':') {
            return Ok((name, None));
        }
        if !self.sign(':') {
            return Err(refused("a type follows ::"));
        }
        let Some(Token::Word(kind)) = self.take() else {
            return Err(refused("a type follows ::"));
        };
        Ok((name, Some(self.data_type(&kind)?)))
    }

    fn data_type(&mut self, name: &str) -> Result<DataType> {
        use arrow_schema::TimeUnit::Microsecond;
        Ok(match name.to_ascii_lowercase().as_str() {
            "boolean" | "bool" => DataType::Boolean,
            "integer" | "int" => DataType::Int32,
            "bigint" => DataType::Int64,
            "real" => DataType::Float32,
            "double" => DataType::Float64,
            "text" | "varchar" | "string" => DataType::Utf8,
            "bytea" | "blob" | "binary" => DataType::Binary,
            "date" => DataType::Date32,
            "timestamp" => DataType::Timestamp(Microsecond, None),
            "timestamptz" => DataType::Timestamp(Microsecond, Some("UTC".into())),
            "decimal" | "numeric" => {
                if !self.sign('(') {
                    return Err(refused(
                        "decimal has its digits in brackets, as in decimal(18,2)",
                    ));
                }
                let precision = self.number()?;
                let scale = if self.sign(',') { self.number()? } else { 0 };
                if !self.sign(')') || !(1..=38).contains(&precision) || scale > precision {
                    return Err(refused(
                        "decimal has 1 to 38 digits, and at most as many of them after the point",
                    ));
                }
                DataType::Decimal128(precision as u8, scale as i8)
            }
            other => {
                return Err(refused(&format!(
                    "`{other}` is none of the types boolean, integer, bigint, real, double, text, bytea, date, timestamp, timestamptz and decimal(p,s)"
                )));
            }
        })
    }
}

impl Select {
    pub(crate) fn parse(sql: &str) -> Result<Self> {
        let mut tokens = tokens(sql)?.into_iter();
        let next = tokens.next();
        let mut parser = Parser { tokens, next };
        parser.expect("SELECT")?;
        let columns = if parser.sign('*') {
            None
        } else {
            let mut columns = vec![parser.column()?];
            while parser.sign(',') {
                columns.push(parser.column()?);
            }
            Some(columns)
        };
        parser.expect("FROM")?;
        let from = match parser.take() {
            Some(Token::Text(glob)) => From::Keys(glob),
            Some(Token::Word(word))
                if word.eq_ignore_ascii_case("stream")
                    && matches!(parser.next, Some(Token::Text(_))) =>
            {
                let key = parser.text("the key of the stream")?;
                let (mut first, mut last) = ("-".to_owned(), "+".to_owned());
                if parser.word("WHERE") {
                    parser.expect("_id")?;
                    parser.expect("BETWEEN")?;
                    first = parser.text("the first id")?;
                    parser.expect("AND")?;
                    last = parser.text("the last id")?;
                }
                From::Stream { key, first, last }
            }
            Some(Token::Word(target) | Token::Name(target)) => From::Target(target),
            _ => return Err(refused("FROM is missing")),
        };
        let limit = if parser.word("LIMIT") {
            Some(parser.number()?)
        } else {
            None
        };
        match parser.next {
            None => Ok(Self {
                columns,
                from,
                limit,
            }),
            Some(Token::Word(word) | Token::Name(word)) => {
                Err(refused(&format!("`{word}` is too much")))
            }
            Some(_) => Err(refused("there is text after its end")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_are_read() {
        let read = |sql| Select::parse(sql).expect(sql);
        assert_eq!(
            read("SELECT * FROM people;"),
            Select {
                columns: None,
                from: From::Target("people".into()),
                limit: None
            }
        );
        let columns = Some(vec![
            ("id".into(), Some(DataType::Int64)),
            ("a b".into(), None),
            ("d".into(), Some(DataType::Decimal128(18, 2))),
        ]);
        let expected = Select {
            columns,
            from: From::Keys("user:*".into()),
            limit: Some(5),
        };
        assert_eq!(
            read("select id::bigint, \"a b\", d :: decimal(18, 2) from 'user:*' limit 5"),
            expected
        );
        let from = From::Stream {
            key: "it's".into(),
            first: "0-1".into(),
            last: "+".into(),
        };
        assert_eq!(
            read("SELECT * FROM STREAM 'it''s' WHERE _id BETWEEN '0-1' AND '+'").from,
            from
        );
        assert_eq!(
            read("SELECT * FROM \"stream\"").from,
            From::Target("stream".into())
        );
    }

    #[test]
    fn everything_else_is_refused_with_the_forms() {
        for sql in [
            "",
            "DELETE FROM t",
            "SELECT",
            "SELECT a FROM",
            "SELECT a b FROM t",
            "SELECT a FROM t WHERE a = 1",
            "SELECT a::json FROM t",
            "SELECT count(*) FROM t",
            "SELECT a FROM t JOIN u",
            "SELECT a FROM 'x",
            "SELECT a FROM t LIMIT x",
            "SELECT a FROM t GROUP BY a",
        ] {
            let error = Select::parse(sql).expect_err(sql);
            assert_eq!(error.kind(), ErrorKind::Query);
            assert!(error.to_string().contains("SELECT * or columns"), "{error}");
        }
    }
}
