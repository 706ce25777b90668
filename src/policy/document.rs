//! Policy documents: the provider's JSON, read strictly.
//!
//! An unknown member, a wrong type, a repeated member or a number over a published limit is an error that names
//! the place; nothing is skipped. All faults of a document are reported at once. The grammar is that of the IAM
//! user guide (Policy Syntax), the limits are those of the IAM API reference (Error Codes).

use super::condition::Condition;
use super::error::{DocumentError, DocumentFault, shorten};
use super::json::Json;
use super::pattern::Pattern;
use super::resource::{ResourceFault, ResourcePattern};
use crate::decision::Effect;

/// The most characters in a document (IAM.1021), white space between tokens not counted.
const MAX_CHARACTERS: usize = 6_144;
/// The most characters in a name of a role that a role depends on.
const MAX_NAME_CHARACTERS: usize = 64;
/// The most bytes in a document's text: the provider's limit for a request body (IAM.1101).
pub const MAX_BYTES: usize = 32 * 1_024;

/// A policy document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// What kind of document it is.
    pub version: Version,
    /// The statements, one to eight (IAM.1028).
    pub statements: Vec<Statement>,
    /// The roles without which this role takes no effect, at most 20 (IAM.1058).
    pub depends: Vec<Dependency>,
}

/// The grammar of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// `1.0`: a role.
    Role,
    /// `1.1`: a policy.
    Policy,
}

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Whether it allows or denies.
    pub effect: Effect,
    /// The actions that it is about.
    pub actions: Actions,
    /// The resources that it is limited to, if it is.
    pub resources: Option<Vec<ResourcePattern>>,
    /// What must hold for it to apply, all of it.
    pub conditions: Vec<Condition>,
}

/// The actions that a statement is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actions {
    /// `Action`: those that a pattern covers.
    Of(Vec<Pattern>),
    /// `NotAction`: those that no pattern covers.
    AllBut(Vec<Pattern>),
}

/// A role that another role depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// The service of the role.
    pub catalog: String,
    /// The name of the role.
    pub display_name: String,
}

const DOCUMENT_MEMBERS: &str = "Version, Statement, Depends";
const STATEMENT_MEMBERS: &str = "Effect, Action, NotAction, Resource, Condition";

impl Document {
    /// Reads a document from its JSON text.
    ///
    /// # Errors
    ///
    /// Every fault of the document with its JSON path.
    pub fn parse(text: &str) -> Result<Self, Vec<DocumentError>> {
        let mut reader = Reader::default();
        reader.limit("$", "bytes", 0, MAX_BYTES, text.len());
        reader.limit("$", "characters", 0, MAX_CHARACTERS, significant_characters(text));
        if text.starts_with('\u{feff}') {
            reader.fault("$", DocumentFault::ByteOrderMark);
        }
        if !reader.errors.is_empty() {
            return Err(reader.errors);
        }
        let json = match serde_json::from_str(text) {
            Ok(json) => json,
            Err(error) => {
                reader.fault("$", DocumentFault::Json(error.to_string()));
                return Err(reader.errors);
            }
        };
        let document = reader.document(&json);
        match document {
            Some(document) if reader.errors.is_empty() => Ok(document),
            _ => Err(reader.errors),
        }
    }
}

/// The characters of a JSON text without the white space between its tokens.
fn significant_characters(text: &str) -> usize {
    let (mut count, mut in_string, mut escaped) = (0, false, false);
    for character in text.chars() {
        if in_string || !character.is_ascii_whitespace() {
            count += 1;
        }
        in_string ^= character == '"' && !escaped;
        escaped = in_string && character == '\\' && !escaped;
    }
    count
}

/// Walks the tree and gathers faults. A part that could not be read is `None`, and a fault says why.
#[derive(Default)]
struct Reader {
    errors: Vec<DocumentError>,
}

type Members = [(String, Json)];

impl Reader {
    fn document(&mut self, json: &Json) -> Option<Document> {
        let members = self.object("$", json)?;
        self.known_members("$", members, DOCUMENT_MEMBERS);
        let version = self.version(members);
        // Without a version the rest is still read, by the stricter grammar, to report its faults too.
        let grammar = version.unwrap_or(Version::Policy);
        let statements = self.statements(members, grammar);
        let depends = match member(members, "Depends") {
            None => Vec::new(),
            Some(_) if grammar == Version::Policy => {
                self.fault("$.Depends", DocumentFault::DependsInPolicy);
                Vec::new()
            }
            Some(json) => self.depends(json),
        };
        Some(Document { version: version?, statements: statements?, depends })
    }

    fn version(&mut self, members: &Members) -> Option<Version> {
        let text = self.required_string("$", members, "Version")?;
        match text {
            "1.0" => Some(Version::Role),
            "1.1" => Some(Version::Policy),
            _ => {
                let expected = "`1.0` (a role) or `1.1` (a policy)";
                self.fault("$.Version", DocumentFault::Value { expected, found: shorten(text) });
                None
            }
        }
    }

