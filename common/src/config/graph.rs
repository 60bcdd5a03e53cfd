//! In which order resources are applied: what `after` and `notify` say, and what needs no saying. Pure and stable: the
//! same resources come in the same order wherever they are written.

use std::collections::{BTreeMap, BTreeSet};

use crate::suggest;

use super::resource::{Kind, Presence, Resource, ResourceId, Spec};

/// Why resources have no order, or contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// `after` or `notify` names a resource that is not there.
    #[error("{from}: `{key}` names {to}, which is not there{}", question(close))]
    Missing {
        /// Who names it.
        from: ResourceId,
        /// In which key.
        key: &'static str,
        /// What is named.
        to: ResourceId,
        /// Resources that are named alike.
        close: Vec<String>,
    },
    /// `notify` names something that does nothing when it is notified.
    #[error("{from}: `notify` names {to}; only services and commands can be notified")]
    Deaf {
        /// Who names it.
        from: ResourceId,
        /// What is named.
        to: ResourceId,
    },
    /// Each is to come before the next, and the last before the first.
    #[error("these wait for each other: {}", chain(.0))]
    Cycle(
        /// The resources, each applied before the next; one at least.
        Vec<ResourceId>,
    ),
    /// Two resources want different things of one path.
    #[error("{one} and {other} contradict each other: {problem}")]
    Conflict {
        /// The one.
        one: ResourceId,
        /// The other.
        other: ResourceId,
        /// Why they do.
        problem: &'static str,
    },
}

impl GraphError {
    /// The resource that the error is about, first of all.
    pub fn resource(&self) -> &ResourceId {
        match self {
            Self::Missing { from, .. } | Self::Deaf { from, .. } => from,
            Self::Cycle(cycle) => &cycle[0],
            Self::Conflict { one, .. } => one,
        }
    }

    /// The other resource that has a part in it.
    pub fn other(&self) -> Option<&ResourceId> {
        match self {
            Self::Missing { to, .. } | Self::Deaf { to, .. } => Some(to),
            Self::Cycle(cycle) => cycle.get(1),
            Self::Conflict { other, .. } => Some(other),
        }
    }

    /// The key that is wrong, where it is one.
    pub const fn key(&self) -> Option<&'static str> {
        match self {
            Self::Missing { key, .. } => Some(key),
            Self::Deaf { .. } => Some("notify"),
            Self::Cycle(_) | Self::Conflict { .. } => None,
        }
    }
}

fn question(close: &[String]) -> String {
    suggest::question(&close.iter().map(String::as_str).collect::<Vec<_>>())
}

fn chain(cycle: &[ResourceId]) -> String {
    let names: Vec<String> = cycle.iter().chain(cycle.first()).map(ToString::to_string).collect();
    names.join(" -> ")
}

/// Resources by id, and who comes before whom.
struct Graph<'a> {
    resources: &'a [Resource],
    places: BTreeMap<&'a ResourceId, usize>,
    /// By index: those that come after it.
    after: Vec<BTreeSet<usize>>,
}

/// Indices of `resources` in the order in which they are applied.
///
/// # Errors
/// Everything that is wrong: names of what is not there, contradictions, and one cycle where there are some.
pub fn order(resources: &[Resource]) -> Result<Vec<usize>, Vec<GraphError>> {
    let places = resources.iter().enumerate().map(|(index, resource)| (&resource.id, index)).collect();
    let mut graph = Graph { resources, places, after: vec![BTreeSet::new(); resources.len()] };
    let mut errors = Vec::new();
    for index in 0..resources.len() {
        graph.add_said(index, &mut errors);
        graph.add_unsaid(index, &mut errors);
    }
    if errors.is_empty() { graph.sort().map_err(|cycle| vec![cycle]) } else { Err(errors) }
}

