//! An Envoy configuration as a tree whose parts know their lines.
//!
//! Read as Envoy 1.40 reads it: YAML or JSON, names of fields in `snake_case` or `camelCase`, `yes` and `on` for true,
//! numbers as text, durations as `0.25s` or as seconds and nanos; what a field tagged `!ignore` says is dropped. Where
//! Envoy takes one of two readings in silence, as with a key that stands twice, the document is refused.

use std::collections::HashMap;
use std::time::Duration;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};

/// The most nodes of a document, aliases spelled out. A large configuration has some ten thousand.
const MAX_NODES: usize = 1_000_000;
/// The deepest nesting. Configurations have some thirty levels.
const MAX_DEPTH: usize = 128;

/// A value and the line that it starts on, or for a field of a mapping, the line of its name.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) line: usize,
    content: Content,
}

#[derive(Debug, Clone)]
enum Content {
    Scalar(String),
    /// A plain `null`, `~` or nothing: a field that is not set.
    Null,
    List(Vec<Node>),
    /// Field names are in `snake_case`, so a field has one name.
    Map(Vec<(String, Node)>),
}

/// Why a document can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DocumentFault {
    /// The line, counted from one.
    pub line: usize,
    /// What was expected.
    pub message: String,
}

impl DocumentFault {
    fn new(line: usize, message: impl Into<String>) -> Self {
        Self { line, message: message.into() }
    }
}

impl From<ScanError> for DocumentFault {
    fn from(error: ScanError) -> Self {
        Self::new(error.marker().line(), error.info())
    }
}

impl Node {
    /// Reads a document.
    ///
    /// # Errors
    ///
    /// The first thing that is not YAML, or that can be read in two ways.
    pub(super) fn parse(text: &str) -> Result<Self, DocumentFault> {
        let mut reader =
            Reader { events: Parser::new_from_str(text), anchors: HashMap::new(), node_count: 0 };
        let mut root = None;
        while let Some((event, span)) = reader.next()? {
            match event {
                Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::StreamEnd => {}
                _ if root.is_some() => {
                    return Err(DocumentFault::new(span.start.line(), "expected one document in the file"));
                }
                event => root = Some(reader.node(event, span, 0)?),
            }
        }
        root.ok_or_else(|| DocumentFault::new(1, "expected a configuration, found nothing"))
    }

    /// The field of this name, if it is set.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        let (_, value) = self.fields().iter().find(|(other, _)| other == name)?;
        (!matches!(value.content, Content::Null)).then_some(value)
    }

    /// The field at a path of names joined by dots.
    pub(super) fn at(&self, path: &str) -> Option<&Self> {
        path.split('.').try_fold(self, |node, name| node.get(name))
    }

    pub(super) fn fields(&self) -> &[(String, Self)] {
        match &self.content {
            Content::Map(fields) => fields,
            _ => &[],
        }
    }

    /// The items of the list of this name.
    pub(super) fn list(&self, name: &str) -> &[Self] {
        self.get(name).map_or(&[], Self::items)
    }

    pub(super) fn items(&self) -> &[Self] {
        match &self.content {
            Content::List(items) => items,
            _ => &[],
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.unwrapped().content {
            Content::Scalar(text) => Some(text),
            _ => None,
        }
    }

    /// The text of the field of this name.
    pub(super) fn text_of(&self, name: &str) -> Option<&str> {
        self.get(name)?.text()
    }

    pub(super) fn truth(&self) -> Option<bool> {
        match self.text()?.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "y" => Some(true),
            "false" | "no" | "off" | "n" => Some(false),
            _ => None,
        }
    }

    pub(super) fn number(&self) -> Option<f64> {
        let text = self.text()?;
        match text.strip_prefix("0x").map(|digits| u32::from_str_radix(digits, 16)) {
            Some(number) => number.ok().map(f64::from),
            None => text.parse().ok(),
        }
    }

    pub(super) fn duration(&self) -> Option<Duration> {
        let seconds = match self.text() {
            Some(text) => text.strip_suffix('s')?.parse().ok()?,
            None => {
                let part = |name| self.get(name).map_or(Some(0.0), Self::number);
                part("seconds")? + part("nanos")? / 1e9
            }
        };
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// Whether this is the value of an enum with this name or number.
    pub(super) fn is_enum(&self, name: &str, number: u32) -> bool {
        self.text().is_some_and(|text| text.eq_ignore_ascii_case(name))
            || self.number() == Some(number.into())
    }

    /// The full name of the message in an `Any`, such as `envoy.extensions.filters.http.ext_authz.v3.ExtAuthz`.
    pub(super) fn type_name(&self) -> Option<&str> {
        let url = self.text_of("type_url").or_else(|| self.text_of("@type"))?;
        url.rsplit('/').next()
    }

    /// The message in an `Any`: itself, or the value in a `TypedStruct`.
    pub(super) fn message(&self) -> &Self {
        match (self.get("type_url"), self.get("value")) {
            (Some(_), Some(value)) => value,
            _ => self,
        }
    }

    /// This node and all in it.
    pub(super) fn descendants(&self) -> Vec<&Self> {
        let mut found = vec![self];
        let mut next = 0;
        while let Some(node) = found.get(next).copied() {
            found.extend(node.items());
            found.extend(node.fields().iter().map(|(_, value)| value));
            next += 1;
        }
        found
    }

    /// `{value: x}` is how wrapped scalars may be written.
    fn unwrapped(&self) -> &Self {
        match self.fields() {
            [(name, value)] if name == "value" => value,
            _ => self,
        }
    }
}

