//! `fleet`: making a fleet — its authority, its first operator's key, its CA, and the key that opens every backup.

use std::path::{Path, PathBuf};
use std::time::Duration;

use age::secrecy::ExposeSecret as _;
use anyhow::{Context as _, bail};
use campanile_common::authority::{Document, Operator, OperatorKey, Role, SignedAuthority};
use campanile_common::fleet::{
    AUTHORITY_DIR, CA_FILE, CA_KEY_FILE, FLEET_FILE, FleetFile, Foundation, authority_file,
};
use campanile_common::id::{AggregatorId, FleetId};
use campanile_common::time::Timestamp;
use campanile_common::wire::codec;
use clap::{Args, Subcommand};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256,
};
use zeroize::Zeroizing;

use crate::context::Context;
use crate::exit::Exit;
use crate::key;
use crate::keyring::{self, KEY_FILE, WorkFactor};
use crate::os::{clock, file, random};

/// How long CA and first authority are valid: ten years. Certificates below the CA live 48 hours.
const VALIDITY: Duration = Duration::from_secs(3653 * 24 * 3600);
/// Folder of the recovery keys within the operator's folder, until they are moved away.
const RECOVERY_DIR: &str = "recovery";
/// The age identity that opens the backups of every node whose policy names its recipient; in the recovery folder.
const ESCROW_KEY_FILE: &str = "escrow.key";
/// Its recipient, in the operator's folder.
pub const ESCROW_FILE: &str = "escrow.pub";
/// The CA is valid from a little before now, for machines whose clocks lag.
const CLOCK_LAG: Duration = Duration::from_secs(3600);

/// Verbs of `fleet`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make a fleet: authority version 1, the first operator's key and the aggregator's CA
    #[command(after_help = "Examples:
  campanile fleet init --name acme --operator ada --foundation - | ssh root@aggregator campanile-aggregator init --foundation -
  campanile fleet init --name acme --operator ada --foundation ./foundation.json
  campanile fleet init --name acme --operator ada --aggregator-dir ./state --passphrase-file ./passphrase
The foundation is what the aggregator needs, the key of its CA included: remove the file once the aggregator has it.

The operator's key goes to the profile folder (CAMPANILE_CONFIG_DIR, or ~/.config/campanile), encrypted under
a passphrase. The recovery keys go to `recovery/` beside it: move them to places off-line, each to another; with one
of them `campanile operator recover` makes a new operator. `recovery/escrow.key` opens the backups of every node, also
of one that is lost: whoever has it reads them all. Its recipient is in `escrow.pub`. Nothing that exists is overwritten.")]
    Init(Init),
}

/// What `fleet init` makes.
#[derive(Debug, Args)]
pub struct Init {
    /// What the fleet is called
    #[arg(long)]
    name: String,
    /// What the first operator is called
    #[arg(long)]
    operator: String,
    /// State folder of the aggregator, to be written
    #[arg(long, value_name = "DIR", required_unless_present = "foundation", conflicts_with = "foundation")]
    aggregator_dir: Option<PathBuf>,
    /// File for what `campanile-aggregator init` takes; - writes it to standard output
    #[arg(long, value_name = "FILE")]
    foundation: Option<PathBuf>,
    /// File whose first line is the passphrase of the operator's key [env: CAMPANILE_PASSPHRASE_FILE]
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// How many recovery keys to make, for the day when all operators' keys are lost
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=16))]
    recovery_keys: u8,
}

/// Carries out a verb.
///
/// # Errors
/// When it fails.
pub fn run(context: &mut Context<'_>, verb: &Verb) -> anyhow::Result<Exit> {
    match verb {
        Verb::Init(arguments) => init(context, arguments),
    }
}

