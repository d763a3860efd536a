//! Removes backtraces from the texts of other libraries' errors. Some libraries add them if `RUST_BACKTRACE` is set, but they do
//! not help the user of a load.

/// A text without the frames in it.
pub(crate) fn without_frames(text: String) -> String {
    if !text.contains(" 0: ") {
        return text;
    }
    let mut kept = String::with_capacity(text.len());
    let mut in_frames = false;
    for line in text.split_inclusive('\n') {
        // What a library may write before the first frame.
        let bare = line.strip_prefix("backtrace: ").unwrap_or(line);
        let number = frame(bare);
        if in_frames && (number.is_some() || bare.trim_start().starts_with("at ")) {
            continue;
        }
        in_frames = number == Some(0);
        match in_frames {
            true => kept.truncate(kept.trim_end_matches('\n').len()),
            false => kept.push_str(line),
        }
    }
    kept
}

/// The number of the frame that a line names, written as [`std::backtrace::Backtrace`] does.
fn frame(line: &str) -> Option<u32> {
    let (number, _) = line.split_once(": ")?;
    let is_aligned = number.len() >= 4 && number.starts_with(' ');
    let number = number.trim_start_matches(' ').parse().ok()?;
    (is_aligned || number > 999).then_some(number)
}

#[cfg(test)]
mod tests {
    use std::backtrace::Backtrace;

    use super::*;
    use crate::{Error, ErrorKind};

    #[derive(Debug)]
    struct Traced;

    impl std::fmt::Display for Traced {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "a file is broken\n{}", Backtrace::force_capture())
        }
    }

    impl std::error::Error for Traced {}

    #[test]
    fn frames_go_and_what_is_around_them_stays() {
        let frames = Backtrace::force_capture().to_string();
        assert!(frames.contains("frames_go") && frames.lines().count() > 5);
        for (text, plain) in [
            (format!("broken\n{frames}"), "broken"),
            (format!("broken\n\nbacktrace: {frames}"), "broken"),
            (
                format!("one: two\n{frames}; see path"),
                "one: two; see path",
            ),
            (format!("one\n{frames}two\n{frames}"), "onetwo"),
        ] {
            assert_eq!(without_frames(text), plain);
        }
        for plain in [
            "row 0: it is empty",
            "line 1\n 0: x\n 1: y",
            "at 10: 0: 5",
            "  12: 0: 3",
        ] {
            assert_eq!(without_frames(plain.to_owned()), plain);
        }
    }

    #[test]
    fn errors_show_no_frames_of_their_causes() {
        let error = Error::new(ErrorKind::Io, format!("it failed: {Traced}")).with_source(Traced);
        assert_eq!(error.to_string(), "it failed: a file is broken");
        assert_eq!(
            format!("{error:#}"),
            "it failed: a file is broken: a file is broken"
        );
        assert_eq!(
            format!("{error:?}"),
            "io: it failed: a file is broken\n  caused by: a file is broken"
        );
    }
}
