//! Keep rules: which snapshots stay and why. Pure; the rules are those of `restic forget --keep-...`.
//!
//! Going from the newest to the oldest, a rule such as "7 daily" keeps the newest snapshot of each of the last seven days
//! that have one. Every rule counts for itself, and a snapshot stays when any rule keeps it. Without rules all stay.
//! Hours and days are those of UTC. The moment that counts is given with each snapshot: its own, or, for a store that
//! does not believe what a node says, when it arrived.

mod calendar;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

pub use calendar::Span;

use crate::snapshot::Snapshot;
use crate::tree::FileTime;
use calendar::Moment;

/// Which snapshots are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeepRules {
    /// So many of the newest.
    pub last: u32,
    /// The newest of so many hours.
    pub hourly: u32,
    /// The newest of so many days.
    pub daily: u32,
    /// The newest of so many weeks, from Monday on.
    pub weekly: u32,
    /// The newest of so many months.
    pub monthly: u32,
    /// The newest of so many years.
    pub yearly: u32,
    /// All within this time before the newest.
    pub within: Span,
    /// The newest of every hour within this time before the newest.
    pub within_hourly: Span,
    /// Of every day.
    pub within_daily: Span,
    /// Of every week.
    pub within_weekly: Span,
    /// Of every month.
    pub within_monthly: Span,
    /// Of every year.
    pub within_yearly: Span,
    /// All that have every tag of one of these lists; an empty list is met by those without a tag.
    pub tags: Vec<Vec<String>>,
}

/// Parts of time of which the newest snapshot is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Period {
    /// Each snapshot.
    Each,
    /// An hour.
    Hour,
    /// A day.
    Day,
    /// A week of ISO 8601.
    Week,
    /// A month.
    Month,
    /// A year.
    Year,
}

/// Why a snapshot is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// No rule says anything.
    NoRules,
    /// It has these tags.
    Tags(Vec<String>),
    /// It is the newest of its period, or the oldest of all while the rule has some left.
    Newest(Period),
    /// It is near the newest.
    Within(Span),
    /// It is the newest of its period, near the newest.
    NewestWithin(Period, Span),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRules => f.write_str("no rule"),
            Self::Tags(tags) => write!(f, "has tags {}", tags.join(",")),
            Self::Newest(period) => write!(f, "{} snapshot", period.adverb()),
            Self::Within(span) => write!(f, "within {span}"),
            Self::NewestWithin(period, span) => write!(f, "{} within {span}", period.adverb()),
        }
    }
}

impl Period {
    const fn adverb(self) -> &'static str {
        match self {
            Self::Each => "last",
            Self::Hour => "hourly",
            Self::Day => "daily",
            Self::Week => "weekly",
            Self::Month => "monthly",
            Self::Year => "yearly",
        }
    }
}

impl KeepRules {
    /// Whether no rule says anything, so that all are kept.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A snapshot that is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate<K> {
    /// Tells it from others; of two of the same moment the greater is taken for the newer.
    pub key: K,
    /// The moment that counts.
    pub time: FileTime,
    /// Its tags.
    pub tags: Vec<String>,
}

/// What the rules say.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<K> {
    /// Kept, newest first, each with all reasons.
    pub keep: Vec<(Candidate<K>, Vec<Reason>)>,
    /// Let go, newest first.
    pub forget: Vec<Candidate<K>>,
}

/// Snapshots that are judged together: of one machine, of the same paths.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    /// The machine's name.
    pub hostname: String,
    /// In order.
    pub paths: Vec<String>,
}

impl Group {
    /// That of a snapshot.
    pub fn of(snapshot: &Snapshot) -> Self {
        let mut paths = snapshot.paths.clone();
        paths.sort();
        paths.dedup();
        Self { hostname: snapshot.hostname.clone(), paths }
    }
}

/// Puts snapshots into their groups, to be judged by their own time.
pub fn groups<K>(snapshots: impl IntoIterator<Item = (K, Snapshot)>) -> BTreeMap<Group, Vec<Candidate<K>>> {
    let mut groups: BTreeMap<Group, Vec<Candidate<K>>> = BTreeMap::new();
    for (key, snapshot) in snapshots {
        let group = Group::of(&snapshot);
        let candidate = Candidate { key, time: snapshot.time, tags: snapshot.tags };
        groups.entry(group).or_default().push(candidate);
    }
    groups
}

