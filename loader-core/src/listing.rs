//! What a source can list: catalogs, schemas, tables, columns and so on.

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
    /// Columns of tables and views, with what their definitions say. Where a source can, it returns these columns, whose rows are
    /// in the order of each table's columns; a table without columns has one row without `column_name`.
    ///
    /// | column | what it is |
    /// |---|---|
    /// | `catalog_name`, `db_schema_name`, `table_name`, `table_type` | as in a list of tables |
    /// | `in_default_schema` | whether the table is found without its schema |
    /// | `column_name`, `type_name` | the type in the source's own words |
    /// | `is_nullable` | whether it may be null |
    /// | `key_position` | where it is in the primary key |
    /// | `comment`, `table_comment` | what was said of them |
    /// | `not_in_rows` | what the table has beside columns, key and comments, which a load of its rows leaves behind |
    /// | `hides_rows` | whether the user who asks may see some of its rows only |
    Columns,
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

    /// Whether a table's name is wanted, for sources that have no LIKE of their own. A backslash takes the next letter as it is.
    pub fn takes_name(&self, name: &str) -> bool {
        let Some(pattern) = &self.name else {
            return true;
        };
        let (pattern, name): (Vec<char>, Vec<char>) =
            (pattern.chars().collect(), name.chars().collect());
        // Which beginnings of the name the pattern fits so far: one bit for each length.
        let mut fits = vec![false; name.len() + 1];
        fits[0] = true;
        let mut letters = pattern.into_iter();
        while let Some(letter) = letters.next() {
            let (wanted, is_any) = match letter {
                '%' => {
                    let first = fits.iter().position(|fits| *fits).unwrap_or(fits.len());
                    fits[first..].fill(true);
                    continue;
                }
                '_' => ('_', true),
                '\\' => (letters.next().unwrap_or('\\'), false),
                letter => (letter, false),
            };
            for length in (1..fits.len()).rev() {
                fits[length] = fits[length - 1] && (is_any || name[length - 1] == wanted);
            }
            fits[0] = false;
        }
        fits[name.len()]
    }
}

impl std::fmt::Display for Listed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Catalogs => "catalogs",
            Self::Schemas => "schemas",
            Self::Tables => "tables",
            Self::Columns => "columns",
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
        assert!(listing.takes_name("any"));
        assert_eq!(
            (listing.what, listing.catalog, listing.schema, listing.name),
            (Listed::Tables, None, None, None)
        );
    }

    #[test]
    fn names_are_taken_as_like_takes_them() {
        for (pattern, taken, others) in [
            (
                "orders",
                &["orders"][..],
                &["order", "orders2", "Orders", ""][..],
            ),
            ("ord%", &["ord", "orders"], &["or", "xord"]),
            ("%a%b", &["ab", "xaxxb", "aab", "abab"], &["ba", "abc"]),
            ("_b", &["ab", "_b", "éb"], &["b", "abb"]),
            ("\\_b%", &["_b", "_bc"], &["ab"]),
            ("%", &["", "x"], &[]),
            ("", &[""], &["x"]),
        ] {
            let mut listing = Listing::new(Listed::Tables);
            listing.name = Some(pattern.to_owned());
            for name in taken {
                assert!(listing.takes_name(name), "{pattern} {name}");
            }
            for name in others {
                assert!(!listing.takes_name(name), "{pattern} {name}");
            }
        }
    }
}
