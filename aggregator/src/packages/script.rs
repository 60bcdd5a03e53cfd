//! The script that installs an agent from this aggregator, and the line that fetches it.
//!
//! The line names the SHA-256 of the script, the script that of each package: whoever copies the line from the
//! aggregator's terminal needs no certificate to be sure of what runs, and nothing is trusted because of where it
//! came from. The script also carries the fleet's CA, so that nobody else is asked for packages.

use super::{Package, PackageKind};

/// Where it is served, and what it is called on the node.
pub const SCRIPT_NAME: &str = "install.sh";
/// What the script is before it knows its fleet.
const TEMPLATE: &str = include_str!("install.sh");
/// The package that it installs.
const AGENT: &str = "campanile-agent";

/// What the script knows of its fleet.
#[derive(Debug, Clone)]
pub struct Site {
    /// Name of the fleet.
    pub fleet: String,
    /// `host:port` of the aggregator, in the order to try.
    pub addresses: Vec<String>,
    /// The fleet's CA, PEM.
    pub ca: String,
}

/// The script; none without a package of the agent.
pub(super) fn render(site: &Site, packages: &[Package]) -> Option<String> {
    let line = |package: &Package| {
        let name = &package.name;
        format!("{} {} {} {}", name.kind().as_str(), name.architecture(), name.file(), package.digest)
    };
    let lines: Vec<String> = newest(packages).into_iter().map(line).collect();
    if lines.is_empty() {
        return None;
    }
    let addresses: Vec<String> = site.addresses.iter().map(|address| format!("https://{address}")).collect();
    // The name of the fleet is last: whatever it holds is not filled in any more.
    let filled = TEMPLATE
        .replace("@PACKAGES@", &quoted(&lines.join("\n")))
        .replace("@CA@", &quoted(site.ca.trim()))
        .replace("@ADDRESSES@", &quoted(&addresses.join(" ")))
        .replace("@FLEET@", &quoted(&site.fleet));
    Some(filled)
}

/// The newest package of the agent for each kind of machine.
fn newest(packages: &[Package]) -> Vec<&Package> {
    let mut newest: Vec<&Package> = Vec::new();
    for package in packages.iter().filter(|package| package.name.package() == AGENT) {
        let of = |package: &Package| -> (PackageKind, String) {
            (package.name.kind(), package.name.architecture().to_owned())
        };
        match newest.iter_mut().find(|known| of(known) == of(package)) {
            Some(known) if package.name.newer(&known.name).is_gt() => *known = package,
            Some(_) => {}
            None => newest.push(package),
        }
    }
    newest
}

/// As the shell reads one word, whatever it holds.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// What is typed on a node: fetches the script, compares it with `digest`, runs it with the token on its standard
/// input. Here-documents are no arguments: no other user of the node sees the token.
pub fn typed_line(address: &str, digest: &str, token: &str) -> String {
    // No certificate is looked at: the digest is what counts. Root may have no sudo.
    let (url, file) = (format!("https://{address}/{SCRIPT_NAME}"), format!("campanile-{SCRIPT_NAME}"));
    format!(
        "(curl -fsSk -o {file} {url} || wget -qO {file} --no-check-certificate {url}) && \
         echo '{digest}  {file}' | sha256sum -c - && $(command -v sudo) sh {file} <<'TOKEN'\n{token}\nTOKEN"
    )
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::packages::PackageName;
    use campanile_common::id::Digest;

    pub(in crate::packages) fn site() -> Site {
        Site {
            fleet: "it's acme".to_owned(),
            addresses: vec!["a.example:8443".to_owned(), "[2001:db8::1]:8443".to_owned()],
            ca: "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n".to_owned(),
        }
    }

    fn package(file: &str, digest: u8) -> Package {
        let name = PackageName::parse(file).unwrap();
        Package { name, size_bytes: 1, digest: Digest::from_bytes([digest; 32]) }
    }

    #[test]
    fn the_script_carries_the_newest_agent_of_each_kind_and_machine_and_nothing_else() {
        let packages = [
            package("campanile-agent_0.9.0-1_amd64.deb", 1),
            package("campanile-agent_0.10.0-1_amd64.deb", 2),
            package("campanile-agent_0.9.0-1_arm64.deb", 3),
            package("campanile-agent-0.9.0-1.x86_64.rpm", 4),
            package("campanile_0.9.0-1_amd64.deb", 5),
        ];
        let script = render(&site(), &packages).unwrap();
        for (file, digest) in [
            ("deb amd64 campanile-agent_0.10.0-1_amd64.deb", 2),
            ("deb arm64 campanile-agent_0.9.0-1_arm64.deb", 3),
            ("rpm x86_64 campanile-agent-0.9.0-1.x86_64.rpm", 4),
        ] {
            let line = format!("{file} {}", Digest::from_bytes([digest; 32]));
            assert!(script.contains(&line), "{line}");
        }
        assert!(!script.contains("campanile_0.9.0-1") && !script.contains("agent_0.9.0-1_amd64"));
        assert!(render(&site(), &packages[4..]).is_none(), "no agent");
    }

    #[test]
    fn whatever_a_fleet_is_called_stays_one_word() {
        let script = render(&site(), &[package("campanile-agent_1-1_amd64.deb", 1)]).unwrap();
        assert!(script.contains(r"fleet='it'\''s acme'"), "{script}");
        for mark in ["@PACKAGES@", "@CA@", "@ADDRESSES@", "@FLEET@"] {
            assert!(!script.contains(mark), "{mark} was not filled in");
        }
    }

    #[test]
    fn the_typed_line_pins_the_script_and_hands_the_token_on_where_nobody_looks() {
        let line = typed_line("a.example:8443", "abcd", "cmp1_secret");
        let (command, rest) = line.split_once('\n').unwrap();
        assert!(command.contains("echo 'abcd  campanile-install.sh' | sha256sum -c"), "{command}");
        assert!(!command.contains("cmp1_"), "{command}");
        assert_eq!(rest, "cmp1_secret\nTOKEN");
    }
}
