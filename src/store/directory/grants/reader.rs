//! Takes the tables of a TOML file apart and gathers faults, each with its line.

use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::Value;
use crate::policy::shorten;
use crate::store::directory::fault::{Fault, Place};

/// Walks the tables. A part that could not be read is `None`, and a fault says why.
pub(super) struct Reader<'t> {
    text: &'t str,
    /// Where each line after the first starts.
    line_starts: Vec<usize>,
    /// By line.
    faults: Vec<(usize, String)>,
}

/// A table of the file.
pub(super) struct Table<'t> {
    /// Its name; of the whole file, nothing.
    pub(super) name: &'static str,
    pub(super) place: Range<usize>,
    pub(super) members: &'t DeTable<'t>,
}

impl<'t> Reader<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let line_starts = text.match_indices('\n').map(|(newline, _)| newline + 1).collect();
        Self { text, line_starts, faults: Vec::new() }
    }

    /// The faults in the order of their lines.
    pub(super) fn into_faults(mut self, path: &Path) -> Vec<Fault> {
        self.faults.sort_by_key(|(line, _)| *line);
        let faults = self.faults.into_iter();
        faults.map(|(line, message)| Fault::of(path, message).at(Place::Line(line))).collect()
    }

    pub(super) fn fault(&mut self, place: Range<usize>, message: String) {
        let line = 1 + self.line_starts.partition_point(|start| *start <= place.start);
        self.faults.push((line, message));
    }

    /// A text that is no TOML.
    pub(super) fn no_toml(&mut self, error: &toml::de::Error) {
        let place = error.span().unwrap_or_default();
        let message = match (error.message().trim_end(), self.text.get(place.clone())) {
            ("duplicate key", Some(key)) => {
                format!("expected each member once, found `{}` twice", shorten(key))
            }
            (other, _) => other.to_owned(),
        };
        self.fault(place, message);
    }

    pub(super) fn known_members(&mut self, table: &Table<'_>, expected: &'static str) {
        for name in table.members.keys() {
            if !expected.split(", ").any(|known| known == name.get_ref()) {
                let shown = table.path(&shorten(name.get_ref()));
                self.fault(name.span(), format!("{shown}: unknown member, expected one of: {expected}"));
            }
        }
    }

    pub(super) fn required<'v>(
        &mut self,
        table: &Table<'v>,
        name: &'static str,
    ) -> Option<&'v Spanned<DeValue<'v>>> {
        let found = table.members.get(name);
        if found.is_none() {
            self.fault(table.place.clone(), format!("{}: expected a member `{name}`", table.name));
        }
        found
    }

    /// The tables of this name, `[[name]]`.
    pub(super) fn tables<'v>(&mut self, table: &Table<'v>, name: &'static str) -> Vec<Table<'v>> {
        let Some(value) = table.members.get(name) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            self.unexpected::<()>(name, &format!("tables under `[[{name}]]`"), value);
            return Vec::new();
        };
        let table = |item: &'v Spanned<DeValue<'v>>| match item.get_ref() {
            DeValue::Table(members) => Some(Table { name, place: item.span(), members }),
            _ => self.unexpected(name, "a table", item),
        };
        items.iter().filter_map(table).collect()
    }

    pub(super) fn array<'v>(&mut self, name: &str, value: &'v Value<'v>) -> Option<&'v DeArray<'v>> {
        match value.get_ref() {
            DeValue::Array(items) => Some(items),
            _ => self.unexpected(name, "an array", value),
        }
    }

    pub(super) fn string<'v>(&mut self, name: &str, value: &'v Value<'_>) -> Option<&'v str> {
        match value.get_ref() {
            DeValue::String(text) => Some(text),
            _ => self.unexpected(name, "a string", value),
        }
    }

    /// The fault of a value that is none of those that are expected.
    pub(super) fn unexpected<T>(&mut self, name: &str, expected: &str, found: &Value<'_>) -> Option<T> {
        self.fault(
            found.span(),
            format!("{name}: expected {expected}, found {}", described(found.get_ref())),
        );
        None
    }
}

impl Table<'_> {
    fn path(&self, member: &str) -> String {
        if self.name.is_empty() { member.to_owned() } else { format!("{}.{member}", self.name) }
    }
}

/// The one member of a table that has one.
pub(super) fn sole_member<'v>(value: &'v Value<'v>) -> Option<(&'v str, &'v Value<'v>)> {
    let mut members = value.get_ref().as_table()?.iter();
    match (members.next(), members.next()) {
        (Some((name, value)), None) => Some((name.get_ref(), value)),
        _ => None,
    }
}

/// What a value is, for messages.
fn described(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the string `{}`", shorten(text)),
        DeValue::Integer(_) | DeValue::Float(_) => "a number".to_owned(),
        DeValue::Boolean(_) => "a boolean".to_owned(),
        DeValue::Datetime(_) => "a time".to_owned(),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(members) => described_table(members),
    }
}

fn described_table(table: &DeTable<'_>) -> String {
    let names: Vec<String> = table.keys().map(|name| shorten(name.get_ref())).collect();
    match names.as_slice() {
        [] => "an empty table".to_owned(),
        [name] => format!("a table with `{name}`"),
        [first, second] => format!("a table with `{first}` and `{second}`"),
        more => format!("a table with {} members", more.len()),
    }
}
