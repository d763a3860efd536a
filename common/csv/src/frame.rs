//! Where a chunk can be cut: after the last row whose end is certain.

use crate::syntax::Syntax;
use crate::walk::{Walk, Walked};

/// Finds the ends of rows. It decides as the scanners do.
#[derive(Debug, Default)]
pub(crate) struct Framer {
    /// Where the bytes outside quotes are.
    regions: Vec<(usize, usize)>,
}

impl Framer {
    /// How many of the bytes, which begin with a row, are whole rows. More bytes follow. With `give_up`, a quote that is
    /// still open is taken for one that is never closed.
    pub(crate) fn boundary(&mut self, syntax: &Syntax, data: &[u8], give_up: bool) -> usize {
        match syntax.quote {
            _ if !syntax.is_plain() => walk_boundary(syntax, data, give_up),
            Some(quote) if memchr::memchr(quote, data).is_some() => {
                self.quoted_boundary(syntax, quote, data, give_up)
            }
            _ => last_line_end(syntax, data, data.len()),
        }
    }

    fn quoted_boundary(&mut self, syntax: &Syntax, quote: u8, data: &[u8], give_up: bool) -> usize {
        self.regions.clear();
        let len = data.len();
        let (mut region, mut at) = (0, 0);
        'outside: while let Some(offset) = memchr::memchr(quote, &data[at..]) {
            let open = at + offset;
            at = open + 1;
            let opens = open == 0
                || data[open - 1] == syntax.first
                || data[open - 1] == b'\n'
                || (syntax.lone_cr && data[open - 1] == b'\r');
            // A row that begins where a cut one ended is at the beginning of a line, too.
            if !opens {
                continue;
            }
            self.regions.push((region, open));
            loop {
                let Some(offset) = memchr::memchr(quote, &data[at..]) else {
                    if !give_up {
                        return self.last(syntax, data);
                    }
                    match line_after(syntax, data, open) {
                        Some((end, next)) => {
                            region = end;
                            at = next;
                            continue 'outside;
                        }
                        None => return self.last(syntax, data),
                    }
                };
                let close = at + offset;
                match data.get(close + 1) {
                    None => return self.last(syntax, data),
                    Some(next) if *next == quote => at = close + 2,
                    Some(next) if *next == syntax.first => {
                        region = close + 1;
                        at = close + 1;
                        continue 'outside;
                    }
                    Some(b'\r') if !syntax.lone_cr && close + 2 == len => {
                        return self.last(syntax, data);
                    }
                    Some(_) if syntax.line_end(data, close + 1, len) > 0 => {
                        region = close + 1;
                        at = close + 1;
                        continue 'outside;
                    }
                    Some(_) => match line_after(syntax, data, open) {
                        Some((end, next)) => {
                            region = end;
                            at = next;
                            continue 'outside;
                        }
                        None => return self.last(syntax, data),
                    },
                }
            }
        }
        self.regions.push((region, len));
        self.last(syntax, data)
    }

    /// The last line end in the regions.
    fn last(&self, syntax: &Syntax, data: &[u8]) -> usize {
        for (start, end) in self.regions.iter().rev() {
            let found = last_line_end(syntax, &data[*start..], end - start);
            if found > 0 {
                return start + found;
            }
        }
        0
    }
}

/// The end of the last line that ends within the first `end` bytes of the data, for certain; 0 if there is none.
fn last_line_end(syntax: &Syntax, data: &[u8], end: usize) -> usize {
    if !syntax.lone_cr {
        return memchr::memrchr(b'\n', &data[..end]).map_or(0, |at| at + 1);
    }
    let mut end = end;
    while let Some(at) = memchr::memrchr2(b'\n', b'\r', &data[..end]) {
        let next = at + syntax.line_end(data, at, data.len());
        if next < data.len() || data[at] == b'\n' {
            return next;
        }
        // It may be the first half of `\r\n`.
        end = at;
    }
    0
}

/// Where the line that holds `at` ends, before and after its line end, if that is known.
fn line_after(syntax: &Syntax, data: &[u8], at: usize) -> Option<(usize, usize)> {
    let next = syntax.next_line(data, at, data.len());
    let known = next < data.len() || data.last() == Some(&b'\n');
    // The line end is a byte or two before; one byte of it is enough to find it again.
    known.then(|| (next - 1, next))
}

fn walk_boundary(syntax: &Syntax, data: &[u8], give_up: bool) -> usize {
    let walk = Walk {
        syntax,
        data,
        end: data.len(),
        last: false,
    };
    let mut at = 0;
    while at < data.len() {
        match walk.row(at, |_| {}) {
            Walked::Row(next) | Walked::Comment(next) | Walked::Cut(next, _) => at = next,
            Walked::Partial if give_up && at == 0 => {
                let next = syntax.next_line(data, 0, data.len());
                return if next < data.len() { next } else { 0 };
            }
            Walked::Partial => break,
        }
    }
    at
}
