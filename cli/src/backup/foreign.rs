//! What another node saved: its key, opened with the escrow identity on this machine and sealed to the node that restores.
//!
//! The aggregator hands out key files, which are ciphertext to it. The password that one holds is in memory here and
//! nowhere else; what goes into the order can be opened by the restoring node alone.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use age::x25519;
use anyhow::{Context as _, anyhow, bail};
use campanile_common::api::{Node, StoredKey};
use campanile_common::authority::{Authority, sha256};
use campanile_common::id::Digest;
use clap::Args;
use data_encoding::BASE64;
use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

use super::{fetch, key};
use crate::client::Client;
use crate::context::Context;
use crate::os::file;
use crate::secret;

/// Key files that an order brings: all of them open the same repository, unless one is none.
const WAYS_MAX: usize = 8;
/// Key files that are looked at; a node may have stored what it likes.
const KEYS_MAX: usize = 1000;

/// How the key of another node is had and handed on.
#[derive(Debug, Clone, Args)]
pub struct Handing {
    /// File with an escrow identity of the node that saved them, as age-keygen writes it
    #[arg(long, value_name = "FILE")]
    pub identity: Option<PathBuf>,
    /// Seal the key to a sealing key of the restoring node that is another than before
    #[arg(long)]
    pub accept_new_keys: bool,
}

/// A way into a repository, as the restoring node reads it.
#[derive(Serialize)]
struct WayIn {
    key: Digest,
    #[serde(serialize_with = "in_clear")]
    password: Zeroizing<String>,
}

/// For what is sealed as a whole.
fn in_clear<S: Serializer>(password: &Zeroizing<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(password)
}

/// Ways into the repository of `source`, opened with an identity.
pub struct Ways(Vec<WayIn>);

impl Ways {
    /// Fetches the key files of a node and opens those that are for the identity.
    ///
    /// # Errors
    /// When none is, or the aggregator does not answer.
    pub fn open(client: &Client, source: &Node, identity: &Path) -> anyhow::Result<Self> {
        let text = Zeroizing::new(file::read_text(identity)?);
        let identities =
            key::parse_identities(&text).with_context(|| format!("{} is no identity", identity.display()))?;
        let (mut ways, mut seen, mut last) = (Vec::new(), 0, None);
        let path = format!("{}/keys", fetch::path(&source.node_id.to_string()));
        client.each_page(&path, &[], |page: Vec<StoredKey>| {
            for stored in page {
                seen += 1;
                match opened(&stored, &identities) {
                    Ok(way) => ways.push(way),
                    Err(error) => last = Some(error),
                }
            }
            ways.len() < WAYS_MAX && seen < KEYS_MAX
        })?;
        ways.truncate(WAYS_MAX);
        let name = &source.name;
        match (ways.is_empty(), last) {
            (false, _) => Ok(Self(ways)),
            (true, Some(error)) => {
                Err(error.context(format!("none of the {seen} key files of {name} opens with this identity")))
            }
            (true, None) => bail!(
                "{name} has stored no key file: its policies name no `escrow`, and what it saved opens with its own key alone"
            ),
        }
    }

    /// Seals them to a node, whose sealing key is pinned when it is first seen.
    ///
    /// # Errors
    /// When no sealing key is known of it, or it is another than before.
    pub fn seal(
        &self,
        context: &Context<'_>,
        client: &Client,
        authority: &Authority,
        target: &Node,
        accepts_new: bool,
    ) -> anyhow::Result<Vec<u8>> {
        let fleet = authority.document().fleet;
        let recipient = secret::recipient(context, client, fleet, target, accepts_new)?;
        let recipient = x25519::Recipient::from_str(&recipient)
            .map_err(|error| anyhow!("the sealing key of {} is none: {error}", target.name))?;
        let ways = Zeroizing::new(serde_json::to_vec(&self.0)?);
        age::encrypt(&recipient, &ways).with_context(|| format!("cannot seal the key for {}", target.name))
    }
}

fn opened(stored: &StoredKey, identities: &[x25519::Identity]) -> anyhow::Result<WayIn> {
    let key = stored.key;
    let content = stored.content.as_deref();
    let content = content.ok_or_else(|| anyhow!("the aggregator cannot read key file {key}"))?;
    let bytes = BASE64.decode(content.as_bytes()).map_err(|_| anyhow!("key file {key} is no base64"))?;
    if sha256(&[&bytes]) != key {
        bail!("the aggregator gives another file as key file {key}; is it healthy?");
    }
    Ok(WayIn { key, password: key::open(&bytes, identities)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use campanile_common::time::Timestamp;
    use serde_json::json;

    fn stored(identity: &x25519::Identity, password: &str) -> StoredKey {
        let sealed = age::encrypt(&identity.to_public(), password.as_bytes()).unwrap();
        let armoured = format!(
            "-----BEGIN AGE ENCRYPTED FILE-----\n{}\n-----END AGE ENCRYPTED FILE-----\n",
            BASE64.encode(&sealed)
        );
        let recipients = [identity.to_public().to_string()];
        let file = json!({ "campanile_escrow": { "recipients": recipients, "password": armoured } });
        let bytes = file.to_string().into_bytes();
        StoredKey {
            key: sha256(&[&bytes]),
            received: Timestamp::from_millis(1),
            size: 1,
            content: Some(BASE64.encode(&bytes)),
        }
    }

    #[test]
    fn a_key_file_opens_for_its_identity_and_another_file_in_its_place_does_not() {
        let (ours, other) = (x25519::Identity::generate(), x25519::Identity::generate());
        let file = stored(&ours, "canary");
        let identities = std::slice::from_ref(&ours);
        assert_eq!(*opened(&file, identities).unwrap().password, "canary");
        assert!(opened(&file, &[other]).is_err());
        let swapped = StoredKey { content: stored(&ours, "forged").content, ..file.clone() };
        let error = opened(&swapped, identities).err().unwrap().to_string();
        assert!(error.contains("another file"), "{error}");
        let gone = StoredKey { content: None, ..file };
        assert!(opened(&gone, identities).is_err());
    }
}
