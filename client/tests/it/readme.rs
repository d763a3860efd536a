//! The README's table of options is made from the options themselves.

use std::path::Path;

use arrowload::core::{KeySchema, LoadOptions};
use serde_json::Value;

#[test]
fn the_options_in_the_readme_are_those_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let text = std::fs::read_to_string(&path).expect("the README");
    let (before, rest) = text
        .split_once("<!-- options:begin -->\n")
        .expect("a beginning");
    let (_, after) = rest.split_once("<!-- options:end -->").expect("an end");
    let made = format!(
        "{before}<!-- options:begin -->\n{}<!-- options:end -->{after}",
        table(&KeySchema::of::<LoadOptions>())
    );
    if std::env::var_os("ARROWLOAD_BLESS").is_some() {
        std::fs::write(&path, made).expect("written");
    } else {
        assert_eq!(text, made, "run ARROWLOAD_BLESS=1 cargo xtask test");
    }
}

fn table(schema: &KeySchema) -> String {
    let mut lines = String::from("| key | default | what it does |\n|---|---|---|\n");
    for key in schema.keys() {
        let property = &schema.as_value()["properties"][key];
        let default = match &property["default"] {
            Value::Null => String::new(),
            Value::String(text) => format!("`{text}`"),
            other => format!("`{other}`"),
        };
        let what = property["description"]
            .as_str()
            .expect("every option is documented")
            .replace('\n', " ");
        lines.push_str(&format!("| `{key}` | {default} | {what} |\n"));
    }
    lines
}
