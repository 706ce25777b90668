//! The published action tables, compiled by `build.rs` from `src/catalog/tables/`.

use std::borrow::Cow;

use super::row::{
    Absence, Alias, BodyDependency, Form, MemberSource, Origin, Route, Row, RowKey, RowResource, ValueSource,
};

/// The published rows. Their checks passed when the program was built.
pub(super) static ROWS: &[Row] = include!(concat!(env!("OUT_DIR"), "/tables.rs"));
