//! Settings of the way to the aggregator: what carries the link, and a proxy.

use std::path::PathBuf;
use std::time::Duration;

use campanile_tunnel::{Proxy, TransportChoice};
use serde::Deserialize;

use super::{SettingsError, within};

/// `proxy` that says to look into the environment.
const ENVIRONMENT: &str = "environment";

/// What carries the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawTransport {
    Auto,
    Quic,
    Tcp,
}

/// The keys as written.
pub(super) struct RawWay {
    pub(super) transport: Option<RawTransport>,
    pub(super) quic_retry_s: Option<u64>,
    pub(super) proxy: Option<String>,
    pub(super) proxy_user: Option<String>,
    pub(super) proxy_password: Option<String>,
}

/// Settings of the way to the aggregator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaySettings {
    /// What may carry the link.
    pub transport: TransportChoice,
    /// First wait before QUIC is tried again where TCP is in use.
    pub quic_retry: Duration,
    /// What TCP goes through.
    pub proxy: ProxySetting,
}

/// What TCP goes through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProxySetting {
    /// Nothing.
    None,
    /// What `https_proxy` says.
    Environment,
    /// This proxy.
    Named {
        /// Where it is.
        proxy: Proxy,
        /// Who asks it, and where the password is.
        user: Option<(String, SecretSource)>,
    },
}

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// In a file.
    File(PathBuf),
    /// Among the credentials that the unit loads, by this name.
    Credential(String),
}

impl RawWay {
    pub(super) fn check(self) -> Result<WaySettings, SettingsError> {
        let retry = self.quic_retry_s.unwrap_or(30);
        within("quic_retry_s", retry, 1, 86_400, "give 1 to 86400 (a day)")?;
        let transport = match self.transport.unwrap_or(RawTransport::Auto) {
            RawTransport::Auto => TransportChoice::Auto,
            RawTransport::Quic => TransportChoice::Quic,
            RawTransport::Tcp => TransportChoice::Tcp,
        };
        let user = user(self.proxy_user, self.proxy_password)?;
        let proxy = proxy(self.proxy, user)?;
        Ok(WaySettings { transport, quic_retry: Duration::from_secs(retry), proxy })
    }
}

fn wrong(key: &'static str, value: &str, rule: &'static str) -> SettingsError {
    SettingsError::Range { key, value: value.to_owned(), rule }
}

fn proxy(text: Option<String>, user: Option<(String, SecretSource)>) -> Result<ProxySetting, SettingsError> {
    let Some(text) = text else {
        return match user {
            None => Ok(ProxySetting::None),
            Some(_) => Err(wrong("proxy_user", "given without a proxy", "give proxy as well")),
        };
    };
    if text == ENVIRONMENT {
        return Ok(ProxySetting::Environment);
    }
    // Not shown: it may hold a password.
    let rule = "give http://HOST:PORT, or environment";
    let proxy: Proxy = text.parse().map_err(|_| wrong("proxy", "no proxy's address", rule))?;
    if proxy.has_credentials() {
        let rule = "give the user in proxy_user, and in proxy_password where the password is";
        return Err(wrong("proxy", "an address with a user", rule));
    }
    Ok(ProxySetting::Named { proxy, user })
}

fn user(
    user: Option<String>,
    password: Option<String>,
) -> Result<Option<(String, SecretSource)>, SettingsError> {
    match (user, password) {
        (None, None) => Ok(None),
        (Some(user), Some(password)) if !user.is_empty() && !user.contains(':') => {
            Ok(Some((user, secret(&password)?)))
        }
        (Some(user), Some(_)) => {
            Err(wrong("proxy_user", &format!("`{user}`"), "give a name without a colon"))
        }
        (Some(_), None) => Err(wrong("proxy_password", "absent", "give file:/PATH or cred:NAME")),
        (None, Some(_)) => Err(wrong("proxy_user", "absent", "give the user whose password it is")),
    }
}

fn secret(text: &str) -> Result<SecretSource, SettingsError> {
    if let Some(path) = text.strip_prefix("file:").map(PathBuf::from)
        && path.is_absolute()
    {
        return Ok(SecretSource::File(path));
    }
    let is_name = |name: &&str| !name.is_empty() && !name.contains('/') && !name.starts_with('.');
    if let Some(name) = text.strip_prefix("cred:").filter(is_name) {
        return Ok(SecretSource::Credential(name.to_owned()));
    }
    // Not shown: it may be the password itself.
    Err(wrong("proxy_password", "no place of a secret", "give file:/PATH or cred:NAME"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        transport: Option<RawTransport>,
        texts: [Option<&str>; 3],
    ) -> Result<WaySettings, SettingsError> {
        let [proxy, proxy_user, proxy_password] = texts.map(|text| text.map(str::to_owned));
        RawWay { transport, quic_retry_s: None, proxy, proxy_user, proxy_password }.check()
    }

    #[test]
    fn without_a_word_quic_is_tried_first_and_no_proxy_is_asked() {
        let way = check(None, [None; 3]).unwrap();
        assert_eq!((way.transport, way.proxy), (TransportChoice::Auto, ProxySetting::None));
        assert_eq!(way.quic_retry, Duration::from_secs(30));
    }

    #[test]
    fn a_proxy_is_an_address_and_a_place_of_a_password() {
        let way = check(Some(RawTransport::Tcp), [Some("http://proxy:3128"), Some("me"), Some("cred:proxy")]);
        let ProxySetting::Named { proxy, user } = way.unwrap().proxy else { panic!("a proxy") };
        assert_eq!(proxy.address(), "proxy:3128");
        assert_eq!(user, Some(("me".to_owned(), SecretSource::Credential("proxy".to_owned()))));
        assert_eq!(check(None, [Some("environment"), None, None]).unwrap().proxy, ProxySetting::Environment);
    }

    #[test]
    fn what_cannot_be_used_says_what_to_give_and_shows_no_secret() {
        for texts in [
            [Some("proxy:3128"), None, None],
            [Some("http://me:s3cret@proxy:3128"), None, None],
            [Some("http://proxy:3128"), Some("me"), Some("s3cret")],
            [Some("http://proxy:3128"), Some("me"), Some("cred:../s3cret")],
            [Some("http://proxy:3128"), Some("me"), None],
            [Some("http://proxy:3128"), None, Some("cred:s3cret")],
            [None, Some("me"), Some("cred:x")],
        ] {
            let text = check(None, texts).unwrap_err().to_string();
            assert!(text.contains("give") && !text.contains("s3cret"), "{text}");
        }
    }
}
