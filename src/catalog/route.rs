//! The route table: which route a method and a path are.
//!
//! One trie of path segments per method. A literal beats a placeholder, segment by segment from the left, which is how
//! the API orders its own routes. Where a literal leads nowhere, the placeholder beside it is tried. Building is done
//! once; matching allocates nothing.

use super::row::{Route, Text};
use super::segments::Segments;
use super::template::{self, Segment};

/// The index of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct RouteId(usize);

impl RouteId {
    pub(super) const fn index(self) -> usize {
        self.0
    }
}

/// All routes of a catalog.
#[derive(Debug, Default)]
pub(super) struct RouteTable {
    /// The root of each method's trie. There are a handful.
    roots: Vec<(Text, NodeId)>,
    nodes: Vec<Node>,
    route_count: usize,
}

#[derive(Debug, Clone, Copy)]
struct NodeId(usize);

#[derive(Debug, Default)]
struct Node {
    /// Sorted by length, then by text: most comparisons are of two numbers.
    literals: Vec<(Box<str>, NodeId)>,
    placeholder: Option<NodeId>,
    route: Option<RouteId>,
}

impl RouteTable {
    /// Adds a route, or finds the one that matches the same requests.
    pub(super) fn add(&mut self, route: &Route) -> RouteId {
        let root = self.root(&route.method).unwrap_or_else(|| {
            let root = self.new_node();
            self.roots.push((route.method.clone(), root));
            root
        });
        let segments = template::parse(&route.template).unwrap_or_default();
        let end = segments.into_iter().fold(root, |node, segment| self.child(node, segment));
        let next = RouteId(self.route_count);
        let Some(node) = self.nodes.get_mut(end.0) else { return next };
        let id = *node.route.get_or_insert(next);
        if id == next {
            self.route_count += 1;
        }
        id
    }

    fn root(&self, method: &str) -> Option<NodeId> {
        self.roots.iter().find(|(known, _)| known == method).map(|(_, root)| *root)
    }

    fn child(&mut self, parent: NodeId, segment: Segment<'_>) -> NodeId {
        let next = NodeId(self.nodes.len());
        let Some(node) = self.nodes.get_mut(parent.0) else { return next };
        let child = match segment {
            Segment::Placeholder(_) => *node.placeholder.get_or_insert(next),
            Segment::Literal(text) => match node.literal_index(text.as_bytes()) {
                Ok(index) => node.literals.get(index).map_or(next, |(_, child)| *child),
                Err(index) => {
                    node.literals.insert(index, (text.into(), next));
                    next
                }
            },
        };
        if child.0 == next.0 {
            self.new_node();
        }
        child
    }

    fn new_node(&mut self) -> NodeId {
        self.nodes.push(Node::default());
        NodeId(self.nodes.len() - 1)
    }

    /// The route of a method and a path. The method is compared byte for byte: `HEAD` is not `GET`.
    ///
    /// There is none for a path that ends with a format, as `detail.json` and `7.json`: some routers cut it off, and so
    /// find another route or another object.
    pub(super) fn find(&self, method: &str, segments: &Segments<'_>) -> Option<RouteId> {
        if segments.has_format() {
            return None;
        }
        self.descend(self.root(method)?, segments, 0)
    }

    /// The methods for which these segments are a route.
    pub(super) fn methods(&self, segments: &Segments<'_>) -> impl Iterator<Item = &str> {
        let methods = self.roots.iter().map(|(method, _)| method.as_ref());
        methods.filter(|method| self.find(method, segments).is_some())
    }

