//! What is compared: the real server, and null servers.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use tempfile::TempDir;

use super::Outcome;
use super::messages::PAYLOAD_KEY;
use super::plan::Expected;
use super::policies;
use super::process::{Core, Server, command};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    /// An empty server as tonic's examples are.
    Stock,
    /// An empty server on the runtime that `serve` decides on.
    SameBuild,
    /// `ecs-authz serve`, with a decision log.
    Real,
    /// … without a decision log.
    WithoutLog,
}

impl Subject {
    pub(super) const ALL: [Self; 4] = [Self::Stock, Self::SameBuild, Self::Real, Self::WithoutLog];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Stock => "stock null",
            Self::SameBuild => "same-build null",
            Self::Real => "ecs-authz",
            Self::WithoutLog => "ecs-authz, no log",
        }
    }

    /// Whether it decides.
    pub(super) const fn is_real(self) -> bool {
        matches!(self, Self::Real | Self::WithoutLog)
    }
}

/// What runs a server besides the server.
#[derive(Debug, Clone, Copy)]
pub(super) enum Under {
    Nothing,
    /// It counts instructions, and tells them on standard error.
    Valgrind,
}

/// Policies, and what servers leave behind.
pub(super) struct Site {
    folder: TempDir,
    /// As much as the server's cache may take.
    cache_mib: usize,
}

impl Site {
    /// For so many principals.
    pub(super) fn new(principals: usize) -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        policies::write(&folder.path().join("policies"))?;
        // An entry takes some hundred bytes: a KiB for each is room enough.
        Ok(Self { folder, cache_mib: 64 + principals / 1_024 })
    }

    pub(super) fn policies(&self) -> PathBuf {
        self.folder.path().join("policies")
    }

    /// What is to be answered.
    pub(super) fn expected(&self, subject: Subject) -> Expected {
        if subject.is_real() { Expected::Decided(self.policies()) } else { Expected::Allowed }
    }

    /// A fresh one.
    pub(super) fn start(&self, subject: Subject, under: Under) -> Outcome<Server> {
        let program = match subject {
            Subject::Stock | Subject::SameBuild => env::current_exe()?,
            Subject::Real | Subject::WithoutLog => server_program(),
        };
        let mut command = match under {
            Under::Nothing => command(Core::Server, program)?,
            Under::Valgrind => {
                let mut command = command(Core::Server, "valgrind")?;
                command.args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]);
                command.arg(program);
                command
            }
        };
        let null = match subject {
            Subject::Stock => Some("stock"),
            Subject::SameBuild => Some("same-build"),
            Subject::Real | Subject::WithoutLog => None,
        };
        match null {
            Some(kind) => {
                command.args(["--null", kind]);
            }
            None => self.configure(&mut command, subject)?,
        }
        Server::start(command)
    }

    fn configure(&self, command: &mut Command, subject: Subject) -> Outcome<()> {
        let log = self.folder.path().join("decisions.log");
        for old in [log.clone(), log.with_extension("log.1")] {
            if old.exists() {
                fs::remove_file(old)?;
            }
        }
        let file = self.folder.path().join("config.toml");
        fs::write(&file, config((subject == Subject::Real).then_some(log.as_path())))?;
        command.arg("serve").arg("--config").arg(file).arg("--policies").arg(self.policies());
        command.args(["--grpc-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0"]);
        command.args(["--cache-mib", &self.cache_mib.to_string()]);
        // What the caller's environment says of the server is not what is measured.
        let variables = env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        variables.filter(|name| name.starts_with("ECS_AUTHZ_") || name == "RUST_LOG").for_each(|name| {
            command.env_remove(name);
        });
        Ok(())
    }
}

/// The one of this build.
pub(super) fn server_program() -> PathBuf {
    env!("CARGO_BIN_EXE_ecs-authz").into()
}

/// As an operator would configure it behind Envoy, but for how it stops, and that a call may wait on a busy machine.
fn config(log: Option<&Path>) -> String {
    let mut text = format!(
        "[shutdown]\ndelay_seconds = 0\n[limits]\ndecision_budget_ms = 10000\n[log]\nlevel = \"warn\"\n\
         [[ext_authz.principal]]\nsource = \"jwt_metadata\"\npayload_key = \"{PAYLOAD_KEY}\"\n\
         [ext_authz.principal.claims]\ndomain_id = \"domain.id\"\ndomain_name = \"domain.name\"\nuser_id = \"sub\"\n\
         project_id = \"project.id\"\ngroup_ids = \"groups\"\n"
    );
    if let Some(log) = log {
        text += &format!("[decision_log.file]\npath = {:?}\nkeep = 1\n", log.display().to_string());
    }
    text
}
