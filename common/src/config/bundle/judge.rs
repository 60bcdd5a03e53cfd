//! What shows only when layers come together: the layers of one node, or each layer with what stands below it.

use std::sync::Arc;

use crate::config::generation::LayerKind;
use crate::config::merge::{self, MergeError, Merged};
use crate::config::render::{FactsContext, NodeContext, RenderContext, Renderer};
use crate::config::resource::{ContentSource, ResourceId, Spec};
use crate::id::NodeId;

use super::{Bundle, BundleLayer, LintError, Listed};

impl Bundle {
    /// Mistakes in the layers of one node as they come together, its templates among them. Facts and secrets are made up.
    pub fn check_node(&self, node: &Listed<'_>) -> Vec<LintError> {
        let layers = self.layers_of(node);
        let named: Vec<_> = layers.iter().map(|layer| layer.named()).collect();
        let mut errors = match merge::merge(&named) {
            Ok(merged) => self.check_templates(&merged, node),
            Err(errors) => errors.iter().map(|error| located(&layers, error)).collect(),
        };
        errors.sort();
        errors.dedup();
        errors
    }

    /// Mistakes that show whoever has which labels: in the fleet's layer alone, and in each other layer upon it. What a
    /// third layer may put right is left to [`Self::check_node`].
    pub fn check(&self) -> Vec<LintError> {
        let fleet: Vec<&BundleLayer> = self.of_kind(LayerKind::Fleet).collect();
        let mut errors = Vec::new();
        let others = self.layers.iter().filter(|layer| layer.kind != LayerKind::Fleet);
        for other in std::iter::once(None).chain(others.map(Some)) {
            let layers: Vec<&BundleLayer> = fleet.iter().copied().chain(other).collect();
            let named: Vec<_> = layers.iter().map(|layer| layer.named()).collect();
            let Err(found) = merge::merge(&named) else { continue };
            let sure = found.iter().filter(|error| !self.may_be_put_right(error, &layers));
            errors.extend(sure.map(|error| located(&layers, error)));
        }
        errors.sort();
        errors.dedup();
        errors
    }

    fn of_kind(&self, kind: LayerKind) -> impl Iterator<Item = &BundleLayer> {
        self.layers.iter().filter(move |layer| layer.kind == kind)
    }

    /// A layer outside `layers` speaks of what the error is about.
    fn may_be_put_right(&self, error: &MergeError, layers: &[&BundleLayer]) -> bool {
        let outside =
            || self.layers.iter().filter(|layer| !layers.iter().any(|known| known.path == layer.path));
        let speaks = |id: &ResourceId| {
            outside().any(|layer| {
                let of_kind = layer.layer.resources.get(id.kind.as_str());
                of_kind.is_some_and(|resources| resources.contains_key(&id.name))
            })
        };
        let resources = error.resource.iter().chain(&error.other);
        let is_var = error.resource.is_none() && error.key.is_some();
        resources.into_iter().any(speaks) || is_var && outside().any(|layer| !layer.layer.vars.is_empty())
    }

    /// Renders what the node would.
    fn check_templates(&self, merged: &Merged, node: &Listed<'_>) -> Vec<LintError> {
        let context = RenderContext {
            vars: merged.vars.clone(),
            node: NodeContext {
                name: node.name.to_owned(),
                id: node.id.parse().unwrap_or(NodeId::from_bytes([0; NodeId::BYTES])),
                labels: node.labels.clone(),
            },
            facts: FactsContext {
                hostname: node.name.to_owned(),
                os: "Linux".to_owned(),
                kernel: "6.1.0".to_owned(),
                architecture: "x86_64".to_owned(),
                cpus: 1,
                memory_bytes: 1 << 30,
            },
        };
        let mut renderer = Renderer::new(&context, Arc::new(|_| Ok("secret".to_owned())));
        let mut errors = Vec::new();
        for name in merged.resources.iter().filter_map(|resource| template_of(&resource.spec)) {
            let Some(text) = self.template(name) else { continue };
            if let Err(error) = renderer.render(name, text) {
                errors.push(LintError {
                    path: format!("templates/{name}"),
                    line: error.line.unwrap_or(1),
                    column: None,
                    message: error.message,
                    suggestion: Some(format!(
                        "campanile config explain {} vars shows its variables",
                        node.name
                    )),
                });
            }
        }
        errors
    }
}

fn template_of(spec: &Spec) -> Option<&str> {
    match spec {
        Spec::File(file) => match file.source() {
            Ok(Some(ContentSource::Template(name))) => Some(name),
            _ => None,
        },
        Spec::Firewall(firewall) => firewall.template.as_deref(),
        _ => None,
    }
}

/// With the line of the last layer that has a part in it.
fn located(layers: &[&BundleLayer], error: &MergeError) -> LintError {
    let layer = error.layers.first().and_then(|name| layers.iter().find(|layer| layer.path == *name));
    let layer = layer.or_else(|| layers.last());
    let key: Vec<&str> = match &error.resource {
        Some(id) => [id.kind.as_str(), &id.name].into_iter().chain(error.key.as_deref()).collect(),
        None => std::iter::once("vars").chain(error.key.iter().flat_map(|key| key.split('.'))).collect(),
    };
    let (line, column) = layer.map_or((1, 1), |layer| layer.lines.find(&key));
    let mut message = String::new();
    for part in error.resource.iter().map(ToString::to_string).chain(error.key.clone()) {
        message.push_str(&part);
        message.push_str(": ");
    }
    message.push_str(&error.problem);
    if error.layers.len() > 1 {
        message = format!("{message} (together with {})", error.layers[1..].join(", "));
    }
    let path = layer.map_or_else(|| "fleet.toml".to_owned(), |layer| layer.path.clone());
    LintError { path, line, column: Some(column), message, suggestion: None }
}
