//! Made by `cargo xtask generate`: the features that link loaders and sources in, and whether they are on.

pub(crate) const FEATURES: &[(&str, bool)] = &[
    ("loader-delta-lake", cfg!(feature = "loader-delta-lake")),
    ("loader-file", cfg!(feature = "loader-file")),
    ("loader-iceberg", cfg!(feature = "loader-iceberg")),
    ("loader-mongodb", cfg!(feature = "loader-mongodb")),
    ("loader-postgresql", cfg!(feature = "loader-postgresql")),
    ("loader-redis", cfg!(feature = "loader-redis")),
    ("source-datafusion", cfg!(feature = "source-datafusion")),
    ("source-flight-sql", cfg!(feature = "source-flight-sql")),
    ("source-mongodb", cfg!(feature = "source-mongodb")),
    ("source-postgresql", cfg!(feature = "source-postgresql")),
    ("source-redis", cfg!(feature = "source-redis")),
];
