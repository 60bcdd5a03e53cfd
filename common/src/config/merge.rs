//! Layers become one: what a node is to be, where each value came from. Pure; both ends run it.
//!
//! Tables merge key by key and the later layer wins; scalars and lists replace what was there. A list that is written
//! `{ append = [...] }` goes behind the list that is there. Two rules for resources: of keys of which only one may be
//! given (`content`, `source` and `template` of a file) the later layer's takes back the others, and a layer that says
//! `ensure = "absent"` takes back what earlier ones said the resource should be.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::graph::{self, GraphError};
use super::layer::{FilePart, Layer};
use super::resource::{ContentSource, Resource, ResourceError, ResourceId, Rules, Spec};

/// A layer with the name that people know it by: `fleet.toml`, `groups/web.toml`.
#[derive(Debug, Clone, Copy)]
pub struct NamedLayer<'a> {
    /// Its file in the bundle.
    pub name: &'a str,
    /// What it says.
    pub layer: &'a Layer,
}

/// What layers come to.
#[derive(Debug, Clone, PartialEq)]
pub struct Merged {
    /// Variables for templates.
    pub vars: Map<String, Value>,
    /// Resources in the order in which they are applied.
    pub resources: Vec<Resource>,
    /// Files by their path below `files/`.
    pub files: BTreeMap<String, FilePart>,
    /// Templates by their path below `templates/`.
    pub templates: BTreeMap<String, FilePart>,
    /// Where each value came from.
    pub origins: Origins,
}

/// From which layers values came: by the path of keys (`["vars", "nginx", "workers"]`, `["file", "/etc/motd", "mode"]`)
/// the indices of the layers, several for a list that was appended to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origins(BTreeMap<Vec<String>, Vec<usize>>);

/// Why layers do not go together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergeError {
    /// Names of the layers that have a part in it, the last one first.
    pub layers: Vec<String>,
    /// The resource that it is about.
    pub resource: Option<ResourceId>,
    /// The key that it is about, of the resource or else the path of a variable.
    pub key: Option<String>,
    /// Another resource that has a part in it.
    pub other: Option<ResourceId>,
    /// What is wrong.
    pub problem: String,
}

impl std::fmt::Display for MergeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.layers.is_empty() {
            write!(f, "{}: ", self.layers.join(", "))?;
        }
        if let Some(resource) = &self.resource {
            write!(f, "{resource}: ")?;
        }
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.problem)
    }
}

impl std::error::Error for MergeError {}

impl Origins {
    /// Indices of the layers that a value came from; of a table, of all that is in it.
    pub fn of(&self, path: &[&str]) -> BTreeSet<usize> {
        let path: Vec<String> = path.iter().map(|part| (*part).to_owned()).collect();
        self.within(&path).flat_map(|(_, layers)| layers.iter().copied()).collect()
    }

    /// What lies at and beneath a path: it is one stretch of the map.
    fn within<'a>(&'a self, path: &'a [String]) -> impl Iterator<Item = (&'a Vec<String>, &'a Vec<usize>)> {
        self.0.range(path.to_vec()..).take_while(move |(found, _)| found.starts_with(path))
    }

    /// Every value's path with the layers it came from.
    pub fn iter(&self) -> impl Iterator<Item = (&[String], &[usize])> {
        self.0.iter().map(|(path, layers)| (path.as_slice(), layers.as_slice()))
    }

    fn forget(&mut self, path: &[String]) {
        let gone: Vec<Vec<String>> = self.within(path).map(|(found, _)| found.clone()).collect();
        for path in gone {
            self.0.remove(&path);
        }
    }
}

impl Merged {
    /// The part that a resource's content comes from, where it is a file or template of the bundle.
    pub fn part_of(&self, resource: &Resource) -> Option<FilePart> {
        match &resource.spec {
            Spec::File(file) => match file.source().ok().flatten()? {
                ContentSource::Bundle(name) => self.files.get(name).copied(),
                ContentSource::Template(name) => self.templates.get(name).copied(),
                ContentSource::Inline(_) => None,
            },
            Spec::Firewall(firewall) => {
                firewall.template.as_ref().and_then(|name| self.templates.get(name).copied())
            }
            _ => None,
        }
    }
}

/// A tree that layers are laid upon, one after the other.
struct Pile<'a> {
    layers: &'a [NamedLayer<'a>],
    origins: Origins,
    errors: Vec<MergeError>,
}

