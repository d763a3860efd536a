//! The config file: where it is found, its two formats, and what is said of one that is malformed.

use std::path::Path;

use arrowload_connections::Connections;
use arrowload_core::{Error, ErrorKind};

use crate::backends::PG;
use crate::{layers, origin, owned, says, value};

#[test]
fn a_file_that_is_named_must_be_there() {
    let missing = Connections::builder()
        .config_file("/no/such/file.toml")
        .environment([])
        .build()
        .expect_err("missing");
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    says(
        &missing,
        &["/no/such/file.toml", "ConnectionsBuilder::config_file"],
    );
    let missing = Connections::builder()
        .environment(owned(&[("ARROWLOAD_CONFIG", "/no/such/file.toml")]))
        .build()
        .expect_err("missing");
    says(&missing, &["/no/such/file.toml", "ARROWLOAD_CONFIG"]);
}

#[test]
fn files_are_found_by_variable_and_in_the_users_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |path: &Path, host: &str| {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, format!("[connections.a]\nhost = \"{host}\"")).expect("written");
    };
    let (named, home, xdg) = (
        folder.path().join("named.toml"),
        folder.path().join("home"),
        folder.path().join("xdg"),
    );
    let of_home = if cfg!(target_os = "macos") {
        "Library/Application Support"
    } else {
        ".config"
    };
    write(&named, "named");
    write(&home.join(of_home).join("arrowload/arrowload.toml"), "home");
    write(&xdg.join("arrowload/arrowload.toml"), "xdg");
    let host = |variables: &[(&str, &Path)]| {
        let variables = variables
            .iter()
            .map(|(name, path)| ((*name).to_owned(), path.display().to_string()));
        let connections = Connections::builder()
            .environment(variables)
            .build()
            .expect("layers");
        value(
            &connections
                .for_loader(&PG, Some("a"), None)
                .expect("settings"),
            "host",
        )
    };
    assert_eq!(
        host(&[
            ("HOME", &home),
            ("XDG_CONFIG_HOME", &xdg),
            ("ARROWLOAD_CONFIG", &named)
        ]),
        "named"
    );
    assert_eq!(
        host(&[
            ("HOME", &home),
            ("XDG_CONFIG_HOME", &xdg),
            ("ARROWLOAD_CONFIG", Path::new(""))
        ]),
        "xdg"
    );
    assert_eq!(
        host(&[("HOME", &home), ("XDG_CONFIG_HOME", Path::new("relative"))]),
        "home"
    );
    let none = Connections::builder()
        .environment([])
        .build()
        .expect("no file is no error");
    assert!(none.list().is_empty());
}

#[test]
fn json_is_read_where_the_name_says_so_and_origins_are_absolute() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.JSON");
    std::fs::write(
        &path,
        r#"{"connections": {"a": {"host": "h", "port": 5, "keys": ["x"]}}}"#,
    )
    .expect("written");
    let connections = Connections::builder()
        .config_file(&path)
        .environment([])
        .build()
        .expect("layers");
    let settings = connections
        .for_loader(&PG, Some("a"), None)
        .expect("settings");
    assert_eq!(
        (value(&settings, "host"), value(&settings, "port")),
        ("h".into(), 5.into())
    );
    assert_eq!(
        origin(&settings, "host"),
        format!("{} (connections.a)", path.display())
    );
    assert!(
        Connections::builder()
            .no_config_file()
            .environment([])
            .build()
            .expect("none")
            .list()
            .is_empty()
    );
}

#[test]
fn toml_values_arrive_as_they_are_written() {
    let file = "[connections.a]\nport = 5\nratio = 0.5\nyes = true\nday = 2024-01-01\nmore = { at = 2024-01-01T00:00:00Z, list = [1, 2] }";
    let settings = layers(file, &[])
        .expect("layers")
        .for_loader(&PG, Some("a"), None)
        .expect("settings");
    let found = ["port", "ratio", "yes", "day", "more"].map(|key| value(&settings, key));
    let more = serde_json::json!({"at": "2024-01-01T00:00:00Z", "list": [1, 2]});
    assert_eq!(
        found,
        [5.into(), 0.5.into(), true.into(), "2024-01-01".into(), more]
    );
}