/// A rule that counts periods.
struct Counter {
    period: Period,
    left: u32,
    last: Option<u64>,
}

/// A rule that takes every period of a time.
struct Stretch {
    period: Period,
    span: Span,
    last: Option<u64>,
}

/// Judges the snapshots of one group. `now` keeps a snapshot from the future from being the newest that durations are
/// counted from.
pub fn decide<K: Ord>(rules: &KeepRules, mut candidates: Vec<Candidate<K>>, now: FileTime) -> Decision<K> {
    candidates.sort_by(|left, right| (right.time, &right.key).cmp(&(left.time, &left.key)));
    if rules.is_empty() {
        let keep = candidates.into_iter().map(|candidate| (candidate, vec![Reason::NoRules]));
        return Decision { keep: keep.collect(), forget: Vec::new() };
    }
    let newest = candidates.iter().map(|candidate| candidate.time).filter(|time| *time < now).max();
    let newest = Moment::new(newest.unwrap_or(now));
    let (mut counters, mut stretches) = (counters(rules), stretches(rules));
    let count = candidates.len();
    let mut decision = Decision { keep: Vec::new(), forget: Vec::new() };
    for (number, candidate) in candidates.into_iter().enumerate() {
        let moment = Moment::new(candidate.time);
        let mut reasons = Vec::new();
        let met = rules.tags.iter().filter(|tags| has_tags(&candidate.tags, tags));
        reasons.extend(met.map(|tags| Reason::Tags(tags.clone())));
        if !rules.within.is_zero() && moment > newest.before(rules.within) {
            reasons.push(Reason::Within(rules.within));
        }
        for counter in counters.iter_mut().filter(|counter| counter.left > 0) {
            let period = moment.number(counter.period, number);
            if counter.last != Some(period) || number + 1 == count {
                counter.last = Some(period);
                counter.left -= 1;
                reasons.push(Reason::Newest(counter.period));
            }
        }
        for stretch in stretches.iter_mut().filter(|stretch| moment > newest.before(stretch.span)) {
            let period = moment.number(stretch.period, number);
            if stretch.last != Some(period) {
                stretch.last = Some(period);
                reasons.push(Reason::NewestWithin(stretch.period, stretch.span));
            }
        }
        if reasons.is_empty() {
            decision.forget.push(candidate);
        } else {
            decision.keep.push((candidate, reasons));
        }
    }
    decision
}

fn counters(rules: &KeepRules) -> Vec<Counter> {
    let of = |(period, left)| Counter { period, left, last: None };
    let rules = [
        (Period::Each, rules.last),
        (Period::Hour, rules.hourly),
        (Period::Day, rules.daily),
        (Period::Week, rules.weekly),
        (Period::Month, rules.monthly),
        (Period::Year, rules.yearly),
    ];
    rules.into_iter().map(of).collect()
}

fn stretches(rules: &KeepRules) -> Vec<Stretch> {
    let rules = [
        (Period::Hour, rules.within_hourly),
        (Period::Day, rules.within_daily),
        (Period::Week, rules.within_weekly),
        (Period::Month, rules.within_monthly),
        (Period::Year, rules.within_yearly),
    ];
    let used = rules.into_iter().filter(|(_, span)| !span.is_zero());
    used.map(|(period, span)| Stretch { period, span, last: None }).collect()
}

fn has_tags(tags: &[String], wanted: &[String]) -> bool {
    if wanted.is_empty() { tags.is_empty() } else { wanted.iter().all(|tag| tags.contains(tag)) }
}

/// Text that is no span of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no span of time: it is written as `1y6m14d12h`, each part once or not at all")]
pub struct NotASpan(pub String);

impl FromStr for Span {
    type Err = NotASpan;

    fn from_str(text: &str) -> Result<Self, NotASpan> {
        let refused = || NotASpan(text.chars().take(80).collect());
        let mut span = Self::default();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let digits = rest.find(|character: char| !character.is_ascii_digit()).ok_or_else(refused)?;
            let number: u32 = rest[..digits].parse().map_err(|_| refused())?;
            let part = match rest[digits..].chars().next() {
                Some('y') => &mut span.years,
                Some('m') => &mut span.months,
                Some('d') => &mut span.days,
                Some('h') => &mut span.hours,
                _ => return Err(refused()),
            };
            if *part != 0 {
                return Err(refused());
            }
            *part = number;
            rest = &rest[digits + 1..];
        }
        Ok(span)
    }
}

#[cfg(test)]
mod tests;