    fn statements(&mut self, members: &Members, version: Version) -> Option<Vec<Statement>> {
        let json = self.required("$", members, "Statement")?;
        let items = self.array("$.Statement", json)?;
        self.limit("$.Statement", "statements", 1, 8, items.len());
        let read = items.iter().enumerate();
        let statements: Vec<Option<Statement>> = read
            .map(|(index, item)| self.statement(&format!("$.Statement[{index}]"), item, version))
            .collect();
        statements.into_iter().collect()
    }

    fn statement(&mut self, path: &str, json: &Json, version: Version) -> Option<Statement> {
        let members = self.object(path, json)?;
        self.known_members(path, members, STATEMENT_MEMBERS);
        let effect = self.effect(path, members);
        let actions = self.actions(path, members, version);
        let resources = member(members, "Resource").map(|json| self.resources(path, json));
        let conditions = member(members, "Condition").map(|json| {
            if version == Version::Role {
                self.fault(&format!("{path}.Condition"), DocumentFault::ConditionInRole);
            }
            self.conditions(&format!("{path}.Condition"), json)
        });
        let conditions = conditions.unwrap_or_default();
        Some(Statement { effect: effect?, actions: actions?, resources, conditions })
    }

    fn effect(&mut self, path: &str, members: &Members) -> Option<Effect> {
        match self.required_string(path, members, "Effect")? {
            "Allow" => Some(Effect::Allow),
            "Deny" => Some(Effect::Deny),
            other => {
                let fault = DocumentFault::Value { expected: "`Allow` or `Deny`", found: shorten(other) };
                self.fault(&format!("{path}.Effect"), fault);
                None
            }
        }
    }

    fn actions(&mut self, path: &str, members: &Members, version: Version) -> Option<Actions> {
        match (member(members, "Action"), member(members, "NotAction")) {
            (Some(json), None) => self.patterns(&format!("{path}.Action"), json, version).map(Actions::Of),
            (None, Some(json)) => {
                self.patterns(&format!("{path}.NotAction"), json, version).map(Actions::AllBut)
            }
            _ => {
                self.fault(path, DocumentFault::ActionOrNotAction);
                None
            }
        }
    }

    fn patterns(&mut self, path: &str, json: &Json, version: Version) -> Option<Vec<Pattern>> {
        let texts = self.strings(path, json)?;
        self.limit(path, "actions", 1, 100, texts.len());
        let mut patterns = Vec::with_capacity(texts.len());
        for (index, text) in texts.into_iter().enumerate() {
            match Pattern::parse(text, version) {
                Ok(pattern) => patterns.push(pattern),
                Err(fault) => self.fault(&format!("{path}[{index}]"), fault.into()),
            }
        }
        Some(patterns)
    }

    /// An array of resources (IAM.1040, 1042), or the form `{"uri": […]}` of the agency actions (IAM.1037).
    fn resources(&mut self, statement: &str, json: &Json) -> Vec<ResourcePattern> {
        let path = format!("{statement}.Resource");
        let Json::Object(members) = json else {
            return self.resource_texts(&path, json, 10, ResourcePattern::parse);
        };
        self.known_members(&path, members, "uri");
        let Some(uris) = self.required(&path, members, "uri") else { return Vec::new() };
        self.resource_texts(&format!("{path}.uri"), uris, 20, |uri| Ok(ResourcePattern::Agency(uri.into())))
    }

    fn resource_texts(
        &mut self,
        path: &str,
        json: &Json,
        max: usize,
        read: impl Fn(&str) -> Result<ResourcePattern, ResourceFault>,
    ) -> Vec<ResourcePattern> {
        let Some(texts) = self.strings(path, json) else { return Vec::new() };
        self.limit(path, "resources", 1, max, texts.len());
        let mut patterns = Vec::with_capacity(texts.len());
        for (index, text) in texts.into_iter().enumerate() {
            let path = format!("{path}[{index}]");
            if !self.limit(&path, "characters", 1, 1_500, text.chars().count()) {
                continue;
            }
            match read(text) {
                Ok(pattern) => patterns.push(pattern),
                Err(fault) => self.fault(&path, fault.into()),
            }
        }
        patterns
    }

    /// `{operator: {key: [value, …]}}` (IAM.1050, 1053, 1054, 1056).
    fn conditions(&mut self, path: &str, json: &Json) -> Vec<Condition> {
        let mut conditions = Vec::new();
        let Some(operators) = self.object(path, json) else { return conditions };
        self.limit(path, "operators", 1, 10, operators.len());
        for (operator, keys) in operators {
            let path = format!("{path}.{}", shorten(operator));
            let Some(keys) = self.object(&path, keys) else { continue };
            self.limit(&path, "keys", 1, 10, keys.len());
            for (key, values) in keys {
                let path = format!("{path}['{}']", shorten(key));
                conditions.extend(self.condition(&path, operator, key, values));
            }
        }
        conditions
    }

