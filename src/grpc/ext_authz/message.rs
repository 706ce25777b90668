//! A check as it lies in its message: what is read of it, and nothing is copied.

use super::claims::Object;
use super::headers::{Form, Headers};
use crate::grpc::protobuf::{Fields, NotPlain, Value, entry, once};

/// What is read of a check.
#[derive(Debug, Default)]
pub(super) struct Check<'a> {
    /// The address of the peer.
    pub(super) source_ip: &'a str,
    /// The identity in the peer's certificate.
    pub(super) peer: &'a str,
    pub(super) method: &'a str,
    /// The request target: the path with its query.
    pub(super) path: &'a str,
    pub(super) headers: Headers<'a>,
    /// Whether headers came in both forms.
    pub(super) has_both_forms: bool,
    pub(super) body: &'a [u8],
    pub(super) raw_body: &'a [u8],
    pub(super) extensions: Extensions<'a>,
    /// What filters before found out, by their names. Of two with one name, the later counts.
    metadata: Vec<(&'a str, Object<'a>)>,
}

/// What the Envoy configuration says of the route.
#[derive(Debug, Default)]
pub(super) struct Extensions<'a> {
    /// The route's word on dependencies: `enforce`, or `report`.
    pub(super) dependency_mode: Option<&'a str>,
    /// The region that it leads to.
    pub(super) region: Option<&'a str>,
    /// The enterprise project that its resources belong to.
    pub(super) enterprise_project: Option<&'a str>,
    /// Where it is, for those who read logs.
    pub(super) environment: Option<&'a str>,
}

impl<'a> Check<'a> {
    /// Reads the message of a check.
    pub(super) fn read(message: Fields<'a>) -> Result<Self, NotPlain> {
        let mut check = Self::default();
        check.attributes(message.sole_message(1)?)?;
        Ok(check)
    }

    /// What a filter found out.
    pub(super) fn metadata(&self, filter: &str) -> Option<&Object<'a>> {
        self.metadata.iter().rev().find(|(name, _)| *name == filter).map(|(_, found)| found)
    }

    fn attributes(&mut self, mut fields: Fields<'a>) -> Result<(), NotPlain> {
        let (mut source, mut request, mut metadata) = (None, None, None);
        while let Some((field, value)) = fields.next()? {
            match field {
                1 => once(&mut source, value.message()?)?,
                4 => once(&mut request, value.message()?)?,
                10 => self.extensions.entry(value)?,
                11 => once(&mut metadata, value.message()?)?,
                _ => {}
            }
        }
        self.source(source.unwrap_or_default())?;
        self.http(request.unwrap_or_default().sole_message(2)?)?;
        self.filters(metadata.unwrap_or_default())
    }

    fn source(&mut self, mut fields: Fields<'a>) -> Result<(), NotPlain> {
        let mut address = None;
        while let Some((field, value)) = fields.next()? {
            match field {
                1 => once(&mut address, value.message()?)?,
                4 => self.peer = value.text()?,
                _ => {}
            }
        }
        let mut socket = address.unwrap_or_default().sole_message(1)?;
        while let Some((field, value)) = socket.next()? {
            if field == 2 {
                self.source_ip = value.text()?;
            }
        }
        Ok(())
    }

    fn http(&mut self, mut fields: Fields<'a>) -> Result<(), NotPlain> {
        let mut raw = None;
        while let Some((field, value)) = fields.next()? {
            match field {
                2 => self.method = value.text()?,
                3 => {
                    let (name, value) = entry(value)?;
                    let value = value.map_or(Ok(""), Value::text)?;
                    self.headers.add(name, value.as_bytes());
                }
                4 => self.path = value.text()?,
                11 => self.body = value.text()?.as_bytes(),
                12 => self.raw_body = value.bytes()?,
                13 => once(&mut raw, value.message()?)?,
                _ => {}
            }
        }
        if let Some(raw) = raw {
            self.has_both_forms = !self.headers.is_empty();
            self.headers = raw_headers(raw)?;
        }
        Ok(())
    }

    fn filters(&mut self, mut fields: Fields<'a>) -> Result<(), NotPlain> {
        while let Some((field, value)) = fields.next()? {
            if field == 1 {
                let (filter, found) = entry(value)?;
                let found = found.map_or(Ok(Fields::default()), Value::message)?;
                self.metadata.push((filter, Object::read(found)?));
            }
        }
        Ok(())
    }
}

impl<'a> Extensions<'a> {
    fn entry(&mut self, value: Value<'a>) -> Result<(), NotPlain> {
        let (name, value) = entry(value)?;
        let value = value.map_or(Ok(""), Value::text)?;
        match name {
            "dependency_mode" => self.dependency_mode = Some(value),
            "region" => self.region = Some(value),
            "enterprise_project_id" => self.enterprise_project = Some(value),
            "environment" => self.environment = Some(value),
            _ => {}
        }
        Ok(())
    }
}

