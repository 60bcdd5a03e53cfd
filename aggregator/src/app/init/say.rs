//! What `init` says in the end: to people, or as JSON.

use campanile_common::time::Timestamp;
use serde::Serialize;

use super::found::Founded;
use crate::cli::InitOutput;
use crate::packages::typed_line;
use crate::settings::Settings;

/// All that was found and made.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    /// False when the fleet was there already.
    is_new: bool,
    is_serving: bool,
    fleet: String,
    fleet_id: String,
    addresses: Vec<String>,
    /// The fleet's CA, for browsers and command lines.
    ca: String,
    signin_link: String,
    token: String,
    token_uses: u32,
    token_expires_at: Timestamp,
    /// SHA-256 of `/install.sh`.
    #[serde(skip_serializing_if = "Option::is_none")]
    install_script_sha256: Option<String>,
    /// What is typed on a node.
    node_command: String,
    guide: String,
    /// How it is started by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    start_command: Option<String>,
}

impl Report {
    pub(super) fn new(
        founded: Founded,
        settings: &Settings,
        is_new: bool,
        is_serving: bool,
        start: String,
    ) -> Self {
        let address = settings.addresses.first().map_or("localhost:8443", String::as_str);
        let node_command = match &founded.script {
            Some(digest) => typed_line(address, digest, &founded.token),
            None => format!("$(command -v sudo) campanile-agent enroll <<'TOKEN'\n{}\nTOKEN", founded.token),
        };
        Self {
            is_new,
            is_serving,
            fleet: founded.fleet,
            fleet_id: founded.fleet_id.to_string(),
            ca: settings.state_dir.join(campanile_common::fleet::CA_FILE).display().to_string(),
            signin_link: founded.link,
            token: founded.token,
            token_uses: founded.token_uses,
            token_expires_at: founded.token_expires_at,
            install_script_sha256: founded.script,
            node_command,
            guide: format!("https://{address}/docs/guide/"),
            addresses: settings.addresses.clone(),
            start_command: (!is_serving).then_some(start),
        }
    }

    pub(super) fn print(&self, output: InitOutput) -> anyhow::Result<()> {
        match output {
            InitOutput::Json => println!("{}", serde_json::to_string_pretty(self)?),
            InitOutput::Text => println!("{}", self.text()),
        }
        Ok(())
    }

    fn text(&self) -> String {
        let is = if self.is_new { "is founded" } else { "was founded here before; nothing was changed" };
        let start = self.start_command.as_ref().map_or_else(String::new, |line| {
            format!("\nThe aggregator does not serve yet. Start it:\n\n    {line}\n")
        });
        let packages = match self.install_script_sha256 {
            Some(_) => {
                "It installs the agent, enrols the node and starts it. To let a node take more than looking and \
                        backing up,\nput for example `--allow backup,config,command` behind campanile-install.sh."
            }
            None => {
                "No package of the agent is served here (setting `packages.dir`): install it on the node first."
            }
        };
        format!(
            "Fleet {} ({}) {is}.\n{start}\n\
             Sign in with this link, which works once:\n\n    {}\n\n\
             Browsers and command lines need the fleet's own CA: {}\n\n\
             On each node, type this ({} nodes until {}; a space before it keeps it out of most shells' history):\n\n{}\n\n\
             {packages}\n\n\
             Then: `campanile login` with the link or a new one, `campanile node ls`. The guide: {}\n\
             Another line and link, any time: campanile-aggregator init",
            self.fleet,
            self.fleet_id,
            self.signin_link,
            self.ca,
            self.token_uses,
            self.token_expires_at,
            self.node_command,
            self.guide
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use campanile_common::id::FleetId;

    fn report(script: Option<&str>, is_serving: bool) -> Report {
        let founded = Founded {
            fleet: "acme".to_owned(),
            fleet_id: FleetId::from_bytes([1; 16]),
            link: "https://a:8443/signin#link=x".to_owned(),
            token: "cmp1_x".to_owned(),
            token_uses: 50,
            token_expires_at: Timestamp::from_millis(1_800_000_000_000),
            script: script.map(str::to_owned),
        };
        let settings = Settings::load(Some(std::path::Path::new("/dev/null"))).unwrap();
        Report::new(founded, &settings, true, is_serving, "campanile-aggregator serve".to_owned())
    }

    #[test]
    fn what_is_said_has_the_link_and_the_line_and_how_to_start_what_does_not_serve() {
        let text = report(Some("abcd"), false).text();
        for part in [
            "signin#link=x",
            "install.sh",
            "abcd",
            "cmp1_x\nTOKEN",
            "campanile-aggregator serve",
            "/docs/guide/",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!report(Some("abcd"), true).text().contains("does not serve"));
    }

    #[test]
    fn without_packages_the_line_enrols_what_was_installed_by_hand() {
        let report = report(None, true);
        assert_eq!(report.node_command, "$(command -v sudo) campanile-agent enroll <<'TOKEN'\ncmp1_x\nTOKEN");
        assert!(report.text().contains("packages.dir"));
    }
}
