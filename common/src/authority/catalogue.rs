//! The catalogue: named commands with typed parameters, and units, that operators signed once so that people and
//! schedules may order them without a key (tier 1).
//!
//! Versions only rise: a node never goes back to an older catalogue.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::action::{Command, ServiceVerb};
use super::document::{Signature, countersign, signers};
use super::keys::OperatorKey;
use super::order::ORDER_BYTES_MAX;
use super::parameter::{Parameter, ParameterKind, Piece, split};
use super::{Authority, Role, sha256};
use crate::id::{Digest, FleetId};
use crate::selector::glob_matches;
use crate::time::Timestamp;
use crate::wire::codec;

const SIGNATURE_DOMAIN: &[u8] = b"campanile/catalogue/v1\0";
const DIGEST_DOMAIN: &[u8] = b"campanile/catalogue-digest/v1\0";
const FORMAT: u16 = 1;
/// Most commands of one catalogue.
pub const COMMANDS_MAX: usize = 256;
/// Most rules for units.
pub const SERVICES_MAX: usize = 256;
const NAME_BYTES_MAX: usize = 64;

/// A named command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueCommand {
    /// For people.
    #[serde(default)]
    pub description: String,
    /// Program and arguments; `{name}` within an argument stands for a parameter's value. A value never becomes
    /// more than one argument.
    pub argv: Vec<String>,
    /// As whom; none for the steward's own user.
    #[serde(default)]
    pub user: Option<String>,
    /// Its parameters.
    #[serde(default)]
    pub parameters: BTreeMap<String, Parameter>,
}

/// Units that may be acted on, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceRule {
    /// Name of a unit, with the globs `*` and `?`.
    pub unit: String,
    /// What may be done.
    pub verbs: BTreeSet<ServiceVerb>,
}

/// Content of one version of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogueDocument {
    /// Format of this structure.
    pub format: u16,
    /// The fleet.
    pub fleet: FleetId,
    /// Rises with each version.
    pub version: u64,
    /// The authority that its signers read.
    pub authority_version: u64,
    /// When it was made.
    pub issued: Timestamp,
    /// From when on it permits nothing any more.
    pub expires: Timestamp,
    /// Commands by name.
    pub commands: BTreeMap<String, CatalogueCommand>,
    /// Rules for units; a unit is permitted when any rule permits it.
    pub services: Vec<ServiceRule>,
}

/// A catalogue's exact bytes with signatures; nothing is verified yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedCatalogue {
    /// The encoded [`CatalogueDocument`], as it was signed.
    pub bytes: Vec<u8>,
    /// Signatures over it.
    pub signatures: Vec<Signature>,
}

/// A verified catalogue, under one version of the authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogue {
    document: CatalogueDocument,
    signed: SignedCatalogue,
    /// The authority under which its signatures counted.
    authority: Digest,
}

/// Why a catalogue, or what was asked of it, is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// The bytes are no catalogue of a known format.
    #[error("the catalogue cannot be read")]
    Unreadable,
    /// Of another fleet.
    #[error("the catalogue is of fleet {found}, ours is {ours}")]
    ForeignFleet {
        /// Its fleet.
        found: FleetId,
        /// Ours.
        ours: FleetId,
    },
    /// Not newer than the one at hand.
    #[error("catalogue version {found} is not newer than version {current}")]
    NotNewer {
        /// Its version.
        found: u64,
        /// The version at hand.
        current: u64,
    },
    /// Too few valid signatures of distinct operators.
    #[error("the catalogue carries {found} valid signatures of distinct operators, {needed} are needed")]
    Signatures {
        /// Valid ones.
        found: usize,
        /// Needed ones.
        needed: usize,
    },
    /// The content breaks a rule.
    #[error("the catalogue is inconsistent: {place}: {rule}")]
    Inconsistent {
        /// Where.
        place: String,
        /// Which.
        rule: &'static str,
    },
    /// There is no such command.
    #[error("the catalogue has no command `{0}`")]
    NoCommand(String),
    /// An argument is missing, unknown or outside its values.
    #[error("parameter `{parameter}`: {problem}")]
    Argument {
        /// Which.
        parameter: String,
        /// What is wrong.
        problem: String,
    },
}

