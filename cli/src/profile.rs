//! Which fleet the command line speaks to: from the environment, or from a profile that `login` wrote.
//!
//! A profile is taken whole or the environment is: a token of one fleet is never sent to the address of another.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use campanile_common::fleet::CA_FILE;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::client::Client;
use crate::context::Context;
use crate::exit::UsageError;
use crate::os::file;

/// The profile that is used when none is named.
const DEFAULT: &str = "default";
/// How long an answer is waited for where `--timeout` is the time of a command: as long as elsewhere by default.
const ANSWER_WAIT: Duration = Duration::from_secs(30);

/// How to reach a fleet.
#[derive(Debug, Clone)]
pub struct Profile {
    /// Address of its aggregator.
    pub url: String,
    /// Its CA, PEM.
    pub ca: String,
    /// What proves who we are.
    pub token: Option<Zeroizing<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileFile {
    url: String,
    ca: String,
    token: Option<String>,
}

impl Profile {
    /// The fleet to speak to: that of `--profile`, else of `CAMPANILE_URL`, else of the default profile.
    ///
    /// # Errors
    /// When none is known or its files cannot be read.
    pub fn of(context: &Context<'_>) -> anyhow::Result<Self> {
        let environment = context.environment;
        if context.global.profile.is_none()
            && let Some(url) = environment.get("CAMPANILE_URL")
        {
            return Ok(Self { url: url.to_owned(), ca: ca_of_environment(context)?, token: token(context) });
        }
        let mut profile = Self::stored(context)?.with_context(|| match name(context) {
            DEFAULT => "no fleet is known; run `campanile login`, or set CAMPANILE_URL, CAMPANILE_CA and \
                        CAMPANILE_TOKEN"
                .to_owned(),
            name => format!("there is no profile `{name}`; run `campanile login --profile {name}`"),
        })?;
        if context.global.profile.is_none() && environment.get("CAMPANILE_TOKEN").is_some() {
            profile.token = token(context);
        }
        Ok(profile)
    }

    /// The profile as it was stored; none when there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn stored(context: &Context<'_>) -> anyhow::Result<Option<Self>> {
        let path = path(context)?;
        if !path.exists() {
            return Ok(None);
        }
        let text = Zeroizing::new(file::read_text(&path)?);
        let ProfileFile { url, ca, token } =
            toml::from_str(&text).with_context(|| format!("cannot understand {}", path.display()))?;
        Ok(Some(Self { url, ca, token: token.map(Zeroizing::new) }))
    }

    /// Stores the profile, readable by its owner alone.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn store(&self, context: &Context<'_>) -> anyhow::Result<PathBuf> {
        let path = path(context)?;
        file::make_private_dir(&context.environment.config_dir()?)?;
        // JSON's strings are a subset of TOML's basic strings.
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let mut text = Zeroizing::new(format!(
            "# Written by `campanile login`.\nurl = {}\nca = {}\n",
            quoted(&self.url),
            quoted(&self.ca)
        ));
        if let Some(token) = &self.token {
            text.push_str(&format!("token = {}\n", quoted(token)));
        }
        file::replace(&path, text.as_bytes(), file::SECRET)?;
        Ok(path)
    }

    /// A client of this fleet's aggregator.
    ///
    /// # Errors
    /// When address or CA cannot be used.
    pub fn client(&self, context: &Context<'_>) -> anyhow::Result<Client> {
        self.client_waiting(context.global.timeout)
    }

    fn client_waiting(&self, patience: Duration) -> anyhow::Result<Client> {
        Ok(Client::new(&self.url, self.ca.as_bytes(), self.token.clone(), patience)?)
    }
}

/// A client of the fleet to speak to.
///
/// # Errors
/// When none is known or it cannot be used.
pub fn client(context: &Context<'_>) -> anyhow::Result<Client> {
    Profile::of(context)?.client(context)
}

/// A client of the fleet to speak to, of a verb whose `--timeout` means something else than the aggregator's answers.
///
/// # Errors
/// When none is known or it cannot be used.
pub fn client_of_orders(context: &Context<'_>) -> anyhow::Result<Client> {
    Profile::of(context)?.client_waiting(ANSWER_WAIT)
}

