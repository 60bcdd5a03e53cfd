//! The key files of a node's repository in the aggregator's store: listed, fetched, opened. What comes is believed only
//! when it is what its name says.

use std::path::{Path, PathBuf};

use age::x25519::Identity;
use anyhow::{anyhow, bail};
use campanile_common::api::StoredKey;
use campanile_common::authority::sha256;
use campanile_common::time::Timestamp;
use campanile_common::unit::ByteCount;
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::super::fetch;
use crate::client::Client;
use crate::context::Context;
use crate::exit::Exit;
use crate::os::file;
use crate::profile;
use crate::render::{self, Cell, Column, Tone, column, wide};

/// Key files are for whoever has them.
const MODE: u32 = 0o600;

/// What a key file says of itself; the node's word.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Says {
    created: String,
    username: String,
    hostname: String,
    campanile_escrow: Option<ForWhom>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ForWhom {
    recipients: Vec<String>,
}

/// A key file of a node.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    key: String,
    received: Timestamp,
    created: String,
    made_by: String,
    recipients: Vec<String>,
    size: u64,
    is_whole: bool,
}

const COLUMNS: [Column<Row>; 6] = [
    column("KEY", |row, _| Cell::new(row.key.get(..8).unwrap_or(&row.key))),
    column("RECEIVED", |row, now| Cell::age(Some(row.received), now)),
    column("STATE", |row, _| match row.is_whole {
        true => Cell::new("whole").toned(Tone::Good),
        false => Cell::new("damaged").toned(Tone::Bad),
    }),
    column("OPENS", |row, _| {
        let recipients = row.recipients.join(",");
        Cell::new(if recipients.is_empty() { "its password alone".to_owned() } else { recipients })
    }),
    wide("MADE BY", |row, _| Cell::new(&row.made_by)),
    wide("SIZE", |row, _| Cell::new(ByteCount(row.size))),
];

/// The bytes, when they are those that the key file is named for.
fn whole(key: &StoredKey) -> Option<Vec<u8>> {
    let bytes = BASE64.decode(key.content.as_ref()?.as_bytes()).ok()?;
    (sha256(&[&bytes]) == key.key).then_some(bytes)
}

fn row(key: &StoredKey) -> Row {
    let bytes = whole(key);
    let says: Says = bytes.as_ref().and_then(|bytes| serde_json::from_slice(bytes).ok()).unwrap_or_default();
    let made_by = [says.username, says.hostname].into_iter().filter(|word| !word.is_empty());
    Row {
        key: key.key.to_string(),
        received: key.received,
        created: says.created,
        made_by: made_by.collect::<Vec<_>>().join("@"),
        recipients: says.campanile_escrow.map(|escrow| escrow.recipients).unwrap_or_default(),
        size: key.size,
        is_whole: bytes.is_some(),
    }
}

/// Those of a node, newest first.
fn keys(client: &Client, node: &str) -> anyhow::Result<Vec<StoredKey>> {
    Ok(client.pages(&format!("{}/keys", fetch::path(node)), &[])?)
}

pub(super) fn list(context: &mut Context<'_>, node: &str) -> anyhow::Result<Exit> {
    let client = profile::client(context)?;
    let rows: Vec<Row> = keys(&client, node)?.iter().map(row).collect();
    render::list(context, &rows, &COLUMNS, |row| row.key.clone())?;
    let is_closed = !rows.iter().any(|row| row.is_whole && !row.recipients.is_empty());
    if is_closed {
        context.hint(&format!(
            "nobody but {node} opens its repository: name a recipient in `escrow` of a policy, and have it run"
        ))?;
    }
    Ok(Exit::Fine)
}

pub(super) fn export(context: &mut Context<'_>, node: &str, to: &Path) -> anyhow::Result<Exit> {
    let client = profile::client(context)?;
    let found = keys(&client, node)?;
    let whole: Vec<(String, Vec<u8>)> =
        found.iter().filter_map(|key| Some((key.key.to_string(), whole(key)?))).collect();
    let damaged = found.len() - whole.len();
    let is_folder = to.is_dir() || to.as_os_str().to_string_lossy().ends_with('/');
    let mut written: Vec<PathBuf> = Vec::new();
    if whole.is_empty() {
        bail!("{node} has no whole key file in the store; the folder `keys` of a copy of its repository may");
    }
    if is_folder {
        file::make_private_dir(to)?;
        for (name, bytes) in &whole {
            let path = to.join(name);
            // The same name is the same bytes.
            if !path.exists() {
                file::write_new(&path, bytes, MODE)?;
            }
            written.push(path);
        }
    } else {
        let (_, newest) = whole.first().ok_or_else(|| anyhow!("there is no key file"))?;
        file::write_new(to, newest, MODE)?;
        written.push(to.to_owned());
    }
    let written: Vec<String> = written.iter().map(|path| path.display().to_string()).collect();
    render::object(context, &written, &written.join("\n"), |context| {
        written.iter().try_for_each(|path| Ok(writeln!(context.out, "{path}")?))
    })?;
    if damaged > 0 {
        context.hint(&format!("{damaged} key files are damaged in the store and were left out"))?;
        return Ok(Exit::SomeFailed);
    }
    Ok(Exit::Fine)
}

/// The password that one of the node's key files holds for one of the identities.
pub(super) fn open(
    context: &mut Context<'_>,
    node: &str,
    identities: &[Identity],
) -> anyhow::Result<Zeroizing<String>> {
    let client = profile::client(context)?;
    let mut last = anyhow!("{node} has no whole key file in the store");
    for key in keys(&client, node)? {
        let Some(bytes) = whole(&key) else { continue };
        match super::open(&bytes, identities) {
            Ok(password) => return Ok(password),
            Err(error) => last = error.context(format!("cannot open {}", key.key)),
        }
    }
    Err(last)
}
