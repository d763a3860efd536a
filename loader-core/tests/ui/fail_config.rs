//! A config is read from keys, and says which it knows.
use arrowload_core::*;
use arrow_array::RecordBatch;
use arrow_schema::DataType;
use arrowload_core::memory::{MemoryConfig, MemoryOptions};

struct Loader;
struct Plain;
struct Session;

impl DataLoader for Loader {
    const NAME: &'static str = "my_loader";
    const CAPABILITIES: Capabilities = Capabilities::new(&[Mode::Append], Atomicity::Row);
    type Config = Plain;
    type Options = MemoryOptions;
    type Resolved = ();
    type Session = Session;
    async fn connect(_: Plain) -> Result<Self> { Ok(Self) }
    async fn resolve(&self, _: &LoadRequest<MemoryOptions>) -> Result<()> { Ok(()) }
    fn plan(request: &LoadRequest<MemoryOptions>, (): &()) -> Plan { Plan::of::<Self>(request) }
    async fn begin(&self, _: LoadRequest<MemoryOptions>, (): (), _: Rejects) -> Result<Begun<Session>> { Ok(Begun::Session(Session)) }
    fn supports_type(_: &DataType) -> TypeSupport { TypeSupport::Exact }
}

impl LoadSession for Session {
    async fn write(&mut self, _: &RecordBatch) -> Result<()> { Ok(()) }
    async fn prepare(&mut self) -> Result<Prepared> { Ok(Prepared::rows(0)) }
    async fn commit(self) -> Result<Receipt> { Ok(Receipt::rows(0)) }
    async fn abort(self) -> Result<()> { Ok(()) }
}

arrowload_core::register_loader!(Loader);

fn main() {}

// The compiler lists types by their shortest names: with this one it is the same list whatever else is linked.
#[allow(dead_code)]
struct Path;
