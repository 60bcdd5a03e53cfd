//! What operators sign: exact bytes with signatures, what waits for further ones, the authority, the catalogue.

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use crate::authority::Signature;
use crate::id::Digest;
use crate::time::Timestamp;

/// One signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignatureText {
    /// SHA-256 name of the operator's key.
    pub key: Digest,
    /// The 64 bytes of an Ed25519 signature, in standard base64.
    pub signature: String,
}

/// Exact bytes with signatures: an order, a catalogue or an authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignedText {
    /// The bytes that are signed, in standard base64.
    pub bytes: String,
    /// Signatures over them.
    #[serde(default)]
    pub signatures: Vec<SignatureText>,
}

impl SignedText {
    /// The text of exact bytes and their signatures.
    pub fn new(bytes: &[u8], signatures: &[Signature]) -> Self {
        let text = |s: &Signature| SignatureText { key: s.key, signature: BASE64.encode(&s.bytes) };
        Self { bytes: BASE64.encode(bytes), signatures: signatures.iter().map(text).collect() }
    }

    /// The bytes and signatures; none when either is no base64.
    pub fn decode(&self) -> Option<(Vec<u8>, Vec<Signature>)> {
        let bytes = BASE64.decode(self.bytes.as_bytes()).ok()?;
        let signatures = self
            .signatures
            .iter()
            .map(|s| Some(Signature { key: s.key, bytes: BASE64.decode(s.signature.as_bytes()).ok()? }));
        Some((bytes, signatures.collect::<Option<_>>()?))
    }
}

/// What waits for signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum ProposalKind {
    /// An order.
    Order,
    /// The authority's next version.
    Authority,
    /// The catalogue's next version.
    Catalogue,
    /// A generation of the configuration.
    Generation,
    /// A floor of backups.
    Floor,
}

/// Something that waits for the signatures of further operators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Proposal {
    /// What it is called: the order's id, or `authority-N`, `catalogue-N`, `generation-DIGITS`.
    pub id: String,
    /// What it is.
    pub kind: ProposalKind,
    /// One line for people. Approvers trust the bytes and not this.
    pub summary: String,
    /// Who proposed it.
    pub proposed_by: String,
    /// When.
    pub proposed_at: Timestamp,
    /// Until when it can be approved.
    pub expires_at: Timestamp,
    /// Operators who signed, by name.
    pub signed_by: Vec<String>,
    /// How many must sign.
    pub signatures_needed: u16,
    /// What is signed. Of a generation, which may be long, the bytes are shown with it alone and not in lists.
    pub signed: SignedText,
}

/// The authority in force with the chain that leads to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct AuthorityChainText {
    /// Version in force.
    pub version: u64,
    /// Its digest.
    pub digest: Digest,
    /// From when on it authorises nothing.
    pub expires_at: Timestamp,
    /// Every version from the one asked for on, oldest first.
    pub chain: Vec<SignedText>,
}

/// The catalogue in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct CatalogueText {
    /// Its version; 0 before the first. Where it lost its force, the next one must still be newer.
    pub version: u64,
    /// The bytes and signatures; null when none is in force.
    pub signed: Option<SignedText>,
}

/// What came of submitting an authority, a catalogue or a signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Submitted {
    /// True when it is in force now; else it waits as the proposal `id`.
    pub in_force: bool,
    /// Name of the proposal or order.
    pub id: String,
    /// Operators who signed, by name.
    pub signed_by: Vec<String>,
    /// How many must sign.
    pub signatures_needed: u16,
}
