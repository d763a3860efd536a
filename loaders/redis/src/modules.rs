//! Modules that only some servers have (RedisJSON, RedisTimeSeries, search): the loader looks for them
//! before the first row.

use arrow_schema::DataType;
use arrowload_core::{Error, ErrorKind, LoadRequest, Result};

use crate::RedisOptions;
use crate::key::KeyPattern;
use crate::nodes::Nodes;
use crate::options::DistanceMetric;
use crate::resp::Reply;

/// Refuses a structure that the server does not have.
pub(crate) async fn check(nodes: &mut Nodes, request: &LoadRequest<RedisOptions>) -> Result<()> {
    let options = &request.options;
    let search = options.index.as_ref();
    let search = search.map(|_| {
        (
            "search (RediSearch)",
            [b"FT.INFO".as_slice(), b"arrowload:module"],
        )
    });
    let Some((module, asked)) = options.data_structure.facts().module.or(search) else {
        return Ok(());
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

/// Creates the search index over the keys of a pattern, if one is asked for and is not there.
pub(crate) async fn create_index(
    nodes: &mut Nodes,
    request: &LoadRequest<RedisOptions>,
    pattern: &KeyPattern,
) -> Result<()> {
    let options = &request.options;
    let Some(index) = &options.index else {
        return Ok(());
    };
    let place = nodes.topology.places[0].clone();
    let connection = nodes.connection(&place).await?;
    let known = connection.ask(&[b"FT.INFO", index.as_bytes()]).await?;
    if known.error().is_none() {
        return Ok(());
    }
    let metric = match options.distance_metric {
        DistanceMetric::Cosine => "COSINE",
        DistanceMetric::L2 => "L2",
        DistanceMetric::Ip => "IP",
    };
    let prefix = String::from_utf8_lossy(pattern.start());
    let head = ["FT.CREATE", index, "ON", "HASH", "PREFIX", "1", &prefix];
    let mut words: Vec<String> = head.map(str::to_owned).to_vec();
    words.push("SCHEMA".into());
    for field in request.schema.fields() {
        words.push(field.name().clone());
        match field.data_type() {
            DataType::FixedSizeList(item, size) => {
                let kind = match item.data_type() {
                    DataType::Float64 => "FLOAT64",
                    DataType::Float16 => "FLOAT16",
                    _ => "FLOAT32",
                };
                let (size, vector) = (size.to_string(), ["VECTOR", "HNSW", "6", "TYPE", kind]);
                let more = ["DIM", &size, "DISTANCE_METRIC", metric];
                words.extend(vector.into_iter().chain(more).map(str::to_owned));
            }
            kind if kind.is_numeric() => words.push("NUMERIC".into()),
            _ => words.push("TAG".into()),
        }
    }
    let words: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
    let created = connection.call(&words).await;
    created
        .map(|_| ())
        .map_err(|error| error.with("index", index))
}
