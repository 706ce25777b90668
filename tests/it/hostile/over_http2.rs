//! Requests that no client library would send, over HTTP/2 with prior knowledge.
//!
//! Field names and values are shortened as in the tables of HTTP/1.1.

use super::{GET, STOP, bytes, hold, within};
use crate::edge::Edge;
use crate::http2::{self, End, Field, Part};

fn http2(edge: &Edge, parts: &[Part]) -> String {
    match within(&format!("{parts:?}"), http2::exchange(&edge.addr(), parts)) {
        End::Status(status) => status.to_string(),
        End::Ended => "ended".to_owned(),
    }
}

/// How a request differs from a good one, which ends in `authorization`.
#[derive(Debug)]
enum Change {
    Without(&'static str),
    Instead(&'static str, &'static str),
    First(&'static str, &'static str),
    Last(&'static str, &'static str),
}
use Change::{First, Instead, Last, Without};

impl Change {
    fn make(&self, fields: &mut Vec<(&'static str, &'static str)>) {
        match *self {
            Without(name) => fields.retain(|field| field.0 != name),
            Instead(name, value) => {
                for field in fields.iter_mut().filter(|field| field.0 == name) {
                    field.1 = value;
                }
            }
            First(name, value) => fields.insert(0, (name, value)),
            Last(name, value) => fields.push((name, value)),
        }
    }
}

/// The fields of a request of alice with these changes.
fn fields(method: &'static str, path: &'static str, changes: &[Change], marker: &str) -> Vec<Field> {
    let mut fields = vec![
        (":method", method),
        (":scheme", "http"),
        (":path", path),
        (":authority", "ecs.example"),
        ("authorization", "<alice>"),
    ];
    changes.iter().for_each(|change| change.make(&mut fields));
    fields.into_iter().map(|(name, value)| (bytes(name, marker), bytes(value, marker))).collect()
}

const HTTP2: &[(&[Change], &str)] = &[
    (&[], GET),
    (&[First(":path", "<P>")], "ended"),
    (&[First(":path", "/v2.1/prod/servers")], "ended"),
    (&[Without(":path")], "ended"),
    (&[Instead(":path", "")], "ended"),
    (&[Instead(":path", "*")], "ended"),
    (&[Instead(":path", "v2.1/prod/servers/<M>")], "ended"),
    (&[Instead(":path", "http://ecs.example<P>")], "ended"),
    (&[Instead(":path", "<P> x")], "ended"),
    (&[Instead(":path", "<P>\tx")], "ended"),
    (&[Instead(":path", "<P>\u{e9}")], "200 GET /v2.1/prod/servers/M%C3%A9 ecs:servers:get"),
    (&[Instead(":path", "<P>#detail")], "400"),
    (&[Instead(":path", "<P><LF>x")], "ended"),
    (&[Instead(":path", "<P><NUL>")], "ended"),
    (&[Instead(":path", "<P> HTTP/1.1\nx-a: b")], "ended"),
    (&[Instead(":path", "/v2.1/test/../prod/servers/<M>")], GET),
    (&[Instead(":path", "/v2.1/test/%2e%2e;/prod/servers/<M>")], "403"),
    (&[Instead(":path", "/v2.1/prod/servers%2f<M>")], "400"),
    (&[Instead(":path", "//v2.1/prod/servers/<M>")], GET),
    (&[Instead(":path", "<P>?_method=DELETE")], "403"),
    (&[Without(":path"), Last(":path", "<P>")], "ended"),
    (&[Last(":path", "<P>")], "ended"),
    (&[First(":method", "DELETE")], "ended"),
    (&[Without(":method")], "ended"),
    (&[Instead(":method", "")], "ended"),
    (&[Instead(":method", "get")], "403"),
    (&[Instead(":method", "TRACE")], "403"),
    (&[Instead(":method", "GETX")], "403"),
    (&[Instead(":method", "GET /v2.1/prod/servers/x HTTP/1.1")], "ended"),
    (&[Instead(":method", "CONNECT")], "ended"),
    (&[Instead(":method", "CONNECT"), First(":protocol", "websocket")], "ended"),
    (&[Without(":scheme")], "ended"),
    (&[Instead(":scheme", "https")], GET),
    (&[Instead(":scheme", "gopher")], GET),
    (&[First(":scheme", "https")], "ended"),
    (&[Without(":authority")], "ended"),
    (&[Without(":authority"), Last("host", "ecs.example")], GET),
    (&[Instead(":authority", "")], "ended"),
    (&[Instead(":authority", "other.example")], "404"),
    (&[Instead(":authority", "other.example"), Last("host", "ecs.example")], "404"),
    (&[Instead(":authority", "ecs.example:443")], GET),
    (&[Instead(":authority", "u@ecs.example")], "ended"),
    (&[Last("host", "other.example")], GET),
    (&[Last("host", "ecs.example")], GET),
    (&[First(":authority", "other.example")], "ended"),
    (&[First(":unknown", "x")], "ended"),
    (&[First(":status", "200")], "ended"),
    (&[Last("X-Upper", "x")], "ended"),
    (&[Last("", "x")], "ended"),
    (&[Last("x a", "b")], "ended"),
    (&[Last("x-a:", "b")], "ended"),
    (&[Last("x-a", "b\nx-http-method-override: DELETE")], "ended"),
    (&[Last("x-a", "b<LF>c")], "ended"),
    (&[Last("x-a", "b<CR>c")], "ended"),
    (&[Last("x-a", "b<NUL>c")], "ended"),
    (&[Last("x-a<LF>x-b", "c")], "ended"),
    (&[Last("x_auth_action", "forged")], "ended"),
    (&[Last("transfer-encoding", "chunked")], "ended"),
    (&[Last("connection", "close")], "ended"),
    (&[Last("connection", "x-auth-token"), Last("x-auth-token", "t")], "ended"),
    (&[Last("upgrade", "websocket")], "ended"),
    (&[Last("keep-alive", "timeout=5")], "ended"),
    (&[Last("te", "trailers")], GET),
    (&[Last("te", "gzip")], "ended"),
    (&[Last("content-length", "5")], "ended"),
    (&[Last("content-length", "0"), Last("content-length", "0")], "ended"),
    (&[Last("cookie", "a=1"), Last("cookie", "b=2")], GET),
    (&[Last("authorization", "<alice>")], "401"),
    (&[Last("authorization", "<bob>")], "401"),
    (&[Without("authorization")], "401"),
    (&[Last("x-http-method-override", "DELETE")], GET),
    (&[Last("x-auth-action", "forged"), Last("x-auth-decision-id", "forged")], GET),
    (&[Last("accept", "a/b;version=2")], "403"),
];

pub(super) fn http2_says_nothing_twice(edge: &Edge) {
    hold(edge, "http2", HTTP2, |changes, marker| {
        http2(edge, &[Part::Headers(fields("GET", "<P>", changes, marker))])
    });
}

/// Fields beside those of a stop, its data and trailers, and what comes of it.
type Http2Body = (&'static [Change], &'static [&'static str], &'static [(&'static str, &'static str)]);

const HTTP2_BODIES: &[(Http2Body, &str)] = &[
    ((&[], &["{\"os-stop\":null}"], &[]), STOP),
    ((&[], &["{\"os-", "stop\":null}"], &[]), STOP),
    ((&[Last("content-length", "16")], &["{\"os-stop\":null}"], &[]), STOP),
    ((&[Last("content-length", "15")], &["{\"os-stop\":null}"], &[]), "ended"),
    ((&[Last("content-length", "17")], &["{\"os-stop\":null}"], &[]), "ended"),
    ((&[Last("content-length", "0")], &["{\"os-stop\":null}"], &[]), "ended"),
    ((&[Last("content-length", "16"), Last("content-length", "16")], &["{\"os-stop\":null}"], &[]), "ended"),
    ((&[Last("content-length", "16, 16")], &["{\"os-stop\":null}"], &[]), "ended"),
    ((&[Last("content-length", "+16")], &["{\"os-stop\":null}"], &[]), "ended"),
    ((&[Last("transfer-encoding", "chunked")], &["10\r\n{\"os-stop\":null}\r\n0\r\n\r\n"], &[]), "ended"),
    ((&[Last("expect", "100-continue")], &["{\"os-stop\":null}"], &[]), STOP),
    ((&[], &["{\"os-stop\":null}"], &[("x-trailer", "x")]), STOP),
    (
        (&[], &["{\"os-stop\":null}"], &[("x-auth-action", "forged"), ("x-http-method-override", "DELETE")]),
        STOP,
    ),
    ((&[], &["{\"os-stop\":null}"], &[(":path", "<P>")]), "ended"),
    ((&[], &["{\"os-stop\":null}"], &[("content-length", "1")]), "ended"),
    // A request in the data makes the body one that can't be read.
    ((&[], &["{\"os-stop\":null}DELETE <P> HTTP/1.1\r\nhost: ecs.example\r\n\r\n"], &[]), "403"),
];

pub(super) fn http2_bodies_are_what_was_decided(edge: &Edge) {
    hold(edge, "http2-body", HTTP2_BODIES, |(changes, data, trailers), marker| {
        let mut parts = vec![Part::Headers(fields("POST", "<P>/action", changes, marker))];
        parts.extend(data.iter().map(|data| Part::Data(data)));
        let trailers: Vec<Field> =
            trailers.iter().map(|(name, value)| ((*name).to_owned(), bytes(value, marker))).collect();
        if !trailers.is_empty() {
            parts.push(Part::Headers(trailers));
        }
        http2(edge, &parts)
    });
}
