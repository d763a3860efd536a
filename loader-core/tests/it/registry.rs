//! Names, twins, and what is said about a name that is not there.

use arrowload_core::memory::{MemoryLoader, MemorySource};
use arrowload_core::{ErrorKind, LoaderDescriptor, Registry, SourceDescriptor};

const MEMORY: LoaderDescriptor = LoaderDescriptor::of::<MemoryLoader>("one-package", "1.0.0");

#[test]
fn the_reference_implementation_registers_itself_once() {
    let registry = Registry::linked().expect("no twins");
    assert_eq!(
        registry
            .loaders()
            .filter(|loader| loader.name() == "memory")
            .count(),
        1
    );
    assert_eq!(
        registry.source("memory").expect("linked").package(),
        "arrowload-core"
    );
    assert_eq!(
        registry.loader_for_scheme("memory").expect("linked").name(),
        "memory"
    );
    assert!(registry.loader_for_scheme("nowhere").is_none());
}

#[test]
fn two_packages_that_claim_one_name_are_both_named() {
    let registry = Registry::empty().with_loader(MEMORY).expect("the first");
    let error = registry
        .with_loader(LoaderDescriptor::of::<MemoryLoader>(
            "another-package",
            "1.0.0",
        ))
        .expect_err("a twin");
    assert_eq!(error.kind(), ErrorKind::Registry);
    assert!(
        error.message().contains("one-package") && error.message().contains("another-package"),
        "{error}"
    );
}

#[test]
fn a_source_and_a_loader_may_share_a_name() {
    let source = SourceDescriptor::of::<MemorySource>("one-package", "1.0.0");
    Registry::empty()
        .with_loader(MEMORY)
        .and_then(|registry| registry.with_source(source))
        .expect("both");
}

#[test]
fn a_misspelt_name_gets_the_nearest_and_the_list() {
    let error = Registry::linked()
        .expect("no twins")
        .loader("memroy")
        .expect_err("misspelt");
    assert_eq!(error.kind(), ErrorKind::LoaderNotFound);
    assert!(
        error.message().contains("did you mean `memory`?")
            && error.message().contains("Linked in: memory"),
        "{error}"
    );
}
