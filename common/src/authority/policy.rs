//! What a node accepts, whoever asks: `policy.toml`, written by whoever is root there and never over the network.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::action::{Action, Command};
use super::order::Tier;
use super::verify::{Denial, DenialCode};
use crate::selector::glob_matches;

/// A kind of work that a node may or may not take part in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Looking: units, journals, processes.
    Observe,
    /// Backups.
    Backup,
    /// Config generations.
    Config,
    /// Commands that the catalogue or this policy names, and services.
    Command,
    /// Any command at all.
    Shell,
    /// Rollouts.
    Rollout,
    /// Updates of the agent.
    Update,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Observe, Self::Backup, Self::Config, Self::Command, Self::Shell, Self::Rollout, Self::Update];

    /// As the policy writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Backup => "backup",
            Self::Config => "config",
            Self::Command => "command",
            Self::Shell => "shell",
            Self::Rollout => "rollout",
            Self::Update => "update",
        }
    }
}

/// A pattern over a whole command line: one glob an argument, and `**` at the end for any further ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandPattern(Vec<String>);

impl CommandPattern {
    /// The pattern that this line of words spells.
    pub fn new(text: &str) -> Self {
        Self(text.split_ascii_whitespace().map(str::to_owned).collect())
    }

    /// True when the command line fits.
    pub fn matches(&self, argv: &[String]) -> bool {
        let (globs, is_open) = match self.0.split_last() {
            Some((last, globs)) if last == "**" => (globs, true),
            _ => (self.0.as_slice(), false),
        };
        let fits = if is_open { argv.len() >= globs.len() } else { argv.len() == globs.len() };
        fits && !self.0.is_empty() && globs.iter().zip(argv).all(|(glob, word)| glob_matches(glob, word))
    }
}

impl Serialize for CommandPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0.join(" "))
    }
}

impl<'de> Deserialize<'de> for CommandPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pattern = Self::new(&String::deserialize(deserializer)?);
        let is_empty = pattern.0.is_empty();
        if is_empty { Err(serde::de::Error::custom("an empty pattern matches nothing")) } else { Ok(pattern) }
    }
}

/// Units: patterns with the globs `*` and `?`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UnitRules {
    /// Whose state and journal may be read.
    pub observe: Vec<String>,
    /// Which may be started, stopped, restarted and reloaded.
    pub change: Vec<String>,
}

impl Default for UnitRules {
    fn default() -> Self {
        Self { observe: vec!["*".to_owned()], change: Vec::new() }
    }
}

/// Commands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CommandRules {
    /// Free commands that class `command` permits; class `shell` permits all.
    pub allow: Vec<CommandPattern>,
    /// Commands that run at tier 3 only, however they are ordered.
    pub critical: Vec<CommandPattern>,
    /// Users that commands may run as, with globs.
    pub users: Vec<String>,
}

impl Default for CommandRules {
    fn default() -> Self {
        Self { allow: Vec::new(), critical: Vec::new(), users: vec!["*".to_owned()] }
    }
}

/// What one execution may use at most on this node, whatever its order says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExecutionLimits {
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Per cent of one core.
    pub cpu_percent: u32,
    /// Processes and threads.
    pub tasks: u32,
    /// Seconds.
    pub time_s: u32,
    /// Bytes of output that are kept.
    pub output_bytes: u32,
}

impl Default for ExecutionLimits {
    fn default() -> Self {
        Self {
            memory_bytes: 2 << 30,
            cpu_percent: 200,
            tasks: 512,
            time_s: 86_400,
            output_bytes: super::order::OUTPUT_BYTES_MAX,
        }
    }
}

/// What a node accepts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// The highest tier, 0 to 3.
    #[serde(with = "tier_number")]
    pub highest_tier: Tier,
    /// The kinds of work.
    pub classes: BTreeSet<Class>,
    /// Units.
    pub units: UnitRules,
    /// Commands.
    pub commands: CommandRules,
    /// Limits of executions.
    pub limits: ExecutionLimits,
}

impl Default for Policy {
    /// What a package installs: looking and backing up, nothing else.
    fn default() -> Self {
        Self {
            highest_tier: Tier::Routine,
            classes: [Class::Observe, Class::Backup].into(),
            units: UnitRules::default(),
            commands: CommandRules::default(),
            limits: ExecutionLimits::default(),
        }
    }
}

mod tier_number {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::authority::Tier;

