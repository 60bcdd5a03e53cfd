//! `people`: who may sign in, and what they may do.

use campanile_common::api::{AccessRole, CreatedPerson, Grant, Person, PersonRequest};
use clap::{Args, Subcommand, ValueEnum};
use ureq::http::Method;

use crate::client::{Client, segment};
use crate::context::Context;
use crate::exit::Exit;
use crate::node::Selection;
use crate::os::terminal;
use crate::render::{self, Cell, Column, column};
use crate::{profile, suggest};

/// Verbs of `people`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List people
    #[command(after_help = "Examples:
  campanile people ls
  campanile people ls -o json")]
    Ls,
    /// Add a person and print the one-time link with which they sign in first
    #[command(after_help = "Examples:
  campanile people add bob --role viewer
  campanile people add eve --role operator -l env=staging")]
    Add(Add),
    /// Remove a person, and end their sessions and tokens
    #[command(after_help = "Examples:
  campanile people rm bob --yes")]
    Rm {
        /// Sign-in name
        name: String,
    },
    /// Let a person do more
    #[command(after_help = "Examples:
  campanile people grant bob operator -l role=web")]
    Grant(Change),
    /// Let a person do less
    #[command(after_help = "Examples:
  campanile people revoke bob operator -l role=web")]
    Revoke(Change),
    /// Print a new one-time link for a person who cannot sign in
    #[command(after_help = "Examples:
  campanile people link bob")]
    Link {
        /// Sign-in name
        name: String,
    },
}

/// A new person.
#[derive(Debug, Args)]
pub struct Add {
    /// Sign-in name
    name: String,
    /// What they may do; nothing without
    #[arg(long, value_enum)]
    role: Option<Role>,
    #[command(flatten)]
    selector: Selection,
}

/// A grant to give or take.
#[derive(Debug, Args)]
pub struct Change {
    /// Sign-in name
    name: String,
    /// The role
    #[arg(value_enum)]
    role: Role,
    #[command(flatten)]
    selector: Selection,
}

/// Roles as the command line takes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Reads
    Viewer,
    /// Reads, names and labels nodes, orders routine work
    Operator,
    /// Reads, rolls out
    Deployer,
    /// Reads, backs up and restores
    Backup,
    /// Reads, sees the audit log, enrols and retires nodes
    Security,
    /// Everything, people and tokens included
    Admin,
}

impl From<Role> for AccessRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Viewer => Self::Viewer,
            Role::Operator => Self::Operator,
            Role::Deployer => Self::Deployer,
            Role::Backup => Self::Backup,
            Role::Security => Self::Security,
            Role::Admin => Self::Admin,
        }
    }
}

const COLUMNS: [Column<Person>; 6] = [
    column("NAME", |person, _| Cell::new(&person.name)),
    column("PASSWORD", |person, _| Cell::new(yes(person.has_password))),
    column("TOTP", |person, _| Cell::new(yes(person.has_totp))),
    column("AGE", |person, now| Cell::age(Some(person.created_at), now)),
    column("LOCKED UNTIL", |person, now| Cell::maybe(person.locked_until.filter(|until| *until > now))),
    column("GRANTS", |person, _| Cell::new(grants_text(&person.grants))),
];

const fn yes(holds: bool) -> &'static str {
    if holds { "yes" } else { "no" }
}

/// `admin, operator over role=web`.
pub fn grants_text(grants: &[Grant]) -> String {
    let one = |grant: &Grant| {
        let role = role_name(grant.role);
        if grant.selector.is_empty() { role.to_owned() } else { format!("{role} over {}", grant.selector) }
    };
    grants.iter().map(one).collect::<Vec<_>>().join(", ")
}

const fn role_name(role: AccessRole) -> &'static str {
    match role {
        AccessRole::Viewer => "viewer",
        AccessRole::Operator => "operator",
        AccessRole::Deployer => "deployer",
        AccessRole::Backup => "backup",
        AccessRole::Security => "security",
        AccessRole::Admin => "admin",
    }
}