    fn condition(&mut self, path: &str, operator: &str, key: &str, json: &Json) -> Option<Condition> {
        let texts = self.strings(path, json)?;
        // No published limit but that of the document.
        let mut fits = self.limit(path, "values", 1, MAX_CHARACTERS, texts.len());
        for (index, text) in texts.iter().enumerate() {
            fits &= self.limit(&format!("{path}[{index}]"), "characters", 1, 1_024, text.chars().count());
        }
        if !fits {
            return None;
        }
        match Condition::parse(operator, key, &texts) {
            Ok(condition) => Some(condition),
            Err((value, fault)) => {
                let place = value.map_or(path.to_owned(), |index| format!("{path}[{index}]"));
                self.fault(&place, fault.into());
                None
            }
        }
    }

    fn depends(&mut self, json: &Json) -> Vec<Dependency> {
        let items = self.array("$.Depends", json).unwrap_or_default();
        self.limit("$.Depends", "dependencies", 0, 20, items.len());
        let read = items.iter().enumerate();
        read.filter_map(|(index, item)| self.dependency(&format!("$.Depends[{index}]"), item)).collect()
    }

    fn dependency(&mut self, path: &str, json: &Json) -> Option<Dependency> {
        let members = self.object(path, json)?;
        self.known_members(path, members, "catalog, display_name");
        let catalog = self.name(path, members, "catalog");
        let display_name = self.name(path, members, "display_name");
        Some(Dependency { catalog: catalog?, display_name: display_name? })
    }

    /// A name of a dependency.
    fn name(&mut self, path: &str, members: &Members, member: &'static str) -> Option<String> {
        let text = self.required_string(path, members, member)?;
        let (path, count) = (format!("{path}.{member}"), text.chars().count());
        self.limit(&path, "characters", 1, MAX_NAME_CHARACTERS, count).then(|| text.to_owned())
    }

    fn known_members(&mut self, path: &str, members: &Members, expected: &'static str) {
        for (name, _) in members {
            if !expected.split(", ").any(|known| known == name) {
                self.fault(&format!("{path}.{}", shorten(name)), DocumentFault::Unknown { expected });
            }
        }
    }

    fn required<'j>(&mut self, path: &str, members: &'j Members, name: &'static str) -> Option<&'j Json> {
        let found = member(members, name);
        if found.is_none() {
            self.fault(path, DocumentFault::Missing(name));
        }
        found
    }

    fn required_string<'j>(
        &mut self,
        path: &str,
        members: &'j Members,
        name: &'static str,
    ) -> Option<&'j str> {
        match self.required(path, members, name)? {
            Json::String(text) => Some(text),
            other => self.wrong_type(&format!("{path}.{name}"), "a string", other),
        }
    }

    fn strings<'j>(&mut self, path: &str, json: &'j Json) -> Option<Vec<&'j str>> {
        let items = self.array(path, json)?;
        let texts = items.iter().enumerate().map(|(index, item)| match item {
            Json::String(text) => Some(text.as_str()),
            other => self.wrong_type(&format!("{path}[{index}]"), "a string", other),
        });
        // All items are visited, so that every fault is reported.
        let texts: Vec<Option<&str>> = texts.collect();
        texts.into_iter().collect()
    }

    fn array<'j>(&mut self, path: &str, json: &'j Json) -> Option<&'j [Json]> {
        match json {
            Json::Array(items) => Some(items),
            other => self.wrong_type(path, "an array", other),
        }
    }

    fn object<'j>(&mut self, path: &str, json: &'j Json) -> Option<&'j Members> {
        match json {
            Json::Object(members) => Some(members),
            other => self.wrong_type(path, "an object", other),
        }
    }

    fn wrong_type<T>(&mut self, path: &str, expected: &'static str, found: &Json) -> Option<T> {
        self.fault(path, DocumentFault::Type { expected, found: found.kind() });
        None
    }

    /// Whether a number is within its limits. If not, that is a fault.
    fn limit(&mut self, path: &str, what: &'static str, min: usize, max: usize, found: usize) -> bool {
        let fits = (min..=max).contains(&found);
        if !fits {
            self.fault(path, DocumentFault::Limit { what, min, max, found });
        }
        fits
    }

    fn fault(&mut self, path: &str, fault: DocumentFault) {
        self.errors.push(DocumentError { path: path.to_owned(), fault });
    }
}

fn member<'j>(members: &'j Members, name: &str) -> Option<&'j Json> {
    members.iter().find(|(other, _)| other == name).map(|(_, json)| json)
}

#[cfg(test)]
mod tests;
