//! What an order may ask of a node.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::backup::BackupAction;
use super::order::{TEXT_BYTES_MAX, Tier};
use crate::id::{Digest, OrderId};

/// Most bytes of a command's standard input, which travels inside the order.
pub const STDIN_BYTES_MAX: usize = 32 * 1024;
/// Shortest and longest time within which a node is to confirm that it reaches its aggregator.
const CONFIRM_WITHIN_S: std::ops::RangeInclusive<u32> = 5..=3600;
/// Most arguments of a command, and parameters of a routine.
const ARGUMENTS_MAX: usize = 256;

/// A command without a shell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// As whom; none for the steward's own user, which is root on an installed node.
    pub user: Option<String>,
    /// What it reads from standard input.
    pub stdin: Vec<u8>,
}

/// What may be done with a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceVerb {
    /// Start it.
    Start,
    /// Stop it.
    Stop,
    /// Stop and start it.
    Restart,
    /// Have it read its settings anew.
    Reload,
}

impl ServiceVerb {
    /// As systemctl calls it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Reload => "reload",
        }
    }
}

/// What a node is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Run a free command. Tier 2 at least.
    Run(Command),
    /// Run a command of the catalogue. Tier 1 at least.
    Routine {
        /// Version of the catalogue that was read when this was ordered.
        catalogue: u64,
        /// Name of the command in it.
        name: String,
        /// Values of its parameters.
        arguments: BTreeMap<String, String>,
    },
    /// Act on a unit of the service manager. Tier 1 where the catalogue lists it, else tier 2.
    Service {
        /// What to do with it.
        verb: ServiceVerb,
        /// Full name, e.g. `nginx.service`.
        unit: String,
        /// Wait this long for it to be active and to stay so; none to report as soon as the verb is done.
        wait_healthy_ms: Option<u32>,
    },
    /// Stop another order that still runs. Tier 2 at least.
    Cancel {
        /// Which.
        order: OrderId,
    },
    /// Plan or apply a generation of the configuration. Tier 2 at least.
    Config {
        /// Its digest.
        generation: Digest,
        /// What is done with it.
        mode: ConfigMode,
    },
    /// Save, verify or restore files of this node. The tier depends on what is done.
    Backup(BackupAction),
}

/// What is done with a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConfigMode {
    /// Say what applying would change, and change nothing.
    Plan,
    /// Make the node what it says.
    Apply {
        /// Every change is confirmed by a new session to the aggregator, or undone.
        is_confirmed: bool,
        /// How long that may take.
        confirm_within_s: u32,
    },
}

impl ConfigMode {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Apply { .. } => "apply",
        }
    }
}

impl Action {
    /// The lowest tier at which it may be ordered.
    pub const fn tier_min(&self) -> Tier {
        match self {
            Self::Routine { .. } | Self::Service { .. } => Tier::Routine,
            Self::Run(_) | Self::Cancel { .. } | Self::Config { .. } => Tier::Change,
            Self::Backup(backup) => backup.tier_min(),
        }
    }

    /// The kind, as the API and logs name it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Run(_) => "run",
            Self::Routine { .. } => "routine",
            Self::Service { .. } => "service",
            Self::Cancel { .. } => "cancel",
            Self::Config { .. } => "config",
            Self::Backup(_) => "backup",
        }
    }
}

impl fmt::Display for Action {
    /// One line for people and audit logs; control characters and blanks in arguments are quoted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(command) => {
                if let Some(user) = &command.user {
                    write!(f, "as {user}: ")?;
                }
                for (index, word) in command.argv.iter().enumerate() {
                    let gap = if index == 0 { "" } else { " " };
                    let is_plain = !word.is_empty()
                        && word.chars().all(|c| c.is_ascii_graphic() && !"'\"\\$`;&|<>()*?".contains(c));
                    if is_plain { write!(f, "{gap}{word}")? } else { write!(f, "{gap}{word:?}")? }
                }
                Ok(())
            }
            Self::Routine { name, arguments, .. } => {
                write!(f, "{name}")?;
                arguments.iter().try_for_each(|(key, value)| write!(f, " {key}={value:?}"))
            }
            Self::Service { verb, unit, .. } => write!(f, "{} {unit}", verb.as_str()),
            Self::Cancel { order } => write!(f, "cancel order {order}"),
            Self::Config { generation, mode } => {
                write!(f, "{} generation {:.12}", mode.as_str(), generation.to_string())
            }
            Self::Backup(backup) => backup.fmt(f),
        }
    }
}

impl Action {
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let rule = |holds: bool, rule| if holds { Ok(()) } else { Err(rule) };
        let text = |text: &str| !text.is_empty() && text.len() <= TEXT_BYTES_MAX && !text.contains('\0');
        match self {
            Self::Run(command) => {
                rule(command.argv.first().is_some_and(|program| text(program)), "it names no program")?;
                rule(command.argv.len() <= ARGUMENTS_MAX, "its command has too many arguments")?;
                rule(command.argv.iter().all(|word| !word.contains('\0')), "an argument holds a NUL")?;
                rule(command.user.as_deref().is_none_or(text), "its user is empty or too long")?;
                rule(command.stdin.len() <= STDIN_BYTES_MAX, "its standard input is too long")
            }
            Self::Routine { name, arguments, .. } => {
                rule(text(name), "the routine's name is empty or too long")?;
                rule(arguments.len() <= ARGUMENTS_MAX, "the routine has too many arguments")?;
                let fits = |(key, value): (&String, &String)| text(key) && !value.contains('\0');
                rule(arguments.iter().all(fits), "an argument of the routine is not acceptable")
            }
            Self::Service { unit, .. } => rule(is_unit_name(unit), "that is no name of a unit"),
            Self::Cancel { .. } | Self::Config { mode: ConfigMode::Plan, .. } => Ok(()),
            Self::Config { mode: ConfigMode::Apply { confirm_within_s, .. }, .. } => rule(
                CONFIRM_WITHIN_S.contains(confirm_within_s),
                "it is to be confirmed within 5 s to an hour",
            ),
            Self::Backup(backup) => backup.check(),
        }
    }
}

/// True for names that systemd takes, with their suffix: letters, digits and `:-_.@\`, at most 255.
pub fn is_unit_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ":-_.@\\".contains(c);
    let suffix = name.rsplit_once('.').map(|(_, suffix)| suffix);
    let kinds = ["service", "socket", "target", "timer", "mount", "path", "slice", "scope"];
    name.len() <= 255
        && !name.starts_with(['-', '.'])
        && name.chars().all(allowed)
        && suffix.is_some_and(|suffix| kinds.contains(&suffix))
}
