//! The smallest source compiles.
use arrowload_core::*;
use arrowload_core::memory::MemoryConfig;

struct Engine;

impl DataSource for Engine {
    const NAME: &'static str = "my_engine";
    type Config = MemoryConfig;
    async fn connect(_: MemoryConfig) -> Result<Self> { Ok(Self) }
    async fn query(&self, _: &Query) -> Result<BatchStream> { Err(Error::new(ErrorKind::Query, "nothing is there")) }
}

arrowload_core::register_source!(Engine);

fn main() {}
