//! Commands that are sent together, with what is needed to understand their replies.

use crate::resp::{Reply, command};

/// Bytes of commands after which a shared transaction ends. The server holds the commands of a transaction until its end:
/// those of a few rows stay in the processor's caches, those of a whole pipeline do not and cost about a sixth more CPU time.
const TRANSACTION: usize = 2 << 10;

/// The role of a command for its row, which decides what its reply means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The row's own write. If the row is only written when its key is missing, a reply of 0 or nil means that the key
    /// exists.
    Write,
    /// Serves the write: only an error matters.
    Extra,
    /// May be refused, for example because what it creates exists already; only a redirection matters.
    Try,
    /// The end of a transaction: one reply for each of its commands.
    Exec,
}

/// One command of a pipeline.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Command {
    /// Where it begins.
    start: u32,
    role: Role,
    /// The row's number in the load.
    row: u64,
}

/// An error that a command was answered with.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) row: u64,
    pub(crate) text: String,
}

/// Commands for one node, in the order in which they are sent.
#[derive(Debug, Default)]
pub(crate) struct Pipeline {
    pub(crate) bytes: Vec<u8>,
    commands: Vec<Command>,
    /// Rows that begin in it: all commands of a row are in one pipeline.
    pub(crate) rows: u64,
    pub(crate) first_row: u64,
    /// What the replies said, filled while they come.
    pub(crate) answered: usize,
    pub(crate) failures: Vec<Failure>,
    /// Rows whose write did nothing.
    pub(crate) idle: u64,
    open: Option<Transaction>,
    /// Rows may share a transaction.
    pub(crate) shares: bool,
    /// It only renews the load's lease.
    pub(crate) is_beat: bool,
}

/// A transaction that has not ended.
#[derive(Debug, Clone, Copy)]
struct Transaction {
    /// The last row in it.
    row: u64,
    /// Where it begins.
    start: usize,
}

/// How far a pipeline was filled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    bytes: usize,
    commands: usize,
    rows: u64,
    open: Option<Transaction>,
}

