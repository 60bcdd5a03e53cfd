//! From the parts of a generation to what this node is to be: verified, merged, ordered, rendered.
//!
//! Nothing here is believed because it lies in the steward's folder: the generation's signatures and every part's
//! digest are checked again, by the program that applies them.

#![expect(clippy::disallowed_methods, reason = "an edge: parts are files")]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use campanile_common::config::{
    ContentSource, FactsContext, FilePart, Generation, Layer, LayerKind, LayerPart, Merged, NamedLayer,
    NodeContext, Presence, RenderContext, Renderer, Resource, SecretSource, SignedGeneration, Spec,
    VerifiedGeneration, merge, part_digest,
};
use campanile_common::id::Digest;
use zeroize::Zeroizing;

use super::output::Output;
use super::sealing::Identity;
use super::state::{State, Told, parts_of};
use super::step::{Content, Desired, Problem};
use super::task::Trust;
use crate::os::stopwatch::architecture;

const KEY_FILE: &str = "secrets.key";

/// The generation with this digest, verified.
///
/// # Errors
/// When it is not there, or is not what operators signed.
pub(crate) fn verified(folder: &Path, trust: &Trust, digest: Digest) -> Result<VerifiedGeneration, Problem> {
    Parts(parts_of(folder)).generation(digest, trust)
}

/// Loads what a generation says of this node. Every secret that is opened on the way is hidden from `output`.
///
/// # Errors
/// With everything that is wrong.
pub(crate) fn load(
    folder: &Path,
    trust: &Trust,
    verified: &VerifiedGeneration,
    output: &Output,
) -> Result<Vec<Desired>, Vec<Problem>> {
    let one = |problem| vec![problem];
    let parts = Parts(parts_of(folder));
    let generation = verified.generation();
    let told = identify(generation, trust, folder).map_err(one)?;
    let merged = parts.merged(generation, trust, &told)?;
    let opened = Arc::new(Mutex::new(Vec::new()));
    let context = RenderContext {
        vars: merged.vars.clone(),
        node: NodeContext { name: told.name, id: trust.node, labels: told.labels },
        facts: facts(),
    };
    let secrets = secret_source(folder, generation, trust, Arc::clone(&opened));
    let mut renderer = Renderer::new(&context, secrets);
    let (mut desired, mut problems) = (Vec::new(), Vec::new());
    for resource in &merged.resources {
        match content(&parts, &merged, resource, &mut renderer) {
            Ok(content) => desired.push(Desired { resource: resource.clone(), content }),
            Err(mut problem) => {
                problem.resource = Some(resource.id.clone());
                problems.push(problem);
            }
        }
    }
    for secret in opened.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        output.hide(secret);
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(desired)
}

/// Name and labels: as they were signed for a member, else as they were told with the offer.
fn identify(generation: &Generation, trust: &Trust, folder: &Path) -> Result<Told, Problem> {
    if let Some(member) = generation.members.get(&trust.node) {
        return Ok(Told { name: member.name.clone(), labels: member.labels.clone() });
    }
    let state = State::load(folder).map_err(|error| Problem::new(error.to_string()))?;
    state.told.ok_or_else(|| {
        Problem::new(
            "the generation does not list this node, and no aggregator has told its name; wait for an offer",
        )
    })
}

/// The folder of parts.
struct Parts(PathBuf);

impl Parts {
    fn read(&self, digest: Digest, what: &str) -> Result<Vec<u8>, Problem> {
        let path = self.0.join(digest.to_string());
        std::fs::read(&path).map_err(|error| {
            let advice = match error.kind() {
                io::ErrorKind::NotFound => "; reconnect the agent, so that the aggregator offers it again",
                _ => "",
            };
            Problem::new(format!("cannot read {what} {}: {error}{advice}", path.display()))
        })
    }

    fn part(&self, digest: Digest, what: &str) -> Result<Vec<u8>, Problem> {
        let bytes = self.read(digest, what)?;
        if part_digest(&bytes) == digest {
            return Ok(bytes);
        }
        Err(Problem::new(format!("{what} {digest} is damaged; remove it from {}", self.0.display())))
    }

    fn generation(&self, digest: Digest, trust: &Trust) -> Result<VerifiedGeneration, Problem> {
        let bytes = self.read(digest, "the generation")?;
        let failed = |error: campanile_common::config::GenerationError| Problem::new(error.to_string());
        let signed = SignedGeneration::decode(&bytes).map_err(failed)?;
        let verified = signed.verify(&trust.authority).map_err(failed)?;
        if verified.digest() == digest {
            return Ok(verified);
        }
        Err(Problem::new(format!(
            "the generation {digest} is another one; remove it from {}",
            self.0.display()
        )))
    }