/// The headers in order, with their bytes as received.
fn raw_headers(mut fields: Fields<'_>) -> Result<Headers<'_>, NotPlain> {
    let mut headers = Headers::new(Form::Raw);
    while let Some((field, value)) = fields.next()? {
        if field == 1 {
            let (name, value) = raw_header(value.message()?)?;
            headers.add(name, value);
        }
    }
    Ok(headers)
}

fn raw_header(mut fields: Fields<'_>) -> Result<(&str, &[u8]), NotPlain> {
    let (mut name, mut text, mut raw): (_, _, &[u8]) = ("", "", &[]);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => name = value.text()?,
            2 => text = value.text()?,
            3 => raw = value.bytes()?,
            _ => {}
        }
    }
    Ok((name, if raw.is_empty() { text.as_bytes() } else { raw }))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use prost::Message as _;
    use prost_types::value::Kind;
    use prost_types::{ListValue, Struct, Value as ProstValue};

    use super::*;
    use crate::grpc::protobuf;
    use crate::grpc::wire::envoy::config::core::v3::address::Address as Place;
    use crate::grpc::wire::envoy::config::core::v3::{
        Address, HeaderMap, HeaderValue, Metadata, SocketAddress,
    };
    use crate::grpc::wire::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer, Request};
    use crate::grpc::wire::envoy::service::auth::v3::{AttributeContext, CheckRequest};

    /// What prost has read says the same.
    fn is_same(check: &Check<'_>, message: &CheckRequest) -> bool {
        let attributes = message.attributes.clone().unwrap_or_default();
        let source = attributes.source.unwrap_or_default();
        let address = source.address.and_then(|address| address.address);
        let Place::SocketAddress(socket) = address.unwrap_or(Place::SocketAddress(SocketAddress::default()));
        let http = attributes.request.and_then(|request| request.http).unwrap_or_default();
        let extension = |name| attributes.context_extensions.get(name).map(String::as_str);
        let Extensions { dependency_mode, region, enterprise_project, environment } = check.extensions;
        let filters = attributes.metadata_context.unwrap_or_default().filter_metadata;
        check.source_ip == socket.address
            && check.peer == source.principal
            && (check.method, check.path) == (&http.method, &http.path)
            && check.has_both_forms == (http.header_map.is_some() && !http.headers.is_empty())
            && check.headers.all() == headers(&http)
            && (check.body, check.raw_body) == (http.body.as_bytes(), http.raw_body.as_slice())
            && dependency_mode == extension("dependency_mode")
            && region == extension("region")
            && enterprise_project == extension("enterprise_project_id")
            && environment == extension("environment")
            && check.metadata.iter().all(|(name, _)| filters.contains_key(*name))
            && filters
                .iter()
                .all(|(name, found)| check.metadata(name).is_some_and(|object| object.is_same(found)))
    }

    /// By name; each in order.
    fn headers(http: &HttpRequest) -> HashMap<&str, Vec<&[u8]>> {
        let Some(map) = &http.header_map else {
            return http.headers.iter().map(|(name, value)| (&**name, vec![value.as_bytes()])).collect();
        };
        let mut all: HashMap<_, Vec<_>> = HashMap::new();
        for HeaderValue { key, value, raw_value } in &map.headers {
            let value = if raw_value.is_empty() { value.as_bytes() } else { raw_value };
            all.entry(&**key).or_default().push(value);
        }
        all
    }

    fn names() -> impl Strategy<Value = String> {
        const KNOWN: &[&str] =
            &["accept", "content-type", "x-http-method", "region", "environment", "dependency_mode"];
        prop_oneof![prop::sample::select(KNOWN).prop_map(ToOwned::to_owned), any::<String>()]
    }

    fn objects() -> impl Strategy<Value = Struct> {
        super::super::claims::tests::objects()
    }

    prop_compose! {
        fn https()(
            texts: [String; 3],
            headers in prop::collection::hash_map(names(), any::<String>(), 0..5),
            raw in prop::option::of(prop::collection::vec((names(), any::<(String, Vec<u8>)>()), 0..5)),
            raw_body: Vec<u8>,
        ) -> HttpRequest {
            let [method, path, body] = texts;
            let header_map = raw.map(|raw| {
                let raw = raw.into_iter();
                let header = |(key, (value, raw_value))| HeaderValue { key, value, raw_value };
                HeaderMap { headers: raw.map(header).collect() }
            });
            HttpRequest { method, headers, path, body, raw_body, header_map }
        }
    }

    prop_compose! {
        fn checks()(
            source: Option<(String, Option<String>)>,
            http in prop::option::of(https()),
            context_extensions in prop::collection::hash_map(names(), any::<String>(), 0..5),
            filters in prop::option::of(prop::collection::hash_map(names(), objects(), 0..3)),
        ) -> CheckRequest {
            let source = source.map(|(principal, address)| Peer {
                principal,
                address: address.map(|address| Address {
                    address: Some(Place::SocketAddress(SocketAddress { address })),
                }),
            });
            let request = Some(Request { http });
            let metadata_context = filters.map(|filter_metadata| Metadata { filter_metadata });
            let attributes = AttributeContext { source, request, context_extensions, metadata_context };
            CheckRequest { attributes: Some(attributes) }
        }
    }

    /// Whatever these bytes are, they are read as prost reads them, or refused with its words.
    fn is_as_prost_reads(bytes: &[u8]) -> Result<(), TestCaseError> {
        let mut plain = Vec::new();
        let by_prost = CheckRequest::decode(bytes);
        match (protobuf::read::<CheckRequest, _>(bytes, &mut plain, Check::read), by_prost) {
            (Ok(read), Ok(by_prost)) => prop_assert!(is_same(&read, &by_prost), "{:?} {:?}", read, by_prost),
            (Err(status), Err(error)) => prop_assert_eq!(status.message(), error.to_string()),
            (read, by_prost) => prop_assert!(false, "{:?} {:?}", read, by_prost),
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn checks_are_read_in_place_as_prost_reads_them(message in checks()) {
            let bytes = message.encode_to_vec();
            let read = Check::read(Fields::of(&bytes));
            prop_assert!(read.as_ref().is_ok_and(|check| is_same(check, &message)), "{:?}", read);
        }

        #[test]
        fn what_is_told_in_parts_is_merged(first in checks(), second in checks()) {
            is_as_prost_reads(&[first.encode_to_vec(), second.encode_to_vec()].concat())?;
        }

        #[test]
        fn what_is_damaged_is_read_as_by_prost(message in checks(), at: usize, flip: u8) {
            let mut bytes = message.encode_to_vec();
            if let Some(at) = at.checked_rem(bytes.len()) {
                is_as_prost_reads(&bytes[..at])?;
                bytes[at] ^= flip;
            }
            is_as_prost_reads(&bytes)?;
        }
    }

    /// A check whose claims lie within each other.
    fn nested(depth: usize, innermost: Option<Kind>, wrap: impl Fn(ProstValue) -> Kind) -> Vec<u8> {
        let wrapped = |inner, _| ProstValue { kind: Some(wrap(inner)) };
        let claim = (0..depth).fold(ProstValue { kind: innermost }, wrapped);
        let found = Struct { fields: [("claim".to_owned(), claim)].into() };
        let filter_metadata = [("filter".to_owned(), found)].into();
        let metadata_context = Some(Metadata { filter_metadata });
        let attributes = AttributeContext { metadata_context, ..AttributeContext::default() };
        CheckRequest { attributes: Some(attributes) }.encode_to_vec()
    }

    #[test]
    fn claims_are_read_as_deep_as_by_prost() {
        let list = |inner| Kind::ListValue(ListValue { values: vec![inner] });
        let object = |inner| Kind::StructValue(Struct { fields: [("claim".to_owned(), inner)].into() });
        for (depth, innermost) in (0..60).flat_map(|depth| [(depth, None), (depth, Some(Kind::NullValue(0)))])
        {
            is_as_prost_reads(&nested(depth, innermost.clone(), list)).unwrap();
            is_as_prost_reads(&nested(depth, innermost, object)).unwrap();
        }
        // A field that nobody knows is skipped, which takes a level more.
        let unknown = |depth| {
            let mut message = nested(depth, Some(Kind::NullValue(7)), list);
            // A null, and in its place a field 7 of the same form.
            let at = message.iter().rposition(|byte| *byte == 7).unwrap();
            message[at - 1] = 7 << 3;
            message
        };
        for depth in 0..60 {
            is_as_prost_reads(&unknown(depth)).unwrap();
        }
        assert!(CheckRequest::decode(&*nested(40, None, list)).is_ok());
        assert!(CheckRequest::decode(&*nested(59, None, list)).is_err());
    }

    #[test]
    fn of_entries_with_one_key_the_later_counts() {
        // `headers` and `context_extensions`, each with a key twice: prost writes none twice.
        let header = |value: &str| [b"\x1a\x06\x0a\x01h\x12\x01".as_slice(), value.as_bytes()].concat();
        let http = [header("a"), header("b")].concat();
        let request = [&[0x12, http.len() as u8], &*http].concat();
        let extension =
            |value: &str| [b"\x52\x0b\x0a\x06region\x12\x01".as_slice(), value.as_bytes()].concat();
        let attributes = [&[0x22, request.len() as u8], &*request, &extension("c"), &extension("d")].concat();
        let bytes = [&[0x0a, attributes.len() as u8], &*attributes].concat();
        let check = Check::read(Fields::of(&bytes)).unwrap();
        assert_eq!(check.headers.single("h").unwrap(), Some("b"));
        assert_eq!(check.extensions.region, Some("d"));
        is_as_prost_reads(&bytes).unwrap();
    }
}
