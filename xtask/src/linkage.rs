//! `cargo xtask linkage`: proves that each feature of the client registers what it links in, exactly once, in dev, release,
//! and both kinds of link-time optimisation.

use anyhow::Result;

use crate::generate::linked;
use crate::tools::{cargo, run};

const OPTIMISED: [&str; 3] = ["release", "lto-thin", "lto-fat"];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only this feature, alone in every profile
    #[arg(long)]
    feature: Option<String>,
}

pub(crate) fn run_task(args: &Args) -> Result<()> {
    if let Some(feature) = &args.feature {
        return ["dev"]
            .into_iter()
            .chain(OPTIMISED)
            .try_for_each(|profile| registered(profile, feature));
    }
    // Alone, each shows that it brings nobody else along. What a linker drops it drops of each crate by itself, so that one
    // program with all of them shows it for each.
    let features: Vec<String> = linked()?.into_iter().map(|one| one.feature).collect();
    features
        .iter()
        .try_for_each(|feature| registered("dev", feature))?;
    OPTIMISED
        .into_iter()
        .try_for_each(|profile| registered(profile, &features.join(",")))
}

fn registered(profile: &str, features: &str) -> Result<()> {
    let mut test = cargo();
    test.args([
        "test",
        "--profile",
        profile,
        "--package",
        "arrowload",
        "--no-default-features",
        "--features",
        features,
    ]);
    run(test.args(["--test", "it", "registration"]))
}
