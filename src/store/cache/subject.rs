//! A subject as entries keep it.

use crate::request::Subject;

/// The longest id that is kept in place: a UUID with its hyphens has 36 bytes.
const MAX_SHORT: usize = 37;

/// A [`Subject`]. Ids are short, and each principal has one: a pointer to a text would take as much as most texts, and a
/// hit would wait for it.
#[derive(Debug)]
pub(super) enum CompactSubject {
    Short { kind: Kind, len: u8, bytes: [u8; MAX_SHORT] },
    Long { kind: Kind, id: Box<str> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    User,
    Agency,
}

fn parts(subject: &Subject) -> (Kind, &str) {
    match subject {
        Subject::User(id) => (Kind::User, id),
        Subject::Agency(id) => (Kind::Agency, id),
    }
}

impl CompactSubject {
    pub(super) fn new(subject: &Subject) -> Self {
        let (kind, id) = parts(subject);
        let mut bytes = [0; MAX_SHORT];
        match (bytes.get_mut(..id.len()), u8::try_from(id.len())) {
            (Some(place), Ok(len)) => {
                place.copy_from_slice(id.as_bytes());
                Self::Short { kind, len, bytes }
            }
            _ => Self::Long { kind, id: id.into() },
        }
    }

    /// Whether it is this one, byte for byte.
    pub(super) fn is(&self, subject: &Subject) -> bool {
        let (kind, id) = parts(subject);
        match self {
            Self::Short { kind: own, len, bytes } => {
                *own == kind && bytes.get(..usize::from(*len)) == Some(id.as_bytes())
            }
            Self::Long { kind: own, id: text } => *own == kind && **text == *id,
        }
    }

    /// The bytes that it takes besides itself.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Short { .. } => 0,
            Self::Long { id, .. } => id.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_itself_alone() {
        let ids: Vec<String> = [0, 1, 36, 37, 38, 128, 300].map(|length| "x".repeat(length)).into();
        let others = ["x\0", "\0", "y"].map(String::from);
        let subjects: Vec<Subject> = ids
            .into_iter()
            .chain(others)
            .flat_map(|id| [Subject::User(id.clone()), Subject::Agency(id)])
            .collect();
        for a in &subjects {
            for b in &subjects {
                assert_eq!(CompactSubject::new(a).is(b), a == b, "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn an_id_of_the_provider_takes_no_room_besides() {
        let uuid = CompactSubject::new(&Subject::User("616fb98f-46ca-475e-917e-2563e5a8cd19".into()));
        assert_eq!((size_of_val(&uuid), uuid.heap_bytes()), (40, 0));
        assert_eq!(CompactSubject::new(&Subject::Agency("x".repeat(38))).heap_bytes(), 38);
    }
}
