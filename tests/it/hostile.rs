//! Requests that two parsers could read in two ways, on a real Envoy with the shipped configuration: nothing reaches
//! the API as another operation than the one that was authorized.
//!
//! The tables say what comes of each: the statuses of the answers, and each request that reached the API with the
//! action it was let through for. Whatever reaches the API is read there once more and held against that action.

use std::fmt::{Debug, Write as _};
use std::future::Future;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use ecs_authz::catalog::{Body, Catalog};
use libtest_mimic::Trial;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::edge::{Edge, Reached, envoy, token, transcript};
use crate::envoy::{OnEdge, alice, sharing_an_edge};
use crate::support::block_on;

mod over_http2;

pub(crate) fn trials() -> Vec<Trial> {
    let tests: [(&str, OnEdge); 9] = [
        ("hostile::a_path_reaches_the_api_as_it_was_authorized", a_path_reaches_the_api_as_it_was_authorized),
        ("hostile::methods_are_those_of_the_catalog", methods_are_those_of_the_catalog),
        ("hostile::a_request_begins_and_ends_in_one_place", a_request_begins_and_ends_in_one_place),
        ("hostile::a_host_is_one_name", a_host_is_one_name),
        ("hostile::headers_change_nothing_that_was_decided", headers_change_nothing_that_was_decided),
        ("hostile::what_only_we_may_say_is_not_said_by_clients", what_only_we_may_say_is_not_said_by_clients),
        ("hostile::each_request_on_a_connection_is_authorized", each_request_on_a_connection_is_authorized),
        ("hostile::http2_says_nothing_twice", over_http2::http2_says_nothing_twice),
        ("hostile::http2_bodies_are_what_was_decided", over_http2::http2_bodies_are_what_was_decided),
    ];
    let trials = sharing_an_edge(tests).into_iter();
    trials.map(|trial| trial.with_ignored_flag(envoy().is_none())).collect()
}

/// How long an answer may take. Only a hang is that slow.
const GUARD: Duration = Duration::from_secs(30);

/// What is sent, and what comes of it.
type Row = (&'static str, &'static str);

/// The action that a request which reached the API was let through for. Anything but the one action of what the API
/// reads there stands in no table.
fn action(request: &Reached) -> String {
    static CATALOG: OnceLock<Catalog> = OnceLock::new();
    let catalog = CATALOG.get_or_init(|| Catalog::published().unwrap());
    let body = match request.body.as_slice() {
        [] => Body::Absent,
        bytes => Body::Content { bytes: bytes.to_vec(), truncated: false },
    };
    let call = match catalog.resolve(&request.method, &request.target, &body) {
        Ok(call) => call,
        Err(error) => return format!("is no operation: {error}"),
    };
    let actions: Vec<&str> = call.operation.actions.iter().map(|id| catalog.action_name(*id)).collect();
    let (decided, ids) = (request.header("x-auth-action"), request.header("x-auth-decision-id"));
    if decided != actions || ids.len() != 1 || call.project() != Some("prod") {
        return format!("is {actions:?} in {:?}, decided {decided:?} by {ids:?}", call.project());
    }
    let unfit = request.headers.iter().find(|header| !is_fit(header));
    unfit.map_or_else(|| actions.concat(), |header| format!("has {header:?}"))
}

/// Whether the API may get a header: its host is the one that was routed, nothing replaces the method or the path, and
/// no name or value is read in two ways.
fn is_fit((name, value): &(String, String)) -> bool {
    let replaces =
        ["x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-rewrite-url"];
    let is_host = name != "host" || value.eq_ignore_ascii_case("ecs.example");
    let is_plain = |text: &str| !text.contains(|c: char| c.is_control() && c != '\t');
    let is_ours = !name.starts_with("x-envoy-auth-") && !replaces.contains(&name.as_str());
    is_host && is_ours && !name.contains('_') && is_plain(name) && is_plain(value)
}

/// What came of a request: the answer, and for each that reached the API its method, target and action.
fn outcome(edge: &Edge, marker: &str, answer: &str) -> String {
    let mut outcome = answer.to_owned();
    for request in edge.reached(marker) {
        let target = request.target.replace(marker, "M");
        let target = target.strip_suffix("marker=M").map_or(target.as_str(), |rest| &rest[..rest.len() - 1]);
        write!(outcome, " {} {target} {}", request.method, action(&request)).unwrap();
    }
    outcome
}

/// The statuses of all answers on a connection.
fn statuses(text: &str) -> String {
    let heads = text.split("HTTP/1.1 ").skip(1);
    heads.map(|head| head.get(..3).unwrap_or(head)).collect::<Vec<_>>().join(" ")
}

