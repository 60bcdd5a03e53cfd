//! The part of `init` that works in the state folder, as its owner: writes the fleet, and makes a link and a token.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use campanile_common::api::TokenRequest;
use campanile_common::authority::SignedAuthority;
use campanile_common::fleet::{AUTHORITY_DIR, CA_FILE, CA_KEY_FILE, FLEET_FILE, Foundation, authority_file};
use campanile_common::id::FleetId;
use campanile_common::label::Labels;
use campanile_common::time::Timestamp;
use campanile_common::wire::codec;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};

use super::super::{Stored, load_ca, local, packages};
use crate::authority::Authorities;
use crate::event::Events;
use crate::node::{Nodes, Registry, TokenPins};
use crate::os::file;
use crate::settings::Settings;

/// How many nodes the token of the printed line enrols: a rack.
const TOKEN_USES: u32 = 50;
/// For how long: the day on which they are set up.
const TOKEN_TTL: Duration = Duration::from_secs(24 * 3600);

/// What was made.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Founded {
    pub(super) fleet: String,
    pub(super) fleet_id: FleetId,
    /// One-time sign-in link.
    pub(super) link: String,
    /// Enrols nodes.
    pub(super) token: String,
    pub(super) token_uses: u32,
    pub(super) token_expires_at: Timestamp,
    /// SHA-256 of the script that nodes are installed with; none where no package is.
    pub(super) script: Option<String>,
}

/// The child: takes a foundation from standard input, or nothing where a fleet is there, and prints what it made.
pub(in crate::app) async fn found(settings: &Settings) -> anyhow::Result<()> {
    let mut text = zeroize::Zeroizing::new(Vec::new());
    std::io::stdin()
        .take(super::FOUNDATION_BYTES_MAX)
        .read_to_end(&mut text)
        .context("cannot read the foundation")?;
    let foundation = if text.is_empty() { None } else { Some(Foundation::parse(&text)?) };
    println!("{}", serde_json::to_string(&make(settings, foundation.as_ref()).await?)?);
    Ok(())
}

/// Refuses a foundation that is not whole, before anything is written.
pub(super) fn check(foundation: &Foundation) -> anyhow::Result<()> {
    let signed: SignedAuthority = codec::decode("SignedAuthority", &foundation.authority()?)
        .context("the authority in the foundation is damaged")?;
    let authority = signed
        .verify_pinned(foundation.fleet.authority)
        .context("the authority in the foundation is not the one that its fleet begins with")?;
    ensure!(
        authority.document().fleet == foundation.fleet.fleet_id,
        "the authority in the foundation is that of another fleet"
    );
    ensure!(foundation.fleet.format == 1, "the fleet in the foundation is of a newer program");
    Ok(())
}

/// Writes the fleet, where one is given, and makes a link and a token.
pub(super) async fn make(settings: &Settings, foundation: Option<&Foundation>) -> anyhow::Result<Founded> {
    let folder = &settings.state_dir;
    if let Some(foundation) = foundation {
        check(foundation)?;
        write(folder, foundation).with_context(|| format!("cannot write into {}", folder.display()))?;
    }
    let stored = Stored::open(settings).await?;
    let ca = load_ca(settings, &stored.fleet)?;
    let link = stored.access.issue_local_link("admin").await?;
    let (store, keys) = (Arc::clone(&stored.store), stored.keys.clone());
    let authorities = Authorities::open(
        folder,
        &stored.fleet,
        (Arc::clone(&store), keys.clone()),
        stored.audit.clone(),
        Events::default(),
        stored.clock.clone(),
    )
    .await?;
    let registry = Registry::open(store, keys, stored.audit.clone(), stored.clock.clone()).await?;
    let pins = TokenPins {
        fleet: stored.fleet.fleet_id,
        addresses: settings.addresses.clone(),
        ca_key: ca.key_digest(),
        authority: watch::channel(authorities.current().digest()).1,
    };
    // Nobody works here: the token goes into the store, where the aggregator that serves finds it.
    let (nobody, view) = (mpsc::channel(1).0, watch::channel(Arc::default()).1);
    let nodes = Nodes::new(registry, nobody, view, pins, stored.clock.clone());
    let request = TokenRequest {
        labels: Labels::default(),
        ttl_seconds: TOKEN_TTL.as_secs(),
        uses: TOKEN_USES,
        name: None,
    };
    let created = nodes.create_token("local", request).await?;
    Ok(Founded {
        fleet: stored.fleet.fleet_name.clone(),
        fleet_id: stored.fleet.fleet_id,
        link: local::link_url(settings, &link.link),
        token: created.token,
        token_uses: created.details.uses_max,
        token_expires_at: created.details.expires_at,
        script: packages(settings, &stored.fleet, &ca).script().map(|(_, digest)| digest.to_string()),
    })
}

/// Nothing that exists is overwritten. `fleet.json` is last: a folder that has it is a whole one.
fn write(folder: &Path, foundation: &Foundation) -> anyhow::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder.join(AUTHORITY_DIR))?;
    let mut fleet = serde_json::to_vec_pretty(&foundation.fleet)?;
    fleet.push(b'\n');
    write_new(&folder.join(CA_KEY_FILE), foundation.ca_key.as_bytes(), 0o600)?;
    write_new(&folder.join(CA_FILE), foundation.ca.as_bytes(), 0o644)?;
    write_new(&folder.join(AUTHORITY_DIR).join(authority_file(1)), &foundation.authority()?, 0o644)?;
    // The key and the certificate fit each other, or nothing begins.
    let ca = crate::identity::Ca::load(folder, foundation.fleet.fleet_id, Duration::from_secs(3600))?;
    drop(ca);
    file::write_durably(&folder.join(FLEET_FILE), &fleet)?;
    Ok(())
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .with_context(|| path.display().to_string())?;
    file.write_all(bytes)?;
    Ok(file.sync_all()?)
}
