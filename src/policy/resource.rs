//! Resources: `service:region:account:type:path`, and patterns of them.
//!
//! In each part of a pattern, `*` stands for any text. A call that names no object touches the resource whose type and
//! path are a literal `*`: a statement about one instance says nothing of a list of instances. A call that makes an object
//! touches its type, with a literal `*` for the id that it does not have yet. What is not known of a resource, such as the
//! region where none is configured, meets `*` alone.
//!
//! The types are those that the provider names for its identity policies (ECS API reference, Actions Supported by Identity
//! Policy-based Authorization): attaching a disk touches the instance, and the disk is the condition key `ecs:VolumeId`.

use std::borrow::Cow;
use std::fmt;

use super::error::shorten;
use super::glob::Glob;
use super::outcome::Outcome;

/// The parts of a resource.
const PARTS: usize = 5;

/// Something that a call touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource<'a> {
    /// The service of the action.
    pub service: &'a str,
    /// The region, if it is configured.
    pub region: Option<&'a str>,
    /// The domain.
    pub account: &'a str,
    /// The type, or `*` if the call names no object; nothing if it can't be told.
    pub kind: Option<&'a str>,
    /// The id, or `*` if the call names no object or makes it; nothing if it can't be told.
    pub path: Option<Cow<'a, str>>,
}

impl Resource<'_> {
    fn parts(&self) -> [Option<&str>; PARTS] {
        [Some(self.service), self.region, Some(self.account), self.kind, self.path.as_deref()]
    }

    /// `service:region:account:type:path`. What can't be told is empty.
    #[must_use]
    pub fn text(&self) -> String {
        self.parts().map(Option::unwrap_or_default).join(":")
    }
}

impl fmt::Display for Resource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

/// One entry of a statement's `Resource`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResourcePattern {
    /// `*`: everything.
    Any,
    /// `ecs:*:*:instance:*`.
    Parts(PartPatterns),
    /// `{"uri": […]}`: an agency, which no call here touches.
    Agency(Box<str>),
}

/// A pattern for each part of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartPatterns {
    /// As written.
    text: Box<str>,
    globs: Box<[Glob; PARTS]>,
}

impl PartPatterns {
    /// The service and the type, as written.
    pub(super) fn service_and_kind(&self) -> (&str, &str) {
        let mut parts = self.text.splitn(PARTS, ':');
        let service = parts.next().unwrap_or_default();
        (service, parts.nth(2).unwrap_or_default())
    }

    /// Whether resources of a type are covered, as far as the type tells.
    pub(super) fn covers_kind(&self, kind: &str) -> bool {
        let [_, _, _, glob, _] = &*self.globs;
        glob.matches(kind)
    }
}

/// Why a resource is malformed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResourceFault {
    /// Another number of parts than five, or an empty one.
    #[error("expected `*` or a resource `service:region:account:type:path`, found `{0}`")]
    Parts(String),
    /// A character that no resource has.
    #[error("expected letters, digits, `-_*./\\` and `:` in a resource, found {0:?}")]
    Character(char),
    /// A service in capitals, which is no service.
    #[error("expected the service in lower case, found `{0}`")]
    ServiceCase(String),
}

impl ResourcePattern {
    /// Reads a pattern. The characters are those that the provider takes (OBS user guide, IAM permissions).
    ///
    /// # Errors
    ///
    /// If it is malformed.
    pub fn parse(text: &str) -> Result<Self, ResourceFault> {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_*./\\:".contains(c);
        if let Some(character) = text.chars().find(|character| !is_allowed(*character)) {
            return Err(ResourceFault::Character(character));
        }
        if text == "*" {
            return Ok(Self::Any);
        }
        let parts: Vec<&str> = text.splitn(PARTS, ':').collect();
        let parts: [&str; PARTS] = parts.try_into().map_err(|_| ResourceFault::Parts(shorten(text)))?;
        let [service, ..] = &parts;
        if parts.iter().any(|part| part.is_empty()) {
            return Err(ResourceFault::Parts(shorten(text)));
        }
        if service.contains(|c: char| c.is_ascii_uppercase()) {
            return Err(ResourceFault::ServiceCase(shorten(service)));
        }
        Ok(Self::Parts(PartPatterns { text: text.into(), globs: Box::new(parts.map(Glob::parse)) }))
    }

    /// Whether the pattern covers a resource.
    pub(super) fn outcome(&self, resource: &Resource<'_>) -> Outcome {
        let globs = match self {
            Self::Any => return Outcome::Met,
            Self::Agency(_) => return Outcome::NotMet,
            Self::Parts(parts) => &*parts.globs,
        };
        let mut outcome = Outcome::Met;
        for (glob, part) in globs.iter().zip(resource.parts()) {
            match part {
                Some(part) if !glob.matches(part) => return Outcome::NotMet,
                None if *glob != Glob::Any => outcome = Outcome::Unclear,
                Some(_) | None => {}
            }
        }
        outcome
    }
}

impl fmt::Display for ResourcePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Parts(parts) => f.write_str(&parts.text),
            Self::Agency(uri) => f.write_str(uri),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(path: Option<&str>) -> Resource<'_> {
        let path = path.map(Cow::Borrowed);
        Resource { service: "ecs", region: Some("eu-de"), account: "acme", kind: Some("instance"), path }
    }

    #[test]
    fn a_pattern_covers_by_parts() {
        use Outcome::{Met, NotMet, Unclear};
        let region_unknown = Resource { region: None, ..instance(Some("7")) };
        let listed = Resource { kind: Some("*"), ..instance(Some("*")) };
        let anything = Resource { kind: None, ..instance(None) };
        let cases = [
            ("*", instance(Some("7")), Met),
            ("ecs:*:*:instance:7", instance(Some("7")), Met),
            ("ecs:eu-de:acme:instance:*", instance(Some("7")), Met),
            ("ecs:*:*:inst*:*", instance(Some("7")), Met),
            ("ecs:*:*:instance:8", instance(Some("7")), NotMet),
            ("ecs:*:other:instance:7", instance(Some("7")), NotMet),
            ("evs:*:*:instance:7", instance(Some("7")), NotMet),
            ("ecs:*:*:instance:7", instance(None), Unclear),
            ("ecs:*:*:instance:*", instance(None), Met),
            ("ecs:*:*:volume:7", instance(None), NotMet),
            ("ecs:eu-de:*:instance:7", region_unknown.clone(), Unclear),
            ("ecs:eu-de:*:instance:8", region_unknown, NotMet),
            ("ecs:*:*:instance:*", listed.clone(), NotMet),
            ("ecs:*:*:*:*", listed, Met),
            ("ecs:*:*:instance:*", anything.clone(), Unclear),
            ("ecs:*:*:*:*", anything, Met),
        ];
        for (pattern, resource, outcome) in cases {
            let parsed = ResourcePattern::parse(pattern).unwrap();
            assert_eq!(parsed.outcome(&resource), outcome, "{pattern} {resource}");
            assert_eq!(parsed.to_string(), pattern);
        }
    }

    #[test]
    fn a_malformed_pattern_says_what_was_expected() {
        for text in ["", "ecs", "ecs:*:*:instance", "ecs::*:instance:7", "ecs:*:*:instance:"] {
            assert_eq!(ResourcePattern::parse(text), Err(ResourceFault::Parts(shorten(text))), "{text}");
        }
        assert_eq!(ResourcePattern::parse("ecs:*:*:i:?"), Err(ResourceFault::Character('?')));
        assert_eq!(ResourcePattern::parse("ECS:*:*:i:7"), Err(ResourceFault::ServiceCase("ECS".to_owned())));
    }
}
