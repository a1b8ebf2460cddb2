//! The envelope of everything that programs read. Schemas: `docs/schemas/`.

use crate::error::{Error, Result};
use crate::error_code::Code;
use serde::Serialize;
use serde_json::{Map, Value};

/// Version of all documents. Fields are added within a version, never changed or removed.
pub const API_VERSION: &str = "mars/v1";

/// A document that a command handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Document {
    /// One thing.
    One { kind: &'static str, data: Value },
    /// Several things of one kind, whose document is called `KINDList`.
    Items {
        kind: &'static str,
        items: Vec<Value>,
    },
}

/// Any value as JSON.
///
/// # Errors
/// If the value has no JSON form: a fault of this program.
pub fn to_value(value: &(impl Serialize + ?Sized)) -> Result<Value> {
    serde_json::to_value(value)
        .map_err(|error| Error::internal(format!("the result has no JSON form: {error}")))
}

/// `{"apiVersion":..,"kind":..,FIELD:BODY}`.
pub(crate) fn envelope(kind: &str, field: &str, body: Value) -> Value {
    let mut map = Map::new();
    map.insert("apiVersion".to_owned(), API_VERSION.into());
    map.insert("kind".to_owned(), kind.into());
    map.insert(field.to_owned(), body);
    Value::Object(map)
}

impl Document {
    /// The document as a whole.
    pub(crate) fn whole(self) -> Value {
        match self {
            Self::One { kind, data } => envelope(kind, "data", data),
            Self::Items { kind, items } => {
                envelope(&format!("{kind}List"), "items", Value::Array(items))
            }
        }
    }

    /// The same as one document per item.
    pub(crate) fn each(self) -> Vec<Value> {
        match self {
            Self::One { kind, data } => vec![envelope(kind, "data", data)],
            Self::Items { kind, items } => items
                .into_iter()
                .map(|item| envelope(kind, "data", item))
                .collect(),
        }
    }
}

/// The document of a failure; `partial` is what the command had to show all the same.
pub(crate) fn failure(error: &Error, exit_code: u8, partial: Option<Value>) -> Value {
    let mut body = error_body(error);
    if let Value::Object(map) = &mut body {
        map.insert("exit_code".to_owned(), exit_code.into());
    }
    let mut document = envelope("Error", "error", body);
    if let (Some(partial), Value::Object(map)) = (partial, &mut document) {
        map.insert("partial".to_owned(), partial);
    }
    document
}

/// A failure without its envelope.
pub(crate) fn error_body(error: &Error) -> Value {
    let mut map = Map::new();
    let code: Code = error.code();
    map.insert("code".to_owned(), code.as_str().into());
    map.insert("exit_code".to_owned(), error.kind.exit_code().into());
    map.insert("message".to_owned(), error.why.clone().into());
    map.insert("what".to_owned(), error.what.clone().into());
    if let Some(hint) = &error.hint {
        map.insert("hint".to_owned(), hint.clone().into());
    }
    Value::Object(map)
}
