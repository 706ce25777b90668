//! A request for a decision as it lies in its message.

use std::collections::BTreeMap;

use crate::catalog::BodySummary;
use crate::grpc::protobuf::{Fields, NotPlain, Value, entry, once};
use crate::request::PrincipalParts;

/// What a request says: nothing is checked yet.
#[derive(Debug, Default, PartialEq)]
pub(in crate::grpc) struct Message<'a> {
    pub(in crate::grpc) principal: PrincipalParts,
    pub(in crate::grpc) method: &'a str,
    pub(in crate::grpc) path: &'a str,
    pub(in crate::grpc) body: Option<BodyMessage<'a>>,
    pub(in crate::grpc) source_ip: &'a str,
    pub(in crate::grpc) attributes: BTreeMap<String, Vec<String>>,
    pub(in crate::grpc) request_id: &'a str,
    pub(in crate::grpc) dependency_mode: i32,
    pub(in crate::grpc) explain: bool,
    pub(in crate::grpc) min_revision: u64,
}

/// A body, in one of its forms or, wrongly, in both.
#[derive(Debug, Default, PartialEq)]
pub(in crate::grpc) struct BodyMessage<'a> {
    pub(in crate::grpc) summary: BodySummary,
    pub(in crate::grpc) content: Option<&'a [u8]>,
}

impl<'a> Message<'a> {
    /// Reads an `AuthorizeRequest`.
    pub(in crate::grpc) fn read(message: Fields<'a>) -> Result<Self, NotPlain> {
        let mut read = Self::default();
        let (mut principal, mut body, mut context) = (None, None, None);
        let mut fields = message;
        while let Some((field, value)) = fields.next()? {
            match field {
                1 => once(&mut principal, value.message()?)?,
                2 => read.method = value.text()?,
                3 => read.path = value.text()?,
                4 => once(&mut body, value.message()?)?,
                5 => once(&mut context, value.message()?)?,
                6 => read.request_id = value.text()?,
                7 => read.dependency_mode = value.choice()?,
                8 => read.explain = value.flag()?,
                9 => read.min_revision = value.number()?,
                _ => {}
            }
        }
        read.principal = read_principal(principal.unwrap_or_default())?;
        read.body = body.map(BodyMessage::read).transpose()?;
        read.context(context.unwrap_or_default())?;
        Ok(read)
    }

    fn context(&mut self, mut fields: Fields<'a>) -> Result<(), NotPlain> {
        while let Some((field, value)) = fields.next()? {
            match field {
                1 => self.source_ip = value.text()?,
                2 => add_values(&mut self.attributes, value)?,
                _ => {}
            }
        }
        Ok(())
    }
}

impl<'a> BodyMessage<'a> {
    fn read(mut fields: Fields<'a>) -> Result<Self, NotPlain> {
        let mut read = Self::default();
        while let Some((field, value)) = fields.next()? {
            match field {
                1 => read.summary.top_level_keys.push(value.text()?.to_owned()),
                2 => add_values(&mut read.summary.attributes, value)?,
                3 => read.summary.truncated = value.flag()?,
                4 => read.content = Some(value.bytes()?),
                _ => {}
            }
        }
        Ok(read)
    }
}

fn read_principal(mut fields: Fields<'_>) -> Result<PrincipalParts, NotPlain> {
    let mut read = PrincipalParts::default();
    while let Some((field, value)) = fields.next()? {
        let text = || value.text().map(ToOwned::to_owned);
        match field {
            1 => read.domain_id = text()?,
            2 => read.domain_name = text()?,
            3 => read.user_id = text()?,
            4 => read.user_name = text()?,
            5 => read.agency_id = text()?,
            6 => read.project_id = text()?,
            7 => read.project_name = text()?,
            8 => read.group_ids.push(text()?),
            9 => read.role_names.push(text()?),
            10 => read.mfa_present = Some(value.flag()?),
            _ => {}
        }
    }
    Ok(read)
}