/// A request in full. `<M>` is the marker that tells it in the API's memory, `<another>` a whole request of alice.
fn bytes(sent: &str, marker: &str) -> String {
    let head = format!("host: ecs.example\r\nauthorization: {}\r\nconnection: close\r\n", alice());
    let another = format!("DELETE /v2.1/prod/servers/{marker} HTTP/1.1\r\n{head}\r\n");
    let abbreviations = [
        ("\n", "\r\n"),
        ("<H>", &head),
        ("<P>", "/v2.1/prod/servers/<M>"),
        ("<length>", &another.len().to_string()),
        ("<another>", &another),
        ("<alice>", &alice()),
        ("<bob>", &token("bob", |_| {})),
        ("<M>", marker),
        ("<LF>", "\n"),
        ("<CR>", "\r"),
        ("<NUL>", "\0"),
    ];
    abbreviations.into_iter().fold(sent.to_owned(), |text, (short, long)| text.replace(short, long))
}

/// Sends all rows of a table at once, each on a connection of its own, and shows all that came out otherwise.
fn hold<T: Debug + Sync>(
    edge: &Edge,
    table: &str,
    rows: &[(T, &str)],
    ask: impl Fn(&T, &str) -> String + Sync,
) {
    let marker = |index: usize| format!("{table}-{index}-");
    let answers: Vec<String> = thread::scope(|scope| {
        let asked = rows.iter().enumerate().map(|(index, (sent, _))| {
            let (marker, ask) = (marker(index), &ask);
            scope.spawn(move || ask(sent, &marker))
        });
        let asked: Vec<_> = asked.collect();
        asked.into_iter().map(|answer| answer.join().expect("an answer")).collect()
    });
    // Once all are answered: what reaches the API behind an answer's back is seen as well.
    let mut otherwise = String::new();
    for (index, ((sent, expected), answer)) in rows.iter().zip(&answers).enumerate() {
        let found = outcome(edge, &marker(index), answer);
        if *expected != found {
            writeln!(otherwise, "{sent:?}\n  expected {expected:?}\n  found    {found:?}").unwrap();
        }
    }
    assert!(otherwise.is_empty(), "\n{otherwise}");
}

/// Sends bytes and answers the statuses that came back.
fn ask(edge: &Edge, sent: &str, marker: &str) -> String {
    within(sent, async {
        let stream = TcpStream::connect(edge.addr()).await.unwrap();
        statuses(&transcript(stream, bytes(sent, marker).as_bytes()).await)
    })
}

/// Waits for an answer, but not for ever.
fn within<T>(sent: &str, answer: impl Future<Output = T>) -> T {
    let answer = block_on(async { timeout(GUARD, answer).await });
    answer.unwrap_or_else(|_| panic!("the connection stays open after {sent:?}"))
}

fn hold_raw(edge: &Edge, table: &str, rows: &[Row]) {
    hold(edge, table, rows, |sent, marker| ask(edge, sent, marker));
}

/// Alice's own request, and what comes of it.
const GET: &str = "200 GET /v2.1/prod/servers/M ecs:servers:get";
/// Alice stops a server.
const STOP: &str = "200 POST /v2.1/prod/servers/M/action ecs:servers:stop";

