//! A real Envoy with the shipped configuration between a raw client and an API that records what reaches it.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{env, fs, thread};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::PolicyDir;

/// The configuration that is shipped.
pub(crate) const SHIPPED: &str = include_str!("../../deploy/envoy/jwt.yaml");
/// The secret of the test's issuer.
const SECRET: &[u8] = b"a secret of the tests, longer than a block of the hash would need it to be";

/// The path of the Envoy to test with, if there is one.
pub(crate) fn envoy() -> Option<String> {
    env::var("ECS_AUTHZ_ENVOY").ok()
}

/// A request that reached the API.
#[derive(Debug, Clone)]
pub(crate) struct Reached {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reached {
    pub(crate) fn header(&self, name: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }
}

/// An answer to the client.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Zero if the connection was closed without one.
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// Where clients reach Envoy: for tasks of a test, which must not keep the Envoy of a failed test alive.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Door {
    port: u16,
}

impl Door {
    /// Sends bytes as they are and reads the answer.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> Answer {
        answer(&format!("127.0.0.1:{}", self.port), bytes).await
    }

    /// Sends a request of a user.
    pub(crate) async fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut bytes =
            format!("{method} {target} HTTP/1.1\r\nhost: ecs.example\r\nconnection: close\r\n").into_bytes();
        for (name, value) in headers {
            bytes.extend(format!("{name}: {value}\r\n").bytes());
        }
        if !body.is_empty() {
            bytes.extend(format!("content-length: {}\r\n", body.len()).bytes());
        }
        bytes.extend(b"\r\n");
        bytes.extend(body);
        self.raw(&bytes).await
    }

    /// Sends bytes and leaves without waiting for an answer.
    pub(crate) async fn hang_up(&self, bytes: &[u8]) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        stream.write_all(bytes).await.unwrap();
    }
}

/// A running Envoy and the API behind it. Ended with the test.
pub(crate) struct Edge {
    envoy: Child,
    pub(crate) door: Door,
    admin: String,
    reached: Arc<Mutex<Vec<Reached>>>,
    files: PolicyDir,
}

impl Drop for Edge {
    fn drop(&mut self) {
        let _ended = self.envoy.kill();
        let _reaped = self.envoy.wait();
    }
}

impl Edge {
    /// Starts the shipped configuration in front of these replicas, with time for a busy machine.
    pub(crate) async fn start(replicas: [u16; 2]) -> Self {
        Self::start_edited(replicas, &PATIENT).await
    }

    /// Starts the shipped configuration with edits: a text that stands in it once, and what stands there instead.
    pub(crate) async fn start_edited(replicas: [u16; 2], edits: &[(&str, &str)]) -> Self {
        let files = PolicyDir::new();
        let key = json!({"kty": "oct", "alg": "HS256", "kid": "t", "k": base64url(SECRET)});
        files.write("jwks.json", &json!({ "keys": [key] }).to_string());
        let jwks = files.path().join("jwks.json");
        Self::launch(files, |api| with_places(edits, &jwks, api, replicas)).await
    }

    /// Starts an Envoy with the configuration for an API at this port, and the API.
    pub(crate) async fn launch(files: PolicyDir, configuration: impl FnOnce(u16) -> String) -> Self {
        let reached = Arc::new(Mutex::new(Vec::new()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api = listener.local_addr().unwrap().port();
        tokio::spawn(serve_api(listener, reached.clone()));
        files.write("envoy.yaml", &configuration(api));
        let (envoy, admin) = spawn(files.path());
        let port = listener_port(&admin).await;
        Self { envoy, door: Door { port }, admin, reached, files }
    }

    /// Sends bytes as they are and reads the answer.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> Answer {
        self.door.raw(bytes).await
    }

    /// Where Envoy listens.
    pub(crate) fn addr(&self) -> String {
        format!("127.0.0.1:{}", self.door.port)
    }

    /// Sends a request of a user.
    pub(crate) async fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        self.door.send(method, target, headers, body).await
    }

    /// A counter of Envoy, by its whole name.
    pub(crate) async fn stat(&self, name: &str) -> u64 {
        let stats = admin(&self.admin, &format!("/stats?filter=^{name}$")).await.body;
        let value = stats.trim().strip_prefix(name).and_then(|rest| rest.strip_prefix(": "));
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no counter {name}: {stats}"))
    }

    /// Waits until Envoy sends requests to the replica on this port, or sends none.
    pub(crate) async fn until_healthy(&self, port: u16, healthy: bool) {
        until(&format!("{port} healthy: {healthy}"), async || self.is_healthy(port).await == Some(healthy))
            .await;
    }

    async fn is_healthy(&self, port: u16) -> Option<bool> {
        let status = &self.replica(port).await?["health_status"];
        Some(status["failed_active_health_check"] != true && status["failed_outlier_check"] != true)
    }

