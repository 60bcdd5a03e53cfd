//! The fleet's authority as this machine follows it: pinned by `fleet init` or `operator trust`, then version by
//! version, each with the signatures that the one before demands. The aggregator only carries it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use campanile_common::api::{AuthorityChainText, SignedText};
use campanile_common::authority::{Authority, PublicKey, Role, SignedAuthority};
use campanile_common::fleet::{AUTHORITY_DIR, FLEET_FILE, FleetFile, authority_file};
use campanile_common::id::Digest;
use campanile_common::wire::codec;

use crate::client::Client;
use crate::context::{Context, Environment};
use crate::os::file;

/// Name of the file that holds the digest of the version that is trusted first, where there is no fleet file.
const PIN_FILE: &str = "authority.pin";

/// The authority that this machine has reached.
///
/// # Errors
/// When none is pinned, or its files do not verify.
pub fn load(environment: &Environment) -> anyhow::Result<Authority> {
    load_from(&environment.config_dir()?)
}

fn load_from(dir: &Path) -> anyhow::Result<Authority> {
    let pin = pin(dir)?;
    let mut authority = stored(dir, 1)?
        .ok_or_else(|| anyhow!("the first version of the authority is missing from {}", dir.display()))?
        .verify_pinned(pin)
        .context("the authority on this machine does not verify")?;
    while let Some(next) = stored(dir, authority.document().version + 1)? {
        authority = authority.verify_next(next).context("the authority on this machine does not verify")?;
    }
    Ok(authority)
}

fn pin(dir: &Path) -> anyhow::Result<Digest> {
    let (fleet, pin) = (dir.join(FLEET_FILE), dir.join(PIN_FILE));
    if fleet.exists() {
        let fleet: FleetFile = serde_json::from_slice(&file::read(&fleet)?)
            .with_context(|| format!("cannot understand {}", fleet.display()))?;
        return Ok(fleet.authority);
    }
    if pin.exists() {
        return file::read_text(&pin)?.trim().parse().context("cannot understand the authority's pin");
    }
    bail!(
        "this machine trusts no authority yet: have an operator read you the first digest that `campanile operator ls` \
         prints, then run `campanile operator trust DIGEST`"
    )
}

fn stored(dir: &Path, version: u64) -> anyhow::Result<Option<SignedAuthority>> {
    let path = path(dir, version);
    if !path.exists() {
        return Ok(None);
    }
    let signed = codec::decode("SignedAuthority", &file::read(&path)?);
    signed.map(Some).with_context(|| format!("cannot understand {}", path.display()))
}

fn path(dir: &Path, version: u64) -> PathBuf {
    dir.join(AUTHORITY_DIR).join(authority_file(version))
}

fn store(dir: &Path, authority: &Authority) -> anyhow::Result<()> {
    file::make_private_dir(&dir.join(AUTHORITY_DIR))?;
    let bytes = codec::encode("SignedAuthority", authority.signed())?;
    Ok(file::replace(&path(dir, authority.document().version), &bytes, file::PUBLIC)?)
}

/// The digest of the first version, which another operator's machine begins with.
///
/// # Errors
/// When nothing is pinned.
pub fn first_digest(environment: &Environment) -> anyhow::Result<Digest> {
    pin(&environment.config_dir()?)
}

/// Begins to trust the authority whose first version has this digest.
///
/// # Errors
/// When another is trusted already, or the aggregator's chain does not begin so.
pub fn trust(context: &mut Context<'_>, client: &Client, digest: Digest) -> anyhow::Result<Authority> {
    let dir = context.environment.config_dir()?;
    if let Ok(known) = pin(&dir)
        && known != digest
    {
        bail!("this machine trusts the authority {known} already; nothing was changed");
    }
    let chain: AuthorityChainText = client.get("/api/v1/authority", &[("from", "1")])?;
    let mut versions = chain.chain.iter();
    let first = versions.next().ok_or_else(|| anyhow!("the aggregator shows no authority"))?;
    let first = decode(first)?.verify_pinned(digest).context(
        "the aggregator's authority does not begin with this digest; is it the right fleet, and the digest whole?",
    )?;
    file::make_private_dir(&dir)?;
    store(&dir, &first)?;
    file::replace(&dir.join(PIN_FILE), format!("{digest}\n").as_bytes(), file::PUBLIC)?;
    follow_chain(&dir, first, versions)
}

/// The authority in force, after following what the aggregator has of its chain.
///
/// # Errors
/// When the aggregator's chain is not a continuation of ours.
pub fn follow(context: &mut Context<'_>, client: &Client) -> anyhow::Result<Authority> {
    let dir = context.environment.config_dir()?;
    let own = load_from(&dir)?;
    let from = own.document().version.to_string();
    let chain: AuthorityChainText = client.get("/api/v1/authority", &[("from", &from)])?;
    if chain.version < own.document().version {
        bail!(
            "the aggregator shows authority version {}, this machine has verified version {}: the aggregator was set \
             back, or is of another fleet",
            chain.version,
            own.document().version
        );
    }
    let mut versions = chain.chain.iter().peekable();
    let first = versions.next().ok_or_else(|| anyhow!("the aggregator shows no authority"))?;
    if decode(first)?.digest() != own.digest() {
        bail!(
            "the aggregator shows another version {} of the authority than this machine has verified: a fork, or a \
             forgery; compare `campanile operator ls` with the other operators",
            own.document().version
        );
    }
    follow_chain(&dir, own, versions)
}

