//! Which snapshot is meant: by its name, the latest, or the newest at a moment. Reads nothing.

use crate::id::ObjectId;
use crate::snapshot::Snapshot;
use crate::tree::FileTime;

/// As few digits as a name may be shortened to.
const PREFIX_DIGITS_MIN: usize = 4;

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// The newest.
    Latest,
    /// The one whose name begins so.
    Named(String),
    /// The newest that began at this moment or before it.
    At(FileTime),
}

impl Which {
    /// `latest`, a time in RFC 3339, or the begin of a name.
    pub fn parse(text: &str) -> Self {
        match FileTime::from_rfc3339(text) {
            _ if text == "latest" => Self::Latest,
            Some(time) => Self::At(time),
            None => Self::Named(text.to_owned()),
        }
    }
}

/// Of which snapshots one is chosen: an empty list asks for nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this machine.
    pub host: Option<String>,
    /// That saved all of these paths.
    pub paths: Vec<String>,
    /// With all of these tags.
    pub tags: Vec<String>,
}

impl Filter {
    /// Whether a snapshot passes.
    pub fn passes(&self, snapshot: &Snapshot) -> bool {
        self.host.as_ref().is_none_or(|host| *host == snapshot.hostname)
            && self.paths.iter().all(|path| snapshot.paths.contains(path))
            && self.tags.iter().all(|tag| snapshot.tags.contains(tag))
    }
}

/// No snapshot, or more than one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChooseError {
    /// None is there at all.
    #[error("the repository has no snapshot")]
    Empty,
    /// None passes the filter.
    #[error("none of {0} snapshots is of this host, with these paths and tags")]
    Filtered(usize),
    /// All are newer.
    #[error("the oldest snapshot is of {oldest}, which is after {asked}")]
    TooOld {
        /// What was asked for.
        asked: FileTime,
        /// Of those that pass the filter.
        oldest: FileTime,
    },
    /// No name begins so.
    #[error("no snapshot's name begins with `{0}`; list the snapshots to see their names")]
    Unknown(String),
    /// Several names begin so.
    #[error("{found} snapshots' names begin with `{prefix}`; give more digits")]
    Ambiguous {
        /// What was asked for.
        prefix: String,
        /// How many.
        found: usize,
    },
    /// Too short to mean one, or no hexadecimal digits.
    #[error("`{0}` is no snapshot: give `latest`, a time, or at least {PREFIX_DIGITS_MIN} digits of a name")]
    NoName(String),
}

/// The snapshot that is meant. A name is looked for among all of `snapshots`, whatever the filter says.
///
/// # Errors
/// When there is none, or several are meant.
pub fn choose<'a>(
    snapshots: &'a [(ObjectId, Snapshot)],
    which: &Which,
    filter: &Filter,
) -> Result<&'a (ObjectId, Snapshot), ChooseError> {
    if snapshots.is_empty() {
        return Err(ChooseError::Empty);
    }
    if let Which::Named(prefix) = which {
        return named(snapshots, prefix);
    }
    let passing: Vec<_> = snapshots.iter().filter(|(_, snapshot)| filter.passes(snapshot)).collect();
    let limit = match which {
        Which::At(time) => Some(*time),
        Which::Latest | Which::Named(_) => None,
    };
    let of_time = passing.iter().filter(|(_, snapshot)| limit.is_none_or(|limit| snapshot.time <= limit));
    // Of two of one moment always the same.
    if let Some(found) = of_time.max_by_key(|(id, snapshot)| (snapshot.time, *id)) {
        return Ok(found);
    }
    match (limit, passing.iter().map(|(_, snapshot)| snapshot.time).min()) {
        (Some(asked), Some(oldest)) => Err(ChooseError::TooOld { asked, oldest }),
        _ => Err(ChooseError::Filtered(snapshots.len())),
    }
}