    /// How many checks Envoy has sent to the replica on this port.
    pub(crate) async fn asked(&self, port: u16) -> u64 {
        let replica = self.replica(port).await.expect("a replica on this port");
        let counters = replica["stats"].as_array().expect("its counters");
        let asked = counters.iter().find(|counter| counter["name"] == "rq_total").expect("rq_total");
        asked["value"].as_str().map_or(Some(0), |value| value.parse().ok()).expect("a number")
    }

    async fn replica(&self, port: u16) -> Option<Value> {
        let page = admin(&self.admin, "/clusters?format=json").await.body;
        let page: Value = serde_json::from_str(&page).ok()?;
        let clusters = page["cluster_statuses"].as_array()?;
        let cluster = clusters.iter().find(|cluster| cluster["name"] == "ecs_authz")?;
        let hosts = cluster["host_statuses"].as_array()?;
        hosts.iter().find(|host| host["address"]["socket_address"]["port_value"] == port).cloned()
    }

    /// The lines of the access log about targets with this text.
    pub(crate) fn logged(&self, marker: &str) -> Vec<Value> {
        let log = fs::read_to_string(access_log(self.files.path())).unwrap();
        // The last line may be on its way.
        let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let names = |line: &Value| line["path"].as_str().is_some_and(|path| path.contains(marker));
        lines.into_iter().filter(names).collect()
    }

    /// The requests that reached the API and have this text in their target.
    pub(crate) fn reached(&self, marker: &str) -> Vec<Reached> {
        let reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        reached.iter().filter(|request| request.target.contains(marker)).cloned().collect()
    }

    pub(crate) fn reached_count(&self) -> usize {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// Edits by which a busy machine does not turn a decision into a timeout.
pub(crate) const PATIENT: [(&str, &str); 2] =
    [("timeout: 0.25s", "timeout: 30s"), ("max_interval: 0.12s", "max_interval: 15s")];

/// The shipped configuration with these edits and this test's addresses.
pub(crate) fn with_places(edits: &[(&str, &str)], jwks: &Path, api: u16, replicas: [u16; 2]) -> String {
    let place = |text: String, shipped: &str, ours: &str| {
        assert_eq!(text.matches(shipped).count(), 1, "{shipped} stands once in the shipped configuration");
        text.replace(shipped, ours)
    };
    let port = |port: u16| format!("port_value: {port}}}");
    let mut text = SHIPPED.to_owned();
    for (shipped, ours) in [(9901, 0), (10000, 0), (8081, api), (50051, replicas[0]), (50052, replicas[1])] {
        text = place(text, &port(shipped), &port(ours));
    }
    for (shipped, ours) in edits {
        text = place(text, shipped, ours);
    }
    place(text, "/etc/envoy/jwks.json", &jwks.display().to_string())
}

/// Asks Envoy itself.
pub(crate) fn assert_valid(file: &Path) {
    let envoy = envoy().expect("an Envoy: else the test is ignored");
    let output = Command::new(envoy).args(["--mode", "validate", "-c"]).arg(file).output().expect("Envoy");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn access_log(folder: &Path) -> PathBuf {
    folder.join("access.log")
}

/// Asks again and again, for at most a minute, until it is so.
pub(crate) async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    for _ in 0..6_000 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within a minute: {what}");
}

/// Starts Envoy and waits until it says that it is up. Answers its admin address.
fn spawn(folder: &Path) -> (Child, String) {
    let admin = folder.join("admin.txt");
    let mut child = Command::new(envoy().expect("an Envoy: else the test is ignored"))
        .args(["--disable-hot-restart", "--concurrency", "1", "--file-flush-interval-msec", "20", "-c"])
        .arg(folder.join("envoy.yaml"))
        .arg("--admin-address-path")
        .arg(&admin)
        .stdout(fs::File::create(access_log(folder)).expect("a file"))
        .stderr(Stdio::piped())
        .spawn()
        .expect("Envoy");
    let mut log = BufReader::new(child.stderr.take().expect("its log"));
    let mut seen = String::new();
    while !seen.contains("starting main dispatch loop") {
        let read = log.read_line(&mut seen).expect("its log");
        assert!(read > 0, "Envoy ended:\n{seen}");
    }
    // A full pipe would stop it.
    thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    (child, fs::read_to_string(admin).expect("the admin address"))
}

/// The port that was bound. Listeners come up once the replicas were checked, so this asks until one is there.
async fn listener_port(addr: &str) -> u16 {
    for _ in 0..6_000 {
        let listeners: Value =
            serde_json::from_str(&admin(addr, "/listeners?format=json").await.body).unwrap_or_default();
        let address = &listeners["listener_statuses"][0]["local_address"]["socket_address"];
        let ready = admin(addr, "/ready").await;
        if let (Some(port), 200) = (address["port_value"].as_u64(), ready.status) {
            return u16::try_from(port).expect("a port");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("Envoy opened no listener within a minute");
}

/// A page of Envoy's admin interface.
async fn admin(addr: &str, page: &str) -> Answer {
    answer(addr, format!("GET {page} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n").as_bytes()).await
}

async fn answer(addr: &str, bytes: &[u8]) -> Answer {
    exchange(TcpStream::connect(addr).await.unwrap(), bytes).await
}

/// Sends bytes as they are. Answers everything that comes until the connection closes.
pub(crate) async fn transcript(stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8]) -> String {
    receive(stream, bytes, |_| false).await
}

/// Sends bytes as they are and reads until the connection closes or all is there.
async fn receive(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    bytes: &[u8],
    is_over: impl Fn(&[u8]) -> bool,
) -> String {
    // Envoy may refuse before it has read everything.
    let _refused_early = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    while !is_over(&answer) && stream.read_buf(&mut answer).await.is_ok_and(|read| read > 0) {}
    String::from_utf8_lossy(&answer).into_owned()
}

/// Sends bytes as they are and reads the answer.
pub(crate) async fn exchange(stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8]) -> Answer {
    let text = receive(stream, bytes, is_whole).await;
    let status = text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
    let body = if head.to_lowercase().contains("transfer-encoding: chunked") {
        unchunked(body)
    } else {
        body.to_owned()
    };
    Answer { status, body }
}

/// Whether an answer has its length. Envoy keeps the connection open for a second after an error of its own.
fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|part| part == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.and_then(|length| length.parse().ok()) == Some(answer.len() - end - 4)
}

fn unchunked(text: &str) -> String {
    let (mut rest, mut body) = (text, String::new());
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap_or(0);
        body.push_str(after.get(..size).unwrap_or_default());
        rest = after.get(size + 2..).unwrap_or_default();
    }
    body
}

