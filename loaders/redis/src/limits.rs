//! How many rows of a target a load changes, where that can be counted: `max_updates` and `max_deletes`.

use std::collections::HashSet;

use arrowload_core::{Error, ErrorKind, LoadRequest, Mode, Result};
use xxhash_rust::xxh3::xxh3_128;

use crate::RedisOptions;
use crate::error::{code, from_server};
use crate::key::KeyPattern;
use crate::nodes::Nodes;
use crate::options::DataStructure;
use crate::record::Record;
use crate::resp::Reply;
use crate::structures::Facts;
use crate::target::Target;

/// Why changes cannot be counted before they are made; `updates` asks for replaced rows too.
pub(crate) fn uncountable(
    request: &LoadRequest<RedisOptions>,
    target: &Target,
    updates: bool,
) -> Option<&'static str> {
    if request.load.mode != Mode::Overwrite {
        return (updates && target.replaces_rows(request)).then_some(
            "max_updates cannot be kept here, as Redis does not say which rows of the load replace others; leave it out",
        );
    }
    let record = target.seen.record.as_ref();
    if facts(request, record).count.is_none() {
        Some(
            "max_deletes cannot be kept for time series, whose samples are not counted; leave it out",
        )
    } else if record.is_some_and(|record| record.batches) {
        Some(
            "max_deletes cannot be kept for a stream of whole batches, whose rows are not counted; leave it out",
        )
    } else {
        None
    }
}

/// What is possible with the data structure of the existing keys.
fn facts(request: &LoadRequest<RedisOptions>, record: Option<&Record>) -> &'static Facts {
    record
        .and_then(|record| DataStructure::of_name(&record.structure))
        .unwrap_or(request.options.data_structure)
        .facts()
}

/// Refuses limits on what cannot be counted.
pub(crate) fn check_countable(request: &LoadRequest<RedisOptions>, target: &Target) -> Result<()> {
    let limits = request.load.limits();
    match uncountable(request, target, limits.updates.is_some()) {
        Some(why) if !limits.is_empty() => Err(Error::new(ErrorKind::Unsupported, why)),
        _ => Ok(()),
    }
}

/// Refuses an overwrite that would remove more rows than is allowed.
pub(crate) async fn check(
    nodes: &mut Nodes,
    request: &LoadRequest<RedisOptions>,
    old: &[KeyPattern],
    record: Option<&Record>,
) -> Result<()> {
    let limits = request.load.limits();
    if limits.is_empty() || request.load.mode != Mode::Overwrite {
        return Ok(());
    }
    let rows = count(nodes, old, facts(request, record)).await?;
    limits.check(0, rows, rows)
}

/// The rows under some patterns.
async fn count(nodes: &mut Nodes, patterns: &[KeyPattern], facts: &Facts) -> Result<u64> {
    let command = facts.count.unwrap_or(b"EXISTS");
    // A scan may give a key twice.
    let mut seen = HashSet::new();
    let mut rows = 0;
    for pattern in patterns {
        let mut keys: Vec<Vec<u8>> = Vec::new();
        if let Some(key) = pattern.constant() {
            keys.push(key.to_vec());
        } else {
            let found = |some: Vec<Vec<u8>>| {
                let own = some.into_iter().filter(|key| pattern.owns(key));
                for key in own.filter(|key| seen.insert(xxh3_128(key))) {
                    match facts.gathers {
                        true => keys.push(key),
                        false => rows += 1,
                    }
                }
                true
            };
            nodes.scan(&pattern.glob(), found).await?;
        }
        for reply in nodes.each(&keys, &[command], &[]).await? {
            rows += match reply {
                // The key has something other than rows of the target, and is removed too.
                Reply::Error(text) if code(&text) == "WRONGTYPE" => 1,
                Reply::Error(text) => return Err(from_server(&text)),
                reply => reply.int().unwrap_or_default().unsigned_abs(),
            };
        }
    }
    Ok(rows)
}
