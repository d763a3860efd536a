//! `arrowload list`.

use arrowload::{Client, Connections, Listed, Listing, Registry};

use crate::args::{Kind, ListArgs};
use crate::exit::{Exit, Failure};
use crate::query;

pub(crate) async fn command(args: ListArgs) -> Result<Exit, Failure> {
    let mut listing = Listing::new(match args.what {
        Kind::Catalogs => Listed::Catalogs,
        Kind::Schemas => Listed::Schemas,
        Kind::Tables => Listed::Tables,
        Kind::TableTypes => Listed::TableTypes,
        Kind::Types => Listed::Types,
        Kind::Info => Listed::Info,
    });
    let narrows = |flag: &str, given: bool, kinds: &[Kind]| match given && !kinds.contains(&args.what) {
        true => Err(Failure::usage(format!("{flag} does not narrow a list of {}", listing.what))),
        false => Ok(()),
    };
    narrows("--catalog", args.catalog.is_some(), &[Kind::Schemas, Kind::Tables])?;
    narrows("--schema", args.schema.is_some(), &[Kind::Schemas, Kind::Tables])?;
    narrows("--name", args.name.is_some(), &[Kind::Tables])?;
    (listing.catalog, listing.schema, listing.name) = (args.catalog, args.schema, args.name);
    let client = Client::builder().registry(Registry::linked()?).connections(Connections::discover()?).source(args.from).build()?;
    let format = query::format(args.format, args.output.as_deref())?;
    query::show_answer(client.list(listing).await?, format, args.output.as_deref()).await
}
