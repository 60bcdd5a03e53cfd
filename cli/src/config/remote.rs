//! What the aggregator keeps of configuration, read and submitted. It is a store and no authority: whatever a new
//! generation is built upon is verified here first, and every part by its digest.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use campanile_common::api::{ConfigHead, GenerationSummary, NodeConfig, PartsMissing, PartsQuery};
use campanile_common::authority::Authority;
use campanile_common::config::{
    GENERATION_BYTES_MAX, Layer, LayerPart, PART_BYTES_MAX, SignedGeneration, part_digest,
};
use campanile_common::id::Digest;
use campanile_common::selector::Selector;
use campanile_common::unit::ByteCount;
use ureq::http::Method;

use super::build::Head;
use super::content::Parts;
use crate::client::{Client, ClientError, Condition, segment};
use crate::context::Context;
use crate::exit::UsageError;

/// Path in the API.
const PATH: &str = "/api/v1/config";
/// Digests asked about at once; the aggregator takes 10,000.
const QUERY_DIGESTS: usize = 5_000;
/// Parts on their way at the same time: a round trip each is what small ones cost.
const AT_ONCE: usize = 4;
/// How often progress is told to a person who waits.
const PROGRESS: Duration = Duration::from_secs(2);
/// Fewest digits by which a generation is named.
const PREFIX_DIGITS_MIN: usize = 4;
/// A signed generation is longer than its bytes by its signatures.
const SIGNED_BYTES_MAX: usize = GENERATION_BYTES_MAX + 64 * 1024;

/// The head as the aggregator names it; none before the first release.
pub(crate) fn head_name(client: &Client) -> Result<Option<ConfigHead>, ClientError> {
    match client.get(PATH, &[]) {
        Ok(head) => Ok(Some(head)),
        Err(error) if error.code() == Some("config_none") => Ok(None),
        Err(error) => Err(error),
    }
}

/// The head with what it says, its signatures verified. With `forget_secrets` one that does not verify is taken for
/// its place in the order of generations alone.
pub(crate) fn head(
    client: &Client,
    authority: &Authority,
    forget_secrets: bool,
) -> anyhow::Result<Option<Head>> {
    let Some(name) = head_name(client)? else { return Ok(None) };
    let signed = signed(client, name.digest)?;
    let verified = match signed.verify(authority) {
        Ok(verified) => verified.generation().clone(),
        Err(_) if forget_secrets => {
            let mut generation = signed.read()?;
            generation.secrets.clear();
            generation.members.clear();
            generation
        }
        Err(error) => {
            return Err(anyhow!(error).context(format!(
                "generation {}, which would be built upon, does not verify under version {} of the authority; if whoever \
                 signed it is no operator any more, apply a bundle with --forget-secrets and set the secrets again",
                name.number,
                authority.document().version
            )));
        }
    };
    if verified.number != name.number {
        bail!("the aggregator calls generation {} number {}; is it healthy?", verified.number, name.number);
    }
    Ok(Some(Head { digest: name.digest, generation: verified }))
}

/// A generation with its signatures, by its digest.
pub(crate) fn signed(client: &Client, digest: Digest) -> anyhow::Result<SignedGeneration> {
    let bytes = client.bytes(&format!("{PATH}/generations/{digest}/signed"), SIGNED_BYTES_MAX)?;
    let signed = SignedGeneration::decode(&bytes)?;
    if signed.digest() == digest {
        Ok(signed)
    } else {
        bail!("the aggregator gave another generation for {digest}; is its store damaged?")
    }
}

/// A part, checked by its digest.
pub(crate) fn part(client: &Client, digest: Digest) -> anyhow::Result<Vec<u8>> {
    let bytes = client.bytes(&format!("{PATH}/parts/{digest}"), PART_BYTES_MAX)?;
    if part_digest(&bytes) == digest {
        Ok(bytes)
    } else {
        bail!("the aggregator gave other bytes for part {digest}; is its store damaged?")
    }
}

/// A layer by its digest.
pub(crate) fn layer_of(client: &Client, digest: Digest) -> anyhow::Result<Layer> {
    Ok(Layer::from_bytes(&part(client, digest)?)?)
}

/// A layer of a generation.
pub(crate) fn layer(client: &Client, part_of: &LayerPart) -> anyhow::Result<Layer> {
    layer_of(client, part_of.digest)
        .with_context(|| format!("layer {} `{}` cannot be read", part_of.kind.as_str(), part_of.name))
}

/// Uploads those parts that the aggregator lacks.
pub(crate) fn upload(context: &mut Context<'_>, client: &Client, parts: &Parts) -> anyhow::Result<()> {
    let digests: Vec<Digest> = parts.digests().collect();
    let mut missing = Vec::new();
    for digests in digests.chunks(QUERY_DIGESTS) {
        let query = PartsQuery { digests: digests.to_vec() };
        let answer: PartsMissing = client.send(Method::POST, &format!("{PATH}/parts/missing"), &query)?;
        missing.extend(answer.missing);
    }
    missing.retain(|digest| parts.contains(digest));
    missing.sort_unstable();
    missing.dedup();
    let bytes: u64 = missing.iter().filter_map(|digest| parts.size(digest)).sum();
    put_all(context, client, parts, &missing)?;
    if !missing.is_empty() && context.environment.stderr_is_terminal {
        context.hint(&format!("uploaded {} parts, {}", missing.len(), ByteCount(bytes)))?;
    }
    Ok(())
}

