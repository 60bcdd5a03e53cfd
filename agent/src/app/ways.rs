//! From the settings to the ways that lead to the aggregator: finds the proxy and its password.

use std::path::PathBuf;

use anyhow::Context as _;
use campanile_tunnel::{Proxy, Ways};
use zeroize::Zeroizing;

use crate::link::LinkWays;
use crate::os::file;
use crate::settings::{ProxySetting, SecretSource, Settings};

/// Longest password.
const PASSWORD_BYTES_MAX: u64 = 1024;

/// The ways that the settings allow.
pub(super) fn link_ways(settings: &Settings) -> anyhow::Result<LinkWays> {
    let way = &settings.way;
    Ok(LinkWays {
        ways: Ways { choice: way.transport, proxy: proxy(&way.proxy)? },
        quic_retry: way.quic_retry,
        state_dir: Some(settings.state_dir.clone()),
    })
}

fn proxy(setting: &ProxySetting) -> anyhow::Result<Option<Proxy>> {
    match setting {
        ProxySetting::None => Ok(None),
        ProxySetting::Environment => from_environment(),
        ProxySetting::Named { proxy, user: None } => Ok(Some(proxy.clone())),
        ProxySetting::Named { proxy, user: Some((user, source)) } => {
            let password = password(source)?;
            Ok(Some(proxy.clone().with_credentials(user, &password)))
        }
    }
}

/// As other programs read it; the settings have to say so, since a daemon's environment is nobody's in particular.
fn from_environment() -> anyhow::Result<Option<Proxy>> {
    let found = ["https_proxy", "HTTPS_PROXY"].into_iter().find_map(|name| std::env::var(name).ok());
    let Some(text) = found.filter(|text| !text.is_empty()) else { return Ok(None) };
    // Not shown: it may hold a password.
    text.parse().map(Some).context("the environment's https_proxy cannot be used")
}

fn password(source: &SecretSource) -> anyhow::Result<Zeroizing<String>> {
    let path = match source {
        SecretSource::File(path) => path.clone(),
        SecretSource::Credential(name) => {
            let folder = std::env::var_os("CREDENTIALS_DIRECTORY").with_context(|| {
                format!("proxy_password is cred:{name}, and the unit loads no credentials; add LoadCredential={name}:PATH")
            })?;
            PathBuf::from(folder).join(name)
        }
    };
    let shown = path.display().to_string();
    let bytes = file::read_secret(&path, PASSWORD_BYTES_MAX)
        .with_context(|| format!("cannot read the proxy's password from {shown}"))?
        .with_context(|| format!("there is no {shown}, where proxy_password is said to be"))?;
    let text = str::from_utf8(&bytes).with_context(|| format!("the password in {shown} is no text"))?;
    Ok(Zeroizing::new(text.trim_end_matches(['\n', '\r']).to_owned()))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the test writes the file that is read")]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_the_line_of_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        let source = SecretSource::File(path.clone());
        let absent = format!("{:#}", password(&source).unwrap_err());
        assert!(absent.contains("there is no") && absent.contains("proxy_password"), "{absent}");
        std::fs::write(&path, "s3cret word\n").unwrap();
        assert_eq!(password(&source).unwrap().as_str(), "s3cret word");
        std::fs::write(&path, [b'x'; 2000]).unwrap();
        assert!(password(&source).is_err());
    }
}
