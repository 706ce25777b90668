//! The PostgreSQL store over TLS: who is trusted under which `sslmode`, and what is said of who is not.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use ecs_authz::catalog::Catalog;
use ecs_authz::store::postgres::{PostgresStore, causes, migrate};
use libtest_mimic::Trial;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

use crate::conformance::postgres::{connect, is_there};
use crate::postgres_world::{ALLOW, DENY, Server, World, grant, rewrite, settings};
use crate::support::{block_on, program, trials};

pub(crate) fn trials() -> Vec<Trial> {
    let trials = trials![
        policies_are_read_and_followed_over_tls,
        who_is_not_trusted_is_refused_and_the_reason_is_named,
        without_a_file_the_platform_says_who_is_trusted,
        a_server_without_tls_is_refused_where_tls_is_asked_for,
    ];
    trials.into_iter().map(|trial| trial.with_ignored_flag(!is_there())).collect()
}

/// A server with a certificate for `db.example`, which admits the role `app` over TLS alone and with a password.
struct Guarded {
    server: Server,
    port: String,
    /// Holds `ca.pem`, which made the certificate, and `other.pem`, which did not.
    folder: TempDir,
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap()
}

/// A file as the server wants it: its own, and nobody else's to read.
fn entrust(file: &Path, text: &str) {
    fs::write(file, text).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    let owner = fs::metadata(file.parent().unwrap()).unwrap();
    chown(file, Some(owner.uid()), Some(owner.gid())).unwrap();
}

impl Guarded {
    fn start() -> Self {
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let ca = authority("ca");
        fs::write(folder.path().join("ca.pem"), ca.pem()).unwrap();
        fs::write(folder.path().join("other.pem"), authority("other").pem()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec!["db.example".into()]).unwrap().signed_by(&key, &ca).unwrap();

        let server = Server::start();
        entrust(&server.data().join("server.crt"), &certificate.pem());
        entrust(&server.data().join("server.key"), &key.serialize_pem());
        server.configure("ssl = on");
        server.admit("hostssl all app 127.0.0.1/32 scram-sha-256");
        block_on(async {
            migrate::run(&server.url.parse().unwrap()).await.unwrap();
            let role = "CREATE ROLE app LOGIN PASSWORD 's3cret'; GRANT pg_read_all_data TO app";
            connect(&server.url.parse().unwrap()).await.batch_execute(role).await.unwrap();
        });
        let port = server.url.rsplit_once(':').unwrap().1.trim_end_matches("/postgres").to_owned();
        Self { server, port, folder }
    }

    /// The address of the server under a name, with parameters in which `CA` stands for the folder of authorities.
    fn url(&self, host: &str, parameters: &str) -> String {
        let parameters = parameters.replace("CA", self.folder.path().to_str().unwrap());
        let port = &self.port;
        format!("postgresql://app:s3cret@{host}:{port}/postgres?hostaddr=127.0.0.1&{parameters}")
    }
}

/// Why a store does not open.
fn refusal(url: &str) -> String {
    let catalog = Arc::new(Catalog::published().unwrap());
    let error = block_on(PostgresStore::open(&settings(url), catalog)).expect_err("a refusal");
    assert!(!format!("{error:?} {}", causes(&error)).contains("s3cret"), "{error:?}");
    causes(&error)
}

fn policies_are_read_and_followed_over_tls() {
    let guarded = Guarded::start();
    block_on(async {
        let client = connect(&guarded.server.url.parse().unwrap()).await;
        grant(&client, "alice", ALLOW).await;
        let trusted = [
            ("db.example", "sslmode=verify-full&sslrootcert=CA/ca.pem&channel_binding=require"),
            ("db.example", "sslrootcert=CA/ca.pem"),
            ("other.example", "sslmode=verify-ca&sslrootcert=CA/ca.pem"),
            ("other.example", "sslmode=require"),
        ];
        for (host, parameters) in trusted {
            let world = World::open(&settings(&guarded.url(host, parameters))).await;
            assert_eq!(world.ask("alice").await.unwrap(), "allow", "{parameters}");
            rewrite(&client, "alice", DENY).await;
            world.ask_until("alice", "deny").await;
            rewrite(&client, "alice", ALLOW).await;
            let connections = "SELECT count(*) FILTER (WHERE ssl), count(*) FILTER (WHERE NOT ssl) \
                 FROM pg_stat_activity JOIN pg_stat_ssl USING (pid) WHERE usename = 'app'";
            let connections = client.query_one(connections, &[]).await.unwrap();
            assert!(connections.get::<_, i64>(0) >= 2, "the feed's and the pool's: {parameters}");
            assert_eq!(connections.get::<_, i64>(1), 0, "{parameters}");
        }
    });
}

