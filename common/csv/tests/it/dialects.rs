//! Tables written in any dialect read back equal, when the dialect is declared.

use arrow_array::RecordBatch;
use arrowload_common_csv::{LineEnd, Options};
use proptest::prelude::*;

use crate::read;
use crate::table::{assert_same, cells, table, written};

#[derive(Debug, Clone)]
struct Writing {
    delimiter: &'static str,
    quote: char,
    escape: Option<char>,
    end: (&'static str, LineEnd),
    every: bool,
    header: usize,
    preamble: usize,
    comments: bool,
    encoding: &'static str,
    mark: bool,
}

fn writing() -> impl Strategy<Value = Writing> {
    let delimiters =
        prop::sample::select(vec![",", ";", "\t", "|", "||", "§", "~|~", " ", "\u{1}"]);
    let ends = prop::sample::select(vec![
        ("\n", LineEnd::Lf),
        ("\r\n", LineEnd::Crlf),
        ("\r", LineEnd::Cr),
    ]);
    let encodings = prop::sample::select(vec!["utf-8", "utf-16le", "utf-16be", "windows-1252"]);
    (
        delimiters,
        prop::sample::select(vec!['"', '\'', '*']),
        prop::option::of(Just('\\')),
        ends,
        any::<bool>(),
        0..3_usize,
        0..3_usize,
        any::<bool>(),
        encodings,
        any::<bool>(),
    )
        .prop_map(
            |(delimiter, quote, escape, end, every, header, preamble, comments, encoding, mark)| {
                Writing {
                    delimiter,
                    quote,
                    escape,
                    end,
                    every,
                    header,
                    preamble,
                    comments,
                    encoding,
                    mark,
                }
            },
        )
}

impl Writing {
    fn cell(&self, text: &str, out: &mut String) {
        let special = text.is_empty()
            || text.contains(self.delimiter.chars().next().expect("not empty"))
            || text.contains([self.quote, '\r', '\n', '\\', '#']);
        if !special && !self.every {
            out.push_str(text);
            return;
        }
        out.push(self.quote);
        for character in text.chars() {
            if let Some(escape) = self.escape {
                if character == escape || character == self.quote {
                    out.push(escape);
                }
            } else if character == self.quote {
                out.push(character);
            }
            out.push(character);
        }
        out.push(self.quote);
    }

    fn file(&self, batch: &RecordBatch) -> Vec<u8> {
        let mut out = String::new();
        for line in 0..self.preamble {
            out.push_str(&format!("line {line}{}", self.end.0));
        }
        for part in 0..self.header {
            let names: Vec<String> = (0..batch.num_columns())
                .map(|column| format!("c{column}p{part}"))
                .collect();
            out.push_str(&names.join(self.delimiter));
            out.push_str(self.end.0);
        }
        for (index, row) in written(batch).iter().enumerate() {
            if self.comments && index % 3 == 1 {
                out.push_str(&format!("# no {}row{}", self.quote, self.end.0));
            }
            for (column, cell) in row.iter().enumerate() {
                if column > 0 {
                    out.push_str(self.delimiter);
                }
                if let Some(text) = cell {
                    self.cell(text, &mut out);
                }
            }
            out.push_str(self.end.0);
        }
        let mark = if self.mark && self.encoding != "windows-1252" {
            "\u{feff}"
        } else {
            ""
        };
        let text = format!("{mark}{out}");
        match self.encoding {
            "utf-16le" => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            "utf-16be" => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
            "windows-1252" => text.chars().map(|character| character as u8).collect(),
            _ => text.into_bytes(),
        }
    }

    fn options(&self) -> Options {
        Options {
            delim: Some(self.delimiter.into()),
            quote: Some(self.quote.into()),
            escape: Some(self.escape.unwrap_or(self.quote).into()),
            new_line: Some(self.end.1),
            header_rows: Some(self.header),
            skip: Some(self.preamble as u64),
            skip_footer: Some(0),
            comment: Some(if self.comments {
                "#".into()
            } else {
                String::new()
            }),
            trim: Some(false),
            encoding: Some(self.encoding.into()),
            ..Options::default()
        }
    }
}

proptest! {
    #[test]
    fn any_table_in_any_dialect(batch in table(1..20), writing in writing()) {
        let bytes = writing.file(&batch);
        let found = read(&bytes, &writing.options())
            .map_err(|error| TestCaseError::fail(format!("{error}\n{}", String::from_utf8_lossy(&bytes))))?;
        assert_same(&cells(std::slice::from_ref(&batch)), &found.cells());
        let text = String::from_utf8_lossy(&bytes).into_owned();
        prop_assert_eq!(found.lines.header, writing.header as u64, "{}", text);
        prop_assert_eq!(found.lines.preamble, writing.preamble as u64);
    }
}
