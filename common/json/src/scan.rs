//! Where elements and documents end: brackets and quotes, and nothing else of JSON.
//!
//! The reader of the rows checks them fully later. Each scan continues where it stopped when there are more bytes.

/// What ends an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// A comma, after which the next one begins.
    Comma(usize),
    /// The bracket that closes the array.
    Close(usize),
}

/// The state of a scan between two bytes.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    depth: u64,
    string: bool,
    /// Whether a number or word has begun.
    scalar: bool,
}

const OUTER: u8 = 1;
const INNER: u8 = 2;

/// What stops a scan outside strings: on the level that is looked at, and below it.
const STOPS: [u8; 256] = {
    let mut stops = [0; 256];
    let mut index = 0;
    while index < 5 {
        stops[b"\"{}[]"[index] as usize] = OUTER | INNER;
        index += 1;
    }
    stops[b',' as usize] = OUTER;
    stops
};

impl Scan {
    /// Goes to the end of a string; returns whether it was found.
    fn string(&mut self, data: &[u8], at: &mut usize) -> bool {
        while let Some(found) = memchr::memchr2(b'"', b'\\', &data[*at..]) {
            let place = *at + found;
            if data[place] == b'"' {
                *at = place + 1;
                self.string = false;
                return true;
            }
            if place + 1 == data.len() {
                // What is escaped is not there yet.
                *at = place;
                return false;
            }
            *at = place + 2;
        }
        *at = data.len();
        false
    }

    /// Goes past the bracket that closes all open ones; returns whether it was found.
    fn close(&mut self, data: &[u8], at: &mut usize) -> bool {
        loop {
            if self.string && !self.string(data, at) {
                return false;
            }
            if self.depth == 0 {
                return true;
            }
            let stops = |byte: &u8| STOPS[usize::from(*byte)] & INNER != 0;
            let Some(found) = data[*at..].iter().position(stops) else {
                *at = data.len();
                return false;
            };
            *at += found + 1;
            match data[*at - 1] {
                b'"' => self.string = true,
                b'{' | b'[' => self.depth += 1,
                _ => self.depth -= 1,
            }
        }
    }

    /// The next end of an element.
    pub(crate) fn element(&mut self, data: &[u8], at: &mut usize) -> Option<Found> {
        loop {
            if !self.close(data, at) {
                return None;
            }
            let stops = |byte: &u8| STOPS[usize::from(*byte)] & OUTER != 0;
            let Some(found) = data[*at..].iter().position(stops) else {
                *at = data.len();
                return None;
            };
            let place = *at + found;
            *at = place + 1;
            match data[place] {
                b'"' => self.string = true,
                b'{' | b'[' => self.depth = 1,
                b',' => return Some(Found::Comma(place)),
                _ => return Some(Found::Close(place)),
            }
        }
    }

    /// The end of the value that begins at the first byte; `ended` if no byte comes after these.
    pub(crate) fn value(&mut self, data: &[u8], at: &mut usize, ended: bool) -> Option<usize> {
        let first = *data.first()?;
        if *at == 0 {
            match first {
                b'{' | b'[' => self.depth = 1,
                b'"' => self.string = true,
                _ => {
                    let ends = |byte: &u8| {
                        matches!(
                            byte,
                            b' ' | b'\t' | b'\n' | b'\r' | b',' | b']' | b'}' | b':'
                        )
                    };
                    return match data[1..].iter().position(ends) {
                        Some(found) => Some(found + 1),
                        None => ended.then_some(data.len()),
                    };
                }
            }
            *at = 1;
        }
        self.close(data, at).then_some(*at)
    }

    /// Goes over documents, and remembers where the last whole one ends; whether an array has come, whose elements are rows.
    pub(crate) fn documents(&mut self, data: &[u8], at: &mut usize, end: &mut usize) -> bool {
        while *at < data.len() {
            if self.string || self.depth > 0 {
                if !self.close(data, at) {
                    return false;
                }
                *end = *at;
                continue;
            }
            let byte = data[*at];
            let blank = matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
            if self.scalar && (blank || matches!(byte, b'{' | b'[' | b'"')) {
                self.scalar = false;
                *end = *at;
            }
            match byte {
                b'[' if *at > 0 => return true,
                b'{' | b'[' => self.depth = 1,
                b'"' => self.string = true,
                _ => self.scalar |= !blank,
            }
            *at += 1;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever a text is cut into, the same is found.
    #[test]
    fn elements_end_at_commas_and_brackets() {
        let text = br#"{"a":"],\"","b":[1,2]},"x\"]",3]rest"#;
        let wanted = [Found::Comma(22), Found::Comma(29), Found::Close(31)];
        for step in 1..text.len() {
            let (mut scan, mut at, mut found) = (Scan::default(), 0, Vec::new());
            let mut len = 0;
            while len < text.len() {
                len = (len + step).min(text.len());
                while let Some(end) = scan.element(&text[..len], &mut at) {
                    found.push(end);
                    if matches!(end, Found::Close(_)) {
                        len = text.len();
                        break;
                    }
                }
            }
            assert_eq!(found, wanted, "{step}");
        }
    }

    #[test]
    fn values_and_documents_end_where_they_end() {
        let end = |text: &str| Scan::default().value(text.as_bytes(), &mut 0, true);
        assert_eq!(end("{\"a\":[}]}x"), Some(8));
        assert_eq!(end("\"a\\\"\" x"), Some(5));
        assert_eq!(end("12 "), Some(2));
        assert_eq!(end("12"), Some(2));
        assert_eq!(end("[1"), None);
        let documents = |text: &str| {
            let (mut at, mut end) = (0, 0);
            let array = Scan::default().documents(text.as_bytes(), &mut at, &mut end);
            (array, end)
        };
        assert_eq!(documents("{} 1 {\"a\":1}{"), (false, 12));
        assert_eq!(documents("{}\n[1]"), (true, 2));
        assert_eq!(documents("1 23"), (false, 1));
    }
}
