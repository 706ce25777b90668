//! Where options come from: the file, then variables of the environment, then flags. The later wins, option by option.
//!
//! The layers are merged as tables, before anything has a type: so a section may be begun by the file and completed by a
//! variable. What is wrong is then blamed on the layer that said it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::Value as Schema;
use toml::{Table, Value};

use super::admin::read_bounded;
use super::schema::{self, Kind, Leaf};
use super::{Config, ConfigError};

/// What the names of variables begin with.
pub const PREFIX: &str = "ECS_AUTHZ_";

/// A configuration, and where it comes from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What holds.
    pub config: Config,
    /// Who said so, by the name of the option. What is not here is a default.
    pub origins: BTreeMap<String, Origin>,
    /// Variables that look like options and are none.
    pub unknown_variables: Vec<String>,
}

/// Who set an option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The configuration file.
    File,
    /// A variable of the environment.
    Variable(String),
    /// A flag of the command line.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => f.write_str("the configuration file"),
            Self::Variable(name) | Self::Flag(name) => f.write_str(name),
        }
    }
}

/// What a flag of the command line says.
#[derive(Debug, Clone)]
pub struct Flag {
    /// The option: its sections and its name, joined by dots.
    pub option: &'static str,
    /// The flag.
    pub name: &'static str,
    /// What it sets the option to.
    pub value: Value,
}

/// The layers, the weakest first.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    /// The configuration file.
    pub file: Option<PathBuf>,
    /// The variables of the environment. Others than ours are passed over.
    pub variables: Vec<(String, String)>,
    /// What the command line says.
    pub flags: Vec<Flag>,
}

/// The layers as far as they are merged.
struct Merged {
    table: Table,
    origins: BTreeMap<String, Origin>,
}

impl Layers {
    /// Reads and merges them.
    ///
    /// # Errors
    ///
    /// If the file can't be read, or a layer says what is not known or can't be meant.
    pub fn load(self) -> Result<Loaded, ConfigError> {
        let schema = schema::schema();
        let leaves = schema::leaves(&schema);
        let file = self.file.map(FileLayer::read).transpose()?;
        let mut merged = Merged { table: Table::new(), origins: BTreeMap::new() };
        if let Some(file) = &file {
            merged.table = file.table(&schema)?;
            let said = leaves.iter().filter(|leaf| leaf.is_in(&merged.table));
            merged.origins.extend(said.map(|leaf| (leaf.name(), Origin::File)));
        }
        let mut unknown_variables = Vec::new();
        for (name, text) in self.variables.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
            match leaves.iter().find(|leaf| leaf.variable() == *name && leaf.kind != Kind::Tables) {
                Some(leaf) => {
                    merged.set(leaf, leaf.read(name, text)?, Origin::Variable(name.clone()))?;
                }
                None if is_known(name) => {}
                None => unknown_variables.push(name.clone()),
            }
        }
        for flag in self.flags {
            // Every flag that the command line has names an option: a test of it holds them against each other.
            let Some(leaf) = leaves.iter().find(|leaf| leaf.name() == flag.option) else { continue };
            merged.set(leaf, flag.value, Origin::Flag(flag.name.to_owned()))?;
        }
        let config = merged.config(file.as_ref())?;
        Ok(Loaded { config, origins: merged.origins, unknown_variables })
    }
}

impl Merged {
    fn set(&mut self, leaf: &Leaf, value: Value, origin: Origin) -> Result<(), ConfigError> {
        let misplaced = |origin: &Origin| ConfigError::Layer {
            origin: origin.clone(),
            message: format!("`{}` is no section of the file", leaf.sections()),
        };
        let Some((name, sections)) = leaf.path.split_last() else { return Ok(()) };
        let mut table = &mut self.table;
        for section in sections {
            let inner = table.entry(section.clone()).or_insert_with(|| Value::Table(Table::new()));
            table = inner.as_table_mut().ok_or_else(|| misplaced(&origin))?;
        }
        let before = table.insert(name.clone(), value.clone());
        // The command line takes up variables, too.
        let is_of_variable = matches!(self.origins.get(&leaf.name()), Some(Origin::Variable(_)));
        if !(is_of_variable && before == Some(value)) {
            self.origins.insert(leaf.name(), origin);
        }
        Ok(())
    }

