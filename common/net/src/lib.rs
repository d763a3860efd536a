#![doc = include_str!("../README.md")]

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What is said of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Nothing accepts connections there, or not in time.
    Nothing,
    /// Something accepts connections, but sends nothing that is recognised.
    Silent,
    /// It answers, and looks like this: the text follows "it looks like".
    Like(&'static str),
}

/// What a server of HTTP/2 looks like.
pub const GRPC: &str = "a gRPC or other HTTP/2 server";

/// A request that is valid in HTTP, and an unknown command elsewhere.
const HTTP: &[u8] = b"GET / HTTP/1.0\r\n\r\n";
/// PostgreSQL's request for encryption; the answer is one letter.
const POSTGRESQL: &[u8] = &[0, 0, 0, 8, 4, 210, 22, 47];

/// Finds out what kind of server is behind a port that does not answer as expected. It takes about
/// `within` at most.
pub async fn look(host: &str, port: u16, within: Duration) -> Seen {
    let each = within / 4;
    let Some(greeting) = ask(host, port, None, each).await else {
        return Seen::Nothing;
    };
    // Some greet, others wait to be spoken to.
    if let Some(seen) = named(&greeting) {
        return Seen::Like(seen);
    }
    for question in [POSTGRESQL, HTTP] {
        let answer = ask(host, port, Some(question), each).await;
        let answer = answer.unwrap_or_default();
        let seen = match answer.as_slice() {
            [b'S' | b'N'] if question == POSTGRESQL => Some("PostgreSQL"),
            answer => named(answer),
        };
        if let Some(seen) = seen {
            return Seen::Like(seen);
        }
    }
    Seen::Silent
}

/// The first bytes of the answer; `None` if there is no connection.
async fn ask(host: &str, port: u16, question: Option<&[u8]>, within: Duration) -> Option<Vec<u8>> {
    let connecting = timeout(within * 2, TcpStream::connect((host, port)));
    let mut stream = connecting.await.ok()?.ok()?;
    if let Some(question) = question {
        stream.write_all(question).await.ok()?;
    }
    let mut bytes = vec![0; 512];
    let read = timeout(within, stream.read(&mut bytes)).await;
    bytes.truncate(read.ok().and_then(Result::ok).unwrap_or(0));
    Some(bytes)
}

fn named(answer: &[u8]) -> Option<&'static str> {
    let holds = |word: &[u8]| answer.windows(word.len()).any(|part| part == word);
    match answer {
        [b'S', b'S', b'H', b'-', ..] => Some("SSH"),
        [b'H', b'T', b'T', b'P', b'/', ..] if holds(b"MongoDB") => Some("MongoDB"),
        [b'H', b'T', b'T', b'P', b'/', ..] => Some("a web server (HTTP)"),
        // A greeting of protocol 10, or a refusal.
        [_, _, 0, 0, 10 | 255, _, ..] => Some("MySQL or MariaDB"),
        // A frame of settings.
        [0, _, _, 4, 0 | 1, 0, 0, 0, 0, ..] => Some(GRPC),
        [21, 3, ..] => Some("a server that wants TLS"),
        [b'2', b'2', b'0', b' ' | b'-', ..] => Some("a mail or FTP server"),
        [b'+', b'O', b'K', ..] | [b'*', b' ', b'O', b'K', ..] => Some("a mail server"),
        [b'-', letter, ..] if letter.is_ascii_uppercase() => Some("Redis"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A server that greets, and answers whatever it is asked.
    async fn server(greeting: &'static [u8], answer: &'static [u8]) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    stream.write_all(greeting).await.unwrap();
                    let mut asked = [0; 64];
                    let read = stream.read(&mut asked).await.unwrap_or(0);
                    if read > 0 && !answer.is_empty() {
                        let _ = stream.write_all(answer).await;
                    }
                    std::future::pending::<()>().await;
                });
            }
        });
        port
    }

    #[tokio::test]
    async fn servers_are_known_by_their_first_words() {
        let within = Duration::from_millis(800);
        for (greeting, answer, expected) in [
            (&b"SSH-2.0-OpenSSH_9.2"[..], &b""[..], Seen::Like("SSH")),
            (
                b"",
                b"HTTP/1.1 400 Bad Request",
                Seen::Like("a web server (HTTP)"),
            ),
            (b"\x4a\0\0\0\x0a8.0.36", b"", Seen::Like("MySQL or MariaDB")),
            (b"", b"-ERR unknown command", Seen::Like("Redis")),
            (b"", b"N", Seen::Like("PostgreSQL")),
            (b"", b"", Seen::Silent),
        ] {
            let port = server(greeting, answer).await;
            let seen = look("127.0.0.1", port, within).await;
            assert_eq!(seen, expected, "{greeting:?} {answer:?}");
        }
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        assert_eq!(look("127.0.0.1", port, within).await, Seen::Nothing);
    }
}
