//! Tables of nftables. A table of ours is a file that nft loads at boot, and the same rules now; other tables are left
//! alone.
//!
//! Whether the kernel still has the rules of the file is told by comparing how nft lists both: the table of the file is
//! loaded in an empty network namespace of its own and listed there. Rules that need a device of the machine cannot be
//! loaded there; of such a table only the file is compared, and that the table is there.

use campanile_common::api::ChangeVerb;
use campanile_common::config::{Firewall, Presence};

use super::super::step::{Content, Invocation, Ownership, Step, Undo};
use super::diff::{self, OTHERS_READ};
use super::file::make_missing;
use super::lines;
use super::view::{Node, PathSeen, View};
use super::{Draft, Planned, QUICK_S, invocation};

const FOLDER: &str = "/etc/nftables.d";
const INCLUDE: &str = "include \"/etc/nftables.d/campanile-*.nft\"";
/// What `nftables.service` loads: of Debian, of Fedora.
const MAIN_FILES: [&str; 2] = ["/etc/nftables.conf", "/etc/sysconfig/nftables.conf"];
/// Loads what it reads into a namespace without any network and lists the table; `$0` and `$1` name it.
const LISTING: &str = "nft -f - && nft -s list table \"$0\" \"$1\"";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Observed {
    pub(crate) file: PathSeen,
    /// The file that is loaded at boot.
    pub(crate) main_path: String,
    pub(crate) main: PathSeen,
    /// The table that the kernel has, as nft lists it.
    pub(crate) live: Option<String>,
    /// The desired one as nft would list it; none where that cannot be told.
    pub(crate) expected: Option<String>,
}

pub(crate) fn path(name: &str) -> String {
    format!("{FOLDER}/campanile-{}.nft", name.replace('/', "-"))
}

fn table_of(name: &str) -> (&str, &str) {
    name.split_once('/').unwrap_or(("inet", name))
}

pub(crate) fn observe(view: &View<'_>, name: &str, content: Option<&Content>) -> Result<Observed, String> {
    let can_ask = view.needs(&["nft"])?;
    let (family, table) = table_of(name);
    let (mut live, mut expected) = (None, None);
    if can_ask {
        let ran = view.ask(&["nft", "-s", "list", "table", family, table])?;
        live = ran.is_success().then(|| ran.text());
        if let Some(content) = content {
            let file = file_text(name, content)?;
            let argv = ["unshare", "--net", "--", "sh", "-c", LISTING, family, table];
            let can_load = view.host.program("unshare").is_some();
            let ran = can_load.then(|| view.ask_with(&Invocation { stdin: file, ..invocation(&argv) }));
            // It fails without the right to make a namespace, and for rules that name a device.
            expected = ran.and_then(Result::ok).filter(|ran| ran.is_success()).map(|ran| ran.text());
        }
    }
    let [debian, fedora] = MAIN_FILES;
    let (first, second) = (view.see_path(debian)?, view.see_path(fedora)?);
    let is_fedora = first.seen.node == Node::Absent && second.seen.node != Node::Absent;
    let (main_path, main) = if is_fedora { (fedora, second) } else { (debian, first) };
    Ok(Observed { file: view.see_path(&path(name))?, main_path: main_path.to_owned(), main, live, expected })
}

/// In one transaction: the table goes, whether it was there or not, and comes anew.
fn file_text(name: &str, content: &Content) -> Result<Vec<u8>, String> {
    let rules = str::from_utf8(&content.bytes).map_err(|_| "its rules are no text in UTF-8".to_owned())?;
    let (family, table) = table_of(name);
    let ends = if rules.ends_with('\n') { "" } else { "\n" };
    Ok(format!(
        "table {family} {table}\ndelete table {family} {table}\ntable {family} {table} {{\n{rules}{ends}}}\n"
    )
    .into_bytes())
}

