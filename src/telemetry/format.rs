//! How an event is written.

use std::error::Error;
use std::fmt::{self, Debug};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use crate::config::LogFormat;
use crate::traces;

/// Writes events, and the fields of spans.
#[derive(Debug, Clone, Copy)]
pub(super) struct Format(pub(super) LogFormat);

/// The fields of an event or of a span.
#[derive(Debug, Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn of(recorded: impl RecordFields) -> Self {
        let mut fields = Self::default();
        recorded.record(&mut fields);
        fields
    }

    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    /// With what caused it, unless its own message ends with that.
    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !text.ends_with(&cause_text) {
                text.push_str(": ");
                text.push_str(&cause_text);
            }
            source = cause.source();
        }
        self.put(field, text);
    }
}

impl<S, N> FormatEvent<S, N> for Format
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Fields(mut fields) = Fields::of(event);
        let message = match fields.shift_remove("message") {
            Some(Value::String(message)) => message,
            _ => String::new(),
        };
        let spans = context.event_scope().into_iter().flat_map(|scope| scope.from_root());
        let spans = spans.map(|span| {
            let extensions = span.extensions();
            let fields = extensions.get::<FormattedFields<N>>().map(|fields| fields.fields.clone());
            (span.name(), fields.unwrap_or_default())
        });
        let line = Line { event, message, fields, spans: spans.collect() };
        match self.0 {
            LogFormat::Text => line.write_text(writer),
            LogFormat::Json => line.write_json(writer),
        }
    }
}

/// Fields of spans are kept as JSON until an event of the span is written.
impl<'w> FormatFields<'w> for Format {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, recorded: R) -> fmt::Result {
        let Fields(fields) = Fields::of(recorded);
        write!(writer, "{}", Value::Object(fields))
    }

    fn add_fields(
        &self,
        current: &'w mut FormattedFields<Self>,
        recorded: &tracing::span::Record<'_>,
    ) -> fmt::Result {
        let mut fields = parse(&current.fields);
        let Fields(added) = Fields::of(recorded);
        fields.extend(added);
        current.fields = Value::Object(fields).to_string();
        Ok(())
    }
}

fn parse(fields: &str) -> Map<String, Value> {
    serde_json::from_str(fields).unwrap_or_default()
}

/// What a line tells.
struct Line<'a> {
    event: &'a Event<'a>,
    message: String,
    fields: Map<String, Value>,
    /// From the outermost: name and fields.
    spans: Vec<(&'static str, String)>,
}

impl Line<'_> {
    fn write_text(self, mut writer: Writer<'_>) -> fmt::Result {
        let has_colors = writer.has_ansi_escapes();
        SystemTime.format_time(&mut writer)?;
        let level = *self.event.metadata().level();
        match color(level).filter(|_| has_colors) {
            Some(color) => write!(writer, " \x1b[{color}m{level:>5}\x1b[0m")?,
            None => write!(writer, " {level:>5}")?,
        }
        for (name, fields) in &self.spans {
            write!(writer, " {name}")?;
            write_fields(&mut writer, &parse(fields))?;
            writer.write_char(':')?;
        }
        writer.write_char(' ')?;
        write_plain(&mut writer, &self.message)?;
        write_fields(&mut writer, &self.fields)?;
        if let Some(trace) = traces::current() {
            write!(writer, " trace_id={} span_id={}", trace.trace_hex(), trace.span_hex())?;
        }
        writeln!(writer)
    }

    fn write_json(self, mut writer: Writer<'_>) -> fmt::Result {
        let metadata = self.event.metadata();
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let mut line = Map::new();
        line.insert("time".to_owned(), time.into());
        line.insert("level".to_owned(), metadata.level().as_str().into());
        line.insert("target".to_owned(), metadata.target().into());
        line.insert("message".to_owned(), self.message.into());
        if !self.fields.is_empty() {
            line.insert("fields".to_owned(), self.fields.into());
        }
        if !self.spans.is_empty() {
            let span = |(name, fields): &(&str, String)| {
                let entries = [("name", Value::from(*name)), ("fields", parse(fields).into())];
                Value::Object(entries.map(|(key, value)| (key.to_owned(), value)).into_iter().collect())
            };
            line.insert("spans".to_owned(), self.spans.iter().map(span).collect());
        }
        if let Some(trace) = traces::current() {
            line.insert("trace_id".to_owned(), trace.trace_hex().into());
            line.insert("span_id".to_owned(), trace.span_hex().into());
        }
        // JSON leaves some control characters as they are, and terminals heed them.
        for character in Value::Object(line).to_string().chars() {
            match character {
                '\u{7f}'..='\u{9f}' => write!(writer, "\\u{:04x}", u32::from(character))?,
                _ => writer.write_char(character)?,
            }
        }
        writeln!(writer)
    }
}

