//! The settings of a temporary PostgreSQL server.

use super::PostgresPrograms;

/// Which version is started, and with what settings.
#[derive(Debug, Clone, Default)]
pub struct PostgresSetup {
    pub(super) programs: Option<PostgresPrograms>,
    pub(super) settings: Vec<(String, String)>,
    pub(super) hba: Option<String>,
    pub(super) files: Vec<(String, Vec<u8>)>,
}

impl PostgresSetup {
    /// The first version that is there, with the settings that suit tests.
    pub fn new() -> Self {
        Self::default()
    }

    /// This version.
    #[must_use]
    pub fn programs(mut self, programs: PostgresPrograms) -> Self {
        self.programs = Some(programs);
        self
    }

    /// A setting of the server, as in `postgresql.conf`.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Who may connect and how: lines of `pg_hba.conf`. Keep a line `local all postgres trust`, by which
    /// [`psql`](super::ThrowawayPostgres::psql) comes in. By default everybody is trusted.
    #[must_use]
    pub fn hba(mut self, lines: &str) -> Self {
        self.hba = Some(lines.into());
        self
    }

    /// A file in the server's data folder that only the server's user may read, such as the key of its certificate.
    #[must_use]
    pub fn file(mut self, name: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((name.into(), content.into()));
        self
    }
}
