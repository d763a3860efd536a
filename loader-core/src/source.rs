//! The trait of a source, which its author implements so that an engine can be queried.

use std::future::Future;

use arrow_schema::SchemaRef;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{BatchStream, Error, ErrorKind, Listing, Query, Result, url_to_config};

/// An engine that answers SQL with Arrow batches. Register it with [`register_source!`](crate::register_source).
pub trait DataSource: Sized + Send + Sync + 'static {
    /// The name: `snake_case`, checked at compile time. A store that can also be loaded into uses one name for both.
    const NAME: &'static str;
    /// URL schemes that mean this source, without `://`.
    const URL_SCHEMES: &'static [&'static str] = &[];
    /// Environment variables, as in [`DataLoader::ENVIRONMENT`](crate::DataLoader::ENVIRONMENT).
    const ENVIRONMENT: &'static [(&'static str, &'static str)] = &[];
    /// Whether it has to find types itself, as readers of CSV do, and uses [`Reading::types`](crate::Reading::types): only then is
    /// a target asked for them.
    const FINDS_TYPES: bool = false;

    /// How to connect. Denies unknown fields; its doc comments are the reference documentation.
    type Config: DeserializeOwned + JsonSchema + Send + 'static;

    /// Connects. The source is kept, and serves many queries, several at once.
    fn connect(config: Self::Config) -> impl Future<Output = Result<Self>> + Send;

    /// Runs a query. The schema is known when this returns; batches come as the stream is polled, and dropping the stream cancels
    /// the query. Parameters are bound, never inserted into the text.
    fn query(&self, query: &Query) -> impl Future<Output = Result<BatchStream>> + Send;

    /// The schema that [`query`](Self::query) would return. The default runs the query and drops its stream.
    fn schema(&self, query: &Query) -> impl Future<Output = Result<SchemaRef>> + Send {
        async { Ok(self.query(query).await?.schema().clone()) }
    }

    /// Runs a statement for its effect, and returns how many rows it changed, if the engine knows. The default refuses.
    fn execute(&self, query: &Query) -> impl Future<Output = Result<Option<u64>>> + Send {
        let _ = query;
        async {
            Err(refused(
                "runs no statements for their effect; give it one that answers with rows",
            ))
        }
    }

    /// Lists what the engine has. The columns are the engine's own. The default refuses.
    fn list(&self, listing: &Listing) -> impl Future<Output = Result<BatchStream>> + Send {
        let what = listing.what;
        async move {
            Err(refused(&format!(
                "does not list its {what}; ask it in SQL, where it has an information_schema"
            )))
        }
    }

    /// Checks that the engine answers, and that the credentials are valid.
    fn ping(&self) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }

    /// Turns a URL of one of its schemes into connection keys.
    ///
    /// # Errors
    /// If the URL is malformed. The message must not show the password.
    fn config_from_url(url: &str) -> Result<Map<String, Value>> {
        url_to_config(url)
    }
}

fn refused(what: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("the source {what}"))
}