/// Select Graphic Rendition of a terminal.
fn color(level: Level) -> Option<u8> {
    Some(match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        Level::DEBUG => 34,
        Level::TRACE => 35,
    })
}

/// Each as ` name=value`.
fn write_fields(writer: &mut Writer<'_>, fields: &Map<String, Value>) -> fmt::Result {
    for (name, value) in fields {
        match value {
            Value::String(text) => {
                write!(writer, " {name}=")?;
                write_value(writer, text)?;
            }
            value => write!(writer, " {name}={value}")?,
        }
    }
    Ok(())
}

/// A text that could be taken for more than one value stands in quotes.
fn write_value(writer: &mut Writer<'_>, text: &str) -> fmt::Result {
    let is_plain = |character: char| !(character.is_whitespace() || "\"=\\".contains(character));
    if text.is_empty() || !text.chars().all(is_plain) {
        writer.write_char('"')?;
        for character in text.chars() {
            match character {
                '"' | '\\' => write!(writer, "\\{character}")?,
                _ => write_visible(writer, character)?,
            }
        }
        return writer.write_char('"');
    }
    write_plain(writer, text)
}

fn write_plain(writer: &mut Writer<'_>, text: &str) -> fmt::Result {
    text.chars().try_for_each(|character| write_visible(writer, character))
}

/// A control character as an escape.
fn write_visible(writer: &mut Writer<'_>, character: char) -> fmt::Result {
    match character {
        _ if character.is_control() => write!(writer, "{}", character.escape_default()),
        _ => writer.write_char(character),
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(format: LogFormat, test: impl FnOnce()) -> String {
        let (written, format) = (Written::default(), Format(format));
        let writer = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(Level::TRACE)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .event_format(format)
            .fmt_fields(format);
        tracing::subscriber::with_default(subscriber.finish(), test);
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] io::Error);

    fn an_event() {
        let span = tracing::info_span!("work", part = 7, late = tracing::field::Empty);
        span.record("late", "yes");
        let error = Outer(io::Error::other("inner"));
        span.in_scope(|| {
            tracing::warn!(count = 3, ok = true, name = "a b", error = &error as &dyn Error, "it happened");
        });
    }

    #[test]
    fn text_is_for_people() {
        let line = written(LogFormat::Text, an_event);
        let (time, rest) = line.split_at(27);
        assert!(time.ends_with('Z'), "{line}");
        let expected = "it happened count=3 ok=true name=\"a b\" error=\"outer: inner\"\n";
        assert_eq!(rest, format!("  WARN work part=7 late=yes: {expected}"));
    }

    #[test]
    fn json_is_an_object_on_a_line() {
        let line = written(LogFormat::Json, an_event);
        let mut object: Value = serde_json::from_str(&line).unwrap();
        let time = object.as_object_mut().unwrap().shift_remove("time").unwrap();
        assert!(time.as_str().unwrap().ends_with('Z'));
        let expected = serde_json::json!({
            "level": "WARN",
            "target": "ecs_authz::telemetry::format::tests",
            "message": "it happened",
            "fields": {"count": 3, "ok": true, "name": "a b", "error": "outer: inner"},
            "spans": [{"name": "work", "fields": {"part": 7, "late": "yes"}}],
        });
        assert_eq!(object, expected);
    }

    #[test]
    fn nothing_ends_a_line_or_steers_a_terminal() {
        let hostile =
            "a\n2026-01-01T00:00:00.000000Z ERROR forged\r\u{1b}[31m\u{7}\u{7f}\u{9b}31m\u{85}\0\"x=1\\";
        for format in [LogFormat::Text, LogFormat::Json] {
            let lines = written(format, || {
                let _in_span = tracing::info_span!("span", hostile).entered();
                tracing::info!(hostile, shown = %hostile, debug = ?hostile, "{hostile}");
            });
            assert_eq!(lines.matches('\n').count(), 1, "{format:?}: {lines}");
            assert!(!lines.trim_end_matches('\n').contains(char::is_control), "{format:?}: {lines:?}");
        }
        let line = written(LogFormat::Json, || tracing::info!(hostile, "{hostile}"));
        let object: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&object["message"], &object["fields"]["hostile"]), (&hostile.into(), &hostile.into()));
    }

    #[test]
    fn a_cause_is_told_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer: {0}")]
        struct Told(#[source] io::Error);
        let error = Told(io::Error::other("inner"));
        let line = written(LogFormat::Text, || tracing::info!(error = &error as &dyn Error, "x"));
        assert!(line.ends_with("x error=\"outer: inner\"\n"), "{line}");
    }
}