impl Pipeline {
    pub(crate) fn clear(&mut self) {
        // A single huge row must not hold its memory for ever.
        if self.bytes.capacity() > 8 << 20 {
            self.bytes = Vec::new();
        }
        self.bytes.clear();
        self.commands.clear();
        self.failures.clear();
        (
            self.rows,
            self.first_row,
            self.answered,
            self.idle,
            self.open,
        ) = (0, 0, 0, 0, None);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// The next row begins.
    #[inline]
    pub(crate) fn begin_row(&mut self, row: u64) {
        if self.rows == 0 {
            self.first_row = row;
        }
        self.rows += 1;
    }

    /// The next command begins: its bytes follow.
    #[inline]
    pub(crate) fn begin_command(&mut self, role: Role, row: u64) {
        self.commands.push(Command {
            start: self.bytes.len() as u32,
            role,
            row,
        });
    }

    /// A whole command.
    pub(crate) fn command(&mut self, role: Role, row: u64, words: &[&[u8]]) {
        self.begin_command(role, row);
        command(&mut self.bytes, words);
    }

    /// How far it was filled, to take back what was added since.
    pub(crate) fn mark(&self) -> Mark {
        Mark {
            bytes: self.bytes.len(),
            commands: self.commands.len(),
            rows: self.rows,
            open: self.open,
        }
    }

    pub(crate) fn rewind(&mut self, mark: Mark) {
        self.bytes.truncate(mark.bytes);
        self.commands.truncate(mark.commands);
        (self.rows, self.open) = (mark.rows, mark.open);
    }

    /// The commands that follow take effect together.
    pub(crate) fn begin_transaction(&mut self, row: u64) {
        if self.open.is_none() {
            let start = self.bytes.len();
            self.command(Role::Extra, row, &[b"MULTI"]);
            self.open = Some(Transaction { row, start });
        }
    }

    /// A row's commands are complete. A few rows share a transaction if their keys may be in one, as it costs as much as a row.
    pub(crate) fn end_transaction(&mut self, row: u64) {
        if let Some(open) = &mut self.open {
            open.row = row;
            if !self.shares || self.bytes.len() - open.start >= TRANSACTION {
                self.close();
            }
        }
    }

    /// Ends the transaction, if one is open.
    pub(crate) fn close(&mut self) {
        if let Some(Transaction { row, .. }) = self.open.take() {
            self.command(Role::Exec, row, &[b"EXEC"]);
        }
    }

    /// What the end of a transaction is answered with: the replies of the commands before it.
    pub(crate) fn executed(&mut self, replies: Vec<Reply>) {
        let first = self.answered.saturating_sub(replies.len());
        for (index, reply) in replies.into_iter().enumerate() {
            match reply {
                Reply::Error(text) => self.fail_at(first + index, text),
                Reply::Nil | Reply::Int(0) => {
                    let is_write = self
                        .commands
                        .get(first + index)
                        .is_some_and(|command| command.role == Role::Write);
                    self.idle += u64::from(is_write);
                }
                _ => {}
            }
        }
    }

    /// The role of the command whose reply comes next.
    pub(crate) fn awaited(&self) -> Option<Role> {
        self.commands.get(self.answered).map(|command| command.role)
    }

    pub(crate) fn fail(&mut self, text: String) {
        self.fail_at(self.answered, text);
    }

    fn fail_at(&mut self, index: usize, text: String) {
        let ignored =
            |command: &Command| command.role == Role::Try && text.contains("already exists");
        if let Some(command) = self.commands.get(index).filter(|command| !ignored(command)) {
            self.failures.push(Failure {
                row: command.row,
                text,
            });
        }
    }

    /// Whether every command has its reply.
    pub(crate) fn is_answered(&self) -> bool {
        self.answered == self.commands.len()
    }

    /// The commands of a row, as they were sent, with their number.
    pub(crate) fn commands_of(&self, row: u64) -> (&[u8], usize) {
        let first = self.commands.partition_point(|command| command.row < row);
        let last = self.commands.partition_point(|command| command.row <= row);
        let start = self
            .commands
            .get(first)
            .map_or(self.bytes.len(), |command| command.start as usize);
        let end = self
            .commands
            .get(last)
            .map_or(self.bytes.len(), |command| command.start as usize);
        (&self.bytes[start..end], last - first)
    }

    /// The numbers of the rows that failed, each once.
    pub(crate) fn failed_rows(&self) -> Vec<u64> {
        let mut rows: Vec<u64> = self.failures.iter().map(|failure| failure.row).collect();
        rows.dedup();
        rows
    }
}

impl Pipeline {
    /// The numbers of its rows.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        let mut rows: Vec<u64> = self.commands.iter().map(|command| command.row).collect();
        rows.dedup();
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pipeline of rows that each have two commands, and how many commands are between `MULTI` and `EXEC`.
    fn filled(shares: bool, rows: u64) -> (Pipeline, Vec<usize>) {
        let mut pipeline = Pipeline {
            shares,
            ..Pipeline::default()
        };
        for row in 0..rows {
            pipeline.begin_row(row);
            pipeline.begin_transaction(row);
            pipeline.command(Role::Write, row, &[b"HSET", b"key", b"field", &[b'x'; 200]]);
            pipeline.command(Role::Extra, row, &[b"EXPIRE", b"key", b"60"]);
            pipeline.end_transaction(row);
        }
        pipeline.close();
        let ends = pipeline.commands.iter().enumerate();
        let ends = ends.filter(|(_, command)| command.role == Role::Exec);
        let ends: Vec<usize> = ends.map(|(index, _)| index).collect();
        let begins = std::iter::once(0).chain(ends.iter().map(|end| end + 1));
        let held = begins.zip(&ends).map(|(begin, end)| end - begin - 1);
        let held = held.collect();
        (pipeline, held)
    }

    #[test]
    fn a_few_whole_rows_share_a_transaction() {
        let (pipeline, held) = filled(true, 100);
        assert_eq!(held.iter().sum::<usize>(), 200);
        assert!(held.iter().all(|commands| commands % 2 == 0), "{held:?}");
        let most = TRANSACTION / 200 * 2;
        assert!(
            held.len() > 1 && held.iter().all(|commands| *commands <= most),
            "{held:?}"
        );
        assert!(held.len() < 30, "{held:?}");
        assert!(pipeline.open.is_none());
        // In a cluster, the keys of rows may be in different slots.
        assert_eq!(filled(false, 100).1, [2; 100]);
    }

    #[test]
    fn an_error_in_any_transaction_is_that_of_its_row() {
        let (mut pipeline, held) = filled(true, 100);
        let mut row = 0;
        for commands in held {
            // MULTI and what is queued.
            pipeline.answered += 1 + commands;
            assert_eq!(pipeline.awaited(), Some(Role::Exec));
            let replies = (0..commands / 2).flat_map(|_| {
                let written = match row {
                    70 => Reply::Error("WRONGTYPE".into()),
                    71 => Reply::Int(0),
                    _ => Reply::Int(1),
                };
                row += 1;
                [written, Reply::Int(1)]
            });
            let replies = replies.collect();
            pipeline.executed(replies);
            pipeline.answered += 1;
        }
        assert!(pipeline.is_answered());
        assert_eq!((pipeline.failed_rows(), pipeline.idle), (vec![70], 1));
    }
}