/// Targets as sent. `M` is the marker, which stands in the query as well, where nothing removes it.
const PATHS: &[Row] = &[
    ("/v2.1/prod/servers/M", GET),
    ("/v1/prod/cloudservers/M", "200 GET /v1/prod/cloudservers/M ecs:cloudServers:showServer"),
    // Empty segments are merged.
    ("/v2.1/prod//servers/M", GET),
    ("/v2.1/prod///servers/M", GET),
    ("//v2.1/prod/servers/M", GET),
    ("/v1//prod/cloudservers//M", "200 GET /v1/prod/cloudservers/M ecs:cloudServers:showServer"),
    // Dot segments are resolved.
    ("/v2.1/prod/./servers/M", GET),
    ("/v2.1/prod/../prod/servers/M", GET),
    ("/v2.1/test/../prod/servers/M", GET),
    ("/v2.1/prod/../test/servers/M", "403"),
    ("/../../v2.1/prod/servers/M", GET),
    ("/v2.1/prod/servers/M/../detail", "200 GET /v2.1/prod/servers/detail ecs:servers:list"),
    ("/v2.1/prod/servers/M/..", "403"),
    ("/v2.1/prod/servers/M/.", "403"),
    ("/v2.1/prod/%2e%2e/servers/M", "403"),
    ("/v2.1/test/%2e%2e/prod/servers/M", GET),
    ("/v2.1/test/.%2E/prod/servers/M", GET),
    ("/%2e/v2.1/prod/servers/M", GET),
    // With parameters, in one pass.
    ("/v2.1/test/..;/prod/servers/M", GET),
    ("/v2.1/test/..;x=1/prod/servers/M", GET),
    ("/v2.1/.;/prod/servers/M", GET),
    ("/v2.1/test/%2e%2e;/prod/servers/M", "403"),
    ("/v2.1/test/..%3b/prod/servers/M", "403"),
    ("/v2.1/prod/servers/M;x=1", "403"),
    ("/v2.1/prod/servers;x=1/M", "403"),
    ("/v2.1/prod/servers/M%3bx", "403"),
    ("/v2.1/prod/servers/M%3Bx", "403"),
    // Slashes in other forms.
    ("/v2.1/prod/servers/M%2fmetadata", "400"),
    ("/v2.1/prod/servers%2FM", "400"),
    ("/v2.1/test/..%2fprod/servers/M", "400"),
    ("/v2.1/prod/servers/M%5cx", "400"),
    ("/v2.1/prod/servers/M\\metadata", "200 GET /v2.1/prod/servers/M/metadata ecs:servers:listMetadata"),
    ("/v2.1/prod\\servers/M", GET),
    // What need not be encoded.
    ("/v2.1/prod/%73ervers/M", GET),
    ("/v2.1/%70rod/servers/M", GET),
    ("/v2%2e1/prod/servers/M", GET),
    ("/v2.1/prod/servers/%41%42-M", "200 GET /v2.1/prod/servers/AB-M ecs:servers:get"),
    ("/v2.1/prod/servers/%7Eu-M", "200 GET /v2.1/prod/servers/~u-M ecs:servers:get"),
    // Control characters.
    ("/v2.1/prod/servers/M%00", "400"),
    ("/v2.1/prod/servers/M%0a", "403"),
    ("/v2.1/prod/servers/M%0d%0a", "403"),
    ("/v2.1/prod/servers/M%09", "403"),
    ("/v2.1/prod/servers/M%7f", "403"),
    ("/v2.1/prod/servers/M x", "400"),
    ("/v2.1/prod/servers/M\tx", "400"),
    ("/v2.1/prod/servers/M<NUL>", "400"),
    ("/v2.1/prod/servers/M<CR>", "400"),
    ("/v2.1/prod/servers/M<LF>x", "426"),
    // Encoded twice, badly, or beyond ASCII.
    ("/v2.1/test/%252e%252e/prod/servers/M", "403"),
    ("/v2.1/prod/servers/M%25%32%66x", "403"),
    ("/v2.1/prod/servers/M%", "403"),
    ("/v2.1/prod/servers/M%2", "403"),
    ("/v2.1/prod/servers/M%zz", "403"),
    ("/v2.1/test/%u002e%u002e/prod/servers/M", "403"),
    ("/v2.1/test/%c0%ae%c0%ae/prod/servers/M", "403"),
    ("/v2.1/prod/servers/M\u{e9}", "400"),
    ("/v2.1/prod/servers/M%C3%A9", "200 GET /v2.1/prod/servers/M%C3%A9 ecs:servers:get"),
    ("/v2.1/prod/servers/M%20x", "200 GET /v2.1/prod/servers/M%20x ecs:servers:get"),
    // Characters that must be encoded.
    ("/v2.1/prod/servers/M|x", "200 GET /v2.1/prod/servers/M%7Cx ecs:servers:get"),
    ("/v2.1/prod/servers/M^x", "200 GET /v2.1/prod/servers/M%5Ex ecs:servers:get"),
    ("/v2.1/prod/servers/M`x", "200 GET /v2.1/prod/servers/M%60x ecs:servers:get"),
    ("/v2.1/prod/servers/M\"x", "200 GET /v2.1/prod/servers/M%22x ecs:servers:get"),
    ("/v2.1/prod/servers/M{x}", "200 GET /v2.1/prod/servers/M%7Bx%7D ecs:servers:get"),
    ("/v2.1/prod/servers/M[x]", "403"),
    // The end of the path.
    ("/v2.1/prod/servers/M/", "403"),
    ("/v2.1/prod/servers/M#detail", "400"),
    ("/v2.1/prod/servers/M?", "200 GET /v2.1/prod/servers/M? ecs:servers:get"),
    ("/v2.1/prod/servers/M?#detail", "400"),
    ("/v2.1/prod/servers/M.json", "403"),
    // Case.
    ("/V2.1/prod/servers/M", "403"),
    ("/v2.1/PROD/servers/M", "403"),
    ("/v2.1/prod/Servers/M", "403"),
    // The query is not touched, and can't replace the method.
    ("/v2.1/prod/servers/M?x=../../detail", "200 GET /v2.1/prod/servers/M?x=../../detail ecs:servers:get"),
    ("/v2.1/prod/servers/M?x=//y", "200 GET /v2.1/prod/servers/M?x=//y ecs:servers:get"),
    ("/v2.1/prod/servers/M?x=%00", "200 GET /v2.1/prod/servers/M?x=%00 ecs:servers:get"),
    ("/v2.1/prod/servers/M?x=%2f", "200 GET /v2.1/prod/servers/M?x=%2f ecs:servers:get"),
    ("/v2.1/prod/servers/M?_method=DELETE", "403"),
    ("/v2.1/prod/servers/M?a=1&_method=DELETE", "403"),
    ("/v2.1/prod/servers/M?a=1;_method=DELETE", "403"),
    ("/v2.1/prod/servers/M?%5fmethod=DELETE", "403"),
    ("/v2.1/prod/servers/M?_mETHOD=DELETE", "403"),
    (
        "/v2.1/prod/servers/M?a?_method=DELETE",
        "200 GET /v2.1/prod/servers/M?a?_method=DELETE ecs:servers:get",
    ),
    // Other forms of a target.
    ("http://ecs.example/v2.1/prod/servers/M", GET),
    ("http://ecs.example/v2.1/test/../prod/servers/M", GET),
    ("http://ecs.example//v2.1/prod/servers/M", GET),
    ("HTTP://ECS.Example/v2.1/prod/servers/M", GET),
    ("https://ecs.example/v2.1/prod/servers/M", "403"),
    ("ftp://ecs.example/v2.1/prod/servers/M", "400"),
    ("http://u:p@ecs.example/v2.1/prod/servers/M", GET),
    ("http://other.example/v2.1/prod/servers/M", "404"),
    ("v2.1/prod/servers/M", "400"),
    ("*", "400"),
    // Another project.
    ("/v2.1/test/servers/M", "403"),
];

