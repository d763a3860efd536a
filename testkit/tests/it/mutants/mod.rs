//! Loaders that are broken on purpose, one way each: the suite names the promise that each breaks.

mod fault;
mod loader;
mod values;

use arrow_array::RecordBatch;
use arrow_schema::DataType;
use arrowload_core::memory::{
    MemoryConfig, MemoryLoader, MemoryOptions, MemorySession, MemoryTarget,
};
use arrowload_core::{
    Begun, Capabilities, DataLoader, LoadRequest, LoaderDescriptor, Plan, Rejects, Result,
    Settings, TypeSupport,
};
use arrowload_testkit::{ConformanceReport, Subject, case_names, conformance, conformance_of};
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;

use self::fault::{BY_DECLARATION, BY_THE_PIPELINE, Fault, MUTANTS};
use self::loader::Mutant;
use crate::memory::InMemory;

/// A mutant and a store for it.
struct Broken(InMemory, Fault);

impl Broken {
    fn by(fault: Fault) -> Self {
        Self(
            InMemory::new(LoaderDescriptor::of::<Mutant>("mutant", "0")),
            fault,
        )
    }
}

impl Subject for Broken {
    fn descriptor(&self) -> LoaderDescriptor {
        self.0.descriptor()
    }

    fn connection(&self) -> Settings {
        let mut settings = self.0.connection();
        settings.set(
            "fault",
            serde_json::to_value(self.1).unwrap_or_default(),
            "the test",
        );
        settings
    }

    fn read<'a>(&'a self, target: &'a str) -> BoxFuture<'a, Result<Option<RecordBatch>, String>> {
        self.0.read(target)
    }

    fn is_plugin(&self) -> bool {
        self.1 == Fault::IsNotRegistered
    }

    fn streams(&self) -> bool {
        self.1.holds().is_some()
    }
}

/// Whether a case is one of those that are listed.
fn is_listed(listed: &[&str], case: &str) -> bool {
    listed.contains(&case) || (listed.contains(&"type *") && case.starts_with("type "))
}

fn failures(report: &ConformanceReport) -> Vec<&str> {
    report
        .failures()
        .into_iter()
        .map(|(name, _)| name)
        .collect()
}

#[test]
fn every_case_catches_a_mutant_or_has_a_reason() {
    let (cases, by_pipeline) = (case_names(), BY_THE_PIPELINE.map(|(case, _)| case));
    let caught: Vec<&str> = MUTANTS
        .iter()
        .flat_map(|(_, cases)| cases.iter().copied())
        .chain(BY_DECLARATION)
        .collect();
    let forgotten: Vec<&String> = cases
        .iter()
        .filter(|case| !is_listed(&caught, case) && !by_pipeline.contains(&case.as_str()))
        .collect();
    assert!(
        forgotten.is_empty(),
        "no mutant is caught by {forgotten:?}: add one for each, or the reason why no loader can break it"
    );
    let unknown = |case: &&&str| **case != "type *" && !cases.iter().any(|known| known == **case);
    let unknown: Vec<&&str> = caught.iter().chain(&by_pipeline).filter(unknown).collect();
    assert!(unknown.is_empty(), "the suite has no cases {unknown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mutant_is_caught_by_its_cases() {
    let mut missed = Vec::new();
    for (fault, listed) in MUTANTS {
        let report = conformance_of(&Broken::by(*fault), |case| is_listed(listed, case)).await;
        let failed = failures(&report);
        let ran = report.cases().iter().map(|(case, _)| case.as_str());
        missed.extend(
            ran.filter(|case| !failed.contains(case))
                .map(|case| format!("{fault:?} is not caught by `{case}`")),
        );
    }
    assert!(missed.is_empty(), "{missed:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mutant_that_breaks_nothing_passes() {
    conformance(&Broken::by(Fault::Nothing)).await.assert();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loader_may_hold_a_few_batches() {
    conformance_of(&Broken::by(Fault::HoldsAFewBatches), |case| {
        case == "memory stays bounded"
    })
    .await
    .assert();
}

/// A loader whose connection keys are open.
struct Open(MemoryLoader);

#[derive(Deserialize, JsonSchema)]
struct OpenConfig {
    database: String,
}

impl DataLoader for Open {
    const NAME: &'static str = "open";
    const CAPABILITIES: Capabilities = MemoryLoader::CAPABILITIES;
    type Config = OpenConfig;
    type Options = MemoryOptions;
    type Resolved = MemoryTarget;
    type Session = MemorySession;

    async fn connect(config: OpenConfig) -> Result<Self> {
        MemoryLoader::connect(MemoryConfig {
            database: config.database,
        })
        .await
        .map(Self)
    }

    async fn resolve(&self, request: &LoadRequest<MemoryOptions>) -> Result<MemoryTarget> {
        self.0.resolve(request).await
    }

    /// It does not look whether the target is there.
    fn plan(request: &LoadRequest<MemoryOptions>, _: &MemoryTarget) -> Plan {
        Plan::of::<Self>(request)
    }

    async fn begin(
        &self,
        request: LoadRequest<MemoryOptions>,
        found: MemoryTarget,
        rejects: Rejects,
    ) -> Result<Begun<MemorySession>> {
        self.0.begin(request, found, rejects).await
    }

    fn supports_type(_: &DataType) -> TypeSupport {
        TypeSupport::Exact
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_keys_and_missing_answers_are_caught() {
    let report = conformance(&InMemory::new(LoaderDescriptor::of::<Open>("open", "0"))).await;
    for case in [
        "keys are closed and belong to one place",
        "repeating a load_id writes nothing",
        "a plan changes nothing",
    ] {
        assert!(
            failures(&report).contains(&case),
            "`{case}` did not fail:\n{report}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_another_package_has_is_caught() {
    let report = conformance_of(
        &InMemory::new(LoaderDescriptor::of::<MemoryLoader>("impostor", "0")),
        |case| case == BY_DECLARATION[0],
    )
    .await;
    assert_eq!(failures(&report), [BY_DECLARATION[0]], "{report}");
}
