//! What a source can be asked to list of itself.

/// What is listed, and of which part of the source. Patterns are those of SQL's LIKE: `%` stands for any characters, `_` for one.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Listing {
    /// What is listed.
    pub what: Listed,
    /// Only of this catalog.
    pub catalog: Option<String>,
    /// Only of schemas whose name fits the pattern.
    pub schema: Option<String>,
    /// Only tables whose name fits the pattern.
    pub name: Option<String>,
}

/// What a source has that can be listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Listed {
    /// Catalogs, or databases.
    Catalogs,
    /// Schemas.
    Schemas,
    /// Tables and views.
    Tables,
    /// The kinds of tables that there are.
    TableTypes,
    /// The types that columns can have.
    Types,
    /// What the engine says of itself: its name, its version, what it can do.
    Info,
}

impl Listing {
    /// All of one kind.
    pub fn new(what: Listed) -> Self {
        Self {
            what,
            catalog: None,
            schema: None,
            name: None,
        }
    }
}

impl std::fmt::Display for Listed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Catalogs => "catalogs",
            Self::Schemas => "schemas",
            Self::Tables => "tables",
            Self::TableTypes => "table types",
            Self::Types => "types",
            Self::Info => "info",
        })
    }
}

impl From<Listed> for Listing {
    fn from(what: Listed) -> Self {
        Self::new(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_of_everything_until_it_is_narrowed() {
        let listing = Listing::from(Listed::Tables);
        assert_eq!(
            (listing.what, listing.catalog, listing.schema, listing.name),
            (Listed::Tables, None, None, None)
        );
    }
}
