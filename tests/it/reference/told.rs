//! The three answers to whether something that a statement asks for holds.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    Met,
    NotMet,
    /// It can't be told.
    Unclear,
}