impl Graph<'_> {
    fn find(&self, kind: Kind, name: &str) -> Option<usize> {
        self.places.get(&ResourceId { kind, name: name.to_owned() }).copied()
    }

    fn presence(&self, index: usize) -> Presence {
        self.resources[index].presence()
    }

    /// `first` comes before `then`.
    fn edge(&mut self, first: usize, then: usize) {
        if first != then {
            self.after[first].insert(then);
        }
    }

    /// What `needed` is for must be there before and go after `needy`, which cannot be without it.
    fn need(&mut self, needy: usize, needed: Option<usize>) {
        let Some(needed) = needed else { return };
        match (self.presence(needed), self.presence(needy)) {
            (Presence::Present, _) => self.edge(needed, needy),
            (Presence::Absent, Presence::Absent) => self.edge(needy, needed),
            // It is wanted gone, and may well be there by other means.
            (Presence::Absent, Presence::Present) => {}
        }
    }

    fn add_said(&mut self, index: usize, errors: &mut Vec<GraphError>) {
        let resource = &self.resources[index];
        let said = [("after", &resource.rules.after), ("notify", &resource.rules.notify)];
        for (key, named) in said {
            for to in named {
                let Some(&place) = self.places.get(to) else {
                    errors.push(self.missing(&resource.id, key, to));
                    continue;
                };
                if key == "after" {
                    self.after[place].insert(index);
                } else if matches!(to.kind, Kind::Service | Kind::Command) {
                    self.after[index].insert(place);
                } else {
                    errors.push(GraphError::Deaf { from: resource.id.clone(), to: to.clone() });
                }
            }
        }
    }

    fn missing(&self, from: &ResourceId, key: &'static str, to: &ResourceId) -> GraphError {
        let names: Vec<String> = self.places.keys().map(ToString::to_string).collect();
        let close = suggest::close(&to.to_string(), names.iter().map(String::as_str));
        let close = close.into_iter().map(str::to_owned).collect();
        GraphError::Missing { from: from.clone(), key, to: to.clone(), close }
    }

    fn add_unsaid(&mut self, index: usize, errors: &mut Vec<GraphError>) {
        let resource = &self.resources[index];
        let user = |graph: &Self, name: &Option<String>| {
            name.as_deref().and_then(|name| graph.find(Kind::User, name))
        };
        let group = |graph: &Self, name: &Option<String>| {
            name.as_deref().and_then(|name| graph.find(Kind::Group, name))
        };
        let needed = match &resource.spec {
            Spec::File(file) => vec![user(self, &file.owner), group(self, &file.group)],
            Spec::Directory(directory) => vec![user(self, &directory.owner), group(self, &directory.group)],
            Spec::User(account) => {
                let further = account.groups.iter().flatten().map(|name| self.find(Kind::Group, name));
                further.chain([group(self, &account.group)]).collect()
            }
            Spec::AuthorizedKey(_) => {
                let name = resource.id.name.split_once('/').map_or("", |(user, _)| user);
                vec![self.find(Kind::User, name)]
            }
            Spec::Timer(timer) => vec![user(self, &timer.user)],
            Spec::Command(command) => vec![user(self, &command.user)],
            _ => Vec::new(),
        };
        for needed in needed {
            self.need(index, needed);
        }
        if matches!(resource.id.kind, Kind::File | Kind::Directory | Kind::Link | Kind::Mount) {
            self.add_path(index, errors);
        }
    }

    /// A path after what lies above it and after the mount that it lies on; a unit's file before its service.
    fn add_path(&mut self, index: usize, errors: &mut Vec<GraphError>) {
        let resource = &self.resources[index];
        let path = resource.id.name.as_str();
        for kind in [Kind::File, Kind::Directory, Kind::Link] {
            let Some(other) = self.find(kind, path).filter(|other| *other != index) else { continue };
            if resource.id.kind == Kind::Mount && kind == Kind::Directory {
                self.need(index, Some(other));
            } else if index < other || resource.id.kind == Kind::Mount {
                errors.push(self.conflict(index, other, "they are at one path"));
            }
        }
        for (end, _) in path.match_indices('/').skip(1) {
            let above = &path[..end];
            for kind in [Kind::Directory, Kind::Mount] {
                let found = self.find(kind, above);
                self.need(index, found);
                let is_gone = found.is_some_and(|found| self.presence(found) == Presence::Absent);
                if kind == Kind::Directory && is_gone && self.presence(index) == Presence::Present {
                    let found = found.expect("was found");
                    errors.push(self.conflict(
                        index,
                        found,
                        "the one lies beneath the other, which is to be absent",
                    ));
                }
            }
            for kind in [Kind::File, Kind::Link] {
                let found = self.find(kind, above).filter(|found| self.presence(*found) == Presence::Present);
                if let Some(found) = found {
                    errors.push(self.conflict(
                        index,
                        found,
                        "the one lies beneath the other, which is no directory",
                    ));
                }
            }
        }
        if resource.id.kind != Kind::Mount
            && let Some(unit) = unit_of(path)
            && let Some(service) = self.find(Kind::Service, unit)
        {
            self.edge(index, service);
        }
    }

    fn conflict(&self, one: usize, other: usize, problem: &'static str) -> GraphError {
        let id = |index: usize| self.resources[index].id.clone();
        GraphError::Conflict { one: id(one), other: id(other), problem }
    }

    /// Of those whose turn has come, first the kind that stands first in [`Kind::ALL`], then the first name.
    fn sort(&self) -> Result<Vec<usize>, GraphError> {
        let mut waits_for = vec![0_usize; self.resources.len()];
        for then in self.after.iter().flatten() {
            waits_for[*then] += 1;
        }
        let key = |index: usize| (&self.resources[index].id, index);
        let mut ready: BTreeSet<_> =
            (0..waits_for.len()).filter(|index| waits_for[*index] == 0).map(key).collect();
        let mut order = Vec::with_capacity(waits_for.len());
        while let Some((_, index)) = ready.pop_first() {
            order.push(index);
            for then in &self.after[index] {
                waits_for[*then] -= 1;
                if waits_for[*then] == 0 {
                    ready.insert(key(*then));
                }
            }
        }
        if order.len() == waits_for.len() { Ok(order) } else { Err(self.cycle(&waits_for)) }
    }

    /// A cycle among those that still wait: going back from any of them never leaves them, so it meets itself.
    fn cycle(&self, waits_for: &[usize]) -> GraphError {
        let mut before: BTreeMap<usize, usize> = BTreeMap::new();
        for (first, thens) in self.after.iter().enumerate().filter(|(first, _)| waits_for[*first] > 0) {
            for then in thens.iter().filter(|then| waits_for[**then] > 0) {
                before.entry(*then).or_insert(first);
            }
        }
        let mut path: Vec<usize> = Vec::new();
        let mut at = waits_for.iter().position(|count| *count > 0).unwrap_or_default();
        while !path.contains(&at) {
            path.push(at);
            at = before[&at];
        }
        let start = path.iter().position(|index| *index == at).unwrap_or_default();
        let cycle = path[start..].iter().rev().map(|index| self.resources[*index].id.clone());
        GraphError::Cycle(cycle.collect())
    }
}

/// The unit whose file or drop-in lies at a path.
fn unit_of(path: &str) -> Option<&str> {
    let (folder, name) = path.rsplit_once('/')?;
    if folder.ends_with("/systemd/system") {
        return Some(name);
    }
    let unit = folder.rsplit_once('/').filter(|(above, _)| above.ends_with("/systemd/system"))?.1;
    unit.strip_suffix(".d")
}

#[cfg(test)]
mod tests;
