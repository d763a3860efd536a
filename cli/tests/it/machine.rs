//! `--output json` and `--log-format json`: a contract with programs.

use serde_json::{Map, Value, json};

use crate::{Ended, PEOPLE, Place};

/// Whether a value is as a schema says; only what our schema uses is known here, and what is not described is refused.
fn check(value: &Value, schema: &Value, root: &Value, place: &str) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{place}: {what}: {value}"));
    let empty = Map::new();
    let schema = schema.as_object().unwrap_or(&empty);
    if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
        let schema = root
            .pointer(&name[1..])
            .ok_or(format!("{name} is missing"))?;
        return check(value, schema, root, place);
    }
    if let Some(any) = schema.get("anyOf").and_then(Value::as_array) {
        let errors: Vec<String> = any
            .iter()
            .filter_map(|one| check(value, one, root, place).err())
            .collect();
        return match errors.len() < any.len() {
            true => Ok(()),
            false => Err(errors.join("\n")),
        };
    }
    if schema.get("const").is_some_and(|one| one != value) {
        return wrong("not the constant");
    }
    if let Some(words) = schema.get("enum").and_then(Value::as_array)
        && !words.contains(value)
    {
        return wrong("none of the words");
    }
    let name = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let takes = |kind: &str| kind == name || (kind == "number" && name == "integer");
    match schema.get("type") {
        Some(Value::String(kind)) if !takes(kind) => return wrong(kind),
        Some(Value::Array(kinds)) if !kinds.iter().filter_map(Value::as_str).any(takes) => {
            return wrong("none of the types");
        }
        _ => {}
    }
    if let (Some(items), Some(schema)) = (value.as_array(), schema.get("items")) {
        for (index, item) in items.iter().enumerate() {
            check(item, schema, root, &format!("{place}[{index}]"))?;
        }
    }
    let Some(members) = value.as_object() else {
        return Ok(());
    };
    for key in schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        if !key.as_str().is_some_and(|key| members.contains_key(key)) {
            return wrong(&format!("{key} is missing"));
        }
    }
    let known = schema.get("properties").and_then(Value::as_object);
    for (key, value) in members {
        let own = known.and_then(|known| known.get(key));
        if let Some(schema) = own.or(schema.get("additionalProperties")) {
            check(value, schema, root, &format!("{place}.{key}"))?;
        }
    }
    Ok(())
}

/// Runs a command for a program, and answers with its exit code and its one object, which is as the schema says.
fn object(place: &Place, kind: &str, arguments: &[&str]) -> (i32, Value) {
    let ended = place.run(&[arguments, &["--output", "json"]].concat());
    (ended.code, as_described(place, kind, &ended))
}

fn as_described(place: &Place, kind: &str, ended: &Ended) -> Value {
    let value: Value = serde_json::from_str(&ended.out)
        .unwrap_or_else(|error| panic!("{kind}: {error}: {ended:?}"));
    let root: Value =
        serde_json::from_str(&place.ok(&["schema", "output"])).expect("a JSON schema");
    for schema in [&root, &json!({ "$ref": format!("#/$defs/{kind}") })] {
        if let Err(error) = check(&value, schema, &root, kind) {
            panic!("{error}\n{ended:?}");
        }
    }
    value
}