fn init(context: &mut Context<'_>, arguments: &Init) -> anyhow::Result<Exit> {
    let operator_dir = context.environment.config_dir()?;
    check_free(arguments.aggregator_dir.as_deref(), &operator_dir)?;
    let to = arguments.foundation.as_deref();
    let is_piped = to == Some(Path::new("-"));
    if let Some(path) = to.filter(|path| !is_piped && path.symlink_metadata().is_ok()) {
        bail!("{} exists, and nothing is overwritten", path.display());
    }
    let file =
        arguments.passphrase_file.clone().or_else(|| context.environment.path("CAMPANILE_PASSPHRASE_FILE"));
    let passphrase = keyring::new_passphrase(file.as_ref())?;
    let plan = Plan {
        name: &arguments.name,
        operator: &arguments.operator,
        aggregator_dir: arguments.aggregator_dir.as_deref(),
        operator_dir: &operator_dir,
        passphrase: &passphrase,
        work: WorkFactor::Calibrated,
        recovery_keys: arguments.recovery_keys,
        now: clock::now(),
    };
    let foundation = create(&plan)?;
    let said = format!("fleet {} ({})", foundation.fleet.fleet_name, foundation.fleet.fleet_id);
    match to {
        Some(_) if is_piped => {
            context.out.write_all(foundation.to_text().as_bytes())?;
            context.hint(&said)?;
        }
        Some(path) => {
            file::write_new(path, foundation.to_text().as_bytes(), file::SECRET)?;
            writeln!(context.out, "{said}")?;
            context.hint(&format!(
                "bring {0} to the aggregator, run there: campanile-aggregator init --foundation FILE, and remove {0}: \
                 it holds the key of the CA",
                path.display()
            ))?;
        }
        None => writeln!(context.out, "{said}")?,
    }
    tell_what_to_keep(context, &plan)?;
    Ok(Exit::Fine)
}

fn tell_what_to_keep(context: &mut Context<'_>, plan: &Plan<'_>) -> anyhow::Result<()> {
    if let Some(folder) = plan.aggregator_dir {
        context.hint(&format!("aggregator state in {}", folder.display()))?;
    }
    let operator_dir = plan.operator_dir;
    context.hint(&format!("operator key of {} in {}", plan.operator, operator_dir.display()))?;
    context.hint(&format!(
        "recovery keys and the key of all backups in {}: move them off this machine now, each to another place",
        operator_dir.join(RECOVERY_DIR).display()
    ))?;
    context.hint(
        "keep a copy of the operator key and its passphrase: without them the fleet takes no more orders",
    )?;
    Ok(())
}

/// All that [`create`] needs to know.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    /// Name of the fleet.
    pub name: &'a str,
    /// Name of the first operator.
    pub operator: &'a str,
    /// The aggregator's state folder, where it is written from here.
    pub aggregator_dir: Option<&'a Path>,
    /// The operator's folder.
    pub operator_dir: &'a Path,
    /// Passphrase of the operator's key.
    pub passphrase: &'a Zeroizing<String>,
    /// How hard guessing it is made.
    pub work: WorkFactor,
    /// How many recovery keys are made.
    pub recovery_keys: u8,
    /// The time now.
    pub now: Timestamp,
}

/// Makes a fleet and writes its files, none of which may exist. Gives what the aggregator starts from.
///
/// # Errors
/// When a file exists or cannot be written, or a name is refused.
pub fn create(plan: &Plan<'_>) -> anyhow::Result<Foundation> {
    check_free(plan.aggregator_dir, plan.operator_dir)?;
    let key = OperatorKey::from_seed(Zeroizing::new(random::bytes()))?;
    let fleet_id = FleetId::from_bytes(random::bytes());
    let recovery: Vec<OperatorKey> = (0..plan.recovery_keys)
        .map(|_| OperatorKey::from_seed(Zeroizing::new(random::bytes())))
        .collect::<Result<_, _>>()?;
    let signed = authority(plan, fleet_id, &key, &recovery)?;
    let fleet = FleetFile {
        format: 1,
        fleet_id,
        fleet_name: plan.name.to_owned(),
        aggregator_id: AggregatorId::from_bytes(random::bytes()),
        authority: signed.digest(),
    };
    let escrow = age::x25519::Identity::generate();
    let encrypted = keyring::lock(&key, plan.passphrase, plan.work)?;
    let (ca, ca_key) = certificate_authority(plan)?;
    let mut fleet_json = serde_json::to_vec_pretty(&fleet)?;
    fleet_json.push(b'\n');
    let signed = codec::encode("SignedAuthority", &signed)?;

    let folders = || plan.aggregator_dir.into_iter().chain([plan.operator_dir]);
    for folder in folders() {
        file::make_private_dir(&folder.join(AUTHORITY_DIR))?;
    }
    file::write_new(&plan.operator_dir.join(KEY_FILE), &encrypted, file::SECRET)?;
    key::store_public(plan.operator_dir, &key.public())?;
    file::make_private_dir(&plan.operator_dir.join(RECOVERY_DIR))?;
    let path = plan.operator_dir.join(RECOVERY_DIR).join(ESCROW_KEY_FILE);
    file::write_new(&path, escrow_text(&escrow, plan.name).as_bytes(), file::SECRET)?;
    let recipient = format!("{}\n", escrow.to_public());
    file::write_new(&plan.operator_dir.join(ESCROW_FILE), recipient.as_bytes(), file::PUBLIC)?;
    for (index, key) in recovery.iter().enumerate() {
        let path = plan.operator_dir.join(RECOVERY_DIR).join(format!("recovery-{}.key", index + 1));
        file::write_new(&path, keyring::recovery_text(key).as_bytes(), file::SECRET)?;
    }
    if let Some(folder) = plan.aggregator_dir {
        file::write_new(&folder.join(CA_KEY_FILE), ca_key.as_bytes(), file::SECRET)?;
    }
    for folder in folders() {
        file::write_new(&folder.join(AUTHORITY_DIR).join(authority_file(1)), &signed, file::PUBLIC)?;
        file::write_new(&folder.join(CA_FILE), ca.as_bytes(), file::PUBLIC)?;
        // Last: a folder with this file is a whole one.
        file::write_new(&folder.join(FLEET_FILE), &fleet_json, file::PUBLIC)?;
    }
    Ok(Foundation::new(fleet, ca, ca_key, &signed))
}

