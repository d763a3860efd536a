//! Each feature links its loader or source in, once.

use arrowload::Registry;

#[test]
fn each_feature_registers_its_name_exactly_once() {
    let registry = Registry::linked().expect("no name is claimed twice");
    let loaders: Vec<&str> = registry.loaders().map(|loader| loader.name()).collect();
    let sources: Vec<&str> = registry.sources().map(|source| source.name()).collect();
    let features = [
        ("memory", true),
        ("delta_lake", cfg!(feature = "loader-delta-lake")),
        ("file", cfg!(feature = "loader-file")),
        ("iceberg", cfg!(feature = "loader-iceberg")),
        ("mongodb", cfg!(feature = "loader-mongodb")),
        ("postgresql", cfg!(feature = "loader-postgresql")),
        ("redis", cfg!(feature = "loader-redis")),
    ];
    for (name, is_on) in features {
        assert_eq!(
            loaders.iter().filter(|known| **known == name).count(),
            usize::from(is_on),
            "{name} in {loaders:?}"
        );
    }
    let features = [
        ("memory", true),
        ("datafusion", cfg!(feature = "source-datafusion")),
        ("delta_lake", cfg!(feature = "loader-delta-lake")),
        ("flight_sql", cfg!(feature = "source-flight-sql")),
        ("mongodb", cfg!(feature = "loader-mongodb")),
        ("postgresql", cfg!(feature = "source-postgresql")),
        ("redis", cfg!(feature = "source-redis")),
    ];
    for (name, is_on) in features {
        assert_eq!(
            sources.iter().filter(|known| **known == name).count(),
            usize::from(is_on),
            "{name} in {sources:?}"
        );
    }
}

#[test]
fn every_loader_keeps_to_the_rules_for_keys() {
    let registry = Registry::linked().expect("no twins");
    for loader in registry.loaders() {
        let (config, options) = (loader.config_schema(), loader.options_schema());
        assert!(
            config.is_closed() && options.is_closed(),
            "{loader:?} takes keys that it does not know"
        );
        for key in config.keys() {
            assert!(!options.contains(key), "{loader:?} has `{key}` twice");
        }
    }
}
