//! What a loader declares: its name, its keys, and that what it does not declare is refused before any I/O.

use arrowload_core::{
    ErrorKind, KeySchema, LoadOptions, LoadSpec, Loader, Mode, OnError, Plan, Registry, Verify,
    is_snake_case, load, plan_load,
};

use super::Case;
use super::case;
use crate::context::{CaseResult, Context, Verdict, ensure, once, people, spec_of};

pub(super) const CASES: &[Case] = &[
    case!("registered once, under a name of its own", registration),
    case!("keys are closed and belong to one place", keys),
    case!("an unknown key is refused with the nearest", unknown_keys),
    case!("what is not declared is refused", not_declared),
    case!("secrets do not show", secrets),
    case!("a plan changes nothing", plan),
    case!("a plan says what is declared", plan_as_declared),
    case!("ping answers", ping),
];

async fn registration(context: &Context<'_>) -> CaseResult {
    let descriptor = context.subject.descriptor();
    ensure!(
        is_snake_case(descriptor.name()),
        "`{}` is not snake_case",
        descriptor.name()
    );
    let registry = Registry::linked().map_err(|error| error.to_string())?;
    match registry.loader(descriptor.name()) {
        Ok(known) => ensure!(
            known.package() == descriptor.package(),
            "{known:?} has its name"
        ),
        Err(_) => ensure!(
            !context.subject.is_plugin(),
            "it is not registered: add `arrowload_core::register_loader!({});` with its type to the crate",
            descriptor.name()
        ),
    }
    let modes = descriptor.capabilities().modes;
    ensure!(!modes.is_empty(), "it declares no mode");
    for (index, mode) in modes.iter().enumerate() {
        ensure!(
            !modes[..index].contains(mode),
            "it declares mode {mode} twice"
        );
    }
    Ok(Verdict::Passed)
}

async fn keys(context: &Context<'_>) -> CaseResult {
    let descriptor = context.subject.descriptor();
    let (config, options, load) = (
        descriptor.config_schema(),
        descriptor.options_schema(),
        KeySchema::of::<LoadOptions>(),
    );
    ensure!(
        config.is_closed(),
        "its Config takes unknown fields: add #[serde(deny_unknown_fields)]"
    );
    ensure!(
        options.is_closed(),
        "its Options take unknown fields: add #[serde(deny_unknown_fields)]"
    );
    for key in options.keys() {
        ensure!(
            !config.contains(key),
            "`{key}` is both a connection key and an option"
        );
        ensure!(
            !load.contains(key),
            "`{key}` is an option of every load already"
        );
    }
    for key in config.keys() {
        ensure!(!key.is_empty(), "a connection key has no name");
        ensure!(
            !load.contains(key),
            "the connection key `{key}` is an option of every load already"
        );
    }
    Ok(Verdict::Passed)
}

async fn unknown_keys(context: &Context<'_>) -> CaseResult {
    let descriptor = context.subject.descriptor();
    let mut settings = context.subject.connection();
    settings.set("bach_size", 10, "the test");
    let error = descriptor
        .split(settings)
        .err()
        .ok_or("`bach_size` is taken without a word")?;
    let text = error.to_string();
    ensure!(
        error.kind() == ErrorKind::InvalidOption,
        "it is refused as {:?}",
        error.kind()
    );
    ensure!(
        text.contains("did you mean `batch_size`?") && text.contains("the test"),
        "the answer says too little: {text}"
    );
    let mut settings = context.subject.connection();
    settings.set("no_such_option_at_all", true, "the test");
    ensure!(
        descriptor.split(settings).is_err(),
        "an option that does not exist is taken without a word"
    );
    Ok(Verdict::Passed)
}