    pub(super) fn serialize<S: Serializer>(tier: &Tier, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(tier.number())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Tier, D::Error> {
        let number = u8::deserialize(deserializer)?;
        Tier::from_number(number).ok_or_else(|| D::Error::custom("a tier is 0, 1, 2 or 3"))
    }
}

impl Policy {
    /// Whether an order of this tier and action is acceptable. `command` is what a routine stands for;
    /// `steward_user` is as whom commands run that name nobody.
    ///
    /// # Errors
    /// The rule that forbids it, and where it is written.
    pub fn permit(
        &self,
        tier: Tier,
        action: &Action,
        command: Option<&Command>,
        steward_user: &str,
    ) -> Result<(), Denial> {
        let deny = |code, reason: String| Err(Denial { code, reason });
        if tier > self.highest_tier {
            let highest = self.highest_tier;
            return deny(
                DenialCode::PolicyTier,
                format!("this node's policy takes orders up to tier {highest}, this one is of tier {tier}"),
            );
        }
        let class = self.class_of(action);
        if !self.classes.contains(&class) {
            return deny(
                DenialCode::PolicyClass,
                format!("this node's policy does not allow class `{}`", class.as_str()),
            );
        }
        if let Action::Service { unit, .. } = action
            && !self.units.change.iter().any(|glob| glob_matches(glob, unit))
        {
            return deny(
                DenialCode::PolicyUnit,
                format!("this node's policy does not list `{unit}` under units.change"),
            );
        }
        let Some(command) = command else { return Ok(()) };
        let is_critical = self.commands.critical.iter().any(|pattern| pattern.matches(&command.argv));
        if is_critical && tier < Tier::Critical {
            return deny(
                DenialCode::PolicyCommand,
                "this node's policy takes this command at tier 3 only (commands.critical)".to_owned(),
            );
        }
        let user = command.user.as_deref().unwrap_or(steward_user);
        if !self.commands.users.iter().any(|glob| glob_matches(glob, user)) {
            return deny(
                DenialCode::PolicyUser,
                format!("this node's policy does not let commands run as `{user}` (commands.users)"),
            );
        }
        Ok(())
    }

    /// Whether a unit's state and journal may be read.
    ///
    /// # Errors
    /// The rule that forbids it.
    pub fn permit_observing(&self, unit: &str) -> Result<(), Denial> {
        let code = if !self.classes.contains(&Class::Observe) {
            DenialCode::PolicyClass
        } else if !self.units.observe.iter().any(|glob| glob_matches(glob, unit)) {
            DenialCode::PolicyUnit
        } else {
            return Ok(());
        };
        let reason = match code {
            DenialCode::PolicyClass => "this node's policy does not allow class `observe`".to_owned(),
            _ => format!("this node's policy does not list `{unit}` under units.observe"),
        };
        Err(Denial { code, reason })
    }

    fn class_of(&self, action: &Action) -> Class {
        match action {
            Action::Run(command) => {
                let is_listed = self.commands.allow.iter().any(|pattern| pattern.matches(&command.argv));
                if is_listed && self.classes.contains(&Class::Command) {
                    Class::Command
                } else {
                    Class::Shell
                }
            }
            // Whoever may start commands may stop them.
            Action::Cancel { .. } if self.classes.contains(&Class::Shell) => Class::Shell,
            Action::Config { .. } => Class::Config,
            Action::Backup(_) => Class::Backup,
            Action::Routine { .. } | Action::Service { .. } | Action::Cancel { .. } => Class::Command,
        }
    }

    /// What the policy means, one sentence a line, for people.
    pub fn explain(&self) -> Vec<String> {
        let mut lines = vec![match self.highest_tier {
            Tier::Observe => "takes no order at all: the aggregator may look".to_owned(),
            Tier::Routine => "takes orders up to tier 1: what the signed catalogue names".to_owned(),
            Tier::Change => "takes orders up to tier 2: signed by an operator".to_owned(),
            Tier::Critical => "takes orders up to tier 3: signed by the threshold of operators".to_owned(),
        }];
        let names: Vec<&str> = self.classes.iter().map(|class| class.as_str()).collect();
        lines.push(format!(
            "allows {}",
            if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
        ));
        let listed = |what: &str, globs: &[String]| match globs {
            [] => format!("{what} of no unit"),
            globs => format!("{what} of {}", globs.join(", ")),
        };
        if self.classes.contains(&Class::Observe) {
            lines.push(listed("shows state and journal", &self.units.observe));
        }
        if self.classes.contains(&Class::Command) {
            lines.push(listed("takes start, stop, restart and reload", &self.units.change));
            lines.push("runs the commands of the signed catalogue".to_owned());
            let patterns: Vec<String> =
                self.commands.allow.iter().map(|pattern| pattern.0.join(" ")).collect();
            if !patterns.is_empty() {
                lines.push(format!("runs, when an operator signs: {}", patterns.join("; ")));
            }
        }
        if self.classes.contains(&Class::Backup) {
            lines.push("backs up, verifies and drills by its signed policies".to_owned());
        }
        if self.classes.contains(&Class::Config) {
            lines.push("takes the fleet's configuration, when an operator signs it".to_owned());
        }
        if self.classes.contains(&Class::Shell) {
            lines.push("runs any command that an operator signs".to_owned());
        }
        if !self.commands.critical.is_empty() {
            let patterns: Vec<String> =
                self.commands.critical.iter().map(|pattern| pattern.0.join(" ")).collect();
            lines.push(format!("runs only at tier 3: {}", patterns.join("; ")));
        }
        if self.commands.users != ["*"] {
            lines.push(format!("runs commands only as {}", self.commands.users.join(", ")));
        }
        lines
    }
}

#[cfg(test)]
mod tests;
