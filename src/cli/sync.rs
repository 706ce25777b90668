//! `ecs-authz sync`

use std::env;
use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;

use super::{CommandError, SUCCESS, TableArgs};
use crate::server::load_catalog;
use crate::store::directory::{Faults, Reading, write};
use crate::store::plan::{Contents, Extent, Plan};
use crate::store::postgres::administration::{AdminError, Administration, ImportError};
use crate::store::postgres::{PostgresSettings, causes};

/// How often the progress of a long plan is told, in steps.
const PROGRESS_STEPS: usize = 1_000;

/// Make the policies of a database those of a directory, or the other way round.
#[derive(Debug, clap::Args)]
pub(super) struct SyncArgs {
    #[command(subcommand)]
    direction: Direction,
}

#[derive(Debug, Subcommand)]
enum Direction {
    /// Make the database hold what the directory holds
    Import(DirectionArgs),
    /// Make the directory hold what the database holds
    Export(DirectionArgs),
}

#[derive(Debug, clap::Args)]
struct DirectionArgs {
    /// The directory of policies
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// The database: postgresql://USER:PASSWORD@HOST:PORT/NAME, at the schema version of this program
    #[arg(long, value_name = "URL", env = "ECS_AUTHZ_DATABASE_URL", hide_env_values = true)]
    database_url: String,
    /// Do what the plan says; without it, the plan is shown and nothing is changed
    #[arg(long)]
    apply: bool,
    /// Empty the domains that only the changed side has, too
    #[arg(long)]
    prune: bool,
    /// Only this domain; may be repeated
    #[arg(long = "domain", value_name = "ID")]
    domains: Vec<String>,
    /// Who makes the changes, as the history of the database names it
    #[arg(long, value_name = "NAME", default_value_t = actor())]
    actor: String,
    #[command(flatten)]
    tables: TableArgs,
}

fn actor() -> String {
    format!("sync:{}", env::var("USER").unwrap_or_else(|_| "unknown".to_owned()))
}

/// What is to be done, and all that it takes.
struct Session<'a> {
    args: &'a DirectionArgs,
    administration: Administration,
    wanted: Contents,
    plan: Plan,
}

pub(super) fn run(args: &SyncArgs, out: &mut dyn Write) -> Result<u8, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (Direction::Import(options) | Direction::Export(options)) = &args.direction;
    runtime.block_on(async {
        let session = Session::open(&args.direction, options).await?;
        session.show(out)?;
        if session.plan.domains.is_empty() {
            writeln!(out, "nothing to do")?;
        } else if !options.apply {
            writeln!(out, "nothing is changed without --apply")?;
        } else {
            match &args.direction {
                Direction::Import(_) => session.write_database(out).await?,
                Direction::Export(_) => {
                    write(&options.directory, &session.plan, &session.wanted, session.progress())?;
                }
            }
            writeln!(out, "done")?;
        }
        Ok(SUCCESS)
    })
}

impl<'a> Session<'a> {
    async fn open(direction: &Direction, args: &'a DirectionArgs) -> Result<Self, CommandError> {
        let administration = args.administration().await?;
        let in_database = administration.contents(args.named().as_deref()).await.map_err(failed)?;
        let (current, wanted) = match direction {
            Direction::Import(_) => (in_database, args.directory_contents()?),
            // A directory that is to be made has none.
            Direction::Export(_) if args.is_empty_directory() => (Contents::new(), in_database),
            Direction::Export(_) => (args.directory_contents()?, in_database),
        };
        let is_known = |id: &&String| current.contains_key(*id) || wanted.contains_key(*id);
        if let Some(unknown) = args.domains.iter().find(|id| !is_known(id)) {
            let expected = "expected a domain that the directory or the database has";
            return Err(CommandError::Usage(format!("--domain: {expected}, found `{unknown}`")));
        }
        let plan = Plan::between(&current, &wanted, args.extent());
        Ok(Self { args, administration, wanted, plan })
    }

    /// One line a step, then a line that counts them.
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        for (domain_id, steps) in &self.plan.domains {
            for step in steps {
                writeln!(out, "{domain_id}  {step}")?;
            }
        }
        if !self.plan.left_alone.is_empty() {
            let (count, names) = (self.plan.left_alone.len(), self.plan.left_alone.join(", "));
            writeln!(out, "left alone without --prune: {count} ({names})")?;
        }
        let [added, changed, removed] = self.plan.counts();
        writeln!(out, "plan: {added} to add, {changed} to change, {removed} to remove")
    }

    /// Tells people on a terminal how far it is.
    fn progress(&self) -> impl FnMut(usize) + use<> {
        let steps: usize = self.plan.domains.values().map(Vec::len).sum();
        let tells = io::stderr().is_terminal();
        move |done| {
            if tells && done.is_multiple_of(PROGRESS_STEPS) {
                let _closed = write!(io::stderr(), "\r{done} of {steps} ");
            }
        }
    }

    async fn write_database(&self, out: &mut dyn Write) -> Result<(), CommandError> {
        let args = self.args;
        let named = args.named();
        let imported = self.administration.import(
            &args.actor,
            &self.plan,
            &self.wanted,
            named.as_deref(),
            args.extent(),
            self.progress(),
        );
        let revisions = imported.await.map_err(|error| match error {
            ImportError::Outdated => CommandError::Usage(error.to_string()),
            ImportError::Database(error) => failed(error),
        })?;
        for (domain_id, revision) in revisions {
            writeln!(out, "{domain_id}  at revision {revision}")?;
        }
        Ok(())
    }
}

impl DirectionArgs {
    async fn administration(&self) -> Result<Administration, CommandError> {
        let url = self.database_url.parse().map_err(|fault| CommandError::Usage(format!("{fault}")))?;
        let (max_stale, start_wait) = (Duration::ZERO, Duration::ZERO);
        let settings = PostgresSettings { url, max_connections: 1, max_stale, start_wait };
        Administration::open(&settings).await.map_err(CommandError::Database)
    }

    fn extent(&self) -> Extent {
        if self.prune { Extent::All } else { Extent::Wanted }
    }

    fn named(&self) -> Option<Vec<&str>> {
        (!self.domains.is_empty()).then(|| self.domains.iter().map(String::as_str).collect())
    }

    fn is_empty_directory(&self) -> bool {
        match self.directory.read_dir() {
            Ok(mut entries) => entries.next().is_none(),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    /// What the directory holds, if it has no fault.
    fn directory_contents(&self) -> Result<Contents, CommandError> {
        let catalog = load_catalog(&self.tables.tables)?;
        let reading = Reading::with_contents(&self.directory, &catalog).map_err(|errors| {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            CommandError::Usage(format!("a system policy does not compile: {}", errors.join(", ")))
        })?;
        let (mut contents, faults) = (reading.contents, Faults(reading.faults));
        if !faults.0.is_empty() {
            let root = self.directory.display();
            return Err(CommandError::Usage(format!("the policies in `{root}` have faults:\n{faults}")));
        }
        contents.retain(|id, _| self.domains.is_empty() || self.domains.contains(id));
        Ok(contents)
    }
}

fn failed(error: AdminError) -> CommandError {
    CommandError::Usage(causes(&error))
}
