//! Who calls, and in which circumstances: all of a request that does not depend on the call.

use std::net::IpAddr;
use std::ops::Bound;

use super::check::Check;
use super::{Context, ENTERPRISE_PROJECT, Identity, InvalidRequest, PrincipalParts};

/// Names of the principal, which conditions may ask for. Empty where they are not given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// The domain's.
    pub domain: String,
    /// The user's.
    pub user: String,
    /// The project's.
    pub project: String,
}

/// Who calls, and in which circumstances. One that exists is well-formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    identity: Identity,
    names: Names,
    mfa_present: Option<bool>,
    context: Context,
    /// The address in `context`, if it has one.
    address: Option<IpAddr>,
}

impl Caller {
    /// Checks a principal and its circumstances.
    ///
    /// # Errors
    ///
    /// Every violation, under the names of the wire.
    pub fn new(principal: PrincipalParts, context: Context) -> Result<Self, InvalidRequest> {
        let mut check = Check::default();
        match Self::check(principal, context, &mut check) {
            Some(caller) if check.violations.is_empty() => Ok(caller),
            _ => Err(InvalidRequest { violations: check.violations }),
        }
    }

    pub(super) fn check(principal: PrincipalParts, context: Context, check: &mut Check) -> Option<Self> {
        let address = check.context(&context);
        let mfa_present = principal.mfa_present;
        let (identity, names) = check.principal(principal)?;
        Some(Self { identity, names, mfa_present, context, address })
    }

    /// Who calls.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The enterprise project of the resource, if the caller named it.
    #[must_use]
    pub fn enterprise_project(&self) -> Option<&str> {
        self.attribute(ENTERPRISE_PROJECT)?.first().map(String::as_str)
    }

    /// The values that the caller gives a condition key.
    #[must_use]
    pub fn attribute(&self, key: &str) -> Option<&[String]> {
        self.context.attributes.get(key).map(Vec::as_slice)
    }

    /// Whether the caller gives values to a condition key that starts so.
    #[must_use]
    pub fn has_attribute_from(&self, prefix: &str) -> bool {
        let mut from = self.context.attributes.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        from.next().is_some_and(|(key, _)| key.starts_with(prefix))
    }

    /// The principal's names.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Whether the principal signed in with a second factor, if that is known.
    #[must_use]
    pub fn mfa_present(&self) -> Option<bool> {
        self.mfa_present
    }

    /// The address that the call came from, or nothing.
    #[must_use]
    pub fn source_ip(&self) -> &str {
        &self.context.source_ip
    }

    /// The same, read.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// The time of the call, in seconds since 1970, if it is known.
    #[must_use]
    pub fn time(&self) -> Option<u64> {
        self.context.time
    }

    /// The region that the call is made in, if the request says.
    #[must_use]
    pub fn region(&self) -> Option<&str> {
        Some(self.context.region.as_str()).filter(|region| !region.is_empty())
    }
}
