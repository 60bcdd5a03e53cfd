//! `schedule`: orders that come again and again, under a grant that an operator signed: narrow, standing, expiring.

mod when;

use std::time::Duration;

use anyhow::anyhow;
use campanile_common::api::{MissedPolicy, OverlapPolicy, Schedule, ScheduleRequest, SignedText};
use campanile_common::authority::{Action, Authority, Command, STANDING_VALIDITY_MAX, Standing, Tier};
use campanile_common::id::NodeId;
use clap::{Args, Subcommand, ValueEnum};
use ureq::http::Method;

use crate::client::{Client, segment};
use crate::context::Context;
use crate::exit::{Exit, UsageError};
use crate::node::Selection;
use crate::order::options::{Options, SLACK};
use crate::order::submit::{self, Draft};
use crate::order::summary;
use crate::os::clock;
use crate::render::{self, Cell, Column, Tone, column, wide};
use crate::watch::Watch;
use crate::{authority, catalogue, confirm, duration, profile, routine, suggest, targets};

/// Path in the API.
const PATH: &str = "/api/v1/schedules";
/// Runs beyond those that are due, for ones that are ordered by hand.
const RUNS_SPARE: u64 = 100;

/// Verbs of `schedule`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List schedules
    #[command(after_help = "Examples:
  campanile schedule ls
  campanile schedule ls -o wide --watch")]
    Ls {
        /// How often it is drawn.
        #[command(flatten)]
        watch: Watch,
    },
    /// Show one schedule
    #[command(after_help = "Examples:
  campanile schedule show nightly-trim")]
    Show {
        /// What it is called
        name: String,
    },
    /// Make a schedule, with a grant signed by this operator
    #[command(after_help = "Examples:
  campanile schedule add nightly-trim --when '0 3 * * *' --time-zone Europe/Rome --splay 5m -l role=db -- fstrim -a
  campanile schedule add disk --when '@every 1h' --for 30d --routine disk-usage path=/var -l env=prod

The grant names its nodes, its command and its end: a node that is enrolled later is not in it, and after --for it
must be signed again. --timeout is the time of each run. With --routine no key is needed.")]
    Add(Box<Add>),
    /// Take a schedule away
    #[command(after_help = "Examples:
  campanile schedule rm nightly-trim")]
    Rm {
        /// What it is called
        name: String,
    },
    /// Run a schedule now
    #[command(after_help = "Examples:
  campanile schedule run nightly-trim

Nodes refuse a run that comes too soon after the last one.")]
    Run {
        /// What it is called
        name: String,
    },
}

/// What a schedule does when a time was missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Missed {
    /// Nothing; the next time counts
    Skip,
    /// One run as soon as possible
    Once,
}

/// What a schedule does when its last run is not over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Overlap {
    /// This run is left out
    Skip,
    /// Both run
    Allow,
}