/// The CA that the environment gives: the file in `CAMPANILE_CA`, or the one that `fleet init` left.
///
/// # Errors
/// When there is none.
pub fn ca_of_environment(context: &Context<'_>) -> anyhow::Result<String> {
    if let Some(path) = context.environment.path("CAMPANILE_CA") {
        return file::read_text(&path).context("cannot read the CA that CAMPANILE_CA names");
    }
    let path = context.environment.config_dir()?.join(CA_FILE);
    if !path.exists() {
        bail!("the fleet's CA is not known; give its ca.pem with CAMPANILE_CA or `campanile login --ca`");
    }
    Ok(file::read_text(&path)?)
}

fn token(context: &Context<'_>) -> Option<Zeroizing<String>> {
    context.environment.get("CAMPANILE_TOKEN").map(|token| Zeroizing::new(token.trim().to_owned()))
}

fn name<'a>(context: &'a Context<'_>) -> &'a str {
    context
        .global
        .profile
        .as_deref()
        .or_else(|| context.environment.get("CAMPANILE_PROFILE"))
        .unwrap_or(DEFAULT)
}

fn path(context: &Context<'_>) -> anyhow::Result<PathBuf> {
    let name = name(context);
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if name.is_empty() || !name.chars().all(fits) {
        return Err(UsageError(format!("`{name}` is no profile: use letters, digits, `-` and `_`")).into());
    }
    let file = if name == DEFAULT { "profile.toml".to_owned() } else { format!("profile-{name}.toml") };
    Ok(context.environment.config_dir()?.join(file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Environment;
    use crate::testing;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    fn environment(folder: &Path, more: &[(&str, &str)]) -> Environment {
        let folder = folder.to_str().unwrap();
        let all = [("CAMPANILE_CONFIG_DIR", folder)].into_iter().chain(more.iter().copied());
        let variables = all.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        Environment { variables, ..Environment::default() }
    }

    fn sample() -> Profile {
        Profile {
            url: "https://one:8443".to_owned(),
            ca: "-----BEGIN CERTIFICATE-----\n".to_owned(),
            token: Some(Zeroizing::new("cmpa_one".to_owned())),
        }
    }

    #[test]
    fn a_stored_profile_reads_back_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        testing::with_context(&[], &environment(folder.path(), &[]), |context| {
            let path = sample().store(context).unwrap();
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
            let found = Profile::of(context).unwrap();
            assert_eq!((found.url, found.ca, found.token), (sample().url, sample().ca, sample().token));
        });
    }

    #[test]
    fn the_address_in_the_environment_never_gets_the_profiles_token() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(CA_FILE), "other ca").unwrap();
        let other = environment(folder.path(), &[("CAMPANILE_URL", "https://other:8443")]);
        testing::with_context(&[], &other, |context| {
            sample().store(context).unwrap();
            let found = Profile::of(context).unwrap();
            assert_eq!((found.url.as_str(), found.token), ("https://other:8443", None));
            assert_eq!(found.ca, "other ca");
        });
    }

    #[test]
    fn a_profile_named_on_the_command_line_wins_over_the_environment() {
        let folder = tempfile::tempdir().unwrap();
        let other = environment(
            folder.path(),
            &[("CAMPANILE_URL", "https://other:8443"), ("CAMPANILE_TOKEN", "cmpa_other")],
        );
        testing::with_context(&["--profile", "prod"], &other, |context| {
            sample().store(context).unwrap();
            let found = Profile::of(context).unwrap();
            assert_eq!((found.url, found.token), (sample().url, sample().token));
        });
    }

    #[test]
    fn an_unknown_profile_says_how_to_make_it() {
        let folder = tempfile::tempdir().unwrap();
        testing::with_context(&["--profile", "prod"], &environment(folder.path(), &[]), |context| {
            let error = Profile::of(context).unwrap_err().to_string();
            assert!(error.contains("campanile login --profile prod"), "{error}");
        });
        testing::with_context(&["--profile", "../prod"], &environment(folder.path(), &[]), |context| {
            assert!(Profile::of(context).unwrap_err().to_string().contains("is no profile"));
        });
    }
}
