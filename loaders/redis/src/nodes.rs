//! The servers of one configuration: a single one, the master that Sentinel names, or the masters of a cluster.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrowload_core::{Error, ErrorKind, Result};

use crate::RedisConfig;
use crate::config::split_hosts;
use crate::error::{code, from_server};
use crate::net::{Connection, Place, Role};
use crate::resp::{Reply, command};

/// How often a command follows the cluster to another node.
const REDIRECTIONS: usize = 16;

/// The number of slots of a cluster.
const SLOTS: usize = 16_384;

/// Where keys are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Topology {
    pub(crate) places: Vec<Place>,
    /// For each slot the position of its place; empty without a cluster.
    slots: Vec<u16>,
}

/// The slot of a key: of what is in its first braces, if there is anything.
pub(crate) fn slot(key: &[u8]) -> usize {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        rest.iter()
            .position(|byte| *byte == b'}')
            .filter(|length| *length > 0)
            .map(|length| &rest[..length])
    });
    let mut crc: u16 = 0;
    for byte in tag.unwrap_or(key) {
        crc ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 {
                crc << 1
            } else {
                crc << 1 ^ 0x1021
            };
        }
    }
    usize::from(crc) % SLOTS
}

impl Topology {
    /// The position of the place that has a key.
    #[inline]
    pub(crate) fn of(&self, key: &[u8]) -> usize {
        if self.slots.is_empty() {
            0
        } else {
            usize::from(self.slots[slot(key)])
        }
    }

    pub(crate) fn is_cluster(&self) -> bool {
        !self.slots.is_empty()
    }
}

/// How a load renews its lease before it expires.
#[derive(Debug, Clone)]
pub(crate) struct Beat {
    pub(crate) key: Vec<u8>,
    /// The command, which answers 0 if the lease is gone.
    pub(crate) bytes: Vec<u8>,
    pub(crate) every: Duration,
}

/// Connections to the servers, made as they are needed.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    config: Arc<RedisConfig>,
    pub(crate) topology: Topology,
    connections: HashMap<Place, Connection>,
    /// Shown while these connections are at work, by lanes while those are.
    pub(crate) beat: Option<(Beat, Instant)>,
}

impl Nodes {
    /// Finds the servers, and connects to the first.
    pub(crate) async fn find(config: &Arc<RedisConfig>) -> Result<Self> {
        check(config)?;
        if let Some(path) = &config.unix_socket {
            return Self::single(config, Place::Unix(path.clone())).await;
        }
        let port = config.port.unwrap_or(if config.sentinel_master.is_some() {
            26_379
        } else {
            6_379
        });
        let hosts: Vec<Place> = split_hosts(&config.host, port)?
            .into_iter()
            .map(|(host, port)| Place::Tcp(host, port))
            .collect();
        if let Some(master) = &config.sentinel_master {
            let place = master_of(config, &hosts, master).await?;
            return Self::single(config, place).await;
        }
        if !config.cluster {
            return Self::single(config, hosts[0].clone()).await;
        }
        let mut last = None;
        for host in hosts {
            match Self::cluster(config, &host).await {
                Ok(nodes) => return Ok(nodes),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| Error::new(ErrorKind::Connection, "no host answers")))
    }

    async fn single(config: &Arc<RedisConfig>, place: Place) -> Result<Self> {
        let connection = Connection::open(config, &place, Role::Data).await?;
        let connections = HashMap::from([(place.clone(), connection)]);
        Ok(Self {
            config: Arc::clone(config),
            topology: Topology {
                places: vec![place],
                slots: Vec::new(),
            },
            connections,
            beat: None,
        })
    }

    async fn cluster(config: &Arc<RedisConfig>, seed: &Place) -> Result<Self> {
        let mut connection = Connection::open(config, seed, Role::Data).await?;
        let topology = slots_of(&mut connection, seed).await?;
        let connections = HashMap::from([(seed.clone(), connection)]);
        Ok(Self {
            config: Arc::clone(config),
            topology,
            connections,
            beat: None,
        })
    }