struct Reader<'a> {
    events: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, Node>,
    node_count: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Option<(Event<'a>, Span)>, DocumentFault> {
        Ok(self.events.next().transpose()?)
    }

    /// The node that starts with this event.
    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, DocumentFault> {
        let line = span.start.line();
        self.count(1, line)?;
        if depth > MAX_DEPTH {
            return Err(DocumentFault::new(line, format!("expected at most {MAX_DEPTH} levels")));
        }
        let (content, anchor) = match event {
            Event::Scalar(text, style, anchor, _) => (scalar(text.into_owned(), style), anchor),
            Event::SequenceStart(anchor, _) => (Content::List(self.items(depth)?), anchor),
            Event::MappingStart(anchor, _) => (Content::Map(self.map(depth)?), anchor),
            Event::Alias(anchor) => return self.alias(anchor, line),
            _ => return Err(DocumentFault::new(line, "expected a value")),
        };
        let node = Node { line, content };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn items(&mut self, depth: usize) -> Result<Vec<Node>, DocumentFault> {
        let mut items = Vec::new();
        while let Some((event, span)) = self.next()? {
            if event == Event::SequenceEnd {
                break;
            }
            items.push(self.node(event, span, depth + 1)?);
        }
        Ok(items)
    }

    fn map(&mut self, depth: usize) -> Result<Vec<(String, Node)>, DocumentFault> {
        let mut fields: Vec<(String, Node)> = Vec::new();
        while let Some((event, span)) = self.next()? {
            let line = span.start.line();
            let (name, is_ignored) = match event {
                Event::MappingEnd => break,
                Event::Scalar(name, _, _, tag) => (snake_case(&name), tag.is_some_and(|tag| is_ignore(&tag))),
                _ => return Err(DocumentFault::new(line, "expected the name of a field")),
            };
            let (event, span) = self.next()?.ok_or_else(|| DocumentFault::new(line, "expected a value"))?;
            let value = Node { line, ..self.node(event, span, depth + 1)? };
            if is_ignored {
                continue;
            }
            // Envoy takes one of them and says nothing.
            if fields.iter().any(|(other, _)| *other == name) {
                return Err(DocumentFault::new(
                    line,
                    format!("expected `{name}` once: it stands here again"),
                ));
            }
            fields.push((name, value));
        }
        Ok(fields)
    }

    fn alias(&mut self, anchor: usize, line: usize) -> Result<Node, DocumentFault> {
        let unknown = || DocumentFault::new(line, "expected an alias of something before it");
        let node = self.anchors.get(&anchor).ok_or_else(unknown)?.clone();
        self.count(node.descendants().len(), line)?;
        Ok(node)
    }

    /// Aliases of aliases grow exponentially.
    fn count(&mut self, nodes: usize, line: usize) -> Result<(), DocumentFault> {
        self.node_count += nodes;
        if self.node_count > MAX_NODES {
            return Err(DocumentFault::new(line, format!("expected at most {MAX_NODES} values")));
        }
        Ok(())
    }
}