    fn merged(&self, generation: &Generation, trust: &Trust, told: &Told) -> Result<Merged, Vec<Problem>> {
        let mut layers = Vec::new();
        for index in generation.layers_of(trust.node, &told.name, &told.labels) {
            let part = generation.layers.get(usize::from(index));
            let part =
                part.ok_or_else(|| vec![Problem::new("the generation names a layer that it does not have")])?;
            let name = file_of(part);
            let bytes = self.part(part.digest, &name).map_err(|problem| vec![problem])?;
            let layer =
                Layer::from_bytes(&bytes).map_err(|error| vec![Problem::new(format!("{name}: {error}"))])?;
            layers.push((name, layer));
        }
        let named: Vec<NamedLayer<'_>> =
            layers.iter().map(|(name, layer)| NamedLayer { name, layer }).collect();
        merge(&named).map_err(|errors| {
            let about = |error: &campanile_common::config::MergeError| Problem {
                resource: error.resource.clone(),
                message: error.to_string(),
            };
            errors.iter().map(about).collect()
        })
    }

    fn text(&self, part: Option<&FilePart>, name: &str) -> Result<String, Problem> {
        let part = part.ok_or_else(|| Problem::new(format!("the bundle has no template `{name}`")))?;
        let bytes = self.part(part.digest, name)?;
        String::from_utf8(bytes).map_err(|_| Problem::new(format!("templates/{name} is no text")))
    }
}

/// The file of the bundle that a layer was.
fn file_of(part: &LayerPart) -> String {
    match part.kind {
        LayerKind::Fleet => "fleet.toml".to_owned(),
        LayerKind::Group => format!("groups/{}.toml", part.name),
        LayerKind::Node => format!("nodes/{}.toml", part.name),
    }
}

fn content(
    parts: &Parts,
    merged: &Merged,
    resource: &Resource,
    renderer: &mut Renderer,
) -> Result<Option<Content>, Problem> {
    let source = match &resource.spec {
        Spec::File(file) => file.source().map_err(Problem::new)?,
        Spec::Firewall(firewall) if firewall.ensure == Presence::Present => {
            let inline = firewall.rules.as_deref().map(ContentSource::Inline);
            inline.or(firewall.template.as_deref().map(ContentSource::Template))
        }
        _ => None,
    };
    let Some(source) = source else { return Ok(None) };
    let plain = |bytes| Content { bytes, is_secret: false };
    Ok(Some(match source {
        ContentSource::Inline(text) => plain(text.as_bytes().to_vec()),
        ContentSource::Bundle(name) => {
            let part = merged.files.get(name);
            let part = part.ok_or_else(|| Problem::new(format!("the bundle has no file `{name}`")))?;
            plain(parts.part(part.digest, name)?)
        }
        ContentSource::Template(name) => {
            let text = parts.text(merged.templates.get(name), name)?;
            let rendered = renderer.render(name, &text).map_err(|error| Problem::new(error.to_string()))?;
            Content { bytes: rendered.bytes, is_secret: rendered.is_secret }
        }
    }))
}

/// Opens a secret of this node when a template asks for it, and remembers what it opened.
fn secret_source(
    folder: &Path,
    generation: &Generation,
    trust: &Trust,
    opened: Arc<Mutex<Vec<Zeroizing<Vec<u8>>>>>,
) -> SecretSource {
    let key = folder.join(KEY_FILE);
    let parts = Parts(parts_of(folder));
    let (secrets, node) = (generation.secrets.clone(), trust.node);
    Arc::new(move |name| {
        let secret = secrets.get(name).ok_or_else(|| {
            format!("the generation has no secret `{name}`; set it with `campanile secret set {name}`")
        })?;
        let digest = *secret.sealed.get(&node).ok_or_else(|| {
            format!("the secret `{name}` is not sealed to this node; run `campanile secret sync {name}`")
        })?;
        let sealed = parts.part(digest, "the sealed secret").map_err(|problem| problem.message)?;
        let identity = Identity::load(&key)
            .map_err(|error| format!("cannot read {}: {error}", key.display()))?
            .ok_or_else(|| {
                format!("{} is missing; start campanile-steward, which makes it", key.display())
            })?;
        let value = identity
            .open(&sealed)
            .map_err(|error| format!("the secret `{name}` cannot be opened: {error}"))?;
        let text = String::from_utf8(value.to_vec()).map_err(|_| format!("the secret `{name}` is no text"));
        opened.lock().unwrap_or_else(PoisonError::into_inner).push(value);
        text
    })
}

fn facts() -> FactsContext {
    let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let system = rustix::system::uname();
    FactsContext {
        hostname: system.nodename().to_string_lossy().into_owned(),
        os: os_name(&text("/etc/os-release")),
        kernel: system.release().to_string_lossy().into_owned(),
        architecture: architecture(),
        cpus: std::thread::available_parallelism().map_or(1, |cpus| u32::try_from(cpus.get()).unwrap_or(1)),
        memory_bytes: memory_bytes(&text("/proc/meminfo")),
    }
}

/// The value of `PRETTY_NAME`.
fn os_name(text: &str) -> String {
    let value = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    value.unwrap_or("Linux").trim_matches(['"', '\'']).to_owned()
}

fn memory_bytes(text: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes = line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or(0).saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_read_from_what_the_system_says() {
        assert_eq!(os_name("ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 13\"\n"), "Debian GNU/Linux 13");
        assert_eq!(os_name(""), "Linux");
        assert_eq!(memory_bytes("MemTotal:       2048 kB\nMemFree: 1 kB\n"), 2 << 20);
        assert_eq!(memory_bytes("nothing"), 0);
    }
}