async fn not_declared(context: &Context<'_>) -> CaseResult {
    let capabilities = *context.subject.descriptor().capabilities();
    let batch = people(0..3, "a");
    let target = context.target();
    let spec = || context.spec(&target);
    let mut cases = Vec::new();
    for mode in Mode::ALL
        .into_iter()
        .filter(|mode| !capabilities.supports(*mode))
    {
        let mut spec = spec();
        spec.load.mode = mode;
        spec.load.keys = vec!["id".into()];
        cases.push((mode.name(), spec));
    }
    let mut add = |declared: bool, name: &'static str, set: &dyn Fn(&mut LoadOptions)| {
        if !declared {
            let mut spec = spec();
            set(&mut spec.load);
            cases.push((name, spec));
        }
    };
    add(capabilities.skip_rows, "on_error = skip", &|load| {
        load.on_error = OnError::Skip
    });
    add(capabilities.checksum, "verify = checksum", &|load| {
        load.verify = Verify::Checksum
    });
    add(capabilities.schema_evolution, "schema_evolution", &|load| {
        load.schema_evolution = true
    });
    add(capabilities.parallel, "parallelism", &|load| {
        load.parallelism = Some(4)
    });
    for (name, spec) in cases {
        context
            .refused(&spec, &batch, &[ErrorKind::Unsupported])
            .await
            .map_err(|why| format!("{name}: {why}"))?;
        ensure!(
            context.rows(&target).await?.is_none(),
            "{name} was refused, and left a target behind"
        );
    }
    Ok(Verdict::Passed)
}

async fn secrets(context: &Context<'_>) -> CaseResult {
    const CANARY: &str = "canary-3f9c";
    let descriptor = context.subject.descriptor();
    let schema = descriptor.config_schema();
    for key in schema
        .keys()
        .into_iter()
        .filter(|key| schema.is_secret(key))
    {
        let mut settings = context.subject.connection();
        settings.set(key, CANARY, "the test");
        let texts = match Loader::connect(&descriptor, &settings, 0).await {
            Ok(loader) => format!("{loader:?} {:?}", loader.ping().await.err()),
            Err(error) => format!("{error} {error:#} {error:?}"),
        };
        ensure!(!texts.contains(CANARY), "`{key}` shows: {texts}");
        settings.set("no_such_key", CANARY, "the test");
        let error = descriptor
            .split(settings.clone())
            .err()
            .map(|error| format!("{error:?}"))
            .unwrap_or_default();
        ensure!(
            !error.contains(CANARY) && !format!("{settings:?}").contains(CANARY),
            "`{key}` shows: {error}"
        );
    }
    Ok(Verdict::Passed)
}

async fn plan(context: &Context<'_>) -> CaseResult {
    let (target, batch) = (context.target(), people(0..3, "a"));
    let loader = context.connect().await?;
    let spec = context.spec(&target);
    let plan = plan_load(&loader, &spec, &once(&batch))
        .await
        .map_err(|error| format!("no plan: {error:#}"))?;
    ensure!(
        !plan.target_exists && plan.columns.len() == 2,
        "the plan is wrong: {plan}"
    );
    ensure!(
        context.rows(&target).await?.is_none(),
        "planning made the target"
    );
    load(&loader, &spec, &once(&batch))
        .await
        .map_err(|error| format!("the load failed: {error:#}"))?;
    let mut again = context.spec(&target);
    if context.supports(Mode::Overwrite) {
        again.load.mode = Mode::Overwrite;
    }
    match plan_load(&loader, &again, &once(&batch)).await {
        Ok(plan) => ensure!(
            plan.target_exists,
            "the plan does not see the target: {plan}"
        ),
        Err(error)
            if (again.load.mode, error.kind()) == (Mode::Create, ErrorKind::TargetExists) => {}
        Err(error) => return Err(format!("no plan for a target that is there: {error:#}")),
    }
    context.expect(&target, &[&batch]).await?;
    Ok(Verdict::Passed)
}

