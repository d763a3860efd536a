//! Stages rows whose commands cannot be repeated (items of a list, entries of a stream), and rows that replace a single key.
//! They are written to a temporary key of this attempt, and moved into place once, after the load is recorded.

use arrowload_core::{Error, ErrorKind, Result};

use crate::error::from_server;
use crate::ledger::Move;
use crate::nodes::{Nodes, slot};
use crate::resp::Reply;

/// Moves up to `ARGV[1]` items of the list `KEYS[1]` to the end of `KEYS[2]`, and returns how many are left.
const MOVE_LIST: &str = "local items = redis.call('LRANGE', KEYS[1], 0, ARGV[1] - 1) \
    if #items == 0 then return 0 end \
    local ttl = redis.call('PTTL', KEYS[1]) \
    redis.call('RPUSH', KEYS[2], unpack(items)) \
    redis.call('LTRIM', KEYS[1], #items, -1) \
    if ttl > 0 then redis.call('PEXPIRE', KEYS[2], ttl) end \
    return redis.call('LLEN', KEYS[1])";

/// The same for streams; `ARGV[2]` is empty, or MAXLEN or MINID with `ARGV[3]`.
const MOVE_STREAM: &str = "local entries = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', ARGV[1]) \
    if #entries == 0 then redis.call('DEL', KEYS[1]) return 0 end \
    local ttl = redis.call('PTTL', KEYS[1]) \
    local ids = {} \
    for _, entry in ipairs(entries) do \
        if ARGV[2] == '' then redis.call('XADD', KEYS[2], '*', unpack(entry[2])) \
        else redis.call('XADD', KEYS[2], ARGV[2], '~', ARGV[3], '*', unpack(entry[2])) end \
        ids[#ids + 1] = entry[1] \
    end \
    redis.call('XDEL', KEYS[1], unpack(ids)) \
    if ttl > 0 then redis.call('PEXPIRE', KEYS[2], ttl) end \
    local left = redis.call('XLEN', KEYS[1]) \
    if left == 0 then redis.call('DEL', KEYS[1]) end \
    return left";

/// Replaces `KEYS[2]` by `KEYS[1]`, or removes both if that is a mark; nothing if it was done before.
const REPLACE: &str = "local kind = redis.call('TYPE', KEYS[1])['ok'] \
    if kind == 'string' then redis.call('DEL', KEYS[1]) redis.call('UNLINK', KEYS[2]) \
    elseif kind ~= 'none' then redis.call('RENAME', KEYS[1], KEYS[2]) end return 0";

/// Items that one step moves: other clients wait that long.
const STEP: &str = "1000";

/// What the names of staged keys begin with.
pub(crate) const START: &str = "arrowload:stage:";

/// The key under which another is staged.
pub(crate) fn stage_key(key: &[u8], nonce: &str) -> Vec<u8> {
    let open = key.iter().position(|byte| *byte == b'{');
    let tag = open.and_then(|open| {
        let rest = &key[open + 1..];
        rest.iter()
            .position(|byte| *byte == b'}')
            .filter(|length| *length > 0)
            .map(|length| &rest[..length])
    });
    [
        START.as_bytes(),
        b"{",
        tag.unwrap_or(key),
        b"}:",
        nonce.as_bytes(),
        b":",
        key,
    ]
    .concat()
}

/// Refuses a key whose staged key could not be in its slot.
pub(crate) fn check(nodes: &Nodes, key: &[u8], stage: &[u8]) -> Result<()> {
    if !nodes.topology.is_cluster() || slot(key) == slot(stage) {
        return Ok(());
    }
    let message = format!(
        "in a cluster the key `{}` cannot be staged, as it holds a brace without its pair",
        String::from_utf8_lossy(key)
    );
    Err(Error::new(ErrorKind::Unsupported, message))
}

