//! The ways in which the mutants are broken, and the cases that must catch each.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One way of being broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Fault {
    #[default]
    Nothing,
    IsNotRegistered,
    LosesTheLastRowOfEachBatch,
    TurnsNullsIntoValues,
    PublishesWhileItWrites,
    PublishesWhenItIsDropped,
    PublishesWhenItGivesUp,
    MakesTheTargetWhenItBegins,
    MakesATargetThatItMayNotCreate,
    MakesTheTargetInItsPlan,
    PlansOnlyWhatIsMissing,
    PlansToMakeWhatIsThere,
    PromisesMoreThanItDeclares,
    NeverKeepsWhatItDeclares,
    RefusesOnlyWhenItBegins,
    ForgetsDefinitions,
    ForgetsMarks,
    DescribesOtherColumns,
    MakesNoTargetWithoutRows,
    ForgetsLoadIds,
    LooksForLoadIdsOnlyAtFirst,
    ForgetsHowManyRowsItSetAside,
    AppendsWhereItShouldOverwrite,
    AppendsWhereItShouldUpsert,
    OverwritesWhereItShouldAppend,
    CreatesOverWhatIsThere,
    KeepsTheFirstRowOfAnUpsert,
    LooksAtTheFirstKeyOnly,
    EmptiesColumnsThatAnUpsertLacks,
    ReplacesOneOfSeveralEqualKeys,
    IgnoresLimits,
    CountsNoNullKeys,
    CountsKeysOnlyOfNewTargets,
    CutsLongText,
    TurnsEmptyTextIntoNull,
    TurnsLargeUnsignedIntegersNegative,
    CutsNanoseconds,
    ForgetsTimeZones,
    RefusesTypesAfterItPromisedThem,
    ReportsOtherRowsThanItHas,
    ShowsItsSecret,
    DoesNotAnswerPings,
    IgnoresWhereSlicesBegin,
    KeepsTheFirstDictionary,
    LosesRowsAfterHalfAMillion,
    LosesColumnsAfterAThousand,
    WantsColumnsInTheTargetsOrder,
    CastsToTheTargetsTypes,
    FoldsTheCaseOfColumns,
    CutsTargetNames,
    DropsNewColumns,
    HasChecksumsOfNothing,
    SetsAsideMoreThanIsRefused,
    LosesWhatTheTableRefuses,
    ServesOneLoadAtATime,
    OverwritesLoadsBesideIt,
    HoldsAFewBatches,
    HoldsAThirdOfTheLoad,
    HoldsTheWholeLoad,
}

impl Fault {
    /// How many batches it holds at most, where that is what is wrong with it: the suite feeds 64.
    pub(super) fn holds(self) -> Option<usize> {
        match self {
            Self::HoldsAFewBatches => Some(4),
            Self::HoldsAThirdOfTheLoad => Some(64 / 3),
            Self::HoldsTheWholeLoad => Some(usize::MAX),
            _ => None,
        }
    }
}