fn follow_chain<'a>(
    dir: &Path,
    mut authority: Authority,
    versions: impl Iterator<Item = &'a SignedText>,
) -> anyhow::Result<Authority> {
    for next in versions {
        authority = authority
            .verify_next(decode(next)?)
            .context("the aggregator's authority does not follow from the one this machine trusts")?;
        store(dir, &authority)?;
    }
    Ok(authority)
}

fn decode(text: &SignedText) -> anyhow::Result<SignedAuthority> {
    let (bytes, signatures) =
        text.decode().ok_or_else(|| anyhow!("the aggregator's authority is no base64"))?;
    Ok(SignedAuthority { bytes, signatures })
}

/// Checks that a key may sign for this role, so that nothing is signed in vain. Gives the name of its operator.
///
/// # Errors
/// When the authority does not say so.
pub fn check_holder(authority: &Authority, key: &PublicKey, role: Role) -> anyhow::Result<String> {
    let (document, role_text) = (authority.document(), role_name(role));
    match document.operators.iter().find(|operator| operator.key == *key) {
        Some(operator) if operator.roles.contains(&role) => Ok(operator.name.clone()),
        Some(operator) => bail!(
            "{} holds no role `{role_text}` in version {} of the authority, as this machine knows it; `campanile operator \
             ls` brings it up to date",
            operator.name,
            document.version
        ),
        None => bail!(
            "this machine's key is of no operator in version {} of the authority, as it knows it; `campanile operator ls` \
             brings it up to date, `campanile key show` prints what an operator adds",
            document.version
        ),
    }
}

/// Whose signatures are missing when these operators have signed, for people: `1 of bob, carol`.
pub fn missing(authority: &Authority, role: Role, signed_by: &[String]) -> String {
    let operators = authority.document().operators.iter();
    let mut others: Vec<&str> = operators
        .filter(|operator| operator.roles.contains(&role) && !signed_by.contains(&operator.name))
        .map(|operator| operator.name.as_str())
        .collect();
    others.sort_unstable();
    let count = authority.threshold(role).saturating_sub(signed_by.len());
    format!("{count} of {}", others.join(", "))
}

/// Names of roles, for people.
pub fn roles_text(roles: &BTreeSet<Role>) -> String {
    roles.iter().map(|role| role_name(*role)).collect::<Vec<_>>().join(",")
}

/// A role as options and tables write it.
pub const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Authority => "authority",
        Role::Catalogue => "catalogue",
        Role::Change => "change",
        Role::Critical => "critical",
    }
}

/// Reads what [`role_name`] writes.
///
/// # Errors
/// When it is no role.
pub fn parse_role(text: &str) -> Result<Role, String> {
    let known = Role::ALL.into_iter().find(|role| role_name(*role) == text);
    known.ok_or_else(|| format!("`{text}` is no role; there are authority, catalogue, change, critical"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use campanile_common::authority::{Document, Operator, OperatorKey};
    use campanile_common::id::FleetId;
    use campanile_common::time::Timestamp;
    use std::time::Duration;
    use zeroize::Zeroizing;

    const NOW: Timestamp = Timestamp::from_millis(1_750_000_000_000);

    fn key(seed: u8) -> OperatorKey {
        OperatorKey::from_seed(Zeroizing::new([seed; 32])).unwrap()
    }

    fn first() -> SignedAuthority {
        let ada = Operator { name: "ada".to_owned(), key: key(1).public(), roles: Role::ALL.into() };
        Document::first(
            FleetId::from_bytes([1; 16]),
            "acme".to_owned(),
            ada,
            NOW,
            NOW + Duration::from_secs(60),
        )
        .sign(&[&key(1)])
        .unwrap()
    }

    fn next(of: &Authority, signer: &OperatorKey) -> SignedAuthority {
        of.document().successor(of.digest(), NOW).sign(&[signer]).unwrap()
    }

    fn pinned(dir: &Path) -> Authority {
        let signed = first();
        let authority = signed.clone().verify_pinned(signed.digest()).unwrap();
        store(dir, &authority).unwrap();
        file::replace(&dir.join(PIN_FILE), signed.digest().to_string().as_bytes(), file::PUBLIC).unwrap();
        authority
    }

    fn text(signed: &SignedAuthority) -> SignedText {
        SignedText::new(&signed.bytes, &signed.signatures)
    }

    #[test]
    fn a_chain_that_was_followed_is_there_the_next_time() {
        let folder = tempfile::tempdir().unwrap();
        let authority = pinned(folder.path());
        let second = text(&next(&authority, &key(1)));
        let followed = follow_chain(folder.path(), authority, [&second].into_iter()).unwrap();
        assert_eq!(followed.document().version, 2);
        assert_eq!(load_from(folder.path()).unwrap().digest(), followed.digest());
    }

    #[test]
    fn a_version_that_a_stranger_signed_is_not_followed_and_not_stored() {
        let folder = tempfile::tempdir().unwrap();
        let authority = pinned(folder.path());
        let forged = text(&next(&authority, &key(9)));
        assert!(follow_chain(folder.path(), authority, [&forged].into_iter()).is_err());
        assert_eq!(load_from(folder.path()).unwrap().document().version, 1);
    }

    #[test]
    fn a_stored_version_that_was_altered_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        pinned(folder.path());
        file::replace(&folder.path().join(PIN_FILE), "0".repeat(64).as_bytes(), file::PUBLIC).unwrap();
        assert!(load_from(folder.path()).is_err());
    }

    #[test]
    fn without_a_pin_it_says_how_to_get_one() {
        let folder = tempfile::tempdir().unwrap();
        let error = load_from(folder.path()).unwrap_err().to_string();
        assert!(error.contains("operator trust"), "{error}");
    }
}