/// Refuses before anything is written when something is there.
fn check_free(aggregator_dir: Option<&Path>, operator_dir: &Path) -> anyhow::Result<()> {
    let shared = [FLEET_FILE, CA_FILE, AUTHORITY_DIR];
    let names = || shared.iter().chain(&[CA_KEY_FILE]);
    let of_aggregator = aggregator_dir.into_iter().flat_map(|dir| names().map(|name| dir.join(name)));
    let of_operator =
        shared.iter().chain(&[KEY_FILE, RECOVERY_DIR, ESCROW_FILE]).map(|name| operator_dir.join(name));
    for path in of_aggregator.chain(of_operator) {
        if path.symlink_metadata().is_ok() {
            bail!(
                "{} exists: a fleet was made here already, and nothing is overwritten; choose another \
                 --aggregator-dir or CAMPANILE_CONFIG_DIR",
                path.display()
            );
        }
    }
    Ok(())
}

/// As `age -d -i` and `age-keygen -y` read it.
fn escrow_text(identity: &age::x25519::Identity, fleet: &str) -> Zeroizing<String> {
    let (recipient, secret) = (identity.to_public(), identity.to_string());
    Zeroizing::new(format!(
        "# opens the backups of fleet {fleet}\n# public key: {recipient}\n{}\n",
        secret.expose_secret()
    ))
}

fn authority(
    plan: &Plan<'_>,
    fleet: FleetId,
    key: &OperatorKey,
    recovery: &[OperatorKey],
) -> anyhow::Result<SignedAuthority> {
    let operator = Operator { name: plan.operator.to_owned(), key: key.public(), roles: Role::ALL.into() };
    let mut document = Document::first(fleet, plan.name.to_owned(), operator, plan.now, plan.now + VALIDITY);
    document.recovery = recovery.iter().map(OperatorKey::public).collect();
    let signed = document.sign(&[key])?;
    // What is written must be accepted by everyone who pins it.
    signed.clone().verify_pinned(signed.digest()).context("the new authority does not verify")?;
    Ok(signed)
}

/// Certificate and key of the aggregator's CA, as PEM.
fn certificate_authority(plan: &Plan<'_>) -> anyhow::Result<(String, Zeroizing<String>)> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("Campanile CA of {}", plan.name));
    // It signs leaves and no further CA.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = calendar(plan.now - CLOCK_LAG)?;
    params.not_after = calendar(plan.now + VALIDITY)?;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), Zeroizing::new(key.serialize_pem())))
}

fn calendar(time: Timestamp) -> anyhow::Result<time::OffsetDateTime> {
    let seconds = i64::try_from(time.as_secs())?;
    Ok(time::OffsetDateTime::from_unix_timestamp(seconds)?)
}

#[cfg(test)]
mod tests;
