//! A source's name that is not snake_case does not compile.
use arrowload_core::*;
use arrowload_core::memory::MemoryConfig;

struct Engine;

impl DataSource for Engine {
    const NAME: &'static str = "My-Engine";
    type Config = MemoryConfig;
    async fn connect(_: MemoryConfig) -> Result<Self> { Ok(Self) }
    async fn query(&self, _: &Query) -> Result<BatchStream> { Err(Error::new(ErrorKind::Query, "nothing is there")) }
}

arrowload_core::register_source!(Engine);

fn main() {}