fn put_all(
    context: &mut Context<'_>,
    client: &Client,
    parts: &Parts,
    missing: &[Digest],
) -> anyhow::Result<()> {
    let queue = Mutex::new(missing.iter());
    let (is_over, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (failed, failures) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(missing.len()) {
            let (failed, queue, is_over, done) = (failed.clone(), &queue, &is_over, &done);
            scope.spawn(move || {
                while !is_over.load(Ordering::Acquire) {
                    let Some(digest) = queue.lock().expect("no holder of this lock panics").next() else {
                        break;
                    };
                    let put = parts.read(digest).and_then(|bytes| {
                        let path = format!("{PATH}/parts/{digest}");
                        Ok(client.put_bytes(&path, &bytes, Condition::Always)?)
                    });
                    if let Err(error) = put {
                        is_over.store(true, Ordering::Release);
                        // The first failure is what is told; nobody listens after it.
                        failed.send(error).ok();
                    }
                    done.fetch_add(1, Ordering::AcqRel);
                }
            });
        }
        drop(failed);
        wait(context, &failures, &done, missing.len())
    })
}

/// Waits for the uploads and tells how far they are.
fn wait(
    context: &mut Context<'_>,
    failures: &mpsc::Receiver<anyhow::Error>,
    done: &AtomicUsize,
    all: usize,
) -> anyhow::Result<()> {
    let mut told = Instant::now();
    loop {
        match failures.recv_timeout(PROGRESS) {
            Ok(error) => return Err(error).context("a part of the configuration could not be uploaded"),
            Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(()),
            Err(mpsc::RecvTimeoutError::Timeout) if context.environment.stderr_is_terminal => {
                if told.elapsed() >= PROGRESS {
                    told = Instant::now();
                    context.hint(&format!("... uploaded {} of {all} parts", done.load(Ordering::Acquire)))?;
                }
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
    }
}

/// Submits a generation whose parts are there. A release takes the place of `head` and of no other.
pub(crate) fn submit(
    client: &Client,
    signed: &SignedGeneration,
    condition: Condition,
) -> Result<Digest, ClientError> {
    let digest = signed.digest();
    client.put_bytes(&format!("{PATH}/generations/{digest}"), &signed.encode(), condition)?;
    Ok(digest)
}

/// Says who was faster, when the aggregator refused a release because the head is another by now.
pub(crate) fn told_apart(client: &Client, error: ClientError, again: &str) -> anyhow::Error {
    if error.code() != Some("config_conflict") {
        return error.into();
    }
    let newest = list(client, 1).ok().and_then(|list| list.into_iter().next());
    let who = match newest {
        Some(newest) => format!(
            "{} made generation {} meanwhile, at {}{}",
            newest.author,
            newest.number,
            newest.created,
            if newest.message.is_empty() { String::new() } else { format!(": {}", newest.message) }
        ),
        None => "somebody made a generation meanwhile".to_owned(),
    };
    anyhow!("{}; nothing was changed, {again}", crate::order::summary::plain(&who))
}

/// The newest generations.
pub(crate) fn list(client: &Client, limit: usize) -> Result<Vec<GenerationSummary>, ClientError> {
    let mut found = Vec::new();
    client.each_page(&format!("{PATH}/generations"), &[], |page: Vec<GenerationSummary>| {
        found.extend(page);
        found.len() < limit
    })?;
    found.truncate(limit);
    Ok(found)
}

/// The generation that a person means: `head`, a number, or the first digits of a digest.
pub(crate) fn find(client: &Client, text: &str) -> anyhow::Result<GenerationSummary> {
    let by_name = |name: &str| -> Result<GenerationSummary, ClientError> {
        client.get(&format!("{PATH}/generations/{name}"), &[])
    };
    if text == "head" {
        let head = head_name(client)?.ok_or_else(none_yet)?;
        return Ok(by_name(&head.digest.to_string())?);
    }
    if text.len() <= 10 && text.parse::<u64>().is_ok() {
        return by_name(text)
            .with_context(|| format!("there is no generation {text}; see `campanile config log`"));
    }
    let is_prefix = text.len() >= PREFIX_DIGITS_MIN
        && text.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c));
    if !is_prefix {
        let text = format!(
            "`{text}` names no generation: give its number, the first digits of its digest, or `head`"
        );
        return Err(UsageError(text).into());
    }
    let all = list(client, usize::MAX)?;
    let mut fitting = all.into_iter().filter(|one| one.digest.to_string().starts_with(text));
    match (fitting.next(), fitting.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => bail!("several generations begin with `{text}`; give more of the digest"),
        (None, _) => bail!("no generation begins with `{text}`; see `campanile config log`"),
    }
}

/// What is said where a generation is needed and there is none.
pub(crate) fn none_yet() -> anyhow::Error {
    anyhow!("this fleet has no generation yet; make the first with `campanile config apply DIR`")
}

/// How one node stands.
pub(crate) fn node(client: &Client, name: &str) -> Result<NodeConfig, ClientError> {
    client.get(&format!("{PATH}/nodes/{}", segment(name)), &[])
}

/// How nodes stand, in the order of their names.
pub(crate) fn nodes(client: &Client, selector: Option<&Selector>) -> anyhow::Result<Vec<NodeConfig>> {
    let text = selector.map(ToString::to_string).unwrap_or_default();
    let query = [("selector", text.as_str())];
    let query = if text.is_empty() { &[][..] } else { &query[..] };
    let mut nodes: Vec<NodeConfig> = client.pages(&format!("{PATH}/nodes"), query)?;
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(nodes)
}