/// An entry of a map to `Values`. Of two with one key, the later counts.
fn add_values(map: &mut BTreeMap<String, Vec<String>>, value: Value<'_>) -> Result<(), NotPlain> {
    let (key, value) = entry(value)?;
    let mut fields = value.map_or(Ok(Fields::default()), Value::message)?;
    let mut values = Vec::new();
    while let Some((field, value)) = fields.next()? {
        if field == 1 {
            values.push(value.text()?.to_owned());
        }
    }
    map.insert(key.to_owned(), values);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::super::{parse_attributes, parse_principal};
    use super::*;
    use crate::grpc::{pb, protobuf};

    /// What prost has read.
    fn of(message: &pb::AuthorizeRequest) -> Message<'_> {
        let context = message.context.as_ref();
        Message {
            principal: parse_principal(message.principal.clone().unwrap_or_default()),
            method: &message.method,
            path: &message.path,
            body: message.body.as_ref().map(|body| BodyMessage {
                summary: BodySummary {
                    top_level_keys: body.top_level_keys.clone(),
                    attributes: parse_attributes(body.attributes.clone()),
                    truncated: body.truncated,
                },
                content: body.content.as_deref(),
            }),
            source_ip: context.map(|context| context.source_ip.as_str()).unwrap_or_default(),
            attributes: context
                .map(|context| parse_attributes(context.attributes.clone()))
                .unwrap_or_default(),
            request_id: &message.request_id,
            dependency_mode: message.dependency_mode,
            explain: message.explain,
            min_revision: message.min_revision,
        }
    }

    type Attributes = std::collections::HashMap<String, pb::Values>;

    /// Few and short ones: what is read depends on no length beyond that of one byte.
    fn texts() -> impl Strategy<Value = Vec<String>> {
        prop::collection::vec(".{0,4}", 0..3)
    }

    fn attributes() -> impl Strategy<Value = Attributes> {
        prop::collection::hash_map(".{0,4}", texts().prop_map(|values| pb::Values { values }), 0..3)
    }

    fn principals() -> impl Strategy<Value = pb::Principal> {
        let ids = prop::array::uniform7(".{0,4}");
        let parts = (ids, texts(), texts(), any::<Option<bool>>());
        parts.prop_map(|(ids, group_ids, role_names, mfa_present)| {
            let [domain_id, domain_name, user_id, user_name, agency_id, project_id, project_name] = ids;
            pb::Principal {
                domain_id,
                domain_name,
                user_id,
                user_name,
                agency_id,
                project_id,
                project_name,
                group_ids,
                role_names,
                mfa_present,
            }
        })
    }

    fn bodies() -> impl Strategy<Value = pb::BodySummary> {
        let content = prop::option::of(prop::collection::vec(any::<u8>(), 0..200));
        let parts = (texts(), attributes(), any::<bool>(), content);
        parts.prop_map(|(top_level_keys, attributes, truncated, content)| pb::BodySummary {
            top_level_keys,
            attributes,
            truncated,
            content,
        })
    }

    prop_compose! {
        fn requests()(
            principal in prop::option::of(principals()),
            body in prop::option::of(bodies()),
            context in prop::option::of((".{0,4}", attributes())),
            method: String,
            path: String,
            request_id: String,
            dependency_mode: i32,
            explain: bool,
            min_revision: u64,
        ) -> pb::AuthorizeRequest {
            let context = context.map(|(source_ip, attributes)| pb::RequestContext { source_ip, attributes });
            pb::AuthorizeRequest {
                principal, method, path, body, context, request_id, dependency_mode, explain, min_revision,
            }
        }
    }

    /// Whatever these bytes are, they are read as prost reads them, or refused with its words.
    fn is_as_prost_reads(bytes: &[u8]) -> Result<(), TestCaseError> {
        let mut plain = Vec::new();
        let by_prost = pb::AuthorizeRequest::decode(bytes);
        let read = protobuf::read::<pb::AuthorizeRequest, _>(bytes, &mut plain, Message::read);
        match (read, by_prost) {
            (Ok(read), Ok(by_prost)) => prop_assert_eq!(read, of(&by_prost)),
            (Err(status), Err(error)) => prop_assert_eq!(status.message(), error.to_string()),
            (read, by_prost) => prop_assert!(false, "{:?} {:?}", read, by_prost),
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn requests_are_read_in_place_as_prost_reads_them(request in requests()) {
            let bytes = request.encode_to_vec();
            prop_assert_eq!(Message::read(Fields::of(&bytes)), Ok(of(&request)));
        }

        #[test]
        fn what_is_told_in_parts_is_merged(first in requests(), second in requests()) {
            is_as_prost_reads(&[first.encode_to_vec(), second.encode_to_vec()].concat())?;
        }

        #[test]
        fn what_is_damaged_is_read_as_by_prost(request in requests(), at: usize, flip: u8) {
            let mut bytes = request.encode_to_vec();
            if let Some(at) = at.checked_rem(bytes.len()) {
                is_as_prost_reads(&bytes[..at])?;
                bytes[at] ^= flip;
            }
            is_as_prost_reads(&bytes)?;
        }
    }
}