/// The mutants, each with cases that must fail. `type *` stands for every column.
pub(super) const MUTANTS: &[(Fault, &[&str])] = &[
    (
        Fault::IsNotRegistered,
        &["registered once, under a name of its own"],
    ),
    (
        Fault::LosesTheLastRowOfEachBatch,
        &["many batches arrive whole"],
    ),
    (
        Fault::TurnsNullsIntoValues,
        &["type Int64", "null keys are refused, or match"],
    ),
    (
        Fault::PublishesWhileItWrites,
        &[
            "a load under way is not seen",
            "a failed load leaves the target as it was",
        ],
    ),
    (
        Fault::PublishesWhenItIsDropped,
        &["a load that is dropped publishes nothing"],
    ),
    (
        Fault::PublishesWhenItGivesUp,
        &[
            "a failed load leaves the target as it was",
            "what a failed load says of its target is what is there",
            "a load that is tried again has no duplicate rows",
            "a schema that drifts ends the load",
        ],
    ),
    (
        Fault::MakesTheTargetWhenItBegins,
        &[
            "a null in a column announced without is refused",
            "a failed load leaves the target as it was",
            "a schema that drifts ends the load",
        ],
    ),
    (
        Fault::MakesATargetThatItMayNotCreate,
        &["each mode without create_table refuses a missing target"],
    ),
    (Fault::MakesTheTargetInItsPlan, &["a plan changes nothing"]),
    (Fault::PlansOnlyWhatIsMissing, &["a plan changes nothing"]),
    (
        Fault::PlansToMakeWhatIsThere,
        &["a plan says what is declared"],
    ),
    (
        Fault::PromisesMoreThanItDeclares,
        &["a plan says what is declared"],
    ),
    (
        Fault::NeverKeepsWhatItDeclares,
        &["a plan says what is declared"],
    ),
    (
        Fault::RefusesOnlyWhenItBegins,
        &["what a load refuses, its plan refuses in the same words"],
    ),
    (
        Fault::ForgetsDefinitions,
        &[
            "an id that was another load is refused",
            "the definition and the mark are recorded",
        ],
    ),
    (
        Fault::ForgetsMarks,
        &["the definition and the mark are recorded"],
    ),
    (
        Fault::DescribesOtherColumns,
        &["a target is described by its columns"],
    ),
    (
        Fault::MakesNoTargetWithoutRows,
        &["no batch, and empty batches, make the target"],
    ),
    (
        Fault::ForgetsLoadIds,
        &[
            "repeating a load_id writes nothing",
            "a load that sets rows aside is not repeated",
        ],
    ),
    (
        Fault::LooksForLoadIdsOnlyAtFirst,
        &["two runs of one load_id at once write once"],
    ),
    (
        Fault::ForgetsHowManyRowsItSetAside,
        &["a load that sets rows aside is not repeated"],
    ),
    (
        Fault::AppendsWhereItShouldOverwrite,
        &["overwrite replaces all rows"],
    ),
    (
        Fault::AppendsWhereItShouldUpsert,
        &["upsert replaces rows with equal keys"],
    ),
    (Fault::OverwritesWhereItShouldAppend, &["append adds rows"]),
    (
        Fault::CreatesOverWhatIsThere,
        &["create refuses a target that is there"],
    ),
    (
        Fault::KeepsTheFirstRowOfAnUpsert,
        &["the last row of an upsert wins"],
    ),
    (Fault::LooksAtTheFirstKeyOnly, &["upsert by several keys"]),
    (
        Fault::EmptiesColumnsThatAnUpsertLacks,
        &["an upsert keeps the columns that it lacks"],
    ),
    (
        Fault::ReplacesOneOfSeveralEqualKeys,
        &["an upsert meets equal keys in the target"],
    ),
    (Fault::IgnoresLimits, &["limits on changes refuse a load"]),
    (
        Fault::CountsNoNullKeys,
        &["null keys are refused, or match"],
    ),
    (
        Fault::CountsKeysOnlyOfNewTargets,
        &[
            "upsert replaces rows with equal keys",
            "null keys are refused, or match",
        ],
    ),
    (Fault::CutsLongText, &["type Utf8"]),
    (Fault::TurnsEmptyTextIntoNull, &["type Utf8"]),
    (Fault::TurnsLargeUnsignedIntegersNegative, &["type UInt64"]),
    (Fault::CutsNanoseconds, &["type Timestamp(ns)"]),
    (Fault::ForgetsTimeZones, &["type Timestamp(ns, UTC)"]),
    (Fault::RefusesTypesAfterItPromisedThem, &["type *"]),
    (
        Fault::ReportsOtherRowsThanItHas,
        &["each mode makes a missing target"],
    ),
    (Fault::ShowsItsSecret, &["secrets do not show"]),
    (Fault::DoesNotAnswerPings, &["ping answers"]),
    (
        Fault::IgnoresWhereSlicesBegin,
        &["slices count only what they show"],
    ),
    (
        Fault::KeepsTheFirstDictionary,
        &["views and dictionaries differ from batch to batch"],
    ),
    (
        Fault::LosesRowsAfterHalfAMillion,
        &["a million narrow rows"],
    ),
    (Fault::LosesColumnsAfterAThousand, &["a thousand columns"]),
    (
        Fault::WantsColumnsInTheTargetsOrder,
        &["columns are matched by name"],
    ),
    (
        Fault::CastsToTheTargetsTypes,
        &["a column of another type is refused"],
    ),
    (
        Fault::FoldsTheCaseOfColumns,
        &["odd column names arrive or are refused"],
    ),
    (Fault::CutsTargetNames, &["odd target names are targets"]),
    (
        Fault::DropsNewColumns,
        &["a new column needs schema_evolution"],
    ),
    (Fault::HasChecksumsOfNothing, &["checksums agree"]),
    (
        Fault::SetsAsideMoreThanIsRefused,
        &[
            "rows that are refused are set aside, and can be loaded again",
            "rows with a null key are set aside",
        ],
    ),
    (
        Fault::LosesWhatTheTableRefuses,
        &["a row that is refused ends a load that does not skip"],
    ),
    (
        Fault::ServesOneLoadAtATime,
        &["loads into several targets at once"],
    ),
    (
        Fault::OverwritesLoadsBesideIt,
        &["loads into one target at once"],
    ),
    (Fault::HoldsAThirdOfTheLoad, &["memory stays bounded"]),
    (Fault::HoldsTheWholeLoad, &["memory stays bounded"]),
];

/// Cases about what a loader declares in its type, for which there are loaders of their own beside the mutants.
pub(super) const BY_DECLARATION: [&str; 2] = [
    "registered once, under a name of its own",
    "keys are closed and belong to one place",
];

/// Cases that the pipeline alone decides, so that no loader can break them, each with the reason.
pub(super) const BY_THE_PIPELINE: [(&str, &str); 4] = [
    (
        "an unknown key is refused with the nearest",
        "the keys are compared with the loader's schemas before it is connected",
    ),
    (
        "what is not declared is refused",
        "the options are compared with the capabilities before the loader is called",
    ),
    (
        "results that no target could hold are refused",
        "the schema is looked at before the loader hears of the load",
    ),
    (
        "keys must be columns",
        "the keys are compared with the schema before the loader hears of the load",
    ),
];
