//! Condition keys: their names, their types, and who tells their values.

use std::fmt;

use super::likeness::Likeness;
use crate::policy::error::shorten;

/// A condition key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    name: Box<str>,
    kind: Option<Kind>,
    teller: Teller,
}

/// Who tells the values of a key, or what else is known of it: its name, resolved when the policy is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Teller {
    /// The service: the time.
    Time,
    /// The service: the principal's account.
    DomainId,
    /// The service: that account's name.
    DomainName,
    /// The service: the user.
    UserId,
    /// The service: the user's name.
    UserName,
    /// The service: the project's name.
    ProjectName,
    /// The service: whether there was a second factor.
    Mfa,
    /// The service: the address of the call.
    Address,
    /// The service: the action's service.
    Service,
    /// The service: the region.
    Region,
    /// Who asks, or the body: the enterprise project.
    EnterpriseProject,
    /// Who asks: the seconds since the second factor.
    MfaAge,
    /// Who asks: the names of the tags that the call sends.
    TagKeys,
    /// Who asks: a tag that the call sends.
    RequestTag,
    /// Who asks: a tag of the resource.
    ResourceTag,
    /// The call, or who asks.
    Call,
}

/// What the values of a key are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// Decimal numbers.
    Number,
    /// Points in time.
    Date,
    /// `true` or `false`.
    Flag,
    /// IP addresses.
    Address,
}

/// A key that is not known (IAM.1059).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// A global or ECS key that is not published.
    #[error("unknown key `{name}`{}", .like.iter().map(|like| format!(": {like}")).collect::<String>())]
    Unknown {
        /// The key.
        name: String,
        /// The key that it may have been meant to be.
        like: Option<Likeness>,
    },
    /// `g:RequestTag/` alone.
    #[error("expected the name of a tag behind `{0}`")]
    NoTag(&'static str),
    /// Not `service:Name`.
    #[error("expected a key `service:Name`, found `{0}`")]
    Form(String),
}

/// The global keys (IAM user guide, Policy Syntax; the newer ones from the 5.0 pages).
const GLOBAL: [(&str, Kind, Teller); 15] = [
    ("g:CurrentTime", Kind::Date, Teller::Time),
    ("g:DomainId", Kind::Text, Teller::DomainId),
    ("g:DomainName", Kind::Text, Teller::DomainName),
    ("g:EnterpriseProjectId", Kind::Text, Teller::EnterpriseProject),
    ("g:MFAAge", Kind::Number, Teller::MfaAge),
    ("g:MFAPresent", Kind::Flag, Teller::Mfa),
    ("g:PrincipalAccount", Kind::Text, Teller::DomainId),
    ("g:ProjectName", Kind::Text, Teller::ProjectName),
    ("g:RequestedRegion", Kind::Text, Teller::Region),
    ("g:ServiceName", Kind::Text, Teller::Service),
    ("g:SourceIp", Kind::Address, Teller::Address),
    ("g:TagKeys", Kind::Text, Teller::TagKeys),
    ("g:UserId", Kind::Text, Teller::UserId),
    ("g:UserName", Kind::Text, Teller::UserName),
    ("hw:SourceIp", Kind::Address, Teller::Address),
];
/// Keys with a tag's name behind them.
const GLOBAL_PREFIXES: [(&str, Teller); 2] =
    [("g:RequestTag/", Teller::RequestTag), ("g:ResourceTag/", Teller::ResourceTag)];
/// The keys of ECS.
const ECS: [&str; 16] = [
    "ecs:AvailabilityZone",
    "ecs:FlavorId",
    "ecs:ImagePlatform",
    "ecs:ImageSupportAgentType",
    "ecs:ImageType",
    "ecs:KmsKeyId",
    "ecs:OsType",
    "ecs:OsVersion",
    "ecs:PortId",
    "ecs:SSHKeyPairName",
    "ecs:ServerId",
    "ecs:SubnetId",
    "ecs:SupportAgentType",
    "ecs:VolumeId",
    "ecs:VpcId",
    "ecs:imageID",
];

