//! Faults of a policy directory, each with its file and place.

use std::fmt::{self, Write as _};
use std::path::PathBuf;

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
        let (file, message) = (self.file.to_string_lossy(), &self.message);
        let line = match &self.place {
            None => format!("{file}: {message}"),
            Some(Place::JsonPath(path)) => format!("{file}: {path}: {message}"),
            Some(Place::Line(line)) => format!("{file}:{line}: {message}"),
        };
        // What stands in a name or a file of theirs must not look like another line of ours.
        line.chars().try_for_each(|character| match character {
            control if control.is_control() => write!(f, "{}", control.escape_debug()),
            other => f.write_char(other),
        })
    }
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
