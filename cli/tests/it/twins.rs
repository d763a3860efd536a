//! Two names of one target are refused, by the plan and by the load.

use crate::{PEOPLE, Place};

#[test]
fn two_names_of_one_target_are_refused() {
    let place = Place::new();
    place.write("people.csv", PEOPLE);
    let absolute = |name: &str| place.path().join(name).display().to_string();
    for (loader, one, two) in [
        ("file", "a.parquet", absolute("a.parquet")),
        (
            "delta_lake",
            "table",
            format!("file://{}", absolute("table")),
        ),
    ] {
        for dry in [&["--dry-run"][..], &[]] {
            let load = [
                &[
                    "load",
                    "--from",
                    "people.csv",
                    "--to",
                    loader,
                    "--target",
                    one,
                ][..],
                &["--to", loader, "--target", &two],
                dry,
            ];
            let ended = place.run(&load.concat());
            assert_ne!(ended.code, 0, "{loader} {dry:?}: {ended:?}");
            assert!(
                ended.err.contains("is named twice"),
                "{loader} {dry:?}: {ended:?}"
            );
        }
        assert!(
            !place.path().join(one).exists(),
            "{loader}: something was written"
        );
    }
}
