//! Drift: what differs from the current generation by another hand. Files that we wrote do not differ.

use std::collections::BTreeMap;

use campanile_common::time::Timestamp;
use campanile_common::wire::v1::config::Drifted;
use serde::{Deserialize, Serialize};

use super::host::Host;
use super::resource;
use super::step::{Desired, Plan, Problem};
use crate::os::beneath::Stat;

/// Who wrote a file last, as the steward saw it: which file, in which state, and when that was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hand {
    /// Number of its file system.
    pub device: u64,
    /// Number of its inode.
    pub inode: u64,
    /// When its content was changed, in seconds after 1970.
    pub modified_s: i64,
    /// When this was seen.
    pub seen: Timestamp,
    /// Name, number and user of the process.
    pub who: String,
}

/// File of hands, in the folder `config`.
pub const HANDS_FILE: &str = "hands.json";

impl Hand {
    /// False once anything of the file was changed again.
    fn is_last(&self, stat: &Stat) -> bool {
        let seen_s = i64::try_from(self.seen.as_millis() / 1000).unwrap_or(i64::MAX);
        (self.device, self.inode, self.modified_s) == (stat.device, stat.inode, stat.modified_s)
            && stat.changed_s <= seen_s.saturating_add(1)
    }
}

/// What differs, in words that hold no content.
pub(crate) fn found(
    host: &Host,
    plan: &Plan,
    problems: &[Problem],
    desired: &[Desired],
    hands: &[Hand],
    now: Timestamp,
) -> Vec<Drifted> {
    let by_id: BTreeMap<_, _> = desired.iter().map(|one| (&one.resource.id, one)).collect();
    let changed = plan.changes.iter().map(|change| {
        let what = change.shown.what.join(", ");
        let hand = by_id.get(&change.resource).and_then(|one| last_hand(host, one, hands));
        let detail = hand.map_or_else(|| what.clone(), |hand| format!("{what}; {hand}"));
        Drifted { resource: change.resource.clone(), found: now, detail, is_enforced: false }
    });
    let unknown = problems.iter().filter_map(|problem| {
        let resource = problem.resource.clone()?;
        Some(Drifted { resource, found: now, detail: problem.message.clone(), is_enforced: false })
    });
    changed.chain(unknown).collect()
}

/// When the first of a resource's paths that is there was changed, and by whom or at least whose it is.
fn last_hand(host: &Host, desired: &Desired, hands: &[Hand]) -> Option<String> {
    let paths = resource::watched_paths(desired);
    let stat = paths.iter().find_map(|path| host.root().stat(path).ok().flatten())?;
    let changed = u64::try_from(stat.modified_s).unwrap_or(0).saturating_mul(1000);
    let whose = match hands.iter().rfind(|hand| hand.is_last(&stat)) {
        Some(hand) => format!("by {}", hand.who),
        None => format!("owned by {}", host.user_name(stat.uid)),
    };
    Some(format!("changed {}, {whose}", Timestamp::from_millis(changed)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::beneath::NodeKind;

    #[test]
    fn a_hand_counts_until_anything_of_the_file_is_changed_again() {
        let (who, seen) = ("vim (pid 4211, uid 0)".to_owned(), Timestamp::from_millis(100_500));
        let hand = Hand { device: 1, inode: 2, modified_s: 100, seen, who };
        let (kind, mode, uid, gid, length, links) = (NodeKind::File, 0o644, 0, 0, 9, 1);
        let stat = Stat {
            kind,
            mode,
            uid,
            gid,
            length,
            links,
            inode: 2,
            device: 1,
            modified_s: 100,
            changed_s: 101,
        };
        assert!(hand.is_last(&stat));
        assert!(!hand.is_last(&Stat { changed_s: 102, ..stat }), "its mode was changed later");
        assert!(!hand.is_last(&Stat { modified_s: 99, ..stat }));
        assert!(!hand.is_last(&Stat { inode: 3, ..stat }), "another file took its name");
    }
}
