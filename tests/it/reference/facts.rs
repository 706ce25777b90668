//! What is known of a condition key.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Question, Time, service, value};

/// The values of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    /// Never empty.
    Known(Vec<String>),
    Absent,
    /// It can't be told.
    Unknown,
}

impl Seen {
    pub(super) fn of(values: Vec<String>) -> Self {
        if values.is_empty() { Self::Absent } else { Self::Known(values) }
    }
}

/// What is known of a call.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) question: &'a Question,
    /// What the operation declares.
    pub(super) declared: &'a BTreeMap<String, Seen>,
}

/// The keys that the server knows by itself.
pub(super) fn is_derived(key: &str) -> bool {
    const DERIVED: [&str; 12] = [
        "g:CurrentTime",
        "g:DomainId",
        "g:DomainName",
        "g:MFAPresent",
        "g:PrincipalAccount",
        "g:ProjectName",
        "g:RequestedRegion",
        "g:ServiceName",
        "g:SourceIp",
        "g:UserId",
        "g:UserName",
        "hw:SourceIp",
    ];
    DERIVED.contains(&key)
}

impl Facts<'_> {
    /// The values of a key where an action is judged.
    pub(super) fn seen(&self, key: &str, action: &str) -> Seen {
        let Question { principal, source_ip, attributes, time, region, .. } = self.question;
        let text = |text: &str| {
            if text.is_empty() { Seen::Absent } else { Seen::Known(vec![text.to_owned()]) }
        };
        match key {
            "g:CurrentTime" => match time {
                Time::Now => {
                    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
                    text(&value::date(now.as_secs()))
                }
                Time::At(seconds) => text(&value::date(*seconds)),
                Time::Unknown => Seen::Unknown,
            },
            "g:DomainId" | "g:PrincipalAccount" => text(&principal.domain_id),
            "g:DomainName" => text(&principal.domain_name),
            "g:UserId" => text(&principal.user_id),
            "g:UserName" => text(&principal.user_name),
            "g:ProjectName" => text(&principal.project_name),
            "g:MFAPresent" => principal.mfa_present.map_or(Seen::Absent, |is| text(&is.to_string())),
            "g:SourceIp" | "hw:SourceIp" => text(source_ip),
            "g:ServiceName" => text(service(action)),
            "g:RequestedRegion" => text(region),
            _ if key.starts_with("ecs:") && self.declared.contains_key(key) => self.declared[key].clone(),
            _ => Seen::of(attributes.get(key).cloned().unwrap_or_default()),
        }
    }
}
