//! Where a policy's snapshots go, spelled as restic spells repositories.

use core::net::IpAddr;
use std::fmt;
use std::str::FromStr;

use super::read::{PolicyError, is_plain_path, is_text, rule, wrong};

const BUCKET_BYTES: std::ops::RangeInclusive<usize> = 3..=63;
const HOST_BYTES_MAX: usize = 253;
const USER_BYTES_MAX: usize = 64;
/// S3 takes keys of 1024 bytes; what follows the prefix has 73.
const PREFIX_BYTES_MAX: usize = 900;

/// Where a policy's snapshots go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The store of the aggregator.
    Aggregator,
    /// A repository in a folder of the node.
    Folder(String),
    /// A repository in a bucket.
    S3 {
        /// Where.
        place: S3Place,
        /// Path of the file on the node that holds the credentials.
        credentials: String,
    },
    /// A repository in a folder of another machine.
    Sftp {
        /// Where.
        place: SftpPlace,
        /// How the node signs in there.
        login: SftpLogin,
    },
}

/// A part of a bucket on a server that speaks S3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Place {
    /// Over TLS; without it on this machine and in private networks alone.
    pub is_tls: bool,
    /// Name or address; one of IPv6 in brackets.
    pub host: String,
    /// Where it is not the usual one.
    pub port: Option<u16>,
    /// Name of the bucket.
    pub bucket: String,
    /// What all names of objects begin with, without a slash at either end; empty for nothing.
    pub prefix: String,
}

/// A folder of another machine that is reached by SSH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SftpPlace {
    /// Who signs in there; without it whom the configuration of SSH names.
    pub user: Option<String>,
    /// Name or address; one of IPv6 without brackets.
    pub host: String,
    /// Where it is not the one that the configuration of SSH names.
    pub port: Option<u16>,
    /// Absolute path.
    pub path: String,
}

/// How a node signs in by SSH; what is left out is as the configuration of SSH has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SftpLogin {
    /// Path of the private key on the node.
    pub identity: Option<String>,
    /// Path of the file on the node with the keys of known machines.
    pub known_hosts: Option<String>,
}

/// What a policy says of how its target is entered: paths of files on the node.
#[derive(Debug, Clone, Copy, Default)]
pub struct Access<'a> {
    /// Of credentials for S3.
    pub credentials: Option<&'a str>,
    /// Of a private key for SSH.
    pub identity: Option<&'a str>,
    /// Of keys of machines for SSH.
    pub known_hosts: Option<&'a str>,
}

impl Target {
    /// Reads a target as it is written, with what goes with it.
    ///
    /// # Errors
    /// When it is none, when something is missing that it needs, and when something is there that it has no use for.
    pub fn read(text: &str, access: Access<'_>) -> Result<Self, PolicyError> {
        let is_s3 = text.starts_with("s3:");
        let is_sftp = text.starts_with("sftp:");
        for (key, path, is_used) in [
            ("credentials", access.credentials, is_s3),
            ("identity", access.identity, is_sftp),
            ("known_hosts", access.known_hosts, is_sftp),
        ] {
            let Some(path) = path else { continue };
            let kind = if key == "credentials" { "`s3:`" } else { "`sftp:`" };
            rule(is_used, key, &format!("it goes with a target that begins with {kind}; leave it out"))?;
            rule(
                is_file_path(path),
                key,
                "the absolute path of a file on the node, without spaces, `%` and quotes",
            )?;
        }
        if is_s3 {
            let place = text.parse::<S3Place>().or_else(|error| wrong("target", error.to_string()))?;
            let Some(credentials) = access.credentials.map(str::to_owned) else {
                let problem = "name the file on the node that holds the keys of the bucket, e.g. \
                               \"/etc/campanile/s3.toml\"";
                return wrong("credentials", problem);
            };
            return Ok(Self::S3 { place, credentials });
        }
        if is_sftp {
            let place = text.parse::<SftpPlace>().or_else(|error| wrong("target", error.to_string()))?;
            let owned = |path: Option<&str>| path.map(str::to_owned);
            let login =
                SftpLogin { identity: owned(access.identity), known_hosts: owned(access.known_hosts) };
            return Ok(Self::Sftp { place, login });
        }
        match text.strip_prefix("dir:") {
            None if text == "aggregator" => Ok(Self::Aggregator),
            Some(path) if is_plain_path(path) && path != "/" => Ok(Self::Folder(path.to_owned())),
            _ => wrong("target", format!("`{text}` is no target: {FORMS}")),
        }
    }
}

const FORMS: &str =
    "give `aggregator`, `dir:/PATH`, `s3:https://HOST/BUCKET/PREFIX` or `sftp:USER@HOST:/PATH`";

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aggregator => f.write_str("aggregator"),
            Self::Folder(path) => write!(f, "dir:{path}"),
            Self::S3 { place, .. } => place.fmt(f),
            Self::Sftp { place, .. } => place.fmt(f),
        }
    }
}

/// Text that names no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}; give {form}")]
pub struct PlaceError {
    problem: String,
    form: &'static str,
}

