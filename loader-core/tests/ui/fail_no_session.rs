//! A loader needs its session.
use arrowload_core::*;
use arrow_array::RecordBatch;
use arrow_schema::DataType;
use arrowload_core::memory::{MemoryConfig, MemoryOptions};

struct Loader;
struct Session;

impl DataLoader for Loader {
    const NAME: &'static str = "my_loader";
    const CAPABILITIES: Capabilities = Capabilities::new(&[Mode::Append], Atomicity::Row);
    type Config = MemoryConfig;
    type Options = MemoryOptions;
    type Resolved = ();
    type Session = Session;
    async fn connect(_: MemoryConfig) -> Result<Self> { Ok(Self) }
    async fn resolve(&self, _: &LoadRequest<MemoryOptions>) -> Result<()> { Ok(()) }
    fn plan(request: &LoadRequest<MemoryOptions>, (): &()) -> Plan { Plan::of::<Self>(request) }
    async fn begin(&self, _: LoadRequest<MemoryOptions>, (): (), _: Rejects) -> Result<Begun<Session>> { Ok(Begun::Session(Session)) }
    fn supports_type(_: &DataType) -> TypeSupport { TypeSupport::Exact }
}


arrowload_core::register_loader!(Loader);

fn main() {}
