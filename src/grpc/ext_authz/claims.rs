//! Claims of a verified token, as they lie in their message: objects of `google.protobuf.Struct`.

use super::denial::Denial;
use super::identity::Lookup;
use crate::grpc::protobuf::{Fields, NotPlain, Value, entry, once};

/// How many messages lie within each other at most, below the objects of filters: as many as prost reads, which are 100 from the
/// check on.
const MAX_DEPTH: usize = 96;
/// The members that most objects have at most.
const MEMBERS: usize = 16;
/// The bytes that most members have at least. Those that have fewer are not to take many times their memory.
const MEMBER_BYTES: usize = 16;

/// An object: its members in order. Of two with one name, the later counts.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Object<'a>(Vec<(&'a str, Claim<'a>)>);

/// A value.
#[derive(Debug, PartialEq)]
enum Claim<'a> {
    /// Null, or nothing is said of it at all.
    Null,
    Number,
    Text(&'a str),
    Flag(bool),
    Object(Object<'a>),
    List(Vec<Claim<'a>>),
}

impl<'a> Object<'a> {
    /// Reads an object, all of it: what prost would refuse anywhere is not plain.
    pub(super) fn read(message: Fields<'a>) -> Result<Self, NotPlain> {
        Self::read_within(message, MAX_DEPTH)
    }

    fn read_within(mut fields: Fields<'a>, depth: usize) -> Result<Self, NotPlain> {
        let mut members = Vec::with_capacity(MEMBERS.min(fields.len() / MEMBER_BYTES));
        while let Some((field, value)) = fields.next()? {
            sole(field)?;
            let of_entry = deeper(depth)?;
            let (name, value) = entry(value)?;
            let claim = match value {
                Some(value) => Claim::read_within(value.message()?, deeper(of_entry)?)?,
                None => Claim::Null,
            };
            members.push((name, claim));
        }
        Ok(Self(members))
    }

    fn get(&self, name: &str) -> Option<&Claim<'a>> {
        self.0.iter().rev().find(|(other, _)| *other == name).map(|(_, value)| value)
    }

    /// The object of this name.
    pub(super) fn object(&self, name: &str) -> Option<&Self> {
        match self.get(name)? {
            Claim::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The claim at a path: a claim of this very name, such as `https://iam.example/domain`, else names joined by
    /// dots.
    fn find(&self, path: &str) -> Option<&Claim<'a>> {
        if let Some(value) = self.get(path) {
            return Some(value);
        }
        let (folders, name) = path.rsplit_once('.')?;
        let folder = folders.split('.').try_fold(self, |object, folder| object.object(folder))?;
        folder.get(name)
    }
}

impl<'a> Claim<'a> {
    fn read_within(mut fields: Fields<'a>, depth: usize) -> Result<Self, NotPlain> {
        let mut claim = None;
        while let Some((field, value)) = fields.next()? {
            let found = match (field, value) {
                (1, value) => value.number().map(|_null| Self::Null)?,
                (2, Value::Eight(_)) => Self::Number,
                (2, _) => return Err(NotPlain),
                (3, value) => Self::Text(value.text()?),
                (4, value) => Self::Flag(value.flag()?),
                (5, value) => Self::Object(Object::read_within(value.message()?, deeper(depth)?)?),
                (6, value) => Self::List(list(value.message()?, deeper(depth)?)?),
                // No value has anything else, and how deep it may lie is up to prost.
                _ => return Err(NotPlain),
            };
            once(&mut claim, found)?;
        }
        Ok(claim.unwrap_or(Self::Null))
    }
}

fn list(mut fields: Fields<'_>, depth: usize) -> Result<Vec<Claim<'_>>, NotPlain> {
    let mut items = Vec::new();
    while let Some((field, value)) = fields.next()? {
        sole(field)?;
        items.push(Claim::read_within(value.message()?, deeper(depth)?)?);
    }
    Ok(items)
}

/// Leaves a message with other fields than its only one to prost: how deep they may lie is up to that.
fn sole(field: u32) -> Result<(), NotPlain> {
    if field == 1 { Ok(()) } else { Err(NotPlain) }
}

/// What is left of the depth within a message.
fn deeper(depth: usize) -> Result<usize, NotPlain> {
    depth.checked_sub(1).ok_or(NotPlain)
}

fn wrong(path: &str, expected: &str) -> Denial {
    Denial::Identity(format!("the claim `{path}` is not {expected}"))
}

impl Lookup for Object<'_> {
    fn text(&self, path: &str) -> Result<Option<String>, Denial> {
        match self.find(path) {
            None | Some(Claim::Null) => Ok(None),
            Some(Claim::Text(text)) => Ok(Some((*text).to_owned())),
            // Numbers come as doubles, so two ids may have become one.
            Some(_) => Err(wrong(path, "text")),
        }
    }

    fn list(&self, path: &str) -> Result<Option<Vec<String>>, Denial> {
        let item = |value: &Claim<'_>| match value {
            Claim::Text(text) => Ok((*text).to_owned()),
            _ => Err(wrong(path, "a list of texts")),
        };
        match self.find(path) {
            None | Some(Claim::Null) => Ok(None),
            Some(Claim::Text(text)) => Ok(Some(vec![(*text).to_owned()])),
            Some(Claim::List(items)) => items.iter().map(item).collect::<Result<_, _>>().map(Some),
            Some(_) => Err(wrong(path, "a list of texts")),
        }
    }

    fn flag(&self, path: &str) -> Result<Option<bool>, Denial> {
        match self.find(path) {
            None | Some(Claim::Null) => Ok(None),
            Some(Claim::Flag(flag)) => Ok(Some(*flag)),
            Some(_) => Err(wrong(path, "true or false")),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use prost::Message as _;
    use prost_types::value::Kind;
    use prost_types::{ListValue, Struct, Value as ProstValue};

    use super::*;

    impl Object<'_> {
        /// What prost has read says the same.
        pub(in crate::grpc::ext_authz) fn is_same(&self, object: &Struct) -> bool {
            self.0.iter().all(|(name, _)| object.fields.contains_key(*name))
                && object.fields.iter().all(|(name, value)| {
                    self.get(name).is_some_and(|claim| claim.is_same(value.kind.as_ref()))
                })
        }
    }

    impl Claim<'_> {
        fn is_same(&self, kind: Option<&Kind>) -> bool {
            match (self, kind) {
                (Self::Null, None | Some(Kind::NullValue(_)))
                | (Self::Number, Some(Kind::NumberValue(_))) => true,
                (Self::Text(text), Some(Kind::StringValue(other))) => text == other,
                (Self::Flag(flag), Some(Kind::BoolValue(other))) => flag == other,
                (Self::Object(object), Some(Kind::StructValue(other))) => object.is_same(other),
                (Self::List(items), Some(Kind::ListValue(ListValue { values }))) => {
                    items.len() == values.len()
                        && items.iter().zip(values).all(|(item, value)| item.is_same(value.kind.as_ref()))
                }
                _ => false,
            }
        }
    }

    fn values() -> impl Strategy<Value = ProstValue> {
        let leaf = prop_oneof![
            Just(None),
            Just(Some(Kind::NullValue(0))),
            any::<f64>().prop_map(|number| Some(Kind::NumberValue(number))),
            any::<String>().prop_map(|text| Some(Kind::StringValue(text))),
            any::<bool>().prop_map(|flag| Some(Kind::BoolValue(flag))),
        ];
        leaf.prop_map(|kind| ProstValue { kind }).prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4)
                    .prop_map(|values| ProstValue { kind: Some(Kind::ListValue(ListValue { values })) }),
                prop::collection::btree_map("[a-c.]{0,3}", inner, 0..4)
                    .prop_map(|fields| ProstValue { kind: Some(Kind::StructValue(Struct { fields })) }),
            ]
        })
    }

    /// Objects, as tokens have them.
    pub(in crate::grpc::ext_authz) fn objects() -> impl Strategy<Value = Struct> {
        prop::collection::btree_map("[a-c.]{0,3}", values(), 0..4).prop_map(|fields| Struct { fields })
    }

    fn text(text: &str) -> ProstValue {
        ProstValue { kind: Some(Kind::StringValue(text.into())) }
    }

    fn object<const N: usize>(fields: [(&str, ProstValue); N]) -> Struct {
        Struct { fields: fields.map(|(name, value)| (name.to_owned(), value)).into() }
    }

    fn nested(object: Struct) -> ProstValue {
        ProstValue { kind: Some(Kind::StructValue(object)) }
    }

    #[test]
    fn a_claim_is_found_by_its_name_and_then_by_its_path() {
        let payload = object([
            ("a.b", text("by name")),
            ("a", nested(object([("b", text("not this")), ("c", text("by path"))]))),
            ("", text("empty")),
        ]);
        let bytes = payload.encode_to_vec();
        let claims = Object::read(Fields::of(&bytes)).unwrap();
        let found = |path| Lookup::text(&claims, path).unwrap();
        assert_eq!(found("a.b").as_deref(), Some("by name"));
        assert_eq!(found("a.c").as_deref(), Some("by path"));
        assert_eq!(found("").as_deref(), Some("empty"));
        assert_eq!([found("a.d"), found("b"), found("a.c.d")], [None, None, None]);
        assert!(Lookup::text(&claims, "a").is_err());
    }
}