    /// Asks the cluster again who has which slots.
    pub(crate) async fn refresh(&mut self) -> Result<()> {
        let places = self.topology.places.clone();
        let mut last = None;
        for place in places {
            match self.slots_from(&place).await {
                Ok(topology) => {
                    self.topology = topology;
                    return Ok(());
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last
            .unwrap_or_else(|| Error::new(ErrorKind::Connection, "no node of the cluster answers")))
    }

    async fn slots_from(&mut self, place: &Place) -> Result<Topology> {
        let connection = self.connection(place).await?;
        slots_of(connection, place).await
    }

    /// The connection to a place, made if there is none.
    pub(crate) async fn connection(&mut self, place: &Place) -> Result<&mut Connection> {
        if !self.connections.contains_key(place) {
            let connection = Connection::open(&self.config, place, Role::Data).await?;
            self.connections.insert(place.clone(), connection);
        }
        self.connections
            .get_mut(place)
            .ok_or_else(|| Error::new(ErrorKind::Unexpected, "a connection vanished"))
    }

    /// The same servers, with connections of their own, made as they are needed.
    pub(crate) fn apart(&self) -> Self {
        Self {
            config: Arc::clone(&self.config),
            topology: self.topology.clone(),
            ..Self::default()
        }
    }

    /// Closes every connection: after an error it is unknown what they are about to answer.
    pub(crate) fn close(&mut self) {
        self.connections.clear();
    }

    /// Asks on every connection that has been used, none of which is made again.
    pub(crate) async fn still_there(&mut self) -> Result<()> {
        for connection in self.connections.values_mut() {
            connection.ask(&[b"PING"]).await?;
        }
        Ok(())
    }

    /// Takes the connection to a place for a lane.
    pub(crate) async fn take(&mut self, index: usize) -> Result<Connection> {
        let place = self.topology.places[index].clone();
        match self.connections.remove(&place) {
            Some(connection) => Ok(connection),
            None => Connection::open(&self.config, &place, Role::Data).await,
        }
    }

    pub(crate) fn put_back(&mut self, index: usize, connection: Connection) {
        self.connections
            .insert(self.topology.places[index].clone(), connection);
    }

    /// Sends a command about a key to the node that has it.
    pub(crate) async fn call(&mut self, key: &[u8], words: &[&[u8]]) -> Result<Reply> {
        let mut bytes = Vec::new();
        command(&mut bytes, words);
        let mut replies = self.ask_about(key, &bytes, 1).await?;
        match replies.pop() {
            Some(Reply::Error(text)) => Err(from_server(&text)),
            Some(reply) => Ok(reply),
            None => Err(Error::new(ErrorKind::Unexpected, "there is no reply")),
        }
    }

    /// Sends commands about keys of one slot, any error among whose replies is an error.
    pub(crate) async fn ask_all(
        &mut self,
        key: &[u8],
        bytes: &[u8],
        count: usize,
    ) -> Result<Vec<Reply>> {
        let replies = self.ask_about(key, bytes, count).await?;
        match replies.iter().find_map(Reply::error) {
            Some(text) => Err(from_server(text)),
            None => Ok(replies),
        }
    }

    /// Sends commands about keys of one slot, and follows the cluster where they are elsewhere by now.
    pub(crate) async fn ask_about(
        &mut self,
        key: &[u8],
        bytes: &[u8],
        count: usize,
    ) -> Result<Vec<Reply>> {
        let mut place = self.topology.places[self.topology.of(key)].clone();
        let mut asking = false;
        for round in 0..REDIRECTIONS {
            let connection = self.connection(&place).await?;
            let replies = match asking {
                false => connection.ask_many(bytes, count).await?,
                true => ask_there(connection, bytes, count).await?,
            };
            let redirected = replies.iter().find_map(|reply| match reply {
                Reply::Error(text) if self.follows(text) => Some(text.clone()),
                _ => None,
            });
            let Some(text) = redirected else {
                return Ok(replies);
            };
            if let Some((_, to)) = text.rsplit_once(' ').filter(|_| code(&text) != "TRYAGAIN") {
                place = place_of(to, &place)?;
            }
            asking = code(&text) == "ASK";
            if code(&text) == "MOVED" {
                self.refresh().await?;
            }
            if round > 2 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Err(Error::new(
            ErrorKind::Conflict,
            "the slots of the cluster are moving; the command was sent on too often",
        )
        .transient())
    }

    /// Renews the lease of the load, if it has one and it is time.
    async fn show_life(&mut self) -> Result<()> {
        let Some((beat, last)) = self.beat.clone() else {
            return Ok(());
        };
        if last.elapsed() < beat.every {
            return Ok(());
        }
        let replies = self.ask_about(&beat.key, &beat.bytes, 1).await?;
        self.beat = Some((beat, Instant::now()));
        match replies.as_slice() {
            [Reply::Int(0)] => Err(crate::lease::lapsed()),
            _ => Ok(()),
        }
    }

    /// Every key that a pattern of Redis's `MATCH` finds, in pieces; some may come twice. It ends when `found` says so.
    pub(crate) async fn scan(
        &mut self,
        glob: &[u8],
        mut found: impl FnMut(Vec<Vec<u8>>) -> bool,
    ) -> Result<()> {
        for place in self.topology.places.clone() {
            let mut cursor = b"0".to_vec();
            loop {
                let (next, keys) = self.scan_once(&place, &cursor, glob, None).await?;
                if !keys.is_empty() && !found(keys) {
                    return Ok(());
                }
                cursor = next;
                if cursor == b"0" {
                    break;
                }
            }
        }
        Ok(())
    }

    /// One step of a scan: the next cursor and some keys.
    pub(crate) async fn scan_once(
        &mut self,
        place: &Place,
        cursor: &[u8],
        glob: &[u8],
        kind: Option<&str>,
    ) -> Result<(Vec<u8>, Vec<Vec<u8>>)> {
        self.show_life().await?;
        let mut words: Vec<&[u8]> = vec![b"SCAN", cursor, b"MATCH", glob, b"COUNT", b"1000"];
        if let Some(kind) = kind {
            words.extend([b"TYPE".as_slice(), kind.as_bytes()]);
        }
        let reply = self.connection(place).await?.call(&words).await?;
        let mut items = reply.array().into_iter();
        let cursor = items.next().and_then(Reply::bytes);
        let keys = items.next().map(Reply::array).unwrap_or_default();
        let cursor = cursor
            .ok_or_else(|| Error::new(ErrorKind::Unexpected, "SCAN answered without a cursor"))?;
        Ok((cursor, keys.into_iter().filter_map(Reply::bytes).collect()))
    }

    /// Sends one command for each key, many at a time, with the key between `before` and `after`, and returns a reply for each key,
    /// in their order; it may be an error.
    pub(crate) async fn each(
        &mut self,
        keys: &[Vec<u8>],
        before: &[&[u8]],
        after: &[&[u8]],
    ) -> Result<Vec<Reply>> {
        let words = |key: &usize| -> Vec<&[u8]> {
            let key = std::iter::once(keys[*key].as_slice());
            let before = before.iter().copied();
            before.chain(key).chain(after.iter().copied()).collect()
        };
        let mut groups: Vec<Vec<usize>> = vec![Vec::new(); self.topology.places.len()];
        for (index, key) in keys.iter().enumerate() {
            groups[self.topology.of(key)].push(index);
        }
        let mut answered = vec![Reply::Nil; keys.len()];
        for (place, group) in self.topology.places.clone().iter().zip(groups) {
            for some in group.chunks(1_000) {
                self.show_life().await?;
                let mut bytes = Vec::new();
                some.iter().for_each(|key| command(&mut bytes, &words(key)));
                let connection = self.connection(place).await?;
                let replies = connection.ask_many(&bytes, some.len()).await?;
                for (key, reply) in some.iter().zip(replies) {
                    answered[*key] = match reply {
                        Reply::Error(text) if self.follows(&text) => {
                            self.call(&keys[*key], &words(key)).await?
                        }
                        reply => reply,
                    };
                }
            }
        }
        Ok(answered)
    }

    /// Whether an error only says that a key is on another node of the cluster.
    fn follows(&self, text: &str) -> bool {
        self.topology.is_cluster() && crate::error::is_redirection(text)
    }

    /// Removes keys.
    pub(crate) async fn unlink(&mut self, keys: &[Vec<u8>]) -> Result<()> {
        let replies = self.each(keys, &[b"UNLINK"], &[]).await?;
        match replies.iter().find_map(Reply::error) {
            Some(text) => Err(from_server(text)),
            None => Ok(()),
        }
    }
}

/// Each command with `ASKING` before it, and the replies without those of it.
async fn ask_there(connection: &mut Connection, bytes: &[u8], count: usize) -> Result<Vec<Reply>> {
    let mut asked = Vec::new();
    let mut rest = bytes;
    for _ in 0..count {
        let length = crate::resp::parse(rest)?.map_or(rest.len(), |(_, length)| length);
        command(&mut asked, &[b"ASKING"]);
        asked.extend_from_slice(&rest[..length]);
        rest = &rest[length..];
    }
    let replies = connection.ask_many(&asked, 2 * count).await?;
    Ok(replies.into_iter().skip(1).step_by(2).collect())
}

/// A place as the cluster names it; without a host, that of the node that says so.
fn place_of(text: &str, asked: &Place) -> Result<Place> {
    let malformed = || {
        Error::new(
            ErrorKind::Unexpected,
            format!("the cluster names a node that cannot be understood: {text}"),
        )
    };
    let (host, port) = text.rsplit_once(':').ok_or_else(malformed)?;
    let port = port.parse().map_err(|_| malformed())?;
    Ok(match asked {
        Place::Tcp(own, _) if host.is_empty() => Place::Tcp(own.clone(), port),
        _ => Place::Tcp(host.to_owned(), port),
    })
}

async fn slots_of(connection: &mut Connection, asked: &Place) -> Result<Topology> {
    let ranges = connection.call(&[b"CLUSTER", b"SLOTS"]).await?.array();
    let mut topology = Topology {
        places: Vec::new(),
        slots: vec![u16::MAX; SLOTS],
    };
    for range in ranges {
        let mut items = range.array().into_iter();
        let bounds = [
            items.next().and_then(|item| item.int()),
            items.next().and_then(|item| item.int()),
        ];
        let mut master = items
            .next()
            .map(Reply::array)
            .unwrap_or_default()
            .into_iter();
        let (host, port) = (
            master.next().and_then(Reply::text).unwrap_or_default(),
            master.next().and_then(|port| port.int()),
        );
        let ([Some(first), Some(last)], Some(port)) = (bounds, port) else {
            continue;
        };
        let place = place_of(&format!("{host}:{port}"), asked)?;
        let index = topology
            .places
            .iter()
            .position(|known| *known == place)
            .unwrap_or_else(|| {
                topology.places.push(place);
                topology.places.len() - 1
            });
        let range =
            first.clamp(0, SLOTS as i64) as usize..(last + 1).clamp(0, SLOTS as i64) as usize;
        topology.slots[range].fill(index as u16);
    }
    if topology.slots.contains(&u16::MAX) {
        let message = "the cluster does not serve all of its slots";
        return Err(Error::new(ErrorKind::Connection, message).transient());
    }
    Ok(topology)
}

/// Asks the Sentinels, one after the other, and the server they name whether it is the master.
async fn master_of(config: &RedisConfig, sentinels: &[Place], name: &str) -> Result<Place> {
    let mut last = None;
    for sentinel in sentinels {
        match ask_sentinel(config, sentinel, name).await {
            Ok(place) => return Ok(place),
            Err(error) => last = Some(error.with("sentinel", sentinel)),
        }
    }
    Err(last.unwrap_or_else(|| Error::new(ErrorKind::Connection, "no Sentinel answers")))
}

async fn ask_sentinel(config: &RedisConfig, sentinel: &Place, name: &str) -> Result<Place> {
    let mut connection = Connection::open(config, sentinel, Role::Sentinel).await?;
    let reply = connection
        .call(&[b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", name.as_bytes()])
        .await?;
    let words: Vec<String> = reply.array().into_iter().filter_map(Reply::text).collect();
    let [host, port] = words.as_slice() else {
        let message = format!("Sentinel knows no master `{name}`; see sentinel_master");
        return Err(Error::new(ErrorKind::NotFound, message));
    };
    let place = place_of(&format!("{host}:{port}"), sentinel)?;
    // During a failover Sentinel may still name the old master.
    let role = Connection::open(config, &place, Role::Data)
        .await?
        .call(&[b"ROLE"])
        .await?;
    match role
        .array()
        .into_iter()
        .next()
        .and_then(Reply::text)
        .as_deref()
    {
        Some("master") => Ok(place),
        _ => Err(Error::new(
            ErrorKind::Connection,
            format!("{place}, which Sentinel names, is not the master yet"),
        )
        .transient()),
    }
}

/// Keys that exclude one another.
fn check(config: &RedisConfig) -> Result<()> {
    let invalid = |key: &'static str, message: &str| {
        Err(Error::new(ErrorKind::InvalidOption, message).with("key", key))
    };
    if config.cluster && config.sentinel_master.is_some() {
        return invalid("cluster", "cluster and sentinel_master exclude one another");
    }
    if config.cluster && config.db != 0 {
        return invalid("db", "a cluster has the database 0 only");
    }
    if config.unix_socket.is_some()
        && (config.tls || config.cluster || config.sentinel_master.is_some())
    {
        return invalid(
            "unix_socket",
            "a Unix socket goes with neither tls nor cluster nor sentinel_master",
        );
    }
    if !matches!(config.protocol, 2 | 3) {
        return invalid("protocol", "protocol is 2 or 3");
    }
    if config.host.contains(',') && !config.cluster && config.sentinel_master.is_none() {
        return invalid(
            "host",
            "several hosts need cluster = true or sentinel_master",
        );
    }
    if config.connect_timeout == 0 || config.response_timeout == 0 || config.read_batch_size == 0 {
        return invalid(
            "connect_timeout",
            "connect_timeout, response_timeout and read_batch_size are at least 1",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(slot(b"123456789"), 0x31C3);
        assert_eq!(slot(b"{user1000}.following"), slot(b"user1000"));
        assert_eq!(slot(b"foo{}{bar}"), slot(b"foo{}{bar}"));
        assert_ne!(slot(b"foo{}{bar}"), slot(b"bar"));
        assert_eq!(slot(b"foo{{bar}}zap"), slot(b"{bar"));
        assert_eq!(slot(b"foo"), 12_182);
    }
}