fn a_path_reaches_the_api_as_it_was_authorized(edge: &Edge) {
    hold(edge, "path", PATHS, |target, marker| {
        let query = if target.contains('?') { '&' } else { '?' };
        let request = format!("GET {target}{query}marker=M HTTP/1.1\n<H>\n").replace('M', "<M>");
        ask(edge, &request, marker)
    });
}

const METHODS: &[Row] = &[
    // A form may hold a method.
    (
        "POST /v2.1/prod/os-keypairs?m=<M> HTTP/1.1\n<H>content-type: application/x-www-form-urlencoded\n\
         content-length: 14\n\n_method=DELETE",
        "403",
    ),
    (
        "POST /v2.1/prod/os-keypairs?m=<M> HTTP/1.1\n<H>content-type: APPLICATION/X-WWW-FORM-URLENCODED; charset=utf-8\n\
         content-length: 14\n\n_method=DELETE",
        "403",
    ),
    (
        "POST /v2.1/prod/os-keypairs?m=<M> HTTP/1.1\n<H>content-type: multipart/form-data; boundary=b\n\
         content-length: 14\n\n_method=DELETE",
        "403",
    ),
    (
        "POST /v2.1/prod/os-keypairs?m=<M> HTTP/1.1\n<H>content-type: application/json\n\
         content-type: application/x-www-form-urlencoded\ncontent-length: 14\n\n_method=DELETE",
        "403",
    ),
    ("TRACE <P> HTTP/1.1\n<H>\n", "403"),
    ("trace <P> HTTP/1.1\n<H>\n", "400"),
    ("get <P> HTTP/1.1\n<H>\n", "400"),
    ("Get <P> HTTP/1.1\n<H>\n", "400"),
    ("GETX <P> HTTP/1.1\n<H>\n", "400"),
    ("PROPFIND <P> HTTP/1.1\n<H>\n", "403"),
    ("PRI <P> HTTP/1.1\n<H>\n", "400"),
    ("GET\t<P> HTTP/1.1\n<H>\n", GET),
    (" GET <P> HTTP/1.1\n<H>\n", "400"),
    ("GET  <P> HTTP/1.1\n<H>\n", GET),
    ("GET <P>  HTTP/1.1\n<H>\n", GET),
    ("\nGET <P> HTTP/1.1\n<H>\n", GET),
    ("HEAD <P> HTTP/1.1\n<H>\n", "403"),
    ("PATCH <P> HTTP/1.1\n<H>\n", "403"),
    ("PURGE <P> HTTP/1.1\n<H>\n", "403"),
    ("PUT <P> HTTP/1.1\n<H>\n", "200 PUT /v2.1/prod/servers/M ecs:servers:update"),
    ("DELETE <P> HTTP/1.1\n<H>\n", "200 DELETE /v2.1/prod/servers/M ecs:servers:delete"),
    ("OPTIONS <P> HTTP/1.1\n<H>\n", "403"),
    (
        "OPTIONS <P> HTTP/1.1\n<H>origin: http://evil.example\naccess-control-request-method: DELETE\n\n",
        "403",
    ),
    ("OPTIONS * HTTP/1.1\n<H>\n", "404"),
    ("CONNECT ecs.example:443 HTTP/1.1\n<H>\n", "404"),
    ("CONNECT <P> HTTP/1.1\n<H>\n", "400"),
    ("GET <P> HTTP/1.0\n<H>\n", "426"),
    ("GET <P> HTTP/1.2\n<H>\n", "426"),
    ("GET <P> HTTP/2.0\n<H>\n", "426"),
    ("GET <P> HTTP/0.9\n<H>\n", "426"),
    ("GET <P>\n<H>\n", "426"),
    // The connection keeps its protocol: another request follows.
    (
        "GET <P> HTTP/1.1\nhost: ecs.example\nauthorization: <alice>\nconnection: upgrade\nupgrade: websocket\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\nsec-websocket-version: 13\n\nDELETE <P> HTTP/1.1\n<H>\n",
        "403",
    ),
    (
        "GET <P> HTTP/1.1\nhost: ecs.example\nauthorization: <alice>\nconnection: upgrade, http2-settings\n\
         upgrade: h2c\nhttp2-settings: AAMAAABkAAQAAP__\n\nPATCH <P> HTTP/1.1\n<H>\n",
        "200 403 GET /v2.1/prod/servers/M ecs:servers:get",
    ),
    ("GET <P> HTTP/1.1\n<H>upgrade: websocket\n\n", GET),
    ("POST <P> HTTP/1.1\n<H>x-http-method-override: DELETE\n\n", "403"),
];

