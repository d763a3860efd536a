//! `${env:NAME}`, `${env:NAME:-default}` and `${file:/path}` inside values.

use std::collections::HashMap;

use arrowload_core::{Error, ErrorKind, Result, Settings};
use serde_json::Value;

/// Replaces references in all values. What they stood for appears in no error.
pub(crate) fn interpolate(settings: &Settings, variables: &HashMap<String, String>) -> Result<Settings> {
    let mut resolved = Settings::new();
    for (key, setting) in settings.iter() {
        let at = |error: Error| error.with("key", key).with("from", &setting.origin);
        let value = in_value(&setting.value, variables).map_err(at)?;
        resolved.set(key, value, &setting.origin);
    }
    Ok(resolved)
}

fn in_value(value: &Value, variables: &HashMap<String, String>) -> Result<Value> {
    Ok(match value {
        Value::String(text) if text.contains("${") => Value::String(in_text(text, variables)?),
        Value::Array(items) => Value::Array(items.iter().map(|item| in_value(item, variables)).collect::<Result<_>>()?),
        Value::Object(map) => {
            let entry = |(key, value): (&String, &Value)| Ok((key.clone(), in_value(value, variables)?));
            Value::Object(map.iter().map(entry).collect::<Result<_>>()?)
        }
        other => other.clone(),
    })
}

fn in_text(text: &str, variables: &HashMap<String, String>) -> Result<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, reference) = rest.split_at(start);
        let reference = &reference[2..];
        if let Some(escaped) = before.strip_suffix('$') {
            out.push_str(escaped);
            out.push_str("${");
            rest = reference;
            continue;
        }
        out.push_str(before);
        let Some((name, after)) = reference.split_once('}') else {
            return Err(Error::new(ErrorKind::InvalidOption, "a `${` is not closed by `}`; write `$${` for the characters themselves"));
        };
        out.push_str(&look_up(name, variables)?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn look_up(reference: &str, variables: &HashMap<String, String>) -> Result<String> {
    let invalid = |message: String| Error::new(ErrorKind::InvalidOption, message);
    match reference.split_once(':') {
        Some(("env", name)) => {
            let (name, default) = name.split_once(":-").map_or((name, None), |(name, default)| (name, Some(default)));
            let value = variables.get(name).map(String::as_str).or(default);
            let missing = || invalid(format!("the environment variable {name} is not set; set it, or write ${{env:{name}:-default}}"));
            value.map(str::to_owned).ok_or_else(missing)
        }
        Some(("file", path)) => {
            let text = std::fs::read_to_string(path);
            let text = text.map_err(|error| invalid(format!("the file {path} cannot be read: {error}")))?;
            Ok(text.strip_suffix('\n').map(|text| text.strip_suffix('\r').unwrap_or(text)).unwrap_or(&text).to_owned())
        }
        _ => Err(invalid(format!("`${{{reference}}}` is unknown; write ${{env:NAME}}, ${{env:NAME:-default}} or ${{file:/path}}"))),
    }
}