/// Carries out a verb.
///
/// # Errors
/// When it fails.
pub fn run(context: &mut Context<'_>, verb: &Verb) -> anyhow::Result<Exit> {
    let client = profile::client(context)?;
    match verb {
        Verb::Ls => {
            let people: Vec<Person> = client.pages("/api/v1/people", &[])?;
            render::list(context, &people, &COLUMNS, |person| person.name.clone())?;
        }
        Verb::Add(arguments) => {
            let grant = |role: Role| Grant { role: role.into(), selector: arguments.selector.to_text() };
            let request = PersonRequest {
                name: arguments.name.clone(),
                grants: arguments.role.map(grant).into_iter().collect(),
            };
            let created: CreatedPerson = client.send(Method::POST, "/api/v1/people", &request)?;
            print_link(context, &client, &created)?;
        }
        Verb::Rm { name } => return remove(context, &client, name),
        Verb::Grant(change) => regrant(context, &client, change, true)?,
        Verb::Revoke(change) => regrant(context, &client, change, false)?,
        Verb::Link { name } => {
            let created: CreatedPerson = client.call(Method::POST, &format!("{}/link", path(name)))?;
            print_link(context, &client, &created)?;
        }
    }
    Ok(Exit::Fine)
}

fn path(name: &str) -> String {
    format!("/api/v1/people/{}", segment(name))
}

fn print_link(context: &mut Context<'_>, client: &Client, created: &CreatedPerson) -> anyhow::Result<()> {
    render::object(context, created, &created.person.name, |context| {
        Ok(writeln!(context.out, "{}{}", client.url(), created.link)?)
    })?;
    context.hint("the link works once, within a day; give it to them over a channel you trust")?;
    Ok(())
}

fn remove(context: &mut Context<'_>, client: &Client, name: &str) -> anyhow::Result<Exit> {
    let person = find(client, name)?;
    if !context.global.yes {
        let question = format!("remove {} ({})? [y/N] ", person.name, grants_text(&person.grants));
        let answer = terminal::ask("answer", &question, "give --yes")?;
        if !matches!(answer.as_str(), "y" | "Y" | "yes") {
            context.hint("nobody was removed")?;
            return Ok(Exit::Failed);
        }
    }
    client.order(Method::DELETE, &path(name))?;
    context.hint(&format!("{name} may do nothing any more"))?;
    Ok(Exit::Fine)
}

fn find(client: &Client, name: &str) -> anyhow::Result<Person> {
    let people: Vec<Person> = client.pages("/api/v1/people", &[])?;
    people.iter().find(|person| person.name == name).cloned().ok_or_else(|| {
        let close = suggest::close(name, people.iter().map(|person| person.name.as_str()));
        anyhow::anyhow!("there is no person `{name}`{}", suggest::question(&close))
    })
}

fn regrant(
    context: &mut Context<'_>,
    client: &Client,
    change: &Change,
    is_given: bool,
) -> anyhow::Result<()> {
    let grants = changed(find(client, &change.name)?.grants, change, is_given)?;
    let person: Person = client.send(Method::PUT, &format!("{}/grants", path(&change.name)), &grants)?;
    render::object(context, &person, &person.name, |context| {
        let fields = [("name", Cell::new(&person.name)), ("grants", Cell::new(grants_text(&person.grants)))];
        Ok(render::fields(context, &fields)?)
    })
}

fn changed(mut grants: Vec<Grant>, change: &Change, is_given: bool) -> anyhow::Result<Vec<Grant>> {
    let grant = Grant { role: change.role.into(), selector: change.selector.to_text() };
    let before = grants.len();
    grants.retain(|held| *held != grant);
    if is_given {
        grants.push(grant);
    } else if grants.len() == before {
        anyhow::bail!(
            "{} has no such grant; there is: {}",
            change.name,
            if grants.is_empty() { "none".to_owned() } else { grants_text(&grants) }
        );
    }
    Ok(grants)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(role: Role, selector: &str) -> Change {
        let selector = (!selector.is_empty()).then(|| selector.parse().unwrap());
        Change { name: "bob".to_owned(), role, selector: Selection { selector } }
    }

    fn grant(role: AccessRole, selector: &str) -> Grant {
        Grant { role, selector: selector.to_owned() }
    }

    #[test]
    fn a_grant_is_given_once_however_often() {
        let web = change(Role::Operator, "role=web");
        let once = changed(vec![grant(AccessRole::Viewer, "")], &web, true).unwrap();
        assert_eq!(once, [grant(AccessRole::Viewer, ""), grant(AccessRole::Operator, "role=web")]);
        assert_eq!(changed(once.clone(), &web, true).unwrap(), once);
    }

    #[test]
    fn exactly_the_named_grant_is_taken() {
        let held = vec![grant(AccessRole::Operator, ""), grant(AccessRole::Operator, "role=web")];
        let left = changed(held.clone(), &change(Role::Operator, "role=web"), false).unwrap();
        assert_eq!(left, [grant(AccessRole::Operator, "")]);
        let error = changed(held, &change(Role::Admin, ""), false).unwrap_err().to_string();
        assert_eq!(error, "bob has no such grant; there is: operator, operator over role=web");
    }
}
