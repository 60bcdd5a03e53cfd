//! Users of this machine.

use std::path::Path;
use std::time::Duration;

use super::child;

const DEADLINE: Duration = Duration::from_secs(5);
/// A line of the user database; more is none.
const LINE_BYTES_MAX: usize = 16 * 1024;

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Login name.
    pub name: String,
    /// Number.
    pub uid: u32,
    /// Number of the primary group.
    pub gid: u32,
    /// Home folder.
    pub home: String,
}

/// The user of this name: from `/etc/passwd`, else from whatever directory the machine asks (`getent`). Blocks for
/// seconds where that is out of reach.
pub fn named(name: &str) -> Option<User> {
    let is_plain = !name.is_empty() && !name.starts_with('-') && !name.contains([':', '\n', '\0']);
    if !is_plain {
        return None;
    }
    let local = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    find(&local, |user| user.name == name).or_else(|| {
        let found = child::output(Path::new("/usr/bin/getent"), &["passwd", name], DEADLINE, LINE_BYTES_MAX);
        find(&String::from_utf8(found.ok()?).ok()?, |user| user.name == name)
    })
}

/// The user of this number, where `/etc/passwd` has it.
pub fn numbered(uid: u32) -> Option<User> {
    find(&std::fs::read_to_string("/etc/passwd").ok()?, |user| user.uid == uid)
}

/// The user that this process runs as; one without a name is called by its number.
pub fn own() -> User {
    let uid = rustix::process::geteuid().as_raw();
    let local = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    find(&local, |user| user.uid == uid).unwrap_or_else(|| User {
        name: uid.to_string(),
        uid,
        gid: rustix::process::getegid().as_raw(),
        home: "/".to_owned(),
    })
}

fn find(database: &str, is_wanted: impl Fn(&User) -> bool) -> Option<User> {
    database.lines().filter_map(parse).find(is_wanted)
}

fn parse(line: &str) -> Option<User> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, uid, gid, _, home, _] = fields.as_slice() else { return None };
    Some(User {
        name: (*name).to_owned(),
        uid: uid.parse().ok()?,
        gid: gid.parse().ok()?,
        home: (*home).to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_user_and_anything_else_is_none() {
        let user = parse("www-data:x:33:34:www:/var/www:/usr/sbin/nologin").unwrap();
        assert_eq!((user.uid, user.gid, user.home.as_str()), (33, 34, "/var/www"));
        assert_eq!(parse("+::::::"), None);
        assert_eq!(parse("root:x"), None);
    }

    #[test]
    fn root_is_known_and_nobody_is_made_up() {
        assert_eq!(named("root").map(|user| user.uid), Some(0));
        assert_eq!(named("no-such-user-here"), None);
        assert_eq!(named("-h"), None);
    }
}
