//! `cargo xtask linkage`: proves that each feature of the client registers what it links in, exactly once, in dev, release,
//! and both kinds of link-time optimisation.

use anyhow::Result;

use crate::tools::{cargo, run};

const PROFILES: [&str; 4] = ["dev", "release", "lto-thin", "lto-fat"];
const FEATURES: [&str; 6] =
    ["loader-delta-lake", "loader-file", "loader-postgresql", "loader-redis", "source-datafusion", "source-flight-sql"];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only this feature
    #[arg(long)]
    feature: Option<String>,
}

pub(crate) fn run_task(args: &Args) -> Result<()> {
    let wanted = |feature: &&str| args.feature.as_ref().is_none_or(|only| only == feature);
    for feature in FEATURES.into_iter().filter(wanted) {
        for profile in PROFILES {
            let mut test = cargo();
            test.args(["test", "--profile", profile, "--package", "arrowload", "--no-default-features", "--features", feature]);
            run(test.args(["--test", "it", "registration"]))?;
        }
    }
    Ok(())
}