const S3_FORM: &str = "`s3:https://HOST/BUCKET` or `s3:https://HOST:PORT/BUCKET/PREFIX`";
const SFTP_FORM: &str = "`sftp:USER@HOST:/PATH` or `sftp://USER@HOST:PORT//PATH`";

fn none<T>(form: &'static str, problem: impl Into<String>) -> Result<T, PlaceError> {
    Err(PlaceError { problem: problem.into(), form })
}

impl FromStr for S3Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let wrong = |problem: &str| none(S3_FORM, problem);
        let rest = text.strip_prefix("s3:").unwrap_or(text);
        let (is_tls, rest) = match (rest.strip_prefix("https://"), rest.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return wrong("the address of the server begins with `https://`"),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.contains('@') {
            return wrong("secrets do not belong into an address; they are in the file of `credentials`");
        }
        let Some((host, port)) = split_port(authority) else { return wrong("the port is no number") };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if !bare.map_or_else(|| is_host_name(host), is_ipv6) {
            return wrong("the address has no name of a server");
        }
        if !is_tls && !is_near(bare.unwrap_or(host)) {
            return wrong("`http://` is for this machine and for private addresses (10.0.0.5) alone");
        }
        let path = path.trim_end_matches('/');
        let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
        if !is_bucket(bucket) {
            return none(S3_FORM, format!("`{bucket}` is no name of a bucket"));
        }
        let is_prefix = prefix.is_empty() || is_plain_path(&format!("/{prefix}"));
        if !is_prefix || prefix.len() > PREFIX_BYTES_MAX {
            return wrong("what follows the bucket has empty parts, `.`, `..` or more than 900 bytes");
        }
        let usual = if is_tls { 443 } else { 80 };
        Ok(Self {
            is_tls,
            host: host.to_ascii_lowercase(),
            port: port.filter(|port| *port != usual),
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        })
    }
}

impl fmt::Display for S3Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "s3:{scheme}://{}", self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))?;
        write!(f, "/{}", self.bucket)?;
        if self.prefix.is_empty() { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

impl FromStr for SftpPlace {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let wrong = |problem: &str| none(SFTP_FORM, problem);
        let rest = text.strip_prefix("sftp:").unwrap_or(text);
        let (login, port, path) = match rest.strip_prefix("//") {
            Some(rest) => {
                let Some((authority, path)) = rest.split_once('/') else {
                    return wrong("the path on the other machine is missing");
                };
                let Some((login, port)) = split_port(authority) else {
                    return wrong("the port is no number");
                };
                (login, port, path)
            }
            None => {
                let (user, rest) = rest.rsplit_once('@').map_or(("", rest), |(user, rest)| (user, rest));
                let at = rest.find(']').unwrap_or(0);
                let Some(colon) = rest[at..].find(':') else {
                    return wrong("the path on the other machine is missing");
                };
                let (host, path) = (&rest[..at + colon], &rest[at + colon + 1..]);
                return Self::of(Some(user).filter(|user| !user.is_empty()), host, None, path);
            }
        };
        let (user, host) = login.rsplit_once('@').map_or((None, login), |(user, host)| (Some(user), host));
        Self::of(user, host, port, path)
    }
}

impl SftpPlace {
    fn of(user: Option<&str>, host: &str, port: Option<u16>, path: &str) -> Result<Self, PlaceError> {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if !bare.map_or_else(|| is_host_name(host), is_ipv6) {
            return none(SFTP_FORM, "there is no name of a machine");
        }
        if !user.is_none_or(is_user) {
            return none(SFTP_FORM, "the user has letters, digits, `.`, `_`, `+` and `-`, and no password");
        }
        let path = if path.len() > 1 { path.trim_end_matches('/') } else { path };
        if !is_plain_path(path) || path == "/" {
            return none(
                SFTP_FORM,
                "the path on the other machine is absolute (two slashes after a port), without `.` and `..`",
            );
        }
        let host = bare.unwrap_or(host).to_ascii_lowercase();
        Ok(Self { user: user.map(str::to_owned), host, port, path: path.to_owned() })
    }
}

impl fmt::Display for SftpPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match self.port {
            Some(port) => write!(f, "sftp://{user}{host}:{port}/{}", self.path),
            None => write!(f, "sftp:{user}{host}:{}", self.path),
        }
    }
}

/// `host` and `port` of `host:port`; none where the port is no number.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let end = authority.rfind(']').map_or(0, |end| end + 1);
    match authority[end..].rfind(':') {
        Some(colon) => {
            let port = authority[end + colon + 1..].parse().ok().filter(|port| *port != 0)?;
            Some((&authority[..end + colon], Some(port)))
        }
        None => Some((authority, None)),
    }
}

/// Of letters, digits, `-`, `.` and `_`, beginning with a letter or digit: nothing that a program could take for an
/// option, a user or a password.
fn is_host_name(host: &str) -> bool {
    (1..=HOST_BYTES_MAX).contains(&host.len())
        && host.starts_with(|c: char| c.is_ascii_alphanumeric())
        && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
}