fn methods_are_those_of_the_catalog(edge: &Edge) {
    hold_raw(edge, "method", METHODS);
}

const FRAMING: &[Row] = &[
    ("POST <P>/action HTTP/1.1\n<H>content-length: 16\n\n{\"os-stop\":null}", STOP),
    ("POST <P>/action HTTP/1.1\n<H>transfer-encoding: chunked\n\n10\n{\"os-stop\":null}\n0\n\n", STOP),
    (
        "POST <P>/action HTTP/1.1\n<H>transfer-encoding: chunked\ncontent-length: 16\n\n\
         10\n{\"os-stop\":null}\n0\n\n",
        "400",
    ),
    (
        "POST <P>/action HTTP/1.1\n<H>content-length: 16\ntransfer-encoding: chunked\n\n\
         10\n{\"os-stop\":null}\n0\n\n",
        "400",
    ),
    ("POST <P>/action HTTP/1.1\n<H>content-length: 16\ncontent-length: 16\n\n{\"os-stop\":null}", "400"),
    ("POST <P>/action HTTP/1.1\n<H>content-length: 16\ncontent-length: 5\n\n{\"os-stop\":null}", "400"),
    ("POST <P>/action HTTP/1.1\n<H>content-length: 16, 16\n\n{\"os-stop\":null}", "400"),
    ("POST <P>/action HTTP/1.1\n<H>content-length: +16\n\n{\"os-stop\":null}", "400"),
    ("POST <P>/action HTTP/1.1\n<H>content-length: 0x10\n\n{\"os-stop\":null}", "400"),
    ("POST <P>/action HTTP/1.1\n<H>content-length: -1\n\n{\"os-stop\":null}", "400"),
    ("POST <P>/action HTTP/1.1\n<H>content-length : 16\n\n{\"os-stop\":null}", "400"),
    ("POST <P>/action HTTP/1.1\n<H>content-length: 99999999999999999999\n\n{}", "400"),
    ("POST <P>/action HTTP/1.1\n<H>transfer-encoding: gzip, chunked\n\n0\n\n", "501"),
    ("POST <P>/action HTTP/1.1\n<H>transfer-encoding: chunked, identity\n\n0\n\n", "501"),
    ("POST <P>/action HTTP/1.1\n<H>transfer-encoding: xchunked\n\n0\n\n", "501"),
    ("POST <P>/action HTTP/1.1\n<H>transfer-encoding: \x0bchunked\n\n0\n\n", "400"),
    ("POST <P>/action HTTP/1.1\n<H>transfer-encoding : chunked\n\n0\n\n", "400"),
    (
        "POST <P>/action HTTP/1.1\n<H>transfer-encoding: chunked\ntransfer-encoding: chunked\n\n\
         10\n{\"os-stop\":null}\n0\n\n",
        "501",
    ),
    (
        "POST <P>/action HTTP/1.1\n<H>transfer-encoding: chunked\ntransfer-encoding: identity\n\n\
         10\n{\"os-stop\":null}\n0\n\n",
        "501",
    ),
    // Chunks with extensions, sizes that are none, trailers.
    (
        "POST <P>/action HTTP/1.1\n<H>transfer-encoding: chunked\n\n10;a=b;c=\"d\"\n{\"os-stop\":null}\n0;x\n\n",
        STOP,
    ),
    ("POST <P>/action HTTP/1.1\n<H>transfer-encoding: chunked\n\n0x10\n{\"os-stop\":null}\n0\n\n", "400"),
    ("POST <P>/action HTTP/1.1\n<H>transfer-encoding: chunked\n\n-1\n{\"os-stop\":null}\n0\n\n", "400"),
    ("POST <P>/action HTTP/1.1\n<H>transfer-encoding: chunked\n\n10 \n{\"os-stop\":null}\n0\n\n", STOP),
    ("POST <P>/action HTTP/1.1\n<H>transfer-encoding: chunked\n\n10<LF>{\"os-stop\":null}\n0\n\n", "400"),
    (
        "POST <P>/action HTTP/1.1\n<H>transfer-encoding: chunked\n\n10;x<LF>y\n{\"os-stop\":null}\n0\n\n",
        "400",
    ),
    (
        "POST <P>/action HTTP/1.1\n<H>transfer-encoding: chunked\ntrailer: x-auth-action\n\n\
         10\n{\"os-stop\":null}\n0\nx-auth-action: forged\ncontent-length: 3\n\n",
        STOP,
    ),
    // A body where none is expected.
    ("GET <P> HTTP/1.1\n<H>content-length: 16\n\n{\"os-stop\":null}", GET),
    ("GET <P> HTTP/1.1\n<H>transfer-encoding: chunked\n\n2\n{}\n0\n\n", GET),
    (
        "DELETE <P> HTTP/1.1\n<H>content-length: 16\n\n{\"os-stop\":null}",
        "200 DELETE /v2.1/prod/servers/M ecs:servers:delete",
    ),
    (
        "POST <P>/action HTTP/1.1\n<H>expect: 100-continue\ncontent-length: 16\n\n{\"os-stop\":null}",
        "100 200 POST /v2.1/prod/servers/M/action ecs:servers:stop",
    ),
    ("POST <P>/action HTTP/1.1\n<H>expect: 200-ok\ncontent-length: 16\n\n{\"os-stop\":null}", STOP),
    ("POST <P>/action HTTP/1.1\n<H>content-length: 0\n\n", "403"),
    ("POST <P>/action HTTP/1.1\n<H>\n{\"os-stop\":null}", "403"),
    // Lines that are folded, end otherwise, or hold what no line may.
    ("GET <P> HTTP/1.1\n folded: first\n<H>\n", "400"),
    ("GET <P> HTTP/1.1<LF>host: ecs.example<LF>authorization: <alice><LF>connection: close<LF><LF>", GET),
    ("GET <P> HTTP/1.1\n<H>x-a: b<NUL>c\n\n", "400"),
    ("GET <P> HTTP/1.1\n<H>x-a<NUL>: b\n\n", "400"),
    ("GET <P> HTTP/1.1\n<H>x a: b\n\n", "400"),
    ("GET <P> HTTP/1.1\n<H>x-a : b\n\n", "400"),
    ("GET <P> HTTP/1.1\n<H>: b\n\n", "400"),
    ("GET <P> HTTP/1.1\n<H>x-a\n\n", "400"),
    ("GET <P> HTTP/1.1\n<H>:path: /v2.1/prod/servers\n\n", "400"),
];