pub(crate) fn plan(
    name: &str,
    firewall: &Firewall,
    content: Option<&Content>,
    observed: &Observed,
) -> Planned {
    let (family, table) = table_of(name);
    let delete = format!("table {family} {table}\ndelete table {family} {table}\n");
    let load = |bytes: Vec<u8>| Invocation {
        argv: ["nft", "-f", "-"].map(str::to_owned).to_vec(),
        stdin: bytes,
        user: None,
        timeout_s: QUICK_S,
    };
    let old = observed.live.as_ref().map(|listing| format!("{delete}{listing}"));
    let undo = Undo::Run(vec![load(old.unwrap_or_else(|| delete.clone()).into_bytes())]);
    let mut draft = Draft::new(ChangeVerb::Update);
    let is_there = observed.file.seen.node != Node::Absent;
    if firewall.ensure == Presence::Absent {
        draft.verb = ChangeVerb::Remove;
        if is_there {
            draft.say("not at boot");
            draft.steps.push(Step::Remove { path: path(name) });
        }
        if observed.live.is_some() {
            draft.say("delete the table");
            draft.steps.push(Step::Run { invocation: load(delete.into_bytes()), undo });
        }
        return Ok(draft.unless_empty());
    }
    let content = content.ok_or("it has no rules; lint the bundle")?;
    let text = file_text(name, content)?;
    let is_same_file =
        matches!(&observed.file.seen.node, Node::File { bytes: Some(bytes), .. } if *bytes == text);
    if !is_there && observed.live.is_none() {
        draft.verb = ChangeVerb::Create;
    }
    if !is_same_file {
        put_file(&mut draft, name, content, &text, &observed.file);
    }
    include(&mut draft, observed)?;
    let is_live = match (&observed.live, &observed.expected) {
        (None, _) => false,
        (Some(_), None) => is_same_file,
        (Some(live), Some(expected)) => steady(live) == steady(expected),
    };
    if !is_live {
        draft.say(if observed.live.is_some() { "replace the rules" } else { "load the rules" });
        draft.steps.push(Step::Run { invocation: load(text), undo });
    }
    Ok(draft.unless_empty())
}

fn put_file(draft: &mut Draft, name: &str, content: &Content, text: &[u8], observed: &PathSeen) {
    let (path, seen) = (path(name), &observed.seen);
    let old = match &seen.node {
        Node::File { bytes: Some(bytes), .. } => Some(bytes.as_slice()),
        _ => None,
    };
    let is_open = old.is_none() || seen.mode & OTHERS_READ != 0;
    // The file is not for everybody, so what it held is not shown either, unless it was.
    if is_open && !content.is_secret {
        draft.diff = diff::unified(&path, old, Some(text));
    }
    draft.say("rules at boot");
    make_missing(draft, &observed.missing);
    let mode = if content.is_secret { 0o600 } else { 0o644 };
    draft.steps.push(Step::Put {
        path,
        bytes: text.to_vec(),
        ownership: Ownership { mode: Some(mode), ..Ownership::default() },
        validate: ["nft", "-c", "-f", "{}"].map(str::to_owned).to_vec(),
        backup: None,
    });
}

/// Our folder is loaded at boot.
fn include(draft: &mut Draft, observed: &Observed) -> Result<(), String> {
    let old = observed.main.seen.text(&observed.main_path)?;
    if old.is_some_and(|text| text.lines().any(|line| line.trim() == INCLUDE)) {
        return Ok(());
    }
    draft.say(format!("included in {}", observed.main_path));
    let text = lines::replace(old.unwrap_or("#!/usr/sbin/nft -f\n"), Some(INCLUDE), |_| false);
    let fresh = Ownership { mode: Some(0o755), ..Ownership::default() };
    let shown = draft.diff.take();
    lines::put(draft, &observed.main_path, &observed.main, text, fresh);
    draft.diff = match (shown, draft.diff.take()) {
        (Some(first), Some(second)) => Some(first + &second),
        (first, second) => first.or(second),
    };
    Ok(())
}

/// A listing without what comes and goes by itself: elements of sets that packets or time-outs fill.
fn steady(listing: &str) -> String {
    let (mut out, mut block, mut is_dynamic, mut is_within) = (String::new(), String::new(), false, false);
    for line in listing.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if (line.starts_with("set ") || line.starts_with("map ")) && line.ends_with('{') {
            (is_within, is_dynamic) = (true, false);
            block.clear();
        }
        if !is_within {
            out.push_str(line);
            out.push('\n');
            continue;
        }
        is_dynamic |= line.starts_with("flags ") && (line.contains("dynamic") || line.contains("timeout"));
        block.push_str(line);
        block.push('\n');
        if line == "}" {
            is_within = false;
            let end = block.find("elements = ").filter(|_| is_dynamic).unwrap_or(block.len());
            out.push_str(&block[..end]);
        }
    }
    out
}