impl CatalogueCommand {
    /// The command with the parameters' values put in.
    ///
    /// # Errors
    /// When an argument is missing, unknown or outside its values.
    pub fn expand(&self, arguments: &BTreeMap<String, String>) -> Result<Command, CatalogueError> {
        let problem = |parameter: &str, problem: String| {
            Err(CatalogueError::Argument { parameter: parameter.to_owned(), problem })
        };
        if let Some(unknown) = arguments.keys().find(|name| !self.parameters.contains_key(*name)) {
            let known: Vec<&str> = self.parameters.keys().map(String::as_str).collect();
            return problem(unknown, format!("unknown; there are: {}", known.join(", ")));
        }
        let mut values = BTreeMap::new();
        for (name, parameter) in &self.parameters {
            let Some(value) = arguments.get(name).or(parameter.default.as_ref()) else {
                return problem(name, format!("missing; give {}", parameter.kind.describe()));
            };
            if !parameter.kind.accepts(value) {
                return problem(name, format!("`{value}` is not {}", parameter.kind.describe()));
            }
            values.insert(name.as_str(), value.as_str());
        }
        let argv = self.argv.iter().map(|word| {
            let pieces = split(word).expect("a verified catalogue's templates are whole");
            pieces.into_iter().map(|piece| match piece {
                Piece::Text(text) => text,
                Piece::Parameter(name) => values.get(name).copied().unwrap_or_default(),
            })
        });
        let argv = argv.map(Iterator::collect).collect();
        Ok(Command { argv, user: self.user.clone(), stdin: Vec::new() })
    }

    fn check(&self) -> Result<(), &'static str> {
        let rule = |holds: bool, rule| if holds { Ok(()) } else { Err(rule) };
        rule(self.argv.first().is_some_and(|program| !program.is_empty()), "it names no program")?;
        rule(!self.argv.first().is_some_and(|program| program.contains('{')), "its program is a parameter")?;
        for word in &self.argv {
            for piece in split(word).ok_or("a { without its }")? {
                if let Piece::Parameter(name) = piece {
                    rule(self.parameters.contains_key(name), "its command uses an unknown parameter")?;
                }
            }
            rule(!word.contains('\0'), "an argument holds a NUL")?;
        }
        for parameter in self.parameters.values() {
            parameter.kind.check()?;
            let default = parameter.default.as_deref();
            rule(default.is_none_or(|value| parameter.kind.accepts(value)), "a default is not acceptable")?;
        }
        Ok(())
    }
}

impl CatalogueDocument {
    /// The format that this program writes.
    pub const FORMAT: u16 = FORMAT;

    /// Checks everything that does not take a signature: what `campanile catalogue lint` reports.
    ///
    /// # Errors
    /// At the first rule that is broken.
    pub fn check(&self) -> Result<(), CatalogueError> {
        let rule = |place: &str, holds: bool, rule| {
            if holds { Ok(()) } else { Err(CatalogueError::Inconsistent { place: place.to_owned(), rule }) }
        };
        rule("catalogue", self.format == FORMAT, "its format is unknown")?;
        rule("catalogue", self.version >= 1, "versions begin at 1")?;
        rule("catalogue", self.issued < self.expires, "it expires before it was issued")?;
        rule("catalogue", self.commands.len() <= COMMANDS_MAX, "it has too many commands")?;
        rule("catalogue", self.services.len() <= SERVICES_MAX, "it has too many rules for units")?;
        for (name, command) in &self.commands {
            let is_named =
                !name.is_empty() && name.len() <= NAME_BYTES_MAX && ParameterKind::Name.accepts(name);
            rule(name, is_named, "a command's name is of letters, digits and ._-@:")?;
            command.check().or_else(|broken| rule(name, false, broken))?;
        }
        for service in &self.services {
            rule(&service.unit, !service.unit.is_empty(), "a rule names no unit")?;
            rule(&service.unit, !service.verbs.is_empty(), "a rule permits nothing")?;
        }
        Ok(())
    }