/// What every plan keeps to.
fn check_plan(context: &Context<'_>, plan: &Plan, spec: &LoadSpec) -> Result<(), String> {
    let descriptor = context.subject.descriptor();
    let named = (plan.loader.as_str(), plan.target.as_str(), plan.mode);
    ensure!(
        named == (descriptor.name(), spec.target.as_str(), spec.load.mode),
        "the plan is of another load: {plan}"
    );
    plan.guarantees
        .check_within(&plan.loader, descriptor.capabilities())
        .map_err(|error| error.to_string())?;
    let mut texts: Vec<&String> = plan.ddl.iter().chain(&plan.resources).collect();
    ensure!(
        texts.iter().all(|text| !text.trim().is_empty()),
        "a statement or resource is empty: {plan:?}"
    );
    texts.sort();
    ensure!(
        texts.windows(2).all(|pair| pair[0] != pair[1]),
        "a statement or resource is there twice: {plan}"
    );
    Ok(())
}

async fn plan_as_declared(context: &Context<'_>) -> CaseResult {
    let descriptor = context.subject.descriptor();
    context
        .held()
        .check(descriptor.capabilities(), context.subject.never_kept())?;
    let (batch, loader) = (people(0..3, "a"), context.connect().await?);
    let begins = |text: &str, words: &[&str]| {
        words
            .iter()
            .any(|word| text.trim_start().to_uppercase().starts_with(word))
    };
    for mode in context.modes() {
        let mut spec = spec_of(&context.target(), mode);
        spec.load.load_id = Some("planned".into());
        let new = plan_load(&loader, &spec, &once(&batch))
            .await
            .map_err(|error| format!("{mode}: no plan: {error:#}"))?;
        check_plan(context, &new, &spec).map_err(|why| format!("{mode}: {why}"))?;
        ensure!(
            !new.target_exists && new.already_loaded.is_none(),
            "{mode}: nothing is there, and the plan says {new}"
        );
        for (column, field) in new.columns.iter().zip(batch.schema_ref().fields()) {
            let declared = descriptor.supports_type(field.data_type());
            ensure!(
                column.name == *field.name(),
                "{mode}: the columns are others: {new}"
            );
            ensure!(
                column.support.word() == declared.word(),
                "{mode}: `{}` is declared as {declared}: {new}",
                column.name
            );
        }
        load(&loader, &spec, &once(&batch))
            .await
            .map_err(|error| format!("{mode}: the load failed: {error:#}"))?;
        if context.keeps(mode).exactly_once {
            let known = plan_load(&loader, &spec, &once(&batch))
                .await
                .map_err(|error| format!("{mode}, repeated: {error:#}"))?;
            ensure!(
                known.already_loaded == Some(3),
                "{mode}: the load is there, and its plan does not say so: {known}"
            );
        }
        spec.load.load_id = None;
        let again = match plan_load(&loader, &spec, &once(&batch)).await {
            Ok(plan) => plan,
            Err(error) if (mode, error.kind()) == (Mode::Create, ErrorKind::TargetExists) => {
                continue;
            }
            Err(error) => return Err(format!("{mode}, there: no plan: {error:#}")),
        };
        ensure!(
            again.target_exists,
            "{mode}: the plan does not see the target: {again}"
        );
        check_plan(context, &again, &spec).map_err(|why| format!("{mode}, there: {why}"))?;
        let made = |text: &&String| begins(text, &["CREATE TABLE"]) && again.ddl.contains(text);
        ensure!(
            !new.ddl.iter().any(|text| made(&text)),
            "{mode}: what is there would be made: {again}"
        );
        let removes = |text: &String| begins(text, &["DROP", "TRUNCATE", "DELETE"]);
        ensure!(
            mode == Mode::Overwrite || !again.ddl.iter().any(removes),
            "{mode}: what is there would be removed: {again}"
        );
    }
    Ok(Verdict::Passed)
}

async fn ping(context: &Context<'_>) -> CaseResult {
    context
        .connect()
        .await?
        .ping()
        .await
        .map_err(|error| format!("{error:#}"))?;
    Ok(Verdict::Passed)
}
