//! Commands that are sent together, with what is needed to understand their replies.

use crate::resp::{Reply, command};

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
    /// The last row of the transaction that is open.
    open: Option<u64>,
    /// Rows may share a transaction.
    pub(crate) shares: bool,
    /// It only renews the load's lease.
    pub(crate) is_beat: bool,
}

/// How far a pipeline was filled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    bytes: usize,
    commands: usize,
    rows: u64,
    open: Option<u64>,
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
            self.command(Role::Extra, row, &[b"MULTI"]);
            self.open = Some(row);
        }
    }

    /// A row's commands are complete. Rows share a transaction if their keys may be in one, as it costs as much as a row.
    pub(crate) fn end_transaction(&mut self, row: u64) {
        self.open = Some(row);
        if !self.shares {
            self.close();
        }
    }

    /// Ends the transaction, if one is open.
    pub(crate) fn close(&mut self) {
        if let Some(row) = self.open.take() {
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