/// An API that answers 200 to everything and remembers it.
async fn serve_api(listener: TcpListener, reached: Arc<Mutex<Vec<Reached>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let reached = reached.clone();
        tokio::spawn(async move {
            let mut stream = tokio::io::BufReader::new(stream);
            while let Some(request) = read_request(&mut stream).await {
                // More than the head of an answer to HEAD would be taken for the next answer.
                let body = if request.method == "HEAD" { "" } else { "ok" };
                reached.lock().unwrap_or_else(PoisonError::into_inner).push(request);
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{body}");
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
    }
}

async fn read_request(stream: &mut tokio::io::BufReader<TcpStream>) -> Option<Reached> {
    let mut first = String::new();
    stream.read_line(&mut first).await.ok().filter(|read| *read > 0)?;
    // Whatever stands between: a target with a space in it would be remembered whole.
    let (method, rest) = first.split_once(' ')?;
    let (target, _version) = rest.rsplit_once(' ')?;
    let (method, target) = (method.to_owned(), target.to_owned());
    let mut headers = read_fields(stream).await?;
    let header =
        |name: &str| headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str());
    let mut body = Vec::new();
    if let Some(length) = header("content-length") {
        body.resize(length.parse().ok()?, 0);
        stream.read_exact(&mut body).await.ok()?;
    } else if header("transfer-encoding").is_some() {
        loop {
            let mut size = String::new();
            stream.read_line(&mut size).await.ok()?;
            let size = usize::from_str_radix(size.trim(), 16).ok()?;
            if size == 0 {
                break;
            }
            let mut chunk = vec![0; size + 2];
            stream.read_exact(&mut chunk).await.ok()?;
            body.extend(&chunk[..size]);
        }
        // Some servers take trailers for headers.
        headers.extend(read_fields(stream).await?);
    }
    Some(Reached { method, target, headers, body })
}

/// Header fields, up to the empty line.
async fn read_fields(stream: &mut tokio::io::BufReader<TcpStream>) -> Option<Vec<(String, String)>> {
    let mut fields = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { return Some(fields) };
        fields.push((name.to_lowercase(), value.trim().to_owned()));
    }
}

/// A token of the test's issuer for a user of `acme` in `prod`.
pub(crate) fn token(user: &str, change: impl FnOnce(&mut Value)) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_secs();
    let mut claims = json!({
        "iss": "https://iam.example", "aud": "ecs-api", "sub": user, "exp": now + 3_600,
        "domain": {"id": "acme"}, "project": {"id": "prod"},
    });
    change(&mut claims);
    let header = base64url(br#"{"alg":"HS256","kid":"t","typ":"JWT"}"#);
    let signed = format!("{header}.{}", base64url(claims.to_string().as_bytes()));
    let signature = base64url(&hmac(signed.as_bytes()));
    format!("Bearer {signed}.{signature}")
}

/// HMAC with SHA-256 (RFC 2104), for a secret longer than a block.
fn hmac(message: &[u8]) -> Vec<u8> {
    let mut key = [0_u8; 64];
    key[..32].copy_from_slice(&Sha256::digest(SECRET));
    let pad = |byte: u8| key.map(|part| part ^ byte);
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().to_vec()
}

pub(crate) fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let group =
            chunk.iter().fold(0_u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        let digits = (0..=chunk.len()).map(|index| DIGITS[(group >> (18 - 6 * index)) as usize & 63]);
        text.extend(digits.map(char::from));
    }
    text
}