/// Refuses to move items into keys that hold another structure, which could only fail when the load is recorded.
pub(crate) async fn check_kind(nodes: &mut Nodes, wanted: &str, keys: &[Vec<u8>]) -> Result<()> {
    let kinds = nodes.each(keys, &[b"TYPE"], &[]).await?;
    for (key, kind) in keys.iter().zip(kinds) {
        match kind {
            Reply::Error(text) => return Err(from_server(&text)),
            Reply::Status(kind) if kind == wanted || kind == "none" => {}
            kind => {
                let message = format!(
                    "the key `{}` holds a {}, and the load makes a {wanted}",
                    String::from_utf8_lossy(key),
                    kind.text().unwrap_or_default()
                );
                return Err(Error::new(ErrorKind::InvalidData, message).with_code("WRONGTYPE"));
            }
        }
    }
    Ok(())
}

/// Refuses a user who may not run scripts, or not over these keys: once the load is recorded it is too late to find out.
pub(crate) async fn check_may_move(nodes: &mut Nodes, key: &[u8]) -> Result<()> {
    let stage = stage_key(key, "nonce");
    let words = [b"EVAL".as_slice(), b"return 0", b"2", &stage, key];
    nodes.call(key, &words).await.map(drop)
}

/// Every key that this attempt has staged, with the key that it is for.
pub(crate) async fn staged(nodes: &mut Nodes, nonce: &str) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mark = format!("}}:{nonce}:").into_bytes();
    let mut found = std::collections::BTreeMap::new();
    nodes
        .scan(format!("{START}{{*}}:{nonce}:*").as_bytes(), |keys| {
            for key in keys {
                if let Some(at) = key
                    .windows(mark.len())
                    .position(|window| window == mark.as_slice())
                {
                    let of = key[at + mark.len()..].to_vec();
                    found.insert(key, of);
                }
            }
            true
        })
        .await?;
    Ok(found.into_iter().collect())
}

/// Stages the removal of keys: a mark, which is a string, as no staged key is, stands for each.
pub(crate) async fn stage_removal(nodes: &mut Nodes, keys: &[Vec<u8>], nonce: &str) -> Result<()> {
    let mut marks = Vec::with_capacity(keys.len());
    for key in keys {
        let mark = stage_key(key, nonce);
        check(nodes, key, &mark)?;
        marks.push(mark);
    }
    let replies = nodes.each(&marks, &[b"SET"], &[b""]).await?;
    match replies.iter().find_map(Reply::error) {
        Some(text) => Err(from_server(text)),
        None => Ok(()),
    }
}

impl Move {
    /// What is staged, with the key that it is for.
    async fn pairs(&self, nodes: &mut Nodes) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        match &self.key {
            Some(key) => Ok(vec![(
                stage_key(key.as_bytes(), &self.nonce),
                key.clone().into_bytes(),
            )]),
            None => staged(nodes, &self.nonce).await,
        }
    }

    /// Whether the keys can take what is to be added to them.
    pub(crate) async fn check(&self, nodes: &mut Nodes) -> Result<()> {
        let pairs = self.pairs(nodes).await?.into_iter();
        let keys: Vec<Vec<u8>> = pairs.map(|(_, key)| key).collect();
        check_kind(nodes, &self.structure, &keys).await
    }

    /// Moves what is staged into place. It may be called again at any time, by anybody: each item is moved once.
    pub(crate) async fn run(&self, nodes: &mut Nodes) -> Result<()> {
        let pairs = self.pairs(nodes).await?;
        for (stage, key) in pairs {
            self.one(nodes, &stage, &key).await?;
        }
        Ok(())
    }

    async fn one(&self, nodes: &mut Nodes, stage: &[u8], key: &[u8]) -> Result<()> {
        let script = match (self.replace, self.structure.as_str()) {
            (true, _) => REPLACE,
            (false, "stream") => MOVE_STREAM,
            (false, _) => MOVE_LIST,
        };
        let maxlen = self.maxlen.map(|maxlen| maxlen.to_string());
        let (word, bound) = match (&maxlen, &self.minid) {
            (Some(maxlen), _) => ("MAXLEN", maxlen.as_str()),
            (None, Some(minid)) => ("MINID", minid.as_str()),
            (None, None) => ("", ""),
        };
        let words = [
            b"EVAL".as_slice(),
            script.as_bytes(),
            b"2",
            stage,
            key,
            STEP.as_bytes(),
            word.as_bytes(),
            bound.as_bytes(),
        ];
        while nodes.call(key, &words).await?.int().unwrap_or_default() > 0 {}
        Ok(())
    }
}
