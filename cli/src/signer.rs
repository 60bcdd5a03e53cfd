//! Signing what operators sign: with the key in this process, or through the key agent that holds it.
//!
//! Nothing is signed that cannot be read as an order, a catalogue, an authority, a generation or a floor of backups: whoever reaches the agent's socket
//! gets no signature over anything else.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use campanile_common::authority::{
    OperatorKey, PublicKey, Signature, SignedAuthority, SignedCatalogue, SignedFloor, SignedOrder,
};
use campanile_common::config::SignedGeneration;
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::key::KeyAgent;
use crate::keyring::{self, KEY_FILE};
use crate::os::file;

/// What exact bytes are meant to be; each kind is signed under a domain tag of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// An order.
    Order,
    /// A catalogue.
    Catalogue,
    /// An authority.
    Authority,
    /// A generation of the configuration.
    Generation,
    /// A floor of backups.
    Floor,
}

/// Bytes that are not what they are said to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("refused to sign: {0}")]
pub struct Refusal(pub String);

/// Signs the bytes, if they are what `subject` says and nothing else.
///
/// # Errors
/// When they are not.
pub fn sign_with(key: &OperatorKey, subject: Subject, bytes: &[u8]) -> Result<Signature, Refusal> {
    let refuse = |error: &dyn std::fmt::Display| Refusal(error.to_string());
    let bytes = bytes.to_vec();
    let signatures = match subject {
        Subject::Order => {
            let mut signed = SignedOrder { bytes, signatures: Vec::new() };
            signed.read().map_err(|error| refuse(&error))?;
            signed.add_signature(key);
            signed.signatures
        }
        Subject::Catalogue => {
            let mut signed = SignedCatalogue { bytes, signatures: Vec::new() };
            signed.read().map_err(|error| refuse(&error))?;
            signed.add_signature(key);
            signed.signatures
        }
        Subject::Authority => {
            let mut signed = SignedAuthority { bytes, signatures: Vec::new() };
            signed.read().map_err(|error| refuse(&error))?;
            signed.add_signature(key);
            signed.signatures
        }
        Subject::Floor => {
            let mut signed = SignedFloor { bytes, signatures: Vec::new() };
            signed.read().map_err(|error| refuse(&error))?;
            signed.add_signature(key);
            signed.signatures
        }
        Subject::Generation => {
            let mut signed = SignedGeneration { bytes, signatures: Vec::new() };
            signed.read().map_err(|error| refuse(&error))?;
            signed.add_signature(key);
            signed.signatures
        }
    };
    Ok(signatures.into_iter().next().expect("a signature was just added"))
}

/// The operator's hand.
pub trait Signer {
    /// The public half of its key.
    fn public(&self) -> PublicKey;

    /// A signature over the bytes.
    ///
    /// # Errors
    /// When the bytes are not what `subject` says, or the key is out of reach.
    fn sign(&self, subject: Subject, bytes: &[u8]) -> anyhow::Result<Signature>;
}

impl Signer for OperatorKey {
    fn public(&self) -> PublicKey {
        Self::public(self)
    }

    fn sign(&self, subject: Subject, bytes: &[u8]) -> anyhow::Result<Signature> {
        Ok(sign_with(self, subject, bytes)?)
    }
}

/// Where the passphrase comes from.
#[derive(Debug, Clone, Default, Args)]
pub struct Passphrase {
    /// File whose first line is the passphrase of the operator's key [env: CAMPANILE_PASSPHRASE_FILE]
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

impl Passphrase {
    /// The file to read it from, if there is one.
    pub fn file(&self, context: &Context<'_>) -> Option<PathBuf> {
        self.passphrase_file.clone().or_else(|| context.environment.path("CAMPANILE_PASSPHRASE_FILE"))
    }
}

/// The key agent if one runs, else the key in the operator's folder.
///
/// # Errors
/// When there is no key, or it cannot be unlocked.
pub fn open(context: &mut Context<'_>, passphrase: &Passphrase) -> anyhow::Result<Box<dyn Signer>> {
    if let Some(agent) = KeyAgent::find(context.environment)? {
        return Ok(Box::new(agent));
    }
    Ok(Box::new(unlock(context, passphrase)?))
}

/// The key in the operator's folder, unlocked.
///
/// # Errors
/// When there is none, or the passphrase is another.
pub fn unlock(context: &mut Context<'_>, passphrase: &Passphrase) -> anyhow::Result<OperatorKey> {
    let dir = context.environment.config_dir()?;
    let encrypted = read_key(&dir)?;
    let passphrase = keyring::passphrase(passphrase.file(context).as_deref())?;
    Ok(keyring::unlock(&encrypted, &passphrase)?)
}

fn read_key(dir: &Path) -> anyhow::Result<Vec<u8>> {
    let path = dir.join(KEY_FILE);
    if !path.exists() {
        bail!(
            "there is no operator key in {}: make one with `campanile key new --name NAME`, and have an operator add \
             it with `campanile operator add`",
            dir.display()
        );
    }
    file::read(&path).context("cannot read the operator's key")
}

#[cfg(test)]
mod tests;
