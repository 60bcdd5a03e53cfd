//! The file with the credentials of a bucket: for root alone, and nothing of it in any message.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::os::file;

/// Longest file of credentials.
const BYTES_MAX: u64 = 64 * 1024;
/// Bits of a mode that let others in.
const OTHERS: u32 = 0o077;
const ROOT: u32 = 0;

/// Who asks, and how the server is to be spoken to.
pub(super) struct Credentials {
    pub(super) access_key_id: String,
    secret_access_key: Zeroizing<String>,
    pub(super) session_token: Option<Zeroizing<String>>,
    pub(super) region: Option<String>,
    pub(super) path_style: Option<bool>,
    pub(super) ca: Option<PathBuf>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials([redacted])")
    }
}

/// A file of credentials that is of no use.
#[derive(Debug, thiserror::Error)]
pub(in crate::backup) enum CredentialsError {
    /// It cannot be read.
    #[error("the credentials {path} cannot be read: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is none.
    #[error("the credentials {path} are not there; a `file` of the configuration can put them on the node")]
    Missing {
        /// Where they should be.
        path: PathBuf,
    },
    /// Others may read or change it.
    #[error(
        "the credentials {path} are open to others (owner {uid}, mode {mode:04o}): `chown root` and `chmod 600`"
    )]
    Open {
        /// Which.
        path: PathBuf,
        /// Whose it is.
        uid: u32,
        /// Its permission bits.
        mode: u32,
    },
    /// Not what is needed.
    #[error("the credentials {path} cannot be used: {problem}")]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What is wrong; no word of the file itself but names of keys.
        problem: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
    region: Option<String>,
    path_style: Option<bool>,
    ca: Option<PathBuf>,
}

impl Credentials {
    /// Those in the file at `path`; `own` is the user that this process runs as.
    pub(super) fn read(path: &Path, own: u32) -> Result<Self, CredentialsError> {
        let failed = |source| CredentialsError::Read { path: path.to_owned(), source };
        let missing = || CredentialsError::Missing { path: path.to_owned() };
        let stamp = file::stamp(path).map_err(failed)?.ok_or_else(missing)?;
        if stamp.mode & OTHERS != 0 || ![ROOT, own].contains(&stamp.uid) {
            return Err(CredentialsError::Open { path: path.to_owned(), uid: stamp.uid, mode: stamp.mode });
        }
        let bytes = file::read_secret(path, BYTES_MAX).map_err(failed)?.ok_or_else(missing)?;
        let malformed = |problem| CredentialsError::Malformed { path: path.to_owned(), problem };
        let text = std::str::from_utf8(&bytes).map_err(|_| malformed("it is no text".to_owned()))?;
        Self::parse(text).map_err(malformed)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let raw: Raw = toml::from_str(text).map_err(|error| explained(&error, text))?;
        let secret_access_key = Zeroizing::new(raw.secret_access_key);
        let session_token = raw.session_token.map(Zeroizing::new);
        let is_word = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_graphic());
        for (key, value) in [
            ("access_key_id", Some(raw.access_key_id.as_str())),
            ("secret_access_key", Some(secret_access_key.as_str())),
            ("session_token", session_token.as_ref().map(|token| token.as_str())),
            ("region", raw.region.as_deref()),
        ] {
            if !value.is_none_or(is_word) {
                return Err(format!("`{key}` is empty, or has spaces or odd characters in it"));
            }
        }
        Ok(Self {
            access_key_id: raw.access_key_id,
            secret_access_key,
            session_token,
            region: raw.region,
            path_style: raw.path_style,
            ca: raw.ca,
        })
    }

    /// What the key of a signature is derived from.
    pub(super) fn signing_start(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("AWS4{}", self.secret_access_key.as_str()))
    }

    #[cfg(test)]
    pub(super) fn of(id: &str, secret: &str) -> Self {
        Self::parse(&format!("access_key_id = \"{id}\"\nsecret_access_key = \"{secret}\"")).unwrap()
    }
}

/// What is wrong, without what the parser would quote of the file: it may be a secret.
fn explained(error: &toml::de::Error, text: &str) -> String {
    let message = error.message();
    if message.starts_with("unknown field") || message.starts_with("missing field") {
        return message.to_owned();
    }
    let start = error.span().map_or(0, |span| span.start);
    let line = text.get(..start).unwrap_or_default().matches('\n').count() + 1;
    format!("line {line} is not understood; give for example access_key_id = \"...\"")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const FINE: &str = "access_key_id = \"id\"\nsecret_access_key = \"hush\"\n";

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test opens a file to others")]
    fn a_file_for_its_owner_alone_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s3.toml");
        let own = rustix::process::geteuid().as_raw();
        assert!(matches!(Credentials::read(&path, own), Err(CredentialsError::Missing { .. })));
        let more =
            "session_token = \"t\"\nregion = \"eu-central-1\"\npath_style = true\nca = \"/etc/ca.pem\"\n";
        file::replace(&path, format!("{FINE}{more}").as_bytes()).unwrap();
        let read = Credentials::read(&path, own).unwrap();
        assert_eq!((read.access_key_id.as_str(), read.region.as_deref()), ("id", Some("eu-central-1")));
        assert_eq!(read.signing_start().as_str(), "AWS4hush");
        assert_eq!(format!("{read:?}"), "Credentials([redacted])");
        for mode in [0o640, 0o604, 0o660] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let error = Credentials::read(&path, own).unwrap_err();
            assert!(matches!(error, CredentialsError::Open { .. }), "{error}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_a_word_of_a_secret() {
        for (text, said) in [
            (format!("{FINE}regoin = \"x\"\n"), "unknown field `regoin`"),
            ("access_key_id = \"hush\"".to_owned(), "missing field `secret_access_key`"),
            ("access_key_id = \"id\"\nsecret_access_key = hush".to_owned(), "line 2 "),
            (
                "access_key_id = \"id\"\nsecret_access_key = \"hu sh\"".to_owned(),
                "`secret_access_key` is empty",
            ),
            (format!("{FINE}path_style = \"hush\"\n"), "line 3 "),
        ] {
            let error = Credentials::parse(&text).unwrap_err();
            assert!(error.contains(said) && !error.contains("hush") && !error.contains("hu sh"), "{error}");
        }
    }
}
