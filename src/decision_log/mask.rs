//! Fields that are not recorded as they are.

use std::borrow::Cow;
use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit as _, Mac as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// The bytes of a hash that are recorded: too many for two values to share them by chance.
const HASH_BYTES: usize = 16;

/// A field that can be masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "named as in a record, whose schema describes each")]
pub enum Field {
    RequestId,
    Peer,
    DomainId,
    UserId,
    AgencyId,
    ProjectId,
    SourceIp,
    Path,
    Resource,
}

/// How a field is masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Masking {
    /// By a keyed hash: the same value has the same hash, so records of one user stay together.
    Hash,
    /// By leaving it out.
    Drop,
}

/// What is masked, and by which key.
pub(super) struct Mask {
    fields: BTreeMap<Field, Masking>,
    keyed: Option<Hmac<Sha256>>,
}

impl Mask {
    pub(super) fn new(fields: BTreeMap<Field, Masking>, key: Option<&[u8]>) -> Self {
        // HMAC takes keys of any length.
        Self { fields, keyed: key.and_then(|key| Hmac::new_from_slice(key).ok()) }
    }

    /// A value as it may be recorded.
    pub(super) fn apply<'a>(&self, field: Field, value: Cow<'a, str>) -> Option<Cow<'a, str>> {
        match self.fields.get(&field) {
            None => Some(value),
            Some(Masking::Drop) => None,
            Some(Masking::Hash) => self.hash(&value).map(Cow::Owned),
        }
    }

    fn hash(&self, value: &str) -> Option<String> {
        let hash = self.keyed.clone()?.chain_update(value).finalize().into_bytes();
        let digits = hash.iter().take(HASH_BYTES).map(|byte| format!("{byte:02x}"));
        Some(digits.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_depends_on_value_and_key_alone() {
        let fields = || BTreeMap::from([(Field::UserId, Masking::Hash), (Field::Path, Masking::Drop)]);
        let mask = Mask::new(fields(), Some(b"key"));
        let of = |mask: &Mask, field, value: &'static str| {
            mask.apply(field, value.into()).map(Cow::into_owned).unwrap_or_default()
        };
        // By `printf alice | openssl dgst -sha256 -hmac key`.
        assert_eq!(of(&mask, Field::UserId, "alice"), ALICE);
        assert_ne!(of(&mask, Field::UserId, "bob"), ALICE);
        assert_ne!(of(&Mask::new(fields(), Some(b"other")), Field::UserId, "alice"), ALICE);
        assert_eq!(of(&mask, Field::Path, "/v1"), "");
        assert_eq!(of(&mask, Field::DomainId, "acme"), "acme");
    }

    const ALICE: &str = "76fb55e929c06b97b01c35950ee5f72f";
}