/// The fewest bytes behind a key's service that tell which key it is the beginning of.
const MIN_BEGINNING: usize = 3;

impl Key {
    /// Reads a key. Global keys and those of ECS are a closed list; of other services any is taken, of whatever type.
    ///
    /// # Errors
    ///
    /// If it is not known.
    pub fn parse(name: &str) -> Result<Self, KeyFault> {
        let known = GLOBAL.iter().find(|(known, ..)| *known == name);
        let tag = GLOBAL_PREFIXES
            .iter()
            .find(|(prefix, _)| name.strip_prefix(prefix).is_some_and(|tag| !tag.is_empty()));
        let (kind, teller) = match (name.split_once(':'), known, tag) {
            (_, Some((_, kind, teller)), _) => (Some(*kind), *teller),
            (Some(("g", _)), _, Some((_, teller))) => (Some(Kind::Text), *teller),
            (Some(("ecs", _)), ..) if ECS.contains(&name) => (Some(Kind::Text), Teller::Call),
            (Some(("g" | "hw" | "ecs", _)), ..) => return Err(unknown(name)),
            (Some((service, rest)), ..) if is_service(service) && !rest.is_empty() => (None, Teller::Call),
            _ => return Err(malformed(name)),
        };
        Ok(Self { name: name.into(), kind, teller })
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The type of its values, if it is known.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        self.kind
    }

    /// Who tells its values.
    pub(crate) fn teller(&self) -> Teller {
        self.teller
    }
}

/// The fault of a key of a closed list.
fn unknown(name: &str) -> KeyFault {
    match GLOBAL_PREFIXES.into_iter().map(|(prefix, _)| prefix).find(|prefix| *prefix == name) {
        Some(prefix) => KeyFault::NoTag(prefix),
        None => KeyFault::Unknown { name: shorten(name), like: like(name) },
    }
}

/// The fault of a key that may be a known one but for its letter case: `G:UserName`.
fn malformed(name: &str) -> KeyFault {
    match like(name) {
        like @ Some(Likeness::Case(_)) => KeyFault::Unknown { name: shorten(name), like },
        _ => KeyFault::Form(shorten(name)),
    }
}

/// The known key that this one looks like.
fn like(name: &str) -> Option<Likeness> {
    // Of a tag's key, the prefix is known.
    let name = name.split_inclusive('/').next().unwrap_or_default();
    let service = name.split(':').next().unwrap_or_default();
    let global = GLOBAL.into_iter().map(|(known, ..)| known);
    let prefixes = GLOBAL_PREFIXES.into_iter().map(|(prefix, _)| prefix);
    let known = global.chain(prefixes).chain(ECS).filter(|known| {
        known.split(':').next().is_some_and(|of_known| of_known.eq_ignore_ascii_case(service))
    });
    let nearest = Likeness::find(name, known.clone().map(ToOwned::to_owned), 2);
    nearest.or_else(|| {
        let mut kin = known.filter(|known| is_beginning(name, known) || is_beginning(known, name));
        let one = kin.next().filter(|_| kin.next().is_none());
        one.map(|known| Likeness::Near(known.to_owned()))
    })
}

/// Whether a key begins as another one that says something behind its service.
fn is_beginning(short: &str, long: &str) -> bool {
    let named = short.split_once(':').map_or(0, |(_, rest)| rest.len());
    named >= MIN_BEGINNING && long.starts_with(short)
}

fn is_service(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Kind {
    pub(super) fn plural(self) -> &'static str {
        match self {
            Self::Text => "texts",
            Self::Number => "numbers",
            Self::Date => "times",
            Self::Flag => "truth values",
            Self::Address => "addresses",
        }
    }

    pub(super) fn singular(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Number => "a number",
            Self::Date => "a time",
            Self::Flag => "a truth value",
            Self::Address => "an address",
        }
    }
}
