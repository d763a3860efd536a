//! Each feature links its loader or source in, once.

use arrowload::Registry;

use crate::features::FEATURES;

/// The name of a loader or source from that of its feature.
fn name(feature: &str, role: &str) -> Option<String> {
    let name = feature.strip_prefix(role)?;
    Some(name.replace('-', "_"))
}

#[test]
fn each_feature_registers_its_name_exactly_once() {
    let registry = Registry::linked().expect("no name is claimed twice");
    let loaders: Vec<&str> = registry.loaders().map(|loader| loader.name()).collect();
    let sources: Vec<&str> = registry.sources().map(|source| source.name()).collect();
    for (feature, is_on) in FEATURES {
        let roles = [("loader-", &loaders), ("source-", &sources)];
        for (name, there) in roles
            .into_iter()
            .filter_map(|(role, there)| Some((name(feature, role)?, there)))
        {
            // The source of a crate that has both roles comes with its loader.
            let loader = format!("loader-{}", name.replace('_', "-"));
            let comes_along = FEATURES.contains(&(loader.as_str(), true));
            assert_eq!(
                there.iter().filter(|known| **known == name).count(),
                usize::from(*is_on || comes_along),
                "{feature} in {there:?}"
            );
        }
    }
    // Nothing comes along unasked. A loader's crate may have a source too.
    let on = || FEATURES.iter().filter(|(_, is_on)| *is_on);
    for known in loaders.iter().chain(&sources) {
        let asked = on().any(|(feature, _)| {
            let names = [name(feature, "loader-"), name(feature, "source-")];
            names.iter().flatten().any(|name| name == known)
        });
        assert!(asked || *known == "memory", "{known}");
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
