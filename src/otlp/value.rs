//! Values as OTLP writes them.

use super::pb::common::v1::any_value::Value;
use super::pb::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList};

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::StringValue(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::StringValue(text)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::BoolValue(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::IntValue(value)
    }
}

impl From<u64> for Value {
    /// One that is beyond OTLP's integers is the largest of them.
    fn from(value: u64) -> Self {
        Self::IntValue(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<Value> for AnyValue {
    fn from(value: Value) -> Self {
        Self { value: Some(value) }
    }
}

/// An attribute.
pub fn attribute(key: impl Into<String>, value: impl Into<Value>) -> KeyValue {
    KeyValue { key: key.into(), value: Some(value.into().into()) }
}

/// A list of values.
pub fn list(values: impl IntoIterator<Item = Value>) -> Value {
    Value::ArrayValue(ArrayValue { values: values.into_iter().map(AnyValue::from).collect() })
}

/// Values by name.
pub fn map(values: impl IntoIterator<Item = KeyValue>) -> Value {
    Value::KvlistValue(KeyValueList { values: values.into_iter().collect() })
}