    /// What all layers say, typed and meant.
    fn config(&self, file: Option<&FileLayer>) -> Result<Config, ConfigError> {
        let config = serde_path_to_error::deserialize::<_, Config>(Value::Table(self.table.clone()));
        let config = config.map_err(|error| {
            let option = error.path().to_string();
            let message = without_value(error.into_inner().message());
            match self.origins.get(&option) {
                Some(origin @ (Origin::Variable(_) | Origin::Flag(_))) => {
                    ConfigError::Layer { origin: origin.clone(), message }
                }
                // The file alone has the same fault, mostly, and then the line is known.
                _ => file
                    .and_then(FileLayer::fault)
                    .unwrap_or_else(|| unmeant(file, format!("{option}: {message}"))),
            }
        })?;
        config.fault().map_or(Ok(config), |message| Err(unmeant(file, message)))
    }
}

fn unmeant(file: Option<&FileLayer>, message: String) -> ConfigError {
    match file {
        Some(file) => ConfigError::Meaning { path: file.path.clone(), message },
        None => ConfigError::Unmeant(message),
    }
}

impl Leaf {
    fn name(&self) -> String {
        self.path.join(".")
    }

    fn sections(&self) -> String {
        self.path.split_last().map(|(_, sections)| sections.join(".")).unwrap_or_default()
    }

    /// The variable that sets it: `ECS_AUTHZ_TLS_CLIENT_CA` for `tls.client_ca`.
    fn variable(&self) -> String {
        format!("{PREFIX}{}", self.path.join("_").to_uppercase())
    }

    fn is_in(&self, table: &Table) -> bool {
        let Some((first, rest)) = self.path.split_first() else { return false };
        let value = rest.iter().try_fold(table.get(first), |value, name| Some(value?.get(name)));
        value.flatten().is_some()
    }

    /// Reads what a variable says.
    fn read(&self, variable: &str, text: &str) -> Result<Value, ConfigError> {
        let expected = |expected: &str| ConfigError::Layer {
            origin: Origin::Variable(variable.to_owned()),
            message: format!("expected {expected}, found `{}`", text.escape_debug()),
        };
        match self.kind {
            Kind::Text | Kind::Tables => Ok(Value::String(text.to_owned())),
            Kind::Texts => Ok(text.split(',').filter(|item| !item.is_empty()).collect::<Vec<_>>().into()),
            Kind::Whole => text.parse::<i64>().map(Value::Integer).map_err(|_| expected("a whole number")),
            Kind::Number => text.parse::<f64>().map(Value::Float).map_err(|_| expected("a number")),
            Kind::Truth => match text {
                "true" | "1" => Ok(Value::Boolean(true)),
                "false" | "0" => Ok(Value::Boolean(false)),
                _ => Err(expected("`true` or `false`")),
            },
        }
    }
}

/// Variables with our prefix that are no options: where the file is, and what Kubernetes sets in every pod beside a service
/// of our name.
fn is_known(variable: &str) -> bool {
    let is_port = |name: &str| {
        let (_, port) = name.rsplit_once("_PORT_").unwrap_or_default();
        port.starts_with(|first: char| first.is_ascii_digit())
    };
    variable == "ECS_AUTHZ_CONFIG"
        || variable.ends_with("_SERVICE_HOST")
        || variable.contains("_SERVICE_PORT")
        || variable.ends_with("_PORT")
        || is_port(variable)
}

/// What an error says of a value that has the wrong type, without the value: it may be a secret at a wrong place.
fn without_value(message: &str) -> String {
    for found in ["invalid type: string ", "invalid value: string "] {
        if let Some((_, expected)) =
            message.strip_prefix(found).and_then(|rest| rest.rsplit_once("\", expected "))
        {
            return format!("{}, expected {expected}", found.trim_end());
        }
    }
    message.to_owned()
}

/// The file, as it was read.
struct FileLayer {
    path: PathBuf,
    text: String,
}

impl FileLayer {
    fn read(path: PathBuf) -> Result<Self, ConfigError> {
        match read_bounded(&path) {
            Ok(text) => Ok(Self { path, text }),
            Err(cause) => Err(ConfigError::Read { path, cause }),
        }
    }