    /// Recursion, where a literal and a placeholder are both to be tried, ends after [`template::MAX_SEGMENTS`] steps and
    /// visits each node of the trie at most once.
    fn descend(&self, root: NodeId, segments: &Segments<'_>, depth: usize) -> Option<RouteId> {
        let mut node = self.nodes.get(root.0)?;
        for (depth, segment) in (depth..).zip(segments.bytes_from(depth)) {
            let next = match (node.literal(segment), node.placeholder) {
                (Some(literal), Some(placeholder)) => match self.descend(literal, segments, depth + 1) {
                    Some(found) => return Some(found),
                    None => placeholder,
                },
                (Some(only), None) | (None, Some(only)) => only,
                (None, None) => return None,
            };
            node = self.nodes.get(next.0)?;
        }
        node.route
    }
}

impl Node {
    fn literal(&self, text: &[u8]) -> Option<NodeId> {
        self.literals.get(self.literal_index(text).ok()?).map(|(_, child)| *child)
    }

    fn literal_index(&self, text: &[u8]) -> Result<usize, usize> {
        let order = |literal: &[u8]| literal.len().cmp(&text.len()).then_with(|| literal.cmp(text));
        self.literals.binary_search_by(|(literal, _)| order(literal.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::path::CanonicalPath;
    use crate::catalog::template::MAX_SEGMENTS;

    fn table(templates: &[&'static str]) -> RouteTable {
        let mut table = RouteTable::default();
        for (index, template) in templates.iter().enumerate() {
            let route = Route { method: "GET".into(), template: Text::Borrowed(template) };
            assert_eq!(table.add(&route).index(), index);
        }
        table
    }

    fn find(table: &RouteTable, method: &str, path: &str) -> Option<usize> {
        let path = CanonicalPath::parse(path).ok()?;
        table.find(method, &Segments::of(&path)?).map(RouteId::index)
    }

    #[test]
    fn a_literal_beats_a_placeholder_segment_by_segment() {
        let table = table(&["/s/{id}", "/s/detail", "/s/groups/{id}", "/s/{id}/tags"]);
        assert_eq!(find(&table, "GET", "/s/1"), Some(0));
        assert_eq!(find(&table, "GET", "/s/detail"), Some(1));
        assert_eq!(find(&table, "GET", "/s/groups/tags"), Some(2));
        assert_eq!(find(&table, "GET", "/s/1/tags"), Some(3));
    }

    #[test]
    fn where_a_literal_leads_nowhere_the_placeholder_is_tried() {
        let table = table(&["/s/detail", "/s/{id}/tags"]);
        assert_eq!(find(&table, "GET", "/s/detail/tags"), Some(1));
        assert_eq!(find(&table, "GET", "/s/detail/x"), None);
    }

    #[test]
    fn a_format_at_the_end_makes_no_route() {
        let table = table(&["/s/{id}", "/s/detail", "/s/{id}/tags"]);
        for path in ["/s/detail.json", "/s/detail.xml", "/s/1.json", "/s/detail.json.json"] {
            assert_eq!(find(&table, "GET", path), None, "{path}");
        }
        for path in ["/s/1.html", "/s/detail.html", "/s/detail.JSON", "/s/json"] {
            assert_eq!(find(&table, "GET", path), Some(0), "{path}");
        }
        assert_eq!(find(&table, "GET", "/s/detail.json/tags"), Some(2));
    }

    #[test]
    fn method_case_and_length_are_exact() {
        let table = table(&["/s/{id}"]);
        for (method, path) in [
            ("HEAD", "/s/1"),
            ("get", "/s/1"),
            ("POST", "/s/1"),
            ("GET", "/S/1"),
            ("GET", "/s"),
            ("GET", "/"),
            ("GET", "/s/1/2"),
        ] {
            assert_eq!(find(&table, method, path), None, "{method} {path}");
        }
        assert_eq!(find(&table, "GET", &"/s".repeat(MAX_SEGMENTS + 1)), None);
    }

    #[test]
    fn a_route_that_matches_the_same_requests_is_the_same_route() {
        let mut table = table(&["/s/{id}"]);
        let again = Route { method: "GET".into(), template: "/s/{name}".into() };
        assert_eq!(table.add(&again).index(), 0);
    }
}
