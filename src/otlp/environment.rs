//! The standard variables of OpenTelemetry that are honoured. The configuration file goes before them, for it is ours alone.

use std::env;

use percent_encoding::percent_decode_str;

use super::config::{OtlpError, Signal};

/// Looks up a variable. One that is empty is not set (OpenTelemetry, Environment Variable Specification).
pub(super) struct Environment<'a>(&'a dyn Fn(&str) -> Option<String>);

/// The process's own.
pub(super) fn of_process(name: &str) -> Option<String> {
    env::var(name).ok()
}

impl<'a> Environment<'a> {
    pub(super) fn new(look_up: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self(look_up)
    }

    fn get(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|value| !value.trim().is_empty())
    }

    /// `OTEL_EXPORTER_OTLP_TRACES_…` before `OTEL_EXPORTER_OTLP_…`, with the name of the one that is set.
    fn of_signal(&self, signal: Signal, rest: &str) -> Option<(String, String)> {
        let signal = match signal {
            Signal::Traces => "TRACES",
            Signal::Logs => "LOGS",
        };
        let names = [format!("OTEL_EXPORTER_OTLP_{signal}_{rest}"), format!("OTEL_EXPORTER_OTLP_{rest}")];
        names.into_iter().find_map(|name| self.get(&name).map(|value| (name, value)))
    }

    pub(super) fn endpoint(&self, signal: Signal) -> Result<Option<String>, OtlpError> {
        let Some((_, endpoint)) = self.of_signal(signal, "ENDPOINT") else { return Ok(None) };
        match self.of_signal(signal, "PROTOCOL") {
            Some((_, protocol)) if protocol != "grpc" => Err(OtlpError::Protocol(protocol)),
            _ => Ok(Some(endpoint)),
        }
    }

    pub(super) fn headers(&self, signal: Signal) -> Result<Vec<(String, String)>, OtlpError> {
        let Some((name, text)) = self.of_signal(signal, "HEADERS") else { return Ok(Vec::new()) };
        pairs(&name, &text)
    }

    /// What the process is called, and what else is known of it.
    pub(super) fn resource(&self) -> Result<Vec<(String, String)>, OtlpError> {
        let name = "OTEL_RESOURCE_ATTRIBUTES";
        let mut attributes = self.get(name).map_or(Ok(Vec::new()), |text| pairs(name, &text))?;
        if let Some(service) = self.get("OTEL_SERVICE_NAME") {
            attributes.retain(|(name, _)| name != "service.name");
            attributes.push(("service.name".to_owned(), service));
        }
        Ok(attributes)
    }
}

/// `name=value,name=value`, percent-encoded (W3C Baggage).
fn pairs(variable: &str, text: &str) -> Result<Vec<(String, String)>, OtlpError> {
    let pair = |text: &str| {
        let (name, value) = text.split_once('=')?;
        let decoded = |text: &str| percent_decode_str(text.trim()).decode_utf8().ok().map(Into::into);
        Some((decoded(name).filter(|name: &String| !name.is_empty())?, decoded(value)?))
    };
    let expected = "`name=value` pairs between commas, percent-encoded";
    let fault = || OtlpError::Variable { name: variable.to_owned(), expected };
    let pairs = text.split(',').filter(|text| !text.trim().is_empty());
    pairs.map(|text| pair(text).ok_or_else(fault)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<T>(variables: &[(&str, &str)], test: impl FnOnce(Environment<'_>) -> T) -> T {
        let look_up = |name: &str| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        test(Environment(&look_up))
    }

    #[test]
    fn a_signals_own_variable_goes_first() {
        let variables = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:1"),
            ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://b:1"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", ""),
        ];
        with(&variables, |environment| {
            assert_eq!(environment.endpoint(Signal::Logs).unwrap().as_deref(), Some("http://b:1"));
            assert_eq!(environment.endpoint(Signal::Traces).unwrap().as_deref(), Some("http://a:1"));
        });
    }

    #[test]
    fn another_protocol_is_an_error_where_its_endpoint_would_be_used() {
        let protocol = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
        with(&[protocol], |environment| assert_eq!(environment.endpoint(Signal::Logs).unwrap(), None));
        with(&[protocol, ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4318")], |environment| {
            let error = environment.endpoint(Signal::Logs).unwrap_err().to_string();
            assert!(error.contains("expected `grpc`"), "{error}");
        });
    }

    #[test]
    fn pairs_are_decoded_and_a_fault_does_not_show_them() {
        let name = ("OTEL_SERVICE_NAME", "pdp");
        with(
            &[name, ("OTEL_RESOURCE_ATTRIBUTES", "service.name=x, deployment.environment.name=a%2Cb")],
            |it| {
                let expected = [("deployment.environment.name", "a,b"), ("service.name", "pdp")];
                assert_eq!(
                    it.resource().unwrap(),
                    expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
                );
            },
        );
        with(&[("OTEL_EXPORTER_OTLP_HEADERS", "s3cret")], |environment| {
            let error = environment.headers(Signal::Logs).unwrap_err().to_string();
            assert!(error.contains("OTEL_EXPORTER_OTLP_HEADERS: expected") && !error.contains("s3cret"));
        });
    }
}