    /// What it says. Its files are named as seen from its folder.
    fn table(&self, schema: &Schema) -> Result<Table, ConfigError> {
        let table: Table = toml::from_str(&self.text).map_err(|error| self.at(&error))?;
        let mut table = Value::Table(table);
        schema::resolve(schema, &mut table, self.path.parent().unwrap_or(Path::new("")));
        match table {
            Value::Table(table) => Ok(table),
            _ => Ok(Table::new()),
        }
    }

    /// What is wrong with it, were there no other layer.
    fn fault(&self) -> Option<ConfigError> {
        toml::from_str::<Config>(&self.text).err().map(|error| self.at(&error))
    }

    fn at(&self, error: &toml::de::Error) -> ConfigError {
        let start = error.span().unwrap_or_default().start;
        let before = self.text.as_bytes().get(..start).unwrap_or_default();
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        ConfigError::Content { path: self.path.clone(), line, message: without_value(error.message()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(file: Option<&str>, variables: &[(&str, &str)]) -> Layers {
        let file = file.map(|text| {
            let folder = tempfile::tempdir().unwrap().keep();
            let path = folder.join("config.toml");
            std::fs::write(&path, text).unwrap();
            path
        });
        let variables =
            variables.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        Layers { file, variables, flags: Vec::new() }
    }

    fn error(file: Option<&str>, variables: &[(&str, &str)]) -> String {
        layers(file, variables).load().unwrap_err().to_string()
    }

    const REGION: Flag = Flag { option: "region", name: "--region", value: Value::Boolean(true) };

    #[test]
    fn the_later_layer_wins_option_by_option() {
        let file = "region = 'file'\nmax_stale_seconds = 7\n[grpc]\naddr = '127.0.0.1:1'\nsocket = 's'";
        let variables = [("ECS_AUTHZ_REGION", "variable"), ("ECS_AUTHZ_GRPC_ADDR", "127.0.0.1:2")];
        let mut layers = layers(Some(file), &variables);
        layers.flags.push(Flag { value: "flag".into(), ..REGION });
        let folder = layers.file.clone().unwrap().parent().unwrap().to_owned();
        let loaded = layers.load().unwrap();
        let config = loaded.config;
        assert_eq!(config.region.as_deref(), Some("flag"));
        assert_eq!(config.grpc.addr.to_string(), "127.0.0.1:2");
        assert_eq!(config.grpc.socket, Some(folder.join("s")), "named from the file's folder");
        assert_eq!(config.max_stale_seconds, 7);
        let origin = |option: &str| loaded.origins.get(option).map(ToString::to_string);
        assert_eq!(origin("region").as_deref(), Some("--region"));
        assert_eq!(origin("grpc.addr").as_deref(), Some("ECS_AUTHZ_GRPC_ADDR"));
        assert_eq!(origin("grpc.socket").as_deref(), Some("the configuration file"));
        assert_eq!(origin("http.addr"), None);
    }

    #[test]
    fn files_are_named_from_the_folder_of_the_file_that_names_them() {
        let token = "[[admin.token]]\nname = 'ci'\nfile = ";
        let admin = format!("[admin]\naddr = '127.0.0.1:1'\n{token}'t'\n{}'/u'", token.replace("ci", "cd"));
        let collector = "[traces.collector]\nca = 'c'\nheader_files = { a = 'h', b = '/i' }";
        let layers = layers(Some(&format!("tables = ['a', '/b']\n{admin}\n{collector}")), &[]);
        let folder = layers.file.clone().unwrap().parent().unwrap().to_owned();
        let config = layers.load().unwrap().config;
        assert_eq!(config.tables, [folder.join("a"), "/b".into()]);
        let files: Vec<PathBuf> = config.admin.unwrap().token.into_iter().map(|token| token.file).collect();
        assert_eq!(files, [folder.join("t"), "/u".into()]);
        let collector = config.traces.unwrap().collector;
        assert_eq!(collector.ca, Some(folder.join("c")));
        assert_eq!(collector.header_files.into_values().collect::<Vec<_>>(), [folder.join("h"), "/i".into()]);
    }

    #[test]
    fn a_section_may_be_begun_by_one_layer_and_completed_by_another() {
        let variables = [("ECS_AUTHZ_TLS_KEY", "k"), ("ECS_AUTHZ_TABLES", "a.toml,/b.toml")];
        let config = layers(Some("[tls]\ncertificate = '/c'"), &variables).load().unwrap().config;
        let tls = config.tls.unwrap();
        assert_eq!(tls.certificate, PathBuf::from("/c"));
        assert_eq!(tls.key, PathBuf::from("k"), "named from where the program runs");
        assert_eq!(config.tables, [PathBuf::from("a.toml"), "/b.toml".into()]);
    }

    #[test]
    fn what_is_wrong_is_blamed_on_who_said_it() {
        let of_file = error(Some("[grpc]\n\naddres = 'x'"), &[]);
        assert!(of_file.contains("config.toml:3: unknown field `addres`"), "{of_file}");
        let of_variable = error(Some("[grpc]"), &[("ECS_AUTHZ_GRPC_ADDR", "nowhere")]);
        assert_eq!(of_variable, "ECS_AUTHZ_GRPC_ADDR: invalid socket address syntax");
        let number = error(None, &[("ECS_AUTHZ_MAX_STALE_SECONDS", "1m")]);
        assert_eq!(number, "ECS_AUTHZ_MAX_STALE_SECONDS: expected a whole number, found `1m`");
        let truth = error(None, &[("ECS_AUTHZ_INSECURE", "yes")]);
        assert_eq!(truth, "ECS_AUTHZ_INSECURE: expected `true` or `false`, found `yes`");
        let missing = error(None, &[("ECS_AUTHZ_TLS_KEY", "k")]);
        assert_eq!(missing, "tls: missing field `certificate`");
        let unmeant = error(None, &[("ECS_AUTHZ_DATABASE_CONNECTIONS", "0")]);
        assert_eq!(unmeant, "database.connections: expected 1 to 1000, found 0");
        let mut of_flag = layers(None, &[]);
        of_flag.flags.push(REGION);
        let of_flag = of_flag.load().unwrap_err().to_string();
        assert!(of_flag.starts_with("--region: "), "{of_flag}");
        let section = error(Some("grpc = 1"), &[("ECS_AUTHZ_GRPC_ADDR", "127.0.0.1:1")]);
        assert_eq!(section, "ECS_AUTHZ_GRPC_ADDR: `grpc` is no section of the file");
    }

    #[test]
    fn a_secret_is_not_repeated() {
        let error = error(None, &[("ECS_AUTHZ_DATABASE_URL", "postgresql://u:s3cret@h:x/n")]);
        assert!(error.starts_with("ECS_AUTHZ_DATABASE_URL: ") && !error.contains("s3cret"), "{error}");
    }

    #[test]
    fn a_secret_at_a_wrong_place_is_not_repeated() {
        for text in [
            "database = 's3cret'",
            "[database]\nconnections = \"s3\\\"cret\"",
            "[admin]\naddr = '127.0.0.1:1'\ntoken = 's3cret'",
        ] {
            let error = error(Some(text), &[]);
            assert!(error.contains("invalid type: string, expected "), "{error}");
            assert!(!error.contains("cret"), "{error}");
        }
    }

    #[test]
    fn a_file_without_an_end_is_not_read_to_it() {
        let layers = Layers { file: Some("/dev/zero".into()), ..Layers::default() };
        assert!(layers.load().unwrap_err().to_string().contains("expected at most"));
    }

    #[test]
    fn variables_that_nobody_knows_are_told_and_those_of_kubernetes_are_not() {
        let variables = [
            ("ECS_AUTHZ_REGON", "eu"),
            ("ECS_AUTHZ_ADMIN_TOKEN", "t"),
            ("ECS_AUTHZ_CONFIG", "f"),
            ("ECS_AUTHZ_PORT", "tcp://10.0.0.1:50051"),
            ("ECS_AUTHZ_PORT_50051_TCP_ADDR", "10.0.0.1"),
            ("ECS_AUTHZ_SERVICE_HOST", "10.0.0.1"),
            ("ECS_AUTHZ_SERVICE_PORT_GRPC", "50051"),
            ("ECS_AUTHZ_HEADLESS_PORT_50051_TCP", "tcp://10.0.0.1:50051"),
            ("HOME", "/"),
        ];
        let loaded = layers(None, &variables).load().unwrap();
        assert_eq!(loaded.unknown_variables, ["ECS_AUTHZ_REGON", "ECS_AUTHZ_ADMIN_TOKEN"]);
        assert_eq!(loaded.config, Config::default());
    }
}