fn who_is_not_trusted_is_refused_and_the_reason_is_named() {
    let guarded = Guarded::start();
    let refused = [
        (
            "db.example",
            "sslmode=verify-full&sslrootcert=CA/other.pem",
            "invalid peer certificate: UnknownIssuer",
        ),
        // Also where the name would not be looked at.
        (
            "other.example",
            "sslmode=verify-ca&sslrootcert=CA/other.pem",
            "invalid peer certificate: UnknownIssuer",
        ),
        (
            "other.example",
            "sslmode=require&sslrootcert=CA/other.pem",
            "invalid peer certificate: UnknownIssuer",
        ),
        (
            "other.example",
            "sslmode=verify-full&sslrootcert=CA/ca.pem",
            "certificate not valid for name \"other.example\"",
        ),
        (
            "127.0.0.1",
            "sslmode=verify-full&sslrootcert=CA/ca.pem",
            "certificate not valid for name \"127.0.0.1\"",
        ),
        ("db.example", "sslmode=disable", "no pg_hba.conf entry for host \"127.0.0.1\", user \"app\""),
        ("db.example", "sslrootcert=CA/gone.pem", "expected PEM certificates of authorities in `"),
        ("db.example", "sslrootcert=/dev/null", "there are no certificates of authorities in `/dev/null`"),
    ];
    for (host, parameters, expected) in refused {
        let told = refusal(&guarded.url(host, parameters));
        assert!(told.contains(expected), "{parameters}: expected {expected} in {told}");
        assert!(told.starts_with(&format!("the database at postgresql://{host}:{}", guarded.port)), "{told}");
    }
    // A migration trusts no more.
    let url = guarded.url("other.example", "sslmode=verify-full&sslrootcert=CA/ca.pem");
    let error = block_on(migrate::run(&url.parse().unwrap())).expect_err("a refusal");
    assert!(causes(&error).contains("certificate not valid for name"), "{error:?}");
}

fn without_a_file_the_platform_says_who_is_trusted() {
    let guarded = Guarded::start();
    let migrate = |trusted: &str| {
        Command::new(program())
            .arg("migrate")
            .env("ECS_AUTHZ_DATABASE_URL", guarded.url("db.example", "sslmode=verify-full"))
            .env("SSL_CERT_FILE", guarded.folder.path().join(trusted))
            .env_remove("SSL_CERT_DIR")
            .output()
            .expect("the program")
    };
    let trusted = migrate("ca.pem");
    assert!(String::from_utf8_lossy(&trusted.stdout).starts_with("nothing to do"), "{trusted:?}");
    let other = migrate("other.pem");
    assert!(String::from_utf8_lossy(&other.stderr).contains("UnknownIssuer"), "{other:?}");
    let none = migrate("gone.pem");
    let expected = "there are no certificates of authorities in this system";
    assert!(String::from_utf8_lossy(&none.stderr).contains(expected), "{none:?}");
}

fn a_server_without_tls_is_refused_where_tls_is_asked_for() {
    let server = Server::start();
    for mode in ["require", "verify-full"] {
        let told = refusal(&format!("{}?sslmode={mode}", server.url));
        assert!(told.ends_with("error performing TLS handshake: server does not support TLS"), "{told}");
    }
    // Without a word, beyond this machine: the host resolves to it only here.
    let elsewhere = server.url.replacen("authz@127.0.0.1", "authz:s3cret@0.0.0.0", 1);
    let told = refusal(&elsewhere);
    assert!(told.ends_with("error performing TLS handshake: server does not support TLS"), "{told}");
}