fn is_ipv6(host: &str) -> bool {
    matches!(host.parse(), Ok(IpAddr::V6(_)))
}

/// This machine, or an address that no traffic of the Internet goes to.
fn is_near(host: &str) -> bool {
    match host.parse() {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_private(),
        Ok(IpAddr::V6(address)) => address.is_loopback() || address.is_unique_local(),
        Err(_) => host == "localhost",
    }
}

fn is_bucket(name: &str) -> bool {
    let is_end = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    BUCKET_BYTES.contains(&name.len())
        && name.starts_with(is_end)
        && name.ends_with(is_end)
        && name.chars().all(|c| is_end(c) || c == '-' || c == '.')
        && !name.contains("..")
}

fn is_user(user: &str) -> bool {
    (1..=USER_BYTES_MAX).contains(&user.len())
        && !user.starts_with('-')
        && user.chars().all(|c| c.is_ascii_alphanumeric() || "._+-".contains(c))
}

/// One that SSH takes for a single path, as it stands.
fn is_file_path(path: &str) -> bool {
    is_text(path)
        && is_plain_path(path)
        && path != "/"
        && !path.contains(|c: char| c.is_whitespace() || "%\"'\\$".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Target, PolicyError> {
        let credentials = text.starts_with("s3:").then_some("/etc/campanile/s3.toml");
        Target::read(text, Access { credentials, ..Access::default() })
    }

    #[test]
    fn a_target_is_printed_as_it_is_written() {
        for text in [
            "aggregator",
            "dir:/srv/backup",
            "s3:https://s3.example.org/bucket",
            "s3:https://s3.example.org:9000/my.bucket/nodes/web 01",
            "s3:http://127.0.0.1:5000/bucket/path",
            "s3:http://[::1]:5000/bucket/path",
            "s3:http://10.1.2.3/bucket",
            "s3:http://localhost/bucket",
            "sftp:backup@vault.example.org:/srv/web-01",
            "sftp:vault:/srv",
            "sftp:u1@[fd00::1]:/srv/x",
            "sftp://backup@vault:2222//srv/web-01",
            "sftp://backup@[fd00::1]:2222//srv",
        ] {
            assert_eq!(read(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn two_spellings_of_a_place_are_one() {
        for (text, usual) in [
            ("s3:https://S3.example.org:443/bucket/", "s3:https://s3.example.org/bucket"),
            ("sftp://backup@vault//srv/x/", "sftp:backup@vault:/srv/x"),
        ] {
            assert_eq!(read(text).unwrap().to_string(), usual);
        }
    }

    #[test]
    fn what_names_no_place_is_refused_with_what_to_give() {
        for (text, said) in [
            ("", "is no target"),
            ("dir:", "is no target"),
            ("dir:srv", "is no target"),
            ("/srv", "is no target"),
            ("s3:x", "begins with `https://`"),
            ("s3:https://h", "is no name of a bucket"),
            ("s3:https://h/Bucket", "is no name of a bucket"),
            ("s3:https://h:x/bucket", "the port is no number"),
            ("s3:https://key:secret@h/bucket", "secrets do not belong"),
            ("s3:https://-h/bucket", "no name of a server"),
            ("s3:https://h/bucket/../x", "`..`"),
            ("s3:https://h/bucket//x", "empty parts"),
            ("s3:http://s3.example.org/bucket", "private addresses"),
            ("s3:http://1.2.3.4/bucket", "private addresses"),
            ("sftp:host", "is missing"),
            ("sftp:host:srv", "absolute"),
            ("sftp://user@host/srv", "absolute"),
            ("sftp://user@host:0//srv", "the port is no number"),
            ("sftp:-oProxyCommand=x:/srv", "no name of a machine"),
            ("sftp:-l@host:/srv", "the user has letters"),
            ("sftp:user:secret@host:/srv", "the user has letters"),
            ("sftp:host:/srv/../etc", "absolute"),
            ("sftp:host:/", "absolute"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.key == "target" && error.problem.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn each_kind_of_place_has_its_own_keys() {
        let all = |path| Access { credentials: path, identity: path, known_hosts: path };
        let key = |text: &str, access| Target::read(text, access).expect_err(text).key;
        let (s3, sftp) = ("s3:https://h/bucket", "sftp:h:/srv");
        assert_eq!(key(s3, Access::default()), "credentials");
        assert_eq!(key(s3, all(Some("/x"))), "identity");
        assert_eq!(key(sftp, all(Some("/x"))), "credentials");
        assert_eq!(key("aggregator", all(Some("/x"))), "credentials");
        for path in ["x", "/a b", "/a%h", "/a\"", "/", "/../x", ""] {
            assert_eq!(
                key(s3, Access { credentials: Some(path), ..Access::default() }),
                "credentials",
                "{path}"
            );
        }
        let access = Access { credentials: None, ..all(Some("/etc/campanile/key")) };
        let Target::Sftp { login, .. } = Target::read(sftp, access).unwrap() else { panic!("sftp") };
        assert_eq!(login.identity.as_deref(), Some("/etc/campanile/key"));
    }
}
