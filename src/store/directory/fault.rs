//! Faults of a policy directory, each with its file and place.

use std::fmt;
use std::path::PathBuf;

use crate::store::name::is_invisible;

/// The most characters that are shown of a message: it may hold a name that is as long as its file.
const MAX_CHARACTERS: usize = 1_000;

/// Something that keeps a directory from being loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file or folder, relative to the directory.
    pub file: PathBuf,
    /// The place in the file: a JSON path or a line.
    pub place: Option<Place>,
    /// What is wrong, and what was expected.
    pub message: String,
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A JSON path, such as `$.Statement[0].Action[2]`.
    JsonPath(String),
    /// A line, counted from one.
    Line(usize),
}

impl Fault {
    /// A fault of a whole file or folder.
    pub(super) fn of(file: impl Into<PathBuf>, message: impl fmt::Display) -> Self {
        Self { file: file.into(), place: None, message: message.to_string() }
    }

    /// The place, within the fault's file.
    pub(super) fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file: String = visible(&self.file.to_string_lossy()).collect();
        let message: String = visible(&self.message).take(MAX_CHARACTERS).collect();
        match &self.place {
            None => write!(f, "{file}: {message}"),
            Some(Place::JsonPath(path)) => {
                write!(f, "{file}: {}: {message}", visible(path).collect::<String>())
            }
            Some(Place::Line(line)) => write!(f, "{file}:{line}: {message}"),
        }
    }
}

/// Text of files and their names as people may see it: a fault is one line, of which no terminal obeys any part.
fn visible(text: &str) -> impl Iterator<Item = char> {
    text.chars().flat_map(|character| {
        let is_hidden = character.is_control() || is_invisible(character);
        let escaped = is_hidden.then(|| character.escape_default());
        let plain = escaped.is_none().then_some(character);
        escaped.into_iter().flatten().chain(plain)
    })
}

/// All faults of a directory, in the order of its files.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    /// One line a fault, at most `max` of them, and how many more there are.
    #[must_use]
    pub fn lines(&self, max: usize) -> Vec<String> {
        let mut lines: Vec<String> = self.0.iter().take(max).map(ToString::to_string).collect();
        if self.0.len() > max {
            lines.push(format!("and {} more", self.0.len() - max));
        }
        lines
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines(usize::MAX).join("\n"))
    }
}