/// Merges layers, the first to be merged first.
///
/// # Errors
/// Everything that is wrong, each with the layers it comes from.
pub fn merge(layers: &[NamedLayer<'_>]) -> Result<Merged, Vec<MergeError>> {
    let mut pile = Pile { layers, origins: Origins::default(), errors: Vec::new() };
    let (vars, tables) = pile.lay_all();
    let mut resources = Vec::with_capacity(tables.len());
    for (id, table) in tables {
        match Resource::read(id, table) {
            Ok(resource) => resources.push(resource),
            Err(error) => pile.resource_error(error),
        }
    }
    let all = |of: fn(&Layer) -> &BTreeMap<String, FilePart>| {
        layers.iter().flat_map(|named| of(named.layer)).map(|(name, part)| (name.clone(), *part)).collect()
    };
    let mut merged = Merged {
        vars,
        resources,
        files: all(|layer| &layer.files),
        templates: all(|layer| &layer.templates),
        origins: Origins::default(),
    };
    pile.check_parts(&merged);
    match graph::order(&merged.resources) {
        Ok(order) => {
            let mut left: Vec<Option<Resource>> = merged.resources.into_iter().map(Some).collect();
            merged.resources = order.into_iter().filter_map(|index| left[index].take()).collect();
        }
        // A resource that could not be read would be missed by those that name it.
        Err(errors) if pile.errors.is_empty() => {
            errors.into_iter().for_each(|error| pile.graph_error(&error))
        }
        Err(_) => {}
    }
    merged.origins = pile.origins;
    if pile.errors.is_empty() { Ok(merged) } else { Err(pile.errors) }
}

/// Resources as their layers write them.
type Tables = BTreeMap<ResourceId, Map<String, Value>>;

/// What the layers say, laid upon each other without any check of types, and where it came from: for showing.
pub(super) fn pile_up(layers: &[NamedLayer<'_>]) -> (Map<String, Value>, Tables, Origins) {
    let mut pile = Pile { layers, origins: Origins::default(), errors: Vec::new() };
    let (vars, tables) = pile.lay_all();
    (vars, tables, pile.origins)
}

impl Pile<'_> {
    fn lay_all(&mut self) -> (Map<String, Value>, Tables) {
        let mut vars = Map::new();
        let mut tables = Tables::new();
        for (index, named) in self.layers.iter().enumerate() {
            self.lay(&mut vars, &named.layer.vars, &mut vec!["vars".to_owned()], index);
            for (kind, resources) in &named.layer.resources {
                let kind = match kind.parse() {
                    Ok(kind) => kind,
                    Err(problem) => {
                        let layers = vec![named.name.to_owned()];
                        self.errors.push(MergeError {
                            layers,
                            resource: None,
                            key: None,
                            other: None,
                            problem,
                        });
                        continue;
                    }
                };
                for (name, table) in resources {
                    let id = ResourceId { kind, name: name.clone() };
                    let under = tables.entry(id.clone()).or_default();
                    let mut path = vec![kind.as_str().to_owned(), name.clone()];
                    self.take_back(&id, under, table, &path);
                    self.lay(under, table, &mut path, index);
                    if table.is_empty() {
                        self.origins.0.entry(path).or_default().push(index);
                    }
                }
            }
        }
        (vars, tables)
    }

    /// Takes away what a layer's table of a resource says no more.
    fn take_back(
        &mut self,
        id: &ResourceId,
        under: &mut Map<String, Value>,
        over: &Map<String, Value>,
        path: &[String],
    ) {
        let is_absent = over.get("ensure").and_then(Value::as_str) == Some("absent");
        let exclusive = id.kind.exclusive_keys();
        let says_one = exclusive.iter().any(|key| over.contains_key(*key));
        let is_gone =
            |key: &str| is_absent && !Rules::KEYS.contains(&key) || says_one && exclusive.contains(&key);
        let gone: Vec<String> = under.keys().filter(|key| is_gone(key)).cloned().collect();
        for key in gone {
            under.remove(&key);
            self.origins.forget(&[path, &[key]].concat());
        }
    }

    fn lay(
        &mut self,
        under: &mut Map<String, Value>,
        over: &Map<String, Value>,
        path: &mut Vec<String>,
        layer: usize,
    ) {
        for (key, value) in over {
            path.push(key.clone());
            self.lay_value(under, key, value, path, layer);
            path.pop();
        }
    }

    fn lay_value(
        &mut self,
        under: &mut Map<String, Value>,
        key: &str,
        value: &Value,
        path: &mut Vec<String>,
        layer: usize,
    ) {
        match (under.get_mut(key), value) {
            (found, Value::Object(table)) if appended(table).is_some() => {
                let more = appended(table).expect("was just seen");
                match found {
                    Some(Value::Array(list)) => {
                        list.extend(more.iter().cloned());
                        self.origins.0.entry(path.clone()).or_default().push(layer);
                    }
                    Some(_) => self.not_a_list(path, layer),
                    None => {
                        under.insert(key.to_owned(), Value::Array(more.clone()));
                        self.origins.0.insert(path.clone(), vec![layer]);
                    }
                }
            }
            (Some(Value::Object(found)), Value::Object(table)) => self.lay(found, table, path, layer),
            (_, Value::Object(table)) => {
                self.origins.forget(path);
                let mut new = Map::new();
                self.lay(&mut new, table, path, layer);
                if new.is_empty() {
                    self.origins.0.insert(path.clone(), vec![layer]);
                }
                under.insert(key.to_owned(), Value::Object(new));
            }
            (found, value) => {
                if matches!(found, Some(Value::Object(_))) {
                    self.origins.forget(path);
                }
                under.insert(key.to_owned(), value.clone());
                self.origins.0.insert(path.clone(), vec![layer]);
            }
        }
    }

    fn not_a_list(&mut self, path: &[String], layer: usize) {
        let parts: Vec<&str> = path.iter().map(String::as_str).collect();
        let (resource, key) = match parts.as_slice() {
            ["vars", key @ ..] => (None, key.join(".")),
            [kind, name, key @ ..] => (format!("{kind}:{name}").parse().ok(), key.join(".")),
            _ => (None, parts.join(".")),
        };
        let mut layers = vec![self.layers[layer].name.to_owned()];
        layers.extend(self.names(&self.origins.of(&parts)));
        let problem = "`append` adds to a list, and what is there is none".to_owned();
        self.errors.push(MergeError { layers, resource, key: Some(key), other: None, problem });
    }

    /// Names of layers, the last one first.
    fn names(&self, layers: &BTreeSet<usize>) -> Vec<String> {
        layers.iter().rev().map(|layer| self.layers[*layer].name.to_owned()).collect()
    }

    fn error(&mut self, id: &ResourceId, key: Option<&str>, other: Option<&ResourceId>, problem: String) {
        let mut layers =
            key.map(|key| self.origins.of(&[id.kind.as_str(), &id.name, key])).unwrap_or_default();
        if layers.is_empty() {
            layers = self.layers_of(id);
        }
        let (layers, key) = (self.names(&layers), key.map(str::to_owned));
        self.errors.push(MergeError {
            layers,
            resource: Some(id.clone()),
            key,
            other: other.cloned(),
            problem,
        });
    }

    /// Layers that speak of a resource, be it without a key.
    fn layers_of(&self, id: &ResourceId) -> BTreeSet<usize> {
        let speaks = |layer: &Layer| {
            layer.resources.get(id.kind.as_str()).is_some_and(|resources| resources.contains_key(&id.name))
        };
        self.layers
            .iter()
            .enumerate()
            .filter(|(_, named)| speaks(named.layer))
            .map(|(index, _)| index)
            .collect()
    }

    fn resource_error(&mut self, error: ResourceError) {
        self.error(&error.id, error.key.as_deref(), None, error.problem);
    }

    fn graph_error(&mut self, error: &GraphError) {
        let said = error.to_string();
        let id = error.resource();
        let problem = said.strip_prefix(&format!("{id}: ")).unwrap_or(&said).to_owned();
        self.error(id, error.key(), error.other(), problem);
    }

    /// Files and templates that resources name and that no layer carries.
    fn check_parts(&mut self, merged: &Merged) {
        for resource in &merged.resources {
            let (key, name, folder, is_there) = match &resource.spec {
                Spec::File(file) => match file.source() {
                    Ok(Some(ContentSource::Bundle(name))) => {
                        ("source", name, "files", merged.files.contains_key(name))
                    }
                    Ok(Some(ContentSource::Template(name))) => {
                        ("template", name, "templates", merged.templates.contains_key(name))
                    }
                    _ => continue,
                },
                Spec::Firewall(firewall) => match &firewall.template {
                    Some(name) => {
                        ("template", name.as_str(), "templates", merged.templates.contains_key(name))
                    }
                    None => continue,
                },
                _ => continue,
            };
            if !is_there {
                let problem = format!("{folder}/{name} is not there");
                self.error(&resource.id, Some(key), None, problem);
            }
        }
    }
}

/// The list of `{ append = [...] }`.
pub(super) fn appended(table: &Map<String, Value>) -> Option<&Vec<Value>> {
    if table.len() == 1 { table.get("append").and_then(Value::as_array) } else { None }
}

#[cfg(test)]
mod tests;
