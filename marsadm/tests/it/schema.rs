//! The published schemas, and a validator of the part of JSON Schema that they use. It is stricter than the standard:
//! a field that the schema does not name is an error, so that the schemas stay complete.

use serde_json::Value;
use std::path::PathBuf;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/schemas")
}

/// The published schema of a kind.
pub(crate) fn of_kind(kind: &str) -> Value {
    let path = folder().join(format!("{kind}.json"));
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("no schema of {kind}: {}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// Names of all published kinds.
pub(crate) fn kinds() -> Vec<String> {
    let mut kinds: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "json"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    kinds.sort();
    kinds
}

/// Whether a whole document, a list or one thing, is as published.
pub(crate) fn check(document: &Value) -> Result<(), String> {
    let kind = document["kind"]
        .as_str()
        .ok_or("the document has no kind")?;
    if document["apiVersion"] != "mars/v1" {
        return Err(format!("apiVersion is {}", document["apiVersion"]));
    }
    validate(&of_kind(kind), document, kind)?;
    match document.get("partial") {
        Some(partial) => check(partial),
        None => Ok(()),
    }
}

fn validate(schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    if let Some(other) = schema["$ref"].as_str() {
        let (file, pointer) = other.split_once(".json#").unwrap();
        let other = of_kind(file);
        return validate(other.pointer(pointer).unwrap(), value, at);
    }
    if let Some(wanted) = schema.get("const")
        && wanted != value
    {
        return Err(format!("{at}: {value} is not {wanted}"));
    }
    if let Some(wanted) = schema.get("enum")
        && !wanted.as_array().unwrap().contains(value)
    {
        return Err(format!("{at}: {value} is none of {wanted}"));
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(list) => list.iter().map(|one| one.as_str().unwrap()).collect(),
        _ => vec![],
    };
    let is = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let fits = types.contains(&is) || (is == "integer" && types.contains(&"number"));
    if !types.is_empty() && !fits {
        return Err(format!("{at}: {value} is {is}, not {types:?}"));
    }
    if let (Some(list), Some(items)) = (value.as_array(), schema.get("items")) {
        for (i, item) in list.iter().enumerate() {
            validate(items, item, &format!("{at}[{i}]"))?;
        }
    }
    let Some(object) = value.as_object() else {
        return Ok(());
    };
    for name in schema["required"].as_array().into_iter().flatten() {
        let name = name.as_str().unwrap();
        if !object.contains_key(name) {
            return Err(format!("{at}.{name} is missing"));
        }
    }
    for (name, field) in object {
        match schema["properties"].get(name) {
            Some(schema) => validate(schema, field, &format!("{at}.{name}"))?,
            None if schema["additionalProperties"] == Value::Bool(true) => {}
            None => return Err(format!("{at}.{name} is not in the schema")),
        }
    }
    Ok(())
}

#[test]
fn the_validator_finds_what_is_wrong() {
    use serde_json::json;
    let clock = json!({"wall": "1", "lamport": "2"});
    let good = json!({"apiVersion": "mars/v1", "kind": "Clock", "data": clock});
    assert_eq!(check(&good), Ok(()));
    for (pointer, value) in [
        ("/apiVersion", json!("mars/v2")),
        ("/data/wall", json!(1)),
        ("/data", json!({"wall": "1"})),
        ("/data", json!({"wall": "1", "lamport": "2", "more": 1})),
        ("/data", json!([])),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).unwrap() = value;
        assert!(check(&bad).is_err(), "{bad}");
    }
}