fn named<'a>(
    snapshots: &'a [(ObjectId, Snapshot)],
    prefix: &str,
) -> Result<&'a (ObjectId, Snapshot), ChooseError> {
    let is_name = prefix.len() >= PREFIX_DIGITS_MIN && prefix.chars().all(|digit| digit.is_ascii_hexdigit());
    if !is_name {
        return Err(ChooseError::NoName(prefix.to_owned()));
    }
    let lower = prefix.to_ascii_lowercase();
    let found: Vec<_> = snapshots.iter().filter(|(id, _)| id.to_string().starts_with(&lower)).collect();
    match found.as_slice() {
        [] => Err(ChooseError::Unknown(prefix.to_owned())),
        [one] => Ok(one),
        several => Err(ChooseError::Ambiguous { prefix: prefix.to_owned(), found: several.len() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(number: u8, time: &str, host: &str, tags: &[&str]) -> (ObjectId, Snapshot) {
        let json = serde_json::json!({
            "time": time, "tree": ObjectId([number; 32]), "paths": ["/etc", format!("/srv/{host}")],
            "hostname": host, "tags": tags,
        });
        (ObjectId([number; 32]), serde_json::from_value(json).unwrap())
    }

    fn three() -> Vec<(ObjectId, Snapshot)> {
        vec![
            snapshot(0x11, "2026-05-01T10:00:00Z", "web-1", &["daily"]),
            snapshot(0x12, "2026-05-02T10:00:00Z", "web-2", &["daily", "kept"]),
            snapshot(0x22, "2026-05-03T10:00:00Z", "web-1", &[]),
        ]
    }

    fn chosen(which: &str, filter: &Filter) -> Result<u8, ChooseError> {
        choose(&three(), &Which::parse(which), filter).map(|(id, _)| id.0[0])
    }

    #[test]
    fn the_newest_that_passes_is_the_latest() {
        assert_eq!(chosen("latest", &Filter::default()), Ok(0x22));
        let filter = Filter { host: Some("web-2".to_owned()), ..Filter::default() };
        assert_eq!(chosen("latest", &filter), Ok(0x12));
        let filter = Filter { tags: vec!["daily".to_owned()], ..Filter::default() };
        assert_eq!(chosen("latest", &filter), Ok(0x12));
        let filter = Filter { paths: vec!["/etc".to_owned(), "/srv/web-1".to_owned()], ..Filter::default() };
        assert_eq!(chosen("latest", &filter), Ok(0x22));
        let filter = Filter { host: Some("web-3".to_owned()), ..Filter::default() };
        assert_eq!(chosen("latest", &filter), Err(ChooseError::Filtered(3)));
        assert_eq!(choose(&[], &Which::Latest, &filter), Err(ChooseError::Empty));
    }

    #[test]
    fn a_moment_means_the_newest_snapshot_at_it_or_before() {
        let all = Filter::default();
        assert_eq!(chosen("2026-05-02T09:59:59.999Z", &all), Ok(0x11));
        assert_eq!(chosen("2026-05-02T12:00:00+02:00", &all), Ok(0x12));
        assert_eq!(chosen("2030-01-01T00:00:00Z", &all), Ok(0x22));
        let error = chosen("2026-04-30T00:00:00Z", &all).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the oldest snapshot is of 2026-05-01T10:00:00Z, which is after 2026-04-30T00:00:00Z"
        );
    }

    #[test]
    fn a_name_means_one_snapshot_or_none() {
        let all = Filter::default();
        assert_eq!(chosen("1212", &all), Ok(0x12));
        assert_eq!(chosen(&ObjectId([0x22; 32]).to_string().to_uppercase(), &all), Ok(0x22));
        assert_eq!(chosen("3333", &all), Err(ChooseError::Unknown("3333".to_owned())));
        assert_eq!(chosen("111", &all), Err(ChooseError::NoName("111".to_owned())));
        assert_eq!(chosen("yesterday", &all), Err(ChooseError::NoName("yesterday".to_owned())));
        let mut close = three();
        close[2].0 = ObjectId([0x11; 32]);
        close[2].0.0[31] = 0;
        let ambiguous = choose(&close, &Which::parse("11111111"), &all);
        assert!(matches!(ambiguous, Err(ChooseError::Ambiguous { found: 2, .. })));
    }
}