fn scalar(text: String, style: ScalarStyle) -> Content {
    match (style, text.as_str()) {
        (ScalarStyle::Plain, "" | "~" | "null" | "Null" | "NULL") => Content::Null,
        _ => Content::Scalar(text),
    }
}

/// Envoy drops a field whose name has this tag. It is for parts that only aliases use.
fn is_ignore(tag: &Tag) -> bool {
    tag.handle == "!" && tag.suffix == "ignore"
}

/// `failureModeAllow` as `failure_mode_allow`. Names that are no field's, such as a filter's, mostly have dots and are
/// kept; one that has none is to be compared in this spelling.
pub(super) fn snake_case(name: &str) -> String {
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return name.to_owned();
    }
    let mut snake = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_envoy_reads_them() {
        let text = "a: yes\nb: {value: TRUE}\nc: \"off\"\nd: 0x20\ne: 0.25s\nf: {seconds: 1, nanos: 500000000}\n\
                    g: ~\nh: reject_request\ni: 3\nclearRouteCache: true\n\"@type\": t.io/a.B\n";
        let node = Node::parse(text).unwrap();
        let get = |name| node.get(name).unwrap();
        assert_eq!(get("a").truth(), Some(true));
        assert_eq!(get("b").truth(), Some(true));
        assert_eq!(get("c").truth(), Some(false));
        assert_eq!(get("d").number(), Some(32.0));
        assert_eq!(get("d").truth(), None);
        assert_eq!(get("e").duration(), Some(Duration::from_millis(250)));
        assert_eq!(get("f").duration(), Some(Duration::from_millis(1_500)));
        assert!(node.get("g").is_none() && node.get("z").is_none());
        assert!(get("h").is_enum("REJECT_REQUEST", 2) && get("i").is_enum("X", 3));
        assert_eq!((get("clear_route_cache").line, get("clear_route_cache").truth()), (10, Some(true)));
        assert_eq!(node.type_name(), Some("a.B"));
    }

    #[test]
    fn a_field_knows_the_line_of_its_name_and_an_item_its_own() {
        let node = Node::parse("# c\na:\n  b:\n  - 1\n  - c: 2\n").unwrap();
        assert_eq!(node.at("a.b").unwrap().line, 3);
        let items = node.at("a").unwrap().list("b");
        assert_eq!(items.iter().map(|item| item.line).collect::<Vec<_>>(), [4, 5]);
        assert_eq!(node.descendants().len(), 6);
    }

    #[test]
    fn json_and_aliases_are_read_too() {
        let node = Node::parse("{\"a\": &x {\"b\": [1]}, \"c\": *x}").unwrap();
        assert_eq!(node.at("c.b").unwrap().items()[0].number(), Some(1.0));
    }

    #[test]
    fn what_is_tagged_to_be_ignored_is_not_there_but_for_its_aliases() {
        let node = Node::parse("!ignore parts: &x {b: 1}\n!ignore c: 2\nc: 3\nd: *x\n!other e: 4\n").unwrap();
        assert!(node.get("parts").is_none());
        assert_eq!(node.get("c").unwrap().number(), Some(3.0));
        assert_eq!(node.at("d.b").unwrap().number(), Some(1.0));
        assert_eq!(node.get("e").unwrap().number(), Some(4.0));
    }

    #[test]
    fn what_has_two_readings_or_none_is_refused_with_its_line() {
        let bomb = {
            let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
            for level in 1..9 {
                let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
                text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
            }
            text
        };
        let deep = "[".repeat(200) + &"]".repeat(200);
        let cases = [
            ("a: 1\nb: 2\na: 3\n", 3),
            ("merge_slashes: true\nmergeSlashes: false\n", 2),
            ("a: 1\n--- \nb: 2\n", 3),
            ("", 1),
            ("a: [1\n", 2),
            ("a: *x\n", 1),
            ("? [1]\n: 2\n", 1),
            (&bomb, 6),
            (&deep, 1),
        ];
        for (text, line) in cases {
            let fault = Node::parse(text).unwrap_err();
            assert_eq!(fault.line, line, "{}: {fault}", text.chars().take(40).collect::<String>());
        }
    }
}