fn a_request_begins_and_ends_in_one_place(edge: &Edge) {
    hold_raw(edge, "framing", FRAMING);
}

const HOSTS: &[Row] = &[
    ("GET <P> HTTP/1.1\nauthorization: <alice>\nconnection: close\n\n", "400"),
    ("GET <P> HTTP/1.1\nhost:\nauthorization: <alice>\nconnection: close\n\n", "404"),
    ("GET <P> HTTP/1.1\n<H>host: ecs.example\n\n", "404"),
    ("GET <P> HTTP/1.1\n<H>host: other.example\n\n", "404"),
    ("GET <P> HTTP/1.1\nhost: other.example\nauthorization: <alice>\nconnection: close\n\n", "404"),
    ("GET <P> HTTP/1.1\nhost: ecs.example:8443\nauthorization: <alice>\nconnection: close\n\n", GET),
    ("GET <P> HTTP/1.1\nhost: ecs.example.\nauthorization: <alice>\nconnection: close\n\n", GET),
    ("GET <P> HTTP/1.1\nhost: ECS.example\nauthorization: <alice>\nconnection: close\n\n", GET),
    ("GET <P> HTTP/1.1\nhost: ecs.example/x\nauthorization: <alice>\nconnection: close\n\n", "400"),
    ("GET <P> HTTP/1.1\nhost: u@ecs.example\nauthorization: <alice>\nconnection: close\n\n", "404"),
    (
        "GET http://ecs.example<P> HTTP/1.1\nhost: other.example\nauthorization: <alice>\nconnection: close\n\n",
        GET,
    ),
    ("GET http://other.example<P> HTTP/1.1\n<H>\n", "404"),
    ("GET http://ecs.example<P> HTTP/1.1\nauthorization: <alice>\nconnection: close\n\n", GET),
];

fn a_host_is_one_name(edge: &Edge) {
    hold_raw(edge, "host", HOSTS);
}

/// Headers beside the usual ones, what comes of them, and what the API gets to see.
type HeaderRow = (&'static str, &'static str, &'static [(&'static str, &'static [&'static str])]);

