//! `arrowload doctor`.

use serde_json::Value;

use crate::{Ended, Place};

/// What is said of one thing: its state, what was found, and what mends it.
fn said(shown: &Value, name: &str) -> (String, String, String) {
    let checks = shown["checks"].as_array().into_iter().flatten();
    let mut check = checks.filter(|check| check["name"].as_str() == Some(name));
    let check = check
        .next_back()
        .unwrap_or_else(|| panic!("{name}: {shown:#}"));
    let text = |key: &str| check[key].as_str().unwrap_or_default().to_owned();
    (text("state"), text("found"), text("mend"))
}

fn doctor(place: &Place, variables: &[(&str, &str)]) -> (i32, Value) {
    let mut command = place.command(&["doctor", "--output", "json"]);
    let ended = Ended::of(command.envs(variables.iter().copied()));
    let shown =
        serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
    (ended.code, shown)
}

#[test]
fn what_is_well_is_said_so() {
    let place = Place::new();
    place.write(
        "arrowload.toml",
        "[connections.lake]\ntype = \"file\"\nroot = \"lake\"\n",
    );
    let (code, shown) = doctor(&place, &[("AWS_SECRET_ACCESS_KEY", "hunter2")]);
    assert_eq!((code, &shown["status"]), (0, &"done".into()), "{shown:#}");
    assert_eq!(said(&shown, "arrowload.toml").1, "is read");
    assert_eq!(said(&shown, "lake").0, "ok");
    assert!(said(&shown, "lake").1.contains("file is reached"));
    assert!(said(&shown, "loaders").1.contains("postgresql"));
    assert!(said(&shown, "engine").1.starts_with("DataFusion "));
    // Names, and never values.
    assert!(
        said(&shown, "variables")
            .1
            .contains("AWS_SECRET_ACCESS_KEY")
    );
    assert!(!shown.to_string().contains("hunter2"));
    for name in ["temporary folder", "working folder", "clock", "terminal"] {
        assert_ne!(said(&shown, name).0, "wrong", "{name}");
    }
    let text = place.ok(&["doctor"]);
    assert!(
        text.starts_with("versions\n  ok     arrowload: ") && text.ends_with("all is well\n"),
        "{text}"
    );
    assert_eq!(place.ok(&["doctor", "-q"]), "");
}

#[test]
fn what_is_wrong_comes_with_the_command_that_mends_it() {
    let place = Place::new();
    place.write(
        "arrowload.toml",
        "[connections.lake]\ntype = \"file\"\nroot = \"lake\"\n[connections.pg]\ntype = \"postgresql\"\nhost = \"127.0.0.1\"\nport = 1\npassword = \"hunter2\"\n[connections.odd]\ntype = \"file\"\nrot = \"x\"\n",
    );
    place.write(".env", "A=1\n");
    let (code, shown) = doctor(&place, &[("ARROWLOAD_CONNECTION_PG_HOST", "x")]);
    assert_eq!((code, &shown["status"]), (1, &"failed".into()), "{shown:#}");
    let (state, found, mend) = said(&shown, "pg");
    assert!(
        state == "wrong" && found.contains("127.0.0.1") && mend.contains("connections show pg"),
        "{shown:#}"
    );
    let (state, found, _) = said(&shown, "odd");
    assert!(
        state == "wrong" && found.contains("`rot`") && found.contains("root"),
        "{found}"
    );
    // One that is wrong hides no other.
    assert_eq!(said(&shown, "lake").0, "ok");
    let (state, _, mend) = said(&shown, "ARROWLOAD_CONNECTION_PG_HOST");
    assert!(
        state == "wrong" && mend.contains("ARROWLOAD_CONNECTIONS__NAME__KEY"),
        "{mend}"
    );
    assert_eq!(said(&shown, ".env").2, "arrowload --env-file .env …");
    assert!(!shown.to_string().contains("hunter2"));
    let text = place.run(&["doctor"]);
    assert!(
        text.code == 1 && text.out.contains("  wrong  pg: ") && text.out.contains(" wrong\n"),
        "{text:?}"
    );
    // A variable makes a connection too.
    let url = ("DATABASE_URL", "mysql://x@y/z");
    let (code, shown) = doctor(&place, &[url]);
    let (state, found, mend) = said(&shown, "postgresql");
    assert!(
        code == 1 && state == "wrong" && found.contains("mysql") && mend.contains("DATABASE_URL"),
        "{shown:#}"
    );
    // A file that cannot be read at all.
    place.write("arrowload.toml", "[connections.lake\n");
    let (code, shown) = doctor(&place, &[]);
    assert!(
        code == 1
            && said(&shown, "what is configured")
                .1
                .contains("arrowload.toml"),
        "{shown:#}"
    );
    let (code, shown) = doctor(&place, &[("ARROWLOAD_CONFIG", "none.toml")]);
    assert!(
        code == 1 && said(&shown, "none.toml").0 == "wrong",
        "{shown:#}"
    );
}

#[cfg(unix)]
#[test]
fn secrets_that_others_can_read_are_told() {
    use std::os::unix::fs::PermissionsExt;

    let place = Place::new();
    place.write(
        "arrowload.toml",
        "[connections.lake]\ntype = \"file\"\nstorage_options = { aws_secret_access_key = \"hunter2\" }\n[connections.pg]\ntype = \"postgresql\"\npassword = \"hunter2\"\n",
    );
    let mode = |mode| {
        let file = place.path().join("arrowload.toml");
        std::fs::set_permissions(file, PermissionsExt::from_mode(mode)).expect("a mode");
        let (_, shown) = doctor(&place, &[]);
        said(&shown, "arrowload.toml")
    };
    let (state, found, mend) = mode(0o644);
    assert!(state == "wrong" && found.contains("other users"), "{found}");
    assert_eq!(mend, "chmod 600 arrowload.toml");
    assert_eq!(mode(0o600).0, "ok");
}