#[test]
fn every_command_prints_one_object_that_its_schema_describes() {
    let place = Place::new();
    place.write("more.csv", "id,name,more\n1,Bea,x\n3,Cy,y\n");
    place.write("people.csv", PEOPLE).write(
        "job.toml",
        "[loads.a]\nfrom = \"people.csv\"\nto = \"a.parquet\"\n[loads.b]\nfrom = \"people.csv\"\nto = \"memory\"\ntarget = \"b\"\noptions = { create_table = false }\n[loads.c]\nfrom = \"people.csv\"\nto = \"c.parquet\"\nafter = [\"b\"]\n",
    );
    place.write(
        "arrowload.toml",
        "[connections.lake]\ntype = \"file\"\nroot = \"lake\"\n",
    );
    let load = ["load", "--from", "people.csv", "--to", "file"];
    let with = |more: &[&'static str]| [&load[..], more].concat();
    let one = with(&["--target", "x.parquet", "--load-id", "one"]);
    let missing = ["-T", "t", "-O", "create_table=false"];
    let half = [&load[..], &["-T", "y.csv", "--to", "memory"], &missing].concat();
    let (a, b) = (&["-T", "a.csv"][..], &["--to", "memory", "-T", "t"][..]);
    let two = [&load[..], a, b].concat();
    let fresh = [&load[..], &["-T", "f.csv"], b].concat();
    for (kind, code, status, arguments) in [
        ("report", 0, "loaded", one.clone()),
        ("several", 0, "loaded", two.clone()),
        ("several", 1, "failed", half.clone()),
        ("plan", 0, "planned", with(&["--target", "p.parquet", "-n"])),
        ("plans", 0, "planned", [&fresh[..], &["-n"]].concat()),
        (
            "report",
            0,
            "loaded",
            vec!["query", "--from", "people.csv", "-o", "q.csv"],
        ),
        (
            "failure",
            1,
            "failed",
            vec!["query", "--sql", "SELECT * FROM none", "-o", "q.csv"],
        ),
        ("failure", 2, "failed", with(&["--to", "file"])),
        ("failure", 2, "failed", vec!["load", "--fron", "x"]),
        (
            "failure",
            2,
            "failed",
            vec!["load", "--from", "none.csv", "--to", "n.parquet"],
        ),
        ("failure", 1, "failed", vec!["replay", "none.arrow"]),
        ("run", 1, "failed", vec!["run", "job.toml"]),
        ("job_plan", 1, "refused", vec!["run", "job.toml", "-n"]),
        (
            "diff",
            1,
            "different",
            vec!["diff", "people.csv", "more.csv", "--keys", "id"],
        ),
        ("diff", 0, "equal", vec!["diff", "people.csv", "q.csv"]),
        (
            "diff",
            1,
            "different",
            vec!["diff", "people.csv", "more.csv", "--schema-only"],
        ),
        (
            "failure",
            2,
            "failed",
            vec!["diff", "people.csv", "none.csv"],
        ),
        ("doctor", 0, "done", vec!["doctor"]),
        ("listing", 0, "done", vec!["loaders"]),
        ("listing", 0, "done", vec!["sources"]),
        ("listing", 0, "done", vec!["connections", "list"]),
        ("tested", 0, "done", vec!["connections", "test", "lake"]),
        (
            "written",
            0,
            "done",
            vec!["connections", "add", "more", "file"],
        ),
        ("described", 0, "done", vec!["describe", "postgresql"]),
        ("described", 0, "done", vec!["describe", "csv"]),
    ] {
        let (found, value) = object(&place, kind, &arguments);
        assert_eq!(
            (found, value["status"].as_str()),
            (code, Some(status)),
            "{arguments:?}: {value}"
        );
    }
    // Rows on standard output and an object are not both to be had.
    let (code, error) = object(&place, "failure", &["query", "--sql", "SELECT 1"]);
    let message = error["error"]["message"].as_str();
    assert!(code == 2 && message.is_some_and(|text| text.contains("--format json")));
    let (_, again) = object(&place, "report", &one);
    assert_eq!(again["status"], "already there");
    let (_, error) = object(
        &place,
        "failure",
        &["load", "--from", "people.csv", "--to", "fil", "-T", "x"],
    );
    assert_eq!(error["error"]["kind"], "connection_not_found");
    assert_eq!(error["error"]["aftermath"], "unchanged");
}

#[test]
fn lines_for_programs_are_json_errors_included() {
    let place = Place::new();
    place.write("people.csv", PEOPLE);
    for (arguments, code, kind) in [
        (
            &["load", "--from", "people.csv", "--to", "fil", "-T", "x"][..],
            2,
            "connection_not_found",
        ),
        (
            &["load", "--from", "people.csv", "--to", "file"],
            2,
            "usage",
        ),
        (&["query", "--sql", "SELECT * FROM none"], 1, "not_found"),
    ] {
        for quiet in [&[][..], &["-q"]] {
            let json = [arguments, &["--log-format", "json"], quiet].concat();
            let ended = place.run(&json);
            assert_eq!(ended.code, code, "{ended:?}");
            let lines: Vec<Value> = ended
                .err
                .lines()
                .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{ended:?}")))
                .collect();
            let last = lines.last().expect("a line");
            assert_eq!(
                (
                    last["level"].as_str(),
                    last["fields"]["error"]["kind"].as_str()
                ),
                (Some("ERROR"), Some(kind)),
                "{ended:?}"
            );
            let text = last["fields"]["message"].as_str().unwrap_or_default();
            assert!(text.starts_with("error: "), "{text}");
        }
    }
}

#[test]
fn quiet_means_nothing_but_errors() {
    let place = Place::new();
    place.write("people.csv", PEOPLE).write(
        "job.toml",
        "[loads.a]\nfrom = \"people.csv\"\nto = \"a.parquet\"\n",
    );
    for arguments in [
        &["load", "--from", "people.csv", "--to", "x.parquet"][..],
        &["load", "--from", "people.csv", "--to", "y.parquet", "-n"],
        &["run", "job.toml", "--dry-run"],
        &["run", "job.toml"],
        &["query", "--from", "people.csv", "-o", "q.csv"],
        &["query", "--from", "people.csv", "-o", "q.csv"],
        &["init"],
        &["connections", "add", "lake", "file", "root=x"],
        &["connections", "test", "lake"],
    ] {
        let ended = place.run(&[arguments, &["-q"]].concat());
        assert_eq!(
            (ended.code, &*ended.out, &*ended.err),
            (0, "", ""),
            "{arguments:?}"
        );
    }
}

#[cfg(unix)]
#[test]
fn an_interrupted_job_prints_its_table() {
    use std::io::Read;

    let long = "SELECT value FROM generate_series(1, 100000000000)";
    let job = format!(
        "[loads.a]\nfrom = \"people.csv\"\nto = \"a.parquet\"\n[loads.b]\nsql = \"{long}\"\nto = \"b.csv\"\nafter = [\"a\"]\n[loads.c]\nfrom = \"people.csv\"\nto = \"c.parquet\"\nafter = [\"b\"]\n"
    );
    for more in [&[][..], &["--output", "json"]] {
        let place = Place::new();
        place.write("people.csv", PEOPLE).write("job.toml", &job);
        let mut child = place.spawn(&[&["run", "job.toml"][..], more].concat());
        let began = std::time::Instant::now();
        while !place.path().join("a.parquet").exists() {
            assert!(began.elapsed().as_secs() < 60, "it does not begin");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        std::thread::sleep(std::time::Duration::from_millis(500));
        let kill = std::process::Command::new("kill")
            .args(["-INT", &child.id().to_string()])
            .status();
        assert!(kill.expect("kill").success());
        let (mut out, mut err) = (String::new(), String::new());
        let read = child
            .stdout
            .take()
            .map(|mut pipe| pipe.read_to_string(&mut out));
        read.expect("a pipe").expect("text");
        let read = child
            .stderr
            .take()
            .map(|mut pipe| pipe.read_to_string(&mut err));
        read.expect("a pipe").expect("text");
        let code = child.wait().expect("it ends").code().unwrap_or(-1);
        let ended = Ended { code, out, err };
        assert_eq!(ended.code, 130, "{ended:?}");
        if more.is_empty() {
            for words in [
                "loaded",
                "interrupted",
                "not run",
                "1 of 3 loads",
                "--resume",
            ] {
                assert!(ended.out.contains(words), "{words}: {ended:?}");
            }
        } else {
            let shown = as_described(&place, "run", &ended);
            let status = |name: &str| shown["loads"][name]["status"].clone();
            assert_eq!(
                [status("a"), status("b"), status("c")],
                ["loaded", "interrupted", "not run"]
            );
        }
    }
}
