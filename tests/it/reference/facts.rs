//! What is known of a condition key.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{ENTERPRISE_PROJECT, Question, Time, service, value};

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
    /// What the operation decides without saying how.
    pub(super) untold: &'a [String],
    /// Whether the operation makes what it touches.
    pub(super) is_new: bool,
    /// Whether the call may go to another enterprise project than the one that is told.
    pub(super) goes_elsewhere: bool,
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
        // Every call has these, so if they are not given, they are not known.
        let always = |text: &str| {
            if text.is_empty() { Seen::Unknown } else { Seen::Known(vec![text.to_owned()]) }
        };
        let is_agency = !principal.agency_id.is_empty();
        match key {
            "g:CurrentTime" => match time {
                Time::Now => {
                    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
                    always(&value::date(now.as_secs()))
                }
                Time::At(seconds) => always(&value::date(*seconds)),
                Time::Unknown => Seen::Unknown,
            },
            "g:DomainId" | "g:PrincipalAccount" => always(&principal.domain_id),
            "g:DomainName" => always(&principal.domain_name),
            // An agency is no user.
            "g:UserId" if is_agency => Seen::Absent,
            "g:UserId" => always(&principal.user_id),
            "g:UserName" if is_agency && principal.user_name.is_empty() => Seen::Absent,
            "g:UserName" => always(&principal.user_name),
            "g:ProjectName" if principal.project_id.is_empty() => Seen::Absent,
            "g:ProjectName" => always(&principal.project_name),
            "g:MFAPresent" => principal.mfa_present.map_or(Seen::Unknown, |is| always(&is.to_string())),
            "g:SourceIp" | "hw:SourceIp" => always(source_ip),
            "g:ServiceName" => always(service(action)),
            "g:RequestedRegion" => always(region),
            _ if self.declared.contains_key(key) => self.declared[key].clone(),
            _ => match attributes.get(key) {
                Some(values) if key == ENTERPRISE_PROJECT && self.goes_elsewhere && !values.is_empty() => {
                    Seen::Unknown
                }
                Some(values) => Seen::of(values.clone()),
                None if self.is_known_to_be_missing(key) => Seen::Absent,
                None => Seen::Unknown,
            },
        }
    }

    /// Of a key that the caller does not mention.
    fn is_known_to_be_missing(&self, key: &str) -> bool {
        let mentions = |prefix: &str| self.question.attributes.keys().any(|name| name.starts_with(prefix));
        if self.untold.iter().any(|name| name == key) {
            return false;
        }
        match key.split('/').next() {
            // Every resource belongs to one.
            Some("g:EnterpriseProjectId") => false,
            // Who mentions one tag mentions all. What is made has none yet, and who reads sends none.
            Some("g:ResourceTag") => self.is_new || mentions("g:ResourceTag/"),
            Some("g:RequestTag" | "g:TagKeys") => {
                self.question.method == "GET" || mentions("g:RequestTag/") || mentions("g:TagKeys")
            }
            // Without a second factor there is no age of it.
            Some("g:MFAAge") => self.question.principal.mfa_present == Some(false),
            _ => true,
        }
    }
}
