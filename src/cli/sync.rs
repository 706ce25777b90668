//! `ecs-authz sync`

use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;

use clap::Subcommand;

use super::database::DatabaseArgs;
use super::{CommandError, SUCCESS, TableArgs};
use crate::catalog::Catalog;
use crate::server::load_catalog;
use crate::store::directory::{self, Export, Faults, Reading, check_export, holds_nothing};
use crate::store::plan::{Contents, Extent, Plan, Step};
use crate::store::postgres::administration::Administration;
use actor::Actor;

mod actor;

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
    #[command(flatten)]
    database: DatabaseArgs,
    /// Do what the plan says; without it, the plan is shown and nothing is changed
    #[arg(long)]
    apply: bool,
    /// With --apply: only if the plan is still the one that was shown with this digest
    #[arg(long, value_name = "DIGEST", requires = "apply")]
    plan: Option<String>,
    /// Empty the domains that only the changed side has, too
    #[arg(long)]
    prune: bool,
    /// Only this domain; may be repeated
    #[arg(long = "domain", value_name = "ID")]
    domains: Vec<String>,
    /// Who makes the changes: the history of the database names `sync:NAME` [default: the user of this process]
    #[arg(long, value_name = "NAME")]
    actor: Option<Actor>,
    #[command(flatten)]
    tables: TableArgs,
}

/// What is to be done, and all that it takes.
struct Session<'a> {
    args: &'a DirectionArgs,
    direction: &'a Direction,
    administration: Administration,
    catalog: Catalog,
    current: Contents,
    wanted: Contents,
    plan: Plan,
}

pub(super) fn run(args: &SyncArgs, out: &mut dyn Write) -> Result<u8, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(sync(&args.direction, out))?;
    Ok(SUCCESS)
}

async fn sync(direction: &Direction, out: &mut dyn Write) -> Result<(), CommandError> {
    let (Direction::Import(args) | Direction::Export(args)) = direction;
    // Before the directory is read: what was read then holds until it is written.
    let export = match direction {
        Direction::Export(_) if args.apply => Some(Export::begin(&args.directory)?),
        Direction::Import(_) | Direction::Export(_) => None,
    };
    let session = Session::open(direction, args).await?;
    session.show(out)?;
    let digest = session.plan.digest();
    if session.plan.domains.is_empty() {
        writeln!(out, "nothing to do")?;
    } else if !args.apply {
        session.check()?;
        writeln!(
            out,
            "nothing is changed without --apply; --apply --plan {digest} does this and nothing else"
        )?;
    } else if let Some(expected) = args.plan.as_ref().filter(|expected| **expected != digest) {
        return Err(CommandError::OtherPlan { expected: expected.clone(), found: digest });
    } else {
        match export {
            Some(export) => session.write_directory(export)?,
            None => session.write_database(out).await?,
        }
        writeln!(out, "done")?;
    }
    Ok(())
}

impl<'a> Session<'a> {
    async fn open(direction: &'a Direction, args: &'a DirectionArgs) -> Result<Self, CommandError> {
        let catalog = load_catalog(&args.tables.tables)?;
        let administration = args.administration().await?;
        let in_database = administration.contents(args.named().as_deref()).await?;
        let (current, wanted) = match direction {
            Direction::Import(_) => (in_database, args.directory_contents(&catalog)?),
            // A directory that is to be made has none.
            Direction::Export(_) if holds_nothing(&args.directory) => (Contents::new(), in_database),
            Direction::Export(_) => (args.directory_contents(&catalog)?, in_database),
        };
        let is_known = |id: &&String| current.contains_key(*id) || wanted.contains_key(*id);
        if let Some(unknown) = args.domains.iter().find(|id| !is_known(id)) {
            let expected = "expected a domain that the directory or the database has";
            return Err(CommandError::Usage(format!("--domain: {expected}, found `{unknown}`")));
        }
        let plan = Plan::between(&current, &wanted, args.extent());
        Ok(Self { args, direction, administration, catalog, current, wanted, plan })
    }

    /// Finds what stands against the plan that is shown.
    fn check(&self) -> Result<(), CommandError> {
        if let Direction::Export(_) = self.direction {
            check_export(&self.args.directory, &self.plan, &self.wanted, &self.catalog)?;
        }
        Ok(())
    }

    /// Whether people's comments may be lost.
    fn rewrites_grants(&self, domain_id: &str, steps: &[Step]) -> bool {
        let is_export = matches!(self.direction, Direction::Export(_));
        let stays = self.current.contains_key(domain_id) && self.wanted.contains_key(domain_id);
        is_export && stays && Plan::changes_grants(steps)
    }

    /// One line a step, then a line that counts them.
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        for (domain_id, steps) in &self.plan.domains {
            for step in steps {
                writeln!(out, "{domain_id}  {step}")?;
            }
            if self.rewrites_grants(domain_id, steps) {
                writeln!(out, "{domain_id}  grants.toml is written anew, without the comments in it")?;
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

    fn write_directory(&self, export: Export) -> Result<(), CommandError> {
        Ok(export.write(&self.plan, &self.wanted, &self.catalog, self.progress())?)
    }

    async fn write_database(&self, out: &mut dyn Write) -> Result<(), CommandError> {
        let (args, named) = (self.args, self.args.named());
        let actor = args.actor.clone().unwrap_or_else(Actor::of_process).to_string();
        let imported = self.administration.import(
            &actor,
            &self.plan,
            &self.wanted,
            named.as_deref(),
            args.extent(),
            self.progress(),
        );
        let revisions = imported.await?;
        for (domain_id, revision) in revisions {
            writeln!(out, "{domain_id}  at revision {revision}")?;
        }
        Ok(())
    }
}

impl DirectionArgs {
    async fn administration(&self) -> Result<Administration, CommandError> {
        let settings = self.database.clone().settings()?;
        Administration::open(&settings).await.map_err(CommandError::Database)
    }

    fn extent(&self) -> Extent {
        if self.prune { Extent::All } else { Extent::Wanted }
    }

    fn named(&self) -> Option<Vec<&str>> {
        (!self.domains.is_empty()).then(|| self.domains.iter().map(String::as_str).collect())
    }

    /// What the directory holds, if it has no fault.
    fn directory_contents(&self, catalog: &Catalog) -> Result<Contents, CommandError> {
        let reading =
            Reading::with_contents(&self.directory, catalog).map_err(directory::OpenError::System)?;
        if !reading.faults.is_empty() {
            let (root, faults) = (self.directory.clone(), Faults(reading.faults));
            return Err(directory::OpenError::Faults { root, faults }.into());
        }
        let mut contents = reading.contents;
        contents.retain(|id, _| self.domains.is_empty() || self.domains.contains(id));
        Ok(contents)
    }
}