fn refused(text: &str, name: &str) -> Error {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    std::fs::write(&path, text).expect("written");
    let error = Connections::builder()
        .config_file(&path)
        .environment([])
        .build()
        .expect_err("malformed");
    assert_eq!(error.kind(), ErrorKind::InvalidOption);
    assert!(
        error.message().contains(&path.display().to_string()),
        "{error}"
    );
    error
}

#[test]
fn syntax_errors_say_line_and_column_and_show_no_value() {
    says(
        &refused("[connections.a]\npassword = hunter2\n", "a.toml"),
        &["line 2, column 12", "invalid"],
    );
    says(
        &refused("[connections.a]\npassword = \"hunter2\n", "a.toml"),
        &["line 2, column"],
    );
    says(
        &refused("[connections.a]\npassword = \"hunter2\" oops\n", "a.toml"),
        &["line 2, column"],
    );
    says(
        &refused(
            "[connections.a]\nhost = \"hunter2\"\nhost = \"hunter2\"\n",
            "a.toml",
        ),
        &["line 3, column 1", "duplicate key `host`"],
    );
    says(
        &refused(
            "{\"connections\": {\"a\": {\"password\": hunter2}}}",
            "a.json",
        ),
        &["line 1, column"],
    );
    says(&refused("\"hunter2\"", "a.json"), &["must be a table"]);
    says(
        &refused(
            "{\"connections\": {\"a\": {\"password\": \"hunter2",
            "a.json",
        ),
        &["line 1, column", "EOF"],
    );
}

#[test]
fn what_is_unknown_or_no_table_is_refused() {
    says(
        &refused("[conections.a]\nhost = \"hunter2\"", "a.toml"),
        &["`conections` is unknown", "did you mean `connections`?"],
    );
    says(
        &refused("[loads.a]\nhost = \"hunter2\"", "a.toml"),
        &["`loads` is unknown. Known: connections"],
    );
    says(
        &refused("connections = \"hunter2\"", "a.toml"),
        &["`connections` must hold tables"],
    );
    says(
        &refused("[connections]\na = \"hunter2\"", "a.toml"),
        &["`connections.a` must be a table"],
    );
    let twins = "[connections.my-pg]\n[connections.MY_PG]";
    let error = layers(twins, &[]).expect_err("twins");
    says(&error, &["two connections of one name", "MY_PG", "my-pg"]);
}

const CHILD: &str = "CONNECTIONS_TEST_CHILD";

/// Run by the tests below, in a folder and an environment of its own.
#[test]
fn discovery_in_a_process_of_its_own() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let connections = Connections::discover().expect("layers");
    let settings = connections
        .for_loader(&PG, Some("a"), None)
        .expect("settings");
    assert_eq!(
        (value(&settings, "host"), value(&settings, "port")),
        ("here".into(), "7".into())
    );
    assert!(Path::new(&origin(&settings, "host")).is_absolute());
}

#[test]
fn the_working_directorys_file_and_the_processs_variables_are_found() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(
        folder.path().join("arrowload.toml"),
        "[connections.a]\nhost = \"here\"",
    )
    .expect("written");
    let mut child = std::process::Command::new(std::env::current_exe().expect("this program"));
    child
        .env(CHILD, "1")
        .args(["--exact", "files::discovery_in_a_process_of_its_own"])
        .current_dir(folder.path());
    child
        .env("ARROWLOAD_CONNECTIONS__A__PORT", "7")
        .env_remove("ARROWLOAD_CONFIG");
    let output = child.output().expect("it runs");
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("1 passed"),
        "{output:?}"
    );
}

#[cfg(unix)]
#[test]
fn a_variable_of_ours_that_is_not_utf8_is_refused() {
    use std::os::unix::ffi::OsStrExt;
    let mut child = std::process::Command::new(std::env::current_exe().expect("this program"));
    child
        .env(CHILD, "1")
        .args(["--exact", "files::discovery_in_a_process_of_its_own"]);
    child.env(
        "ARROWLOAD_CONNECTIONS__A__PORT",
        std::ffi::OsStr::from_bytes(b"\xff"),
    );
    let output = child.output().expect("it runs");
    assert!(
        !output.status.success()
            && String::from_utf8_lossy(&output.stdout).contains("is not UTF-8"),
        "{output:?}"
    );
}
