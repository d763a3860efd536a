//! Files bent in every way, under any options, for as many seconds as `ARROWLOAD_TORTURE_SECONDS` says: rows that account for all
//! lines, or an error; never a panic, a hang, or a defect that the reader finds in itself.

use std::io::Cursor;
use std::time::{Duration, Instant};

use arrowload_common_csv::{
    Empty, Input, LineEnd, Options, Ragged, ReadOptions, Reader, Types, prove, sniff,
};
use arrowload_core::{Error, ErrorKind};

use crate::mutations::{SEEDS, lines};

/// Marsaglia's generator of random numbers: the same seed bends the same files.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 11) as usize % end.max(1)
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

fn options(random: &mut Random) -> Options {
    let texts = |random: &mut Random, texts: &[&str]| {
        // Nothing is declared half of the time.
        let declared = random.below(2) == 0;
        declared.then(|| (*random.pick(texts)).to_owned())
    };
    Options {
        delim: texts(random, &[",", ";", "||", "\t", " "]),
        quote: texts(random, &["\"", "'", ""]),
        escape: texts(random, &["\\", "\"", ""]),
        new_line: *random.pick(&[
            None,
            None,
            Some(LineEnd::Lf),
            Some(LineEnd::Mixed),
            Some(LineEnd::Cr),
        ]),
        header: *random.pick(&[None, None, Some(false), Some(true)]),
        skip: *random.pick(&[None, None, None, Some(0), Some(1), Some(30)]),
        skip_footer: *random.pick(&[None, None, Some(1), Some(7)]),
        comment: texts(random, &["#", "", "--"]),
        trim: *random.pick(&[None, Some(true), Some(false)]),
        encoding: texts(
            random,
            &["utf-8", "utf-8", "utf-16le", "shift_jis", "windows-1252"],
        ),
        types: random
            .pick(&[Types::default(), Types::All("text".into())])
            .clone(),
        ragged: *random.pick(&[Ragged::Error, Ragged::Pad]),
        empty: *random.pick(&[Empty::Auto, Empty::Null, Empty::Text]),
        max_row_bytes: *random.pick(&[None, None, Some(64)]),
        ..Options::default()
    }
}

fn bend(random: &mut Random, bytes: &mut Vec<u8>, others: &[Vec<u8>]) {
    let at = random.below(bytes.len());
    let special = *random.pick(b"\",;\n\r\t #\\0-'|\0\xFF\xEF1.");
    match random.below(8) {
        _ if bytes.is_empty() => bytes.push(special),
        0 => bytes[at] = special,
        1 => bytes.insert(at, special),
        2 => drop(bytes.remove(at)),
        3 => bytes[at] ^= 1 << random.below(8),
        4 => bytes.truncate(at),
        5 => {
            let end = (at + random.below(64)).min(bytes.len());
            let piece = bytes[at..end].to_vec();
            let to = random.below(bytes.len());
            bytes.splice(to..to, piece);
        }
        6 => {
            let end = (at + random.below(64)).min(bytes.len());
            bytes.drain(at..end);
        }
        _ => {
            let other = random.pick(others);
            let from = random.below(other.len());
            let end = (from + random.below(200)).min(other.len());
            bytes.splice(at..at, other[from..end].iter().copied());
        }
    }
}

/// Whether an error is about the file, and names it.
fn is_about_the_file(error: &Error) -> bool {
    error.get("file").is_some() && error.kind() != ErrorKind::Unexpected
}

/// Reads, proves, and reads again.
fn check(bytes: &[u8], options: &Options) -> Result<(), Error> {
    let open = || Input::read("bent", Cursor::new(bytes.to_vec()), options);
    let input = open()?;
    let (text, whole) = (input.head().to_vec(), input.is_whole());
    let layout = sniff(&input, options)?;
    let reading = ReadOptions::default();
    let mut reader = Reader::new(input, &layout, &reading)?.set_aside(|_| Ok(()));
    let mut rows = 0;
    for batch in reader.by_ref() {
        rows += batch?.num_rows() as u64;
    }
    let found = reader.lines();
    assert_eq!(rows, found.rows);
    if whole {
        assert_eq!(
            found.total(),
            lines(&text, layout.dialect.line_end),
            "{found:?} {}",
            layout.dialect
        );
    }
    let proved = prove(open()?, &layout, None, None)?;
    let mut rows = 0;
    for batch in Reader::new(open()?, &proved, &reading)?.set_aside(|_| Ok(())) {
        rows += batch.expect("proved values fit").num_rows() as u64;
    }
    assert_eq!(rows, found.rows);
    Ok(())
}

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = SEEDS.iter().map(|seed| seed.as_bytes().to_vec()).collect();
    let Some(corpus) = std::env::var_os("ARROWLOAD_DUCKDB_CSV") else {
        return seeds;
    };
    let mut folders = vec![std::path::PathBuf::from(corpus)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.metadata().is_ok_and(|file| file.len() < 20_000) {
                seeds.push(std::fs::read(path).expect("a file"));
            }
        }
    }
    seeds
}

#[test]
#[expect(clippy::print_stdout, reason = "a long run says what it did")]
fn bent_files_are_rows_or_errors() {
    let seconds = std::env::var("ARROWLOAD_TORTURE_SECONDS").ok();
    let seconds: u64 = seconds.map_or(2, |text| text.parse().expect("a number of seconds"));
    let end = Instant::now() + Duration::from_secs(seconds);
    let seeds = seeds();
    let (mut read, mut refused, mut first) = (0_u64, 0_u64, 0x9E37_79B9_7F4A_7C15);
    while Instant::now() < end {
        first += 1;
        let mut random = Random(first);
        let mut bytes = random.pick(&seeds).clone();
        for _ in 0..random.below(12) {
            bend(&mut random, &mut bytes, &seeds);
        }
        let options = options(&mut random);
        let begin = Instant::now();
        let outcome = std::panic::catch_unwind(|| check(&bytes, &options));
        let shown = || {
            format!(
                "seed {first:#x}\n{options:?}\n{:?}",
                String::from_utf8_lossy(&bytes)
            )
        };
        match outcome {
            Ok(Ok(())) => read += 1,
            Ok(Err(error)) => {
                refused += 1;
                assert!(is_about_the_file(&error), "{error}\n{}", shown());
            }
            Err(_) => panic!("a panic: {}", shown()),
        }
        assert!(
            begin.elapsed() < Duration::from_secs(60),
            "a hang: {}",
            shown()
        );
    }
    assert!(read > 0 && refused > 0, "{read} read, {refused} refused");
    let rate = read + refused;
    println!("{rate} files were bent: {read} were read, {refused} were refused");
}