const HEADERS: &[HeaderRow] = &[
    // A header that is nominated goes away, before anything is decided.
    ("connection: close, x-auth-token\nx-auth-token: t", GET, &[("x-auth-token", &[])]),
    ("connection: x-auth-token, close\nx-auth-token: t", GET, &[("x-auth-token", &[])]),
    ("connection: close, authorization", "401", &[]),
    ("connection: close, host", "400", &[]),
    ("connection: close, x-auth-action", GET, &[]),
    ("connection: close, x-auth-decision-id", GET, &[]),
    ("connection: close, :path", "400", &[]),
    ("connection: close, content-type\ncontent-type: a/b;version=2", GET, &[("content-type", &[])]),
    ("connection: close, x-envoy-auth-partial-body", GET, &[]),
    ("x-auth-token: a\nx-auth-token: b", GET, &[("x-auth-token", &["a", "b"])]),
    // Lines that are folded, or end otherwise.
    ("x-folded: a\n b", GET, &[("x-folded", &["a b"])]),
    (
        "x-folded: a\n x-http-method-override: DELETE",
        GET,
        &[("x-folded", &["a x-http-method-override: DELETE"])],
    ),
    ("x-a: b<LF>x-http-method-override: DELETE", GET, &[("x-a", &["b"])]),
    ("x-a: b<CR>x-http-method-override: DELETE", GET, &[("x-a", &["bx-http-method-override: DELETE"])]),
    ("x-http-method<CR>-override: DELETE", "400", &[]),
    ("accept: a/b;ver<CR>sion=2", "403", &[]),
    // Underscores.
    ("x_auth_action: forged", "400", &[]),
    ("content_length: 5", "400", &[]),
    // What replaces the method or the path at some servers.
    ("x-http-method-override: DELETE", GET, &[("x-http-method-override", &[])]),
    ("X-HTTP-Method-Override: DELETE\nx-http-method-override: PUT", GET, &[("x-http-method-override", &[])]),
    ("x-http-method: DELETE", GET, &[("x-http-method", &[])]),
    ("x-method-override: DELETE", GET, &[("x-method-override", &[])]),
    ("x-original-url: /admin", GET, &[("x-original-url", &[])]),
    ("x-rewrite-url: /admin", GET, &[("x-rewrite-url", &[])]),
    ("x-original-uri: /admin", GET, &[("x-original-uri", &[])]),
    ("x-original-method: DELETE", GET, &[("x-original-method", &[])]),
    ("x-forwarded-uri: /admin", GET, &[("x-forwarded-uri", &[])]),
    ("x-forwarded-method: DELETE", GET, &[("x-forwarded-method", &[])]),
    ("x-forwarded-path: /admin", GET, &[("x-forwarded-path", &[])]),
    ("x-script-name: /admin", GET, &[("x-script-name", &[])]),
    ("x-forwarded-prefix: /admin", GET, &[("x-forwarded-prefix", &[])]),
    // What tells where a call came from is passed on.
    ("x-forwarded-host: other.example", GET, &[("x-forwarded-host", &["other.example"])]),
    ("x-forwarded-port: 1", GET, &[("x-forwarded-port", &["1"])]),
    ("forwarded: for=1.2.3.4;host=other.example", GET, &[("forwarded", &["for=1.2.3.4;host=other.example"])]),
    ("x-real-ip: 1.2.3.4", GET, &[("x-real-ip", &["1.2.3.4"])]),
    // Envoy's own word replaces the client's.
    ("x-forwarded-proto: https", GET, &[("x-forwarded-proto", &["http"])]),
    ("x-forwarded-for: 1.2.3.4", GET, &[]),
    ("x-envoy-original-path: /admin", GET, &[("x-envoy-original-path", &[])]),
    ("x-envoy-original-host: other.example", GET, &[("x-envoy-original-host", &[])]),
    ("x-envoy-internal: true", GET, &[("x-envoy-internal", &[])]),
    ("x-envoy-external-address: 1.2.3.4", GET, &[("x-envoy-external-address", &["127.0.0.1"])]),
    ("x-envoy-upstream-rq-timeout-ms: 1", GET, &[("x-envoy-upstream-rq-timeout-ms", &[])]),
    ("x-envoy-upstream-alt-stat-name: x", GET, &[("x-envoy-upstream-alt-stat-name", &[])]),
    ("x-envoy-retry-on: 5xx\nx-envoy-max-retries: 9", GET, &[("x-envoy-retry-on", &[])]),
    ("x-envoy-decorator-operation: x", GET, &[("x-envoy-decorator-operation", &[])]),
    ("x-request-id: forged", GET, &[]),
    ("x-forwarded-client-cert: URI=spiffe://acme.example/gateway", GET, &[("x-forwarded-client-cert", &[])]),
    // What switches the version.
    ("content-type: application/json;version=2.1", "403", &[]),
    ("content-type: application/json; charset=utf-8", GET, &[]),
    ("accept: application/json;version=2.1", "403", &[]),
    ("accept: application/json\naccept: a/b;version=2", "403", &[]),
    ("accept: a/b;ver\n sion=2", GET, &[("accept", &["a/b;ver sion=2"])]),
    ("accept: \u{e9}/json", "403", &[]),
    // What is said twice.
    ("authorization: <alice>", "401", &[]),
    ("authorization: <bob>", "401", &[]),
    ("authorization: Basic YTpi", "401", &[]),
    ("proxy-authorization: <bob>", GET, &[]),
    ("cookie: a=1\ncookie: b=2", GET, &[("cookie", &["a=1", "b=2"])]),
    ("content-encoding: gzip", GET, &[("content-encoding", &["gzip"])]),
    ("te: trailers", GET, &[("te", &["trailers"])]),
    ("te: gzip, chunked", GET, &[("te", &[])]),
    (
        "keep-alive: timeout=5\nproxy-connection: keep-alive",
        GET,
        &[("keep-alive", &[]), ("proxy-connection", &[])],
    ),
];