/// A new schedule.
#[derive(Debug, Args)]
pub struct Add {
    /// What it is called
    name: String,
    /// Values of the routine's parameters
    #[arg(value_name = "KEY=VALUE", requires = "routine", conflicts_with = "command")]
    arguments: Vec<String>,
    /// Five fields as in cron, or `@every 15m`
    #[arg(long)]
    when: String,
    /// Time zone of the five fields, e.g. Europe/Rome [default: UTC]
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// Spread the starts of the nodes over this time
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    splay: Option<Duration>,
    /// When a time was missed while the aggregator was away or the fleet frozen
    #[arg(long, value_enum, default_value_t = Missed::Skip)]
    missed: Missed,
    /// When the last run is not over
    #[arg(long, value_enum, default_value_t = Overlap::Skip)]
    overlap: Overlap,
    /// For how long the grant holds, at most a year
    #[arg(long = "for", value_name = "DURATION", default_value = "90d", value_parser = duration::parse)]
    duration: Duration,
    /// A command of the catalogue instead of a free one
    #[arg(long, value_name = "NAME", required_unless_present = "command", conflicts_with = "command")]
    routine: Option<String>,
    /// As whom the command runs
    #[arg(long = "as", value_name = "USER", conflicts_with = "routine")]
    user: Option<String>,
    #[command(flatten)]
    selector: Selection,
    #[command(flatten)]
    options: Options,
    /// Program and arguments
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

const COLUMNS: [Column<Schedule>; 10] = [
    column("NAME", |schedule, _| Cell::new(&schedule.name)),
    column("WHEN", |schedule, _| Cell::new(&schedule.when)),
    column("ZONE", |schedule, _| Cell::new(&schedule.time_zone)),
    column("NODES", |schedule, _| Cell::new(schedule.nodes)),
    column("LAST", |schedule, now| Cell::age(schedule.last_run, now)),
    column("ENDED", |schedule, _| ended(schedule)),
    column("NEXT", |schedule, _| Cell::maybe(schedule.next_run)),
    column("GRANT", |schedule, now| Cell::left(schedule.expires_at, now)),
    wide("SIGNED", |schedule, _| Cell::new(schedule.signed_by.join(","))),
    column("ACTION", |schedule, _| Cell::new(&schedule.action)),
];

fn ended(schedule: &Schedule) -> Cell {
    match &schedule.last_counts {
        None => Cell::new(""),
        Some(counts) => {
            let tone = if counts.ok == counts.targeted { Tone::Good } else { Tone::Bad };
            Cell::new(format!("{}/{} ok", counts.ok, counts.targeted)).toned(tone)
        }
    }
}

/// Carries out a verb.
///
/// # Errors
/// When it fails.
pub fn run(context: &mut Context<'_>, verb: &Verb) -> anyhow::Result<Exit> {
    match verb {
        Verb::Ls { watch } => {
            let client = profile::client(context)?;
            watch.run(context, |context| {
                let schedules: Vec<Schedule> = client.pages(PATH, &[])?;
                render::list(context, &schedules, &COLUMNS, |schedule| schedule.name.clone())?;
                Ok(Exit::Fine)
            })
        }
        Verb::Show { name } => {
            let client = profile::client(context)?;
            show(context, &get(&client, name)?)
        }
        Verb::Add(arguments) => add(context, arguments),
        Verb::Rm { name } => {
            let client = profile::client(context)?;
            let schedule = get(&client, name)?;
            let question = format!("take away `{name}` ({}, {} nodes)?", schedule.action, schedule.nodes);
            if !confirm::question(context, &question)? {
                context.hint("nothing was changed")?;
                return Ok(Exit::Failed);
            }
            client.order(Method::DELETE, &path(name))?;
            context.hint(&format!("{name} is gone"))?;
            Ok(Exit::Fine)
        }
        Verb::Run { name } => {
            let client = profile::client(context)?;
            get(&client, name)?;
            let schedule: Schedule = client.call(Method::POST, &format!("{}/run", path(name)))?;
            show(context, &schedule)?;
            context.hint(&format!("started; `campanile order watch {}` follows it", schedule.order_id))?;
            Ok(Exit::Fine)
        }
    }
}

fn path(name: &str) -> String {
    format!("{PATH}/{}", segment(name))
}

fn get(client: &Client, name: &str) -> anyhow::Result<Schedule> {
    client.get(&path(name), &[]).map_err(|error| {
        if error.code() != Some("not_found") {
            return error.into();
        }
        // Only a courtesy: without the list the answer is the same.
        let known: Vec<Schedule> = client.pages(PATH, &[]).unwrap_or_default();
        let close = suggest::close(name, known.iter().map(|schedule| schedule.name.as_str()));
        anyhow!("there is no schedule `{name}`{}", suggest::question(&close))
    })
}

fn show(context: &mut Context<'_>, schedule: &Schedule) -> anyhow::Result<Exit> {
    let splay =
        if schedule.splay_seconds == 0 { None } else { Some(format!("{} s", schedule.splay_seconds)) };
    let missed = match schedule.missed {
        MissedPolicy::Skip => "left out",
        MissedPolicy::Once => "one run as soon as possible",
    };
    let overlap = match schedule.overlap {
        OverlapPolicy::Skip => "left out while the last runs",
        OverlapPolicy::Allow => "both run",
    };
    let signers =
        if schedule.signed_by.is_empty() { "nobody".to_owned() } else { schedule.signed_by.join(", ") };
    render::object(context, schedule, &schedule.name, |context| {
        Ok(render::fields(
            context,
            &[
                ("name", Cell::new(&schedule.name)),
                ("when", Cell::new(format!("{} ({})", schedule.when, schedule.time_zone))),
                ("action", Cell::new(&schedule.action)),
                ("tier", Cell::new(schedule.tier)),
                ("nodes", Cell::new(schedule.nodes)),
                ("spread over", Cell::maybe(splay)),
                ("missed times", Cell::new(missed)),
                ("overlapping runs", Cell::new(overlap)),
                ("grant", Cell::new(format!("{}, until {}", schedule.order_id, schedule.expires_at))),
                ("signed by", Cell::new(signers)),
                ("made", Cell::new(format!("{} by {}", schedule.created_at, schedule.created_by))),
                ("last run", Cell::maybe(schedule.last_run)),
                ("it ended", Cell::maybe(schedule.last_counts.as_ref().map(summary::counts))),
                ("next run", Cell::maybe(schedule.next_run)),
            ],
        )?)
    })?;
    Ok(Exit::Fine)
}

fn add(context: &mut Context<'_>, arguments: &Add) -> anyhow::Result<Exit> {
    let standing = standing(arguments)?;
    if arguments.options.queue.is_some() || arguments.options.detach {
        return Err(UsageError("--queue and --detach mean nothing for a schedule".to_owned()).into());
    }
    let authority = authority::load(context.environment)?;
    let client = profile::client_of_orders(context)?;
    let (tier, action) = work(&client, &authority, arguments)?;
    let nodes = targets::resolve(&client, arguments.selector.selector.as_ref(), &[])?;
    confirm::expected(nodes.len(), arguments.options.expect)?;
    let ids: Vec<NodeId> = nodes.iter().map(|node| node.node_id).collect();
    let draft = Draft {
        tier,
        action,
        nodes: &ids,
        limits: arguments.options.limits()?,
        standing: Some(standing),
        valid_for: arguments.duration,
        reason: &arguments.options.reason,
    };
    let composed = draft.compose(&authority, submit::new_id(), clock::now())?;
    composed.order.to_bytes()?;
    let what = format!(
        "`{}` at tier {tier}, {} ({}), on {} nodes until {}",
        composed.order.action,
        arguments.when,
        arguments.time_zone.as_deref().unwrap_or("UTC"),
        nodes.len(),
        composed.order.expires
    );
    if arguments.options.dry_run {
        writeln!(context.out, "would grant {what}")?;
        return Ok(Exit::Fine);
    }
    let grant = submit::sign(context, &authority, &composed.order, &arguments.options.passphrase)?;
    let request = request(arguments, grant, composed.leaves);
    let schedule: Schedule = client.send(Method::POST, PATH, &request)?;
    show(context, &schedule)?;
    context.hint(&format!("granted {what}"))?;
    Ok(Exit::Fine)
}

fn work(client: &Client, authority: &Authority, arguments: &Add) -> anyhow::Result<(Tier, Action)> {
    let is_critical = arguments.options.critical;
    let Some(name) = &arguments.routine else {
        let command =
            Command { argv: arguments.command.clone(), user: arguments.user.clone(), stdin: Vec::new() };
        return Ok((if is_critical { Tier::Critical } else { Tier::Change }, Action::Run(command)));
    };
    let values = routine::parse(&arguments.arguments)?;
    let catalogue = catalogue::in_force(client, authority)?
        .ok_or_else(|| anyhow!("there is no catalogue yet; begin with `campanile catalogue init`"))?;
    let tier = if is_critical { Tier::Critical } else { Tier::Routine };
    Ok((tier, routine::action(&catalogue, name, values)?))
}

/// What the grant permits: no more than the schedule needs.
fn standing(arguments: &Add) -> anyhow::Result<Standing> {
    if arguments.duration > STANDING_VALIDITY_MAX - SLACK {
        return Err(UsageError("a grant holds for a year at most; give --for 365d".to_owned()).into());
    }
    let interval = when::interval(&arguments.when).map_err(|error| UsageError(error.to_string()))?;
    let splay = arguments.splay.unwrap_or_default();
    if splay > interval {
        return Err(UsageError("--splay is longer than the time between two runs".to_owned()).into());
    }
    let options = &arguments.options;
    let is_late = arguments.missed == Missed::Once || options.batch.is_some() || options.parallel.is_some();
    let lateness = if is_late { interval } else { (splay + 5 * SLACK).min(interval) };
    let runs = arguments.duration.as_secs().div_ceil(interval.as_secs()) + RUNS_SPARE;
    let seconds = |duration: Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
    Ok(Standing {
        interval_s: seconds(interval),
        lateness_s: seconds(lateness),
        runs_max: u32::try_from(runs).unwrap_or(u32::MAX),
    })
}

fn request(arguments: &Add, grant: SignedText, leaves: Vec<NodeId>) -> ScheduleRequest {
    ScheduleRequest {
        name: arguments.name.clone(),
        when: arguments.when.clone(),
        time_zone: arguments.time_zone.clone(),
        splay_seconds: arguments.splay.map_or(0, |splay| u32::try_from(splay.as_secs()).unwrap_or(u32::MAX)),
        missed: match arguments.missed {
            Missed::Skip => MissedPolicy::Skip,
            Missed::Once => MissedPolicy::Once,
        },
        overlap: match arguments.overlap {
            Overlap::Skip => OverlapPolicy::Skip,
            Overlap::Allow => OverlapPolicy::Allow,
        },
        grant,
        nodes: leaves,
        dispatch: arguments.options.dispatch(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command as Noun};
    use crate::testing;
    use campanile_common::api::Page;
    use campanile_common::authority::{Role, SignedOrder};
    use clap::Parser as _;
    use std::sync::{Arc, Mutex};

    fn standing_of(line: &[&str]) -> Standing {
        let line = ["campanile", "schedule", "add", "x"].iter().chain(line).chain(&["--", "true"]);
        let Noun::Schedule(Verb::Add(add)) = Cli::try_parse_from(line).unwrap().command else {
            panic!("another verb");
        };
        standing(&add).unwrap()
    }

    #[test]
    fn a_grant_is_as_narrow_as_its_schedule() {
        let found = standing_of(&["--when", "@every 15m", "--for", "1d", "--splay", "2m"]);
        assert_eq!(found, Standing { interval_s: 900, lateness_s: 420, runs_max: 196 });
        let found = standing_of(&["--when", "@every 15m", "--missed", "once"]);
        assert_eq!(found.lateness_s, 900);
        let found = standing_of(&["--when", "*/2 * * * *"]);
        assert_eq!((found.interval_s, found.lateness_s), (120, 120), "never later than the next");
    }

    #[test]
    fn a_grant_is_signed_for_the_nodes_and_the_time_that_were_said() {
        let folder = testing::operator();
        let kept = Arc::new(Mutex::new(None));
        let keep = Arc::clone(&kept);
        let choose = move |line: &str, body: &str| {
            if line.starts_with("GET /api/v1/nodes?") {
                let page = Page { items: vec![testing::node(1), testing::node(2)], next_cursor: None };
                return testing::answer("200 OK", &serde_json::to_string(&page).unwrap());
            }
            assert!(line.starts_with("POST /api/v1/schedules "), "{line}");
            *keep.lock().unwrap() = Some(serde_json::from_str::<ScheduleRequest>(body).unwrap());
            let problem = r#"{"status":423,"code":"frozen","title":"Frozen","detail":"audit"}"#;
            testing::answer("423 Locked", problem)
        };
        let script = testing::Script::choosing(Box::new(choose));
        let line =
            ["schedule", "add", "trim", "--when", "0 3 * * *", "--for", "30d", "-l", "a=b", "--", "fstrim"];
        let (exit, _, err) = testing::campanile(&script, &folder, &line);
        assert_eq!(exit, Exit::Frozen, "{err}");
        let request = kept.lock().unwrap().take().unwrap();
        let (bytes, signatures) = request.grant.decode().unwrap();
        let signed = SignedOrder { bytes, signatures };
        let authority = authority::load(&script.environment(folder.path())).unwrap();
        assert_eq!(signed.signers(&authority, Role::Change).len(), 1);
        let order = signed.read().unwrap();
        assert_eq!(order.expires.since(order.not_before).as_secs(), 30 * 86_400 + 60);
        assert_eq!(order.standing.unwrap().interval_s, 23 * 3600);
    }

    #[test]
    fn a_schedule_runs_a_command_or_a_routine() {
        for wrong in [
            &["campanile", "schedule", "add", "x", "--when", "@every 1h"][..],
            &["campanile", "schedule", "add", "x", "--when", "@every 1h", "--routine", "a", "--", "true"],
            &["campanile", "schedule", "add", "x", "key=value", "--when", "@every 1h", "--", "true"],
        ] {
            assert!(Cli::try_parse_from(wrong).is_err(), "{wrong:?}");
        }
    }
}
