//! Every option by name and kind: what an editor is told, and what variables of the environment may set.

use std::path::Path;

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::{Map, Value, json};

use super::Config;

/// A path in the schema of an option that names a file.
const PATH_FORMAT: &str = "path";

/// The JSON Schema of the configuration file.
#[must_use]
pub fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        // TOML has no null: what is optional is left out.
        settings.transforms.push(Box::new(RecursiveTransform(leave_out_null)));
    });
    let mut schema = settings.into_generator().into_root_schema_for::<Config>();
    schema.insert("title".to_owned(), json!("The configuration of ecs-authz"));
    schema.to_value()
}

fn leave_out_null(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else { return };
    match object.get_mut("default") {
        Some(Value::Null) => drop(object.remove("default")),
        Some(Value::Object(options)) => options.retain(|_, default| !default.is_null()),
        _ => {}
    }
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    let Some(Value::Array(variants)) = object.get_mut("anyOf") else { return };
    variants.retain(|variant| variant["type"] != "null");
    if let [Value::Object(only)] = variants.as_slice() {
        let only = only.clone();
        object.remove("anyOf");
        for (key, value) in only {
            object.entry(key).or_insert(value);
        }
    }
}

/// An option that has one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leaf {
    /// Its sections, and its name in the last one.
    pub(super) path: Vec<String>,
    pub(super) kind: Kind,
}

/// What a value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Texts,
    Whole,
    Number,
    Truth,
    /// Lists of tables, and tables of any keys: the file's alone.
    Tables,
}

/// Every option, in the order of the sections.
pub(super) fn leaves(schema: &Value) -> Vec<Leaf> {
    let mut leaves = Vec::new();
    collect(schema, &mut Vec::new(), &mut leaves);
    leaves
}

fn collect(schema: &Value, path: &mut Vec<String>, leaves: &mut Vec<Leaf>) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        leaves.push(Leaf { path: path.clone(), kind: kind(schema) });
        return;
    };
    for (name, option) in properties {
        path.push(name.clone());
        collect(option, path, leaves);
        path.pop();
    }
}

fn kind(schema: &Value) -> Kind {
    match schema["type"].as_str() {
        Some("string") => Kind::Text,
        Some("integer") => Kind::Whole,
        Some("number") => Kind::Number,
        Some("boolean") => Kind::Truth,
        Some("array") if kind(&schema["items"]) == Kind::Text => Kind::Texts,
        Some(_) => Kind::Tables,
        // A choice of words, each with its description.
        None => match schema["oneOf"].as_array() {
            Some(words) if words.iter().all(|word| word["const"].is_string() || word["enum"].is_array()) => {
                Kind::Text
            }
            _ => Kind::Tables,
        },
    }
}

/// Makes the files of a table those that are seen from a folder.
pub(super) fn resolve(schema: &Value, value: &mut toml::Value, folder: &Path) {
    match value {
        toml::Value::String(path) if schema["format"] == PATH_FORMAT => {
            if let Some(resolved) = folder.join(&*path).to_str() {
                *path = resolved.to_owned();
            }
        }
        toml::Value::Array(items) => {
            for item in items {
                resolve(&schema["items"], item, folder);
            }
        }
        toml::Value::Table(table) => {
            let none = Map::new();
            let properties = schema["properties"].as_object().unwrap_or(&none);
            for (name, option) in table.iter_mut() {
                let of_any_name = schema.get("additionalProperties");
                if let Some(schema) = properties.get(name).or(of_any_name) {
                    resolve(schema, option, folder);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(name: &str) -> Leaf {
        let leaves = leaves(&schema());
        leaves.into_iter().find(|leaf| leaf.path.join(".") == name).expect("an option")
    }

    #[test]
    fn options_have_the_kind_of_their_type() {
        for (name, kind) in [
            ("policies", Kind::Text),
            ("tables", Kind::Texts),
            ("dependency_mode", Kind::Text),
            ("max_stale_seconds", Kind::Whole),
            ("insecure", Kind::Truth),
            ("database.url", Kind::Text),
            ("tls.minimum_version", Kind::Text),
            ("admin.tls.clients", Kind::Texts),
            ("admin.token", Kind::Tables),
            ("ext_authz.principal", Kind::Tables),
            ("decision_log.mask.path", Kind::Text),
            ("decision_log.sample_allows", Kind::Whole),
            ("decision_log.file.queue.when_full", Kind::Text),
            ("decision_log.otlp.collector.endpoint", Kind::Text),
            ("log.format", Kind::Text),
            ("traces.sample_ratio", Kind::Number),
            ("traces.collector.header_files", Kind::Tables),
        ] {
            assert_eq!(leaf(name).kind, kind, "{name}");
        }
    }

    #[test]
    fn each_option_is_described_and_none_is_null() {
        let schema = schema();
        assert!(!schema.to_string().contains("null"), "{schema:#}");
        // What can be masked is described where records are.
        for leaf in leaves(&schema).iter().filter(|leaf| !leaf.path.contains(&"mask".to_owned())) {
            assert!(option(&schema, leaf)["description"].is_string(), "{leaf:?}");
        }
    }

    fn option<'a>(schema: &'a Value, leaf: &Leaf) -> &'a Value {
        let pointer = leaf.path.iter().map(|name| format!("/properties/{name}")).collect::<String>();
        schema.pointer(&pointer).expect("an option")
    }

    /// Whoever adds a file to the configuration must mark it, or it is looked for in the wrong folder.
    #[test]
    fn files_are_marked_as_such() {
        let (schema, mut files) = (schema(), 0);
        let is_text = |leaf: &&Leaf| leaf.kind == Kind::Text && !leaf.path.contains(&"mask".to_owned());
        for leaf in leaves(&schema).iter().filter(is_text) {
            let name = leaf.path.last().unwrap().as_str();
            let is_named_so = ["_file", "_ca", "_key"].iter().any(|end| name.ends_with(end))
                || ["ca", "certificate", "file", "key", "path", "policies", "socket"].contains(&name);
            assert_eq!(option(&schema, leaf)["format"] == PATH_FORMAT, is_named_so, "{name}");
            files += usize::from(is_named_so);
        }
        assert!(files > 10, "{files}");
    }
}
