//! The config of a source is read from keys, and says which it knows.
use arrowload_core::*;

struct Engine;
struct Plain;

impl DataSource for Engine {
    const NAME: &'static str = "my_engine";
    type Config = Plain;
    async fn connect(_: Plain) -> Result<Self> { Ok(Self) }
    async fn query(&self, _: &Query) -> Result<BatchStream> { Err(Error::new(ErrorKind::Query, "nothing is there")) }
}

arrowload_core::register_source!(Engine);

fn main() {}

// The compiler lists types by their shortest names: with this one it is the same list whatever else is linked.
#[allow(dead_code)]
struct Path;