    /// True when a rule permits this.
    pub fn permits_service(&self, verb: ServiceVerb, unit: &str) -> bool {
        self.services.iter().any(|rule| rule.verbs.contains(&verb) && glob_matches(&rule.unit, unit))
    }

    /// The exact bytes to sign.
    ///
    /// # Errors
    /// When the content breaks a rule or is too long.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CatalogueError> {
        self.check()?;
        let long = || CatalogueError::Inconsistent {
            place: "catalogue".to_owned(),
            rule: "it does not fit a frame; shorten it",
        };
        let bytes = codec::encode("CatalogueDocument", self).map_err(|_| long())?;
        if bytes.len() > ORDER_BYTES_MAX { Err(long()) } else { Ok(bytes) }
    }

    /// The catalogue with a signature of each of `keys`.
    ///
    /// # Errors
    /// When the content breaks a rule or is too long.
    pub fn sign(&self, keys: &[&OperatorKey]) -> Result<SignedCatalogue, CatalogueError> {
        let mut signed = SignedCatalogue { bytes: self.to_bytes()?, signatures: Vec::new() };
        keys.iter().for_each(|key| signed.add_signature(key));
        Ok(signed)
    }
}

impl SignedCatalogue {
    /// Digest of the catalogue's bytes.
    pub fn digest(&self) -> Digest {
        sha256(&[DIGEST_DOMAIN, &self.bytes])
    }

    /// Reads the catalogue without asking who signed it: for showing, never for executing.
    ///
    /// # Errors
    /// When it cannot be read or breaks a rule.
    pub fn read(&self) -> Result<CatalogueDocument, CatalogueError> {
        let document: CatalogueDocument =
            codec::decode("CatalogueDocument", &self.bytes).map_err(|_| CatalogueError::Unreadable)?;
        document.check()?;
        Ok(document)
    }

    /// Adds a signature. Whether it counts is the verifier's to say.
    pub fn add_signature(&mut self, key: &OperatorKey) {
        countersign(&mut self.signatures, key, SIGNATURE_DOMAIN, &self.bytes);
    }

    /// The keys that validly signed, of those of `authority` in the role for catalogues.
    pub fn signers(&self, authority: &Authority) -> BTreeSet<Digest> {
        signers(authority.document(), Role::Catalogue, SIGNATURE_DOMAIN, &self.bytes, &self.signatures)
    }

    /// Accepts the catalogue under `authority`, and only if it is newer than `current`, where there is one.
    ///
    /// # Errors
    /// When it is of another fleet, inconsistent, not newer, or lacks signatures.
    pub fn verify(self, authority: &Authority, current: Option<u64>) -> Result<Catalogue, CatalogueError> {
        let document = self.read()?;
        let ours = authority.document().fleet;
        if document.fleet != ours {
            return Err(CatalogueError::ForeignFleet { found: document.fleet, ours });
        }
        if let Some(current) = current
            && document.version <= current
        {
            return Err(CatalogueError::NotNewer { found: document.version, current });
        }
        let (found, needed) = (self.signers(authority).len(), authority.threshold(Role::Catalogue));
        if found < needed {
            return Err(CatalogueError::Signatures { found, needed });
        }
        Ok(Catalogue { document, signed: self, authority: authority.digest() })
    }
}

impl Catalogue {
    /// What it says.
    pub const fn document(&self) -> &CatalogueDocument {
        &self.document
    }

    /// Its exact bytes with signatures, to be stored and sent on.
    pub const fn signed(&self) -> &SignedCatalogue {
        &self.signed
    }

    /// True when its signatures were counted under this authority. After a change of the authority it is verified
    /// anew: an operator who left signs for nothing.
    pub fn is_verified_under(&self, authority: &Authority) -> bool {
        self.authority == authority.digest()
    }

    /// The command that a routine stands for.
    ///
    /// # Errors
    /// When there is none of that name or an argument is not acceptable.
    pub fn expand(
        &self,
        name: &str,
        arguments: &BTreeMap<String, String>,
    ) -> Result<Command, CatalogueError> {
        let command = self.document.commands.get(name);
        command.ok_or_else(|| CatalogueError::NoCommand(name.to_owned()))?.expand(arguments)
    }
}

#[cfg(test)]
mod tests;