/// Alice's own headers and more, and what comes of them.
fn hold_headers(edge: &Edge, table: &str, rows: &[HeaderRow]) {
    let pairs: Vec<Row> = rows.iter().map(|(sent, expected, _)| (*sent, *expected)).collect();
    hold(edge, table, &pairs, |sent, marker| {
        // The nominating rows bring a `connection` of their own.
        let close = if sent.starts_with("connection:") { "" } else { "connection: close\n" };
        let head = format!("host: ecs.example\nauthorization: <alice>\n{close}{sent}\n");
        ask(edge, &format!("GET <P> HTTP/1.1\n{head}\n"), marker)
    });
    let mut otherwise = String::new();
    for (index, (sent, _, seen)) in rows.iter().enumerate() {
        for request in edge.reached(&format!("{table}-{index}-")) {
            for (name, values) in *seen {
                if request.header(name) != *values {
                    let _ = writeln!(otherwise, "{sent}: {name} {:?}", request.header(name));
                }
            }
        }
    }
    assert!(otherwise.is_empty(), "\n{otherwise}");
}

fn headers_change_nothing_that_was_decided(edge: &Edge) {
    hold_headers(edge, "header", HEADERS);
}

const OURS: &[HeaderRow] = &[
    ("x-auth-action: forged", GET, &[]),
    ("X-Auth-Action: forged\nx-auth-action: again", GET, &[]),
    ("x-auth-decision-id: forged\nx-auth-decision-id: again", GET, &[]),
    ("x-envoy-auth-partial-body: true", GET, &[("x-envoy-auth-partial-body", &[])]),
    ("x-envoy-auth-failure-mode-allowed: true", GET, &[("x-envoy-auth-failure-mode-allowed", &[])]),
];

fn what_only_we_may_say_is_not_said_by_clients(edge: &Edge) {
    hold_headers(edge, "ours", OURS);
}

const CONNECTIONS: &[Row] = &[
    // Allowed, then denied.
    (
        "POST <P>/action HTTP/1.1\nhost: ecs.example\nauthorization: <alice>\ncontent-length: 16\n\n{\"os-stop\":null}\
         DELETE <P> HTTP/1.1\nhost: ecs.example\nauthorization: <bob>\nconnection: close\n\n",
        "200 403 POST /v2.1/prod/servers/M/action ecs:servers:stop",
    ),
    (
        "GET <P> HTTP/1.1\nhost: ecs.example\nauthorization: <alice>\ncontent-length: 0\n\n\
         DELETE <P> HTTP/1.1\nhost: ecs.example\nauthorization: <bob>\nconnection: close\n\n",
        "200 403 GET /v2.1/prod/servers/M ecs:servers:get",
    ),
    (
        "GET <P> HTTP/1.1\nhost: ecs.example\nauthorization: <alice>\n\n\
         DELETE <P> HTTP/1.1\nhost: ecs.example\nconnection: close\n\n",
        "200 401 GET /v2.1/prod/servers/M ecs:servers:get",
    ),
    (
        "GET <P> HTTP/1.1\nhost: ecs.example\nauthorization: <bob>\ncontent-length: 0\n\n\
         GET <P> HTTP/1.1\nhost: ecs.example\nauthorization: <alice>\nconnection: close\n\n",
        "403 200 GET /v2.1/prod/servers/M ecs:servers:get",
    ),
    // The body of the first is a request, and stays a body.
    ("GET <P> HTTP/1.1\n<H>content-length: <length>\n\n<another>", GET),
    ("GET <P> HTTP/1.1\n<H>content-length: 0\n\n<another>", GET),
    (
        "GET <P> HTTP/1.1\nhost: ecs.example\nauthorization: <alice>\ncontent-length: 0\n\n<another>",
        "200 200 GET /v2.1/prod/servers/M ecs:servers:get DELETE /v2.1/prod/servers/M ecs:servers:delete",
    ),
    // After the last chunk, and after an answer that closes.
    (
        "POST <P>/action HTTP/1.1\nhost: ecs.example\nauthorization: <alice>\ntransfer-encoding: chunked\n\n\
         10\n{\"os-stop\":null}\n0\n\nDELETE <P> HTTP/1.1\nhost: ecs.example\nauthorization: <bob>\nconnection: close\n\n",
        "200 403 POST /v2.1/prod/servers/M/action ecs:servers:stop",
    ),
    ("GET <P> HTTP/1.1\n<H>\nDELETE <P> HTTP/1.1\n<H>\n", GET),
    (
        "POST <P>/action HTTP/1.1\nhost: ecs.example\nauthorization: <alice>\ncontent-length: 5\n\
         transfer-encoding: chunked\n\n0\n\nDELETE <P> HTTP/1.1\n<H>\n",
        "400",
    ),
];

fn each_request_on_a_connection_is_authorized(edge: &Edge) {
    hold_raw(edge, "connection", CONNECTIONS);
}
