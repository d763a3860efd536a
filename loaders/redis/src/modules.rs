//! What only some servers have: RedisJSON, RedisTimeSeries and search are looked for before the first row.

use arrow_schema::DataType;
use arrowload_core::{Error, ErrorKind, LoadRequest, Result};

use crate::RedisOptions;
use crate::nodes::Nodes;
use crate::options::{DataStructure, DistanceMetric};
use crate::resp::Reply;
use crate::session::RedisSession;

/// Refuses a structure that the server does not have.
pub(crate) async fn check(nodes: &mut Nodes, request: &LoadRequest<RedisOptions>) -> Result<()> {
    let (asked, module): ([&[u8]; 2], &str) = match request.options.data_structure {
        DataStructure::Json => ([b"JSON.TYPE", b"arrowload:module"], "RedisJSON"),
        DataStructure::Timeseries => ([b"TS.QUERYINDEX", b"arrowload=module"], "RedisTimeSeries"),
        DataStructure::Vector if request.options.index.is_some() => {
            ([b"FT.INFO", b"arrowload:module"], "search (RediSearch)")
        }
        _ => return Ok(()),
    };
    let place = nodes.topology.places[nodes.topology.of(asked[1])].clone();
    // There is no such key: a server with the module says so, one without does not know the command.
    match nodes.connection(&place).await?.ask(&asked).await? {
        Reply::Error(text)
            if text.starts_with("ERR unknown command") || text.starts_with("unknown command") =>
        {
            let name = request.options.data_structure.name();
            let message = format!(
                "data_structure = {name} needs the module {module}, which the server at {place} does not have; use Redis 8 or Redis Stack, or another data_structure"
            );
            Err(Error::new(ErrorKind::Unsupported, message))
        }
        Reply::Error(text) if text.starts_with("NOPERM") => Err(crate::error::from_server(&text)),
        _ => Ok(()),
    }
}

/// A search index to create.
struct Index {
    name: String,
    /// The beginning of the keys.
    prefix: String,
    columns: Vec<(String, DataType)>,
    metric: DistanceMetric,
}

impl RedisSession {
    /// The search index to create: its name, the beginning of the keys, the columns and the measure.
    fn index(&self) -> Option<Index> {
        let options = &self.request.options;
        let columns = self
            .request
            .schema
            .fields()
            .iter()
            .map(|field| (field.name().clone(), field.data_type().clone()))
            .collect();
        let prefix = self
            .pattern
            .glob()
            .into_iter()
            .take_while(|byte| *byte != b'*')
            .collect();
        Some(Index {
            name: options.index.clone()?,
            prefix: String::from_utf8(prefix).ok()?,
            columns,
            metric: options.distance_metric,
        })
    }

    /// Creates the search index over the target's keys, if one is asked for and is not there.
    pub(crate) async fn create_index(&mut self) -> Result<()> {
        let Some(Index {
            name: index,
            prefix,
            columns,
            metric,
        }) = self.index()
        else {
            return Ok(());
        };
        let place = self.nodes.topology.places[0].clone();
        let connection = self.nodes.connection(&place).await?;
        if !matches!(
            connection.ask(&[b"FT.INFO", index.as_bytes()]).await?,
            Reply::Error(_)
        ) {
            return Ok(());
        }
        let metric = match metric {
            DistanceMetric::Cosine => "COSINE",
            DistanceMetric::L2 => "L2",
            DistanceMetric::Ip => "IP",
        };
        let mut words: Vec<String> = [
            "FT.CREATE",
            &index,
            "ON",
            "HASH",
            "PREFIX",
            "1",
            &prefix,
            "SCHEMA",
        ]
        .map(str::to_owned)
        .to_vec();
        for (name, data_type) in columns {
            words.push(name.clone());
            match data_type {
                DataType::FixedSizeList(item, size) => {
                    let kind = match item.data_type() {
                        DataType::Float64 => "FLOAT64",
                        DataType::Float16 => "FLOAT16",
                        _ => "FLOAT32",
                    };
                    words.extend(
                        [
                            "VECTOR",
                            "HNSW",
                            "6",
                            "TYPE",
                            kind,
                            "DIM",
                            &size.to_string(),
                            "DISTANCE_METRIC",
                            metric,
                        ]
                        .map(str::to_owned),
                    );
                }
                kind if kind.is_numeric() => words.push("NUMERIC".into()),
                _ => words.push("TAG".into()),
            }
        }
        let words: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
        connection
            .call(&words)
            .await
            .map_err(|error| error.with("index", &index))
            .map(|_| ())
    }
}
