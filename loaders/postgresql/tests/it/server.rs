//! Databases of the tests' own on the throw-away server, and a client that is not the loader's.

use arrowload_core::Settings;
use arrowload_testkit::ThrowawayPostgres;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// An empty database of one test's own.
pub(crate) struct Database {
    pub(crate) url: String,
}

/// A database, or `None` with the reason printed; a failure if `ARROWLOAD_REQUIRE` names `postgresql`.
pub(crate) async fn database(name: &str) -> Option<Database> {
    let server = ThrowawayPostgres::available()?;
    Some(database_on(&server, name).await)
}

/// A database on this server.
pub(crate) async fn database_on(server: &ThrowawayPostgres, name: &str) -> Database {
    let client = connect(server.url()).await;
    let name = format!("arrowload_test_{name}");
    client
        .batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        .await
        .expect("dropped");
    client
        .batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0"))
        .await
        .expect("created");
    Database {
        url: server.database_url(&name),
    }
}

/// A connection that is not the loader's.
pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .expect("a connection");
    tokio::spawn(connection);
    client
}

impl Database {
    /// The server's port.
    pub(crate) fn port(&self) -> u16 {
        let config: tokio_postgres::Config = self.url.parse().expect("a URL");
        config.get_ports().first().copied().unwrap_or(5432)
    }

    pub(crate) async fn client(&self) -> Client {
        connect(&self.url).await
    }

    /// Runs statements.
    pub(crate) async fn run(&self, sql: &str) {
        self.client()
            .await
            .batch_execute(sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// The rows of a query, as the server's own text; columns are joined by `|`, as psql does.
    pub(crate) async fn rows(&self, sql: &str) -> Vec<String> {
        let answer = self
            .client()
            .await
            .simple_query(sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let row = |message| match message {
            SimpleQueryMessage::Row(row) => Some(
                (0..row.len())
                    .map(|index| row.get(index).unwrap_or("NULL").to_owned())
                    .collect::<Vec<_>>()
                    .join("|"),
            ),
            _ => None,
        };
        answer.into_iter().filter_map(row).collect()
    }

    /// The connection keys of this database.
    pub(crate) fn settings(&self) -> Settings {
        use arrowload_core::DataLoader;
        let keys =
            arrowload_postgresql::PostgresqlLoader::config_from_url(&self.url).expect("a URL");
        Settings::from_map(keys, "the test")
    }
}
