//! Names of users and groups by number, as this machine's own files have them.

use std::collections::HashMap;

/// Names by number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Owners {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Owners {
    /// Reads the text of `/etc/passwd` and of `/etc/group`. Lines that are not in their form are passed over; of two
    /// names with one number, the first counts.
    pub(super) fn parse(passwd: &[u8], group: &[u8]) -> Self {
        Self { users: names(passwd), groups: names(group) }
    }

    /// The name of a user; empty when there is none.
    pub(super) fn user(&self, number: u32) -> &str {
        self.users.get(&number).map_or("", String::as_str)
    }

    /// The name of a group; empty when there is none.
    pub(super) fn group(&self, number: u32) -> &str {
        self.groups.get(&number).map_or("", String::as_str)
    }
}

/// Name and number are the first and the third field in both files.
fn names(text: &[u8]) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for line in text.split(|byte| *byte == b'\n') {
        let mut fields = line.split(|byte| *byte == b':');
        let (Some(name), Some(number)) = (fields.next(), fields.nth(1)) else { continue };
        let number = std::str::from_utf8(number).ok().and_then(|number| number.parse().ok());
        let (Some(number), Ok(name)) = (number, std::str::from_utf8(name)) else { continue };
        if !name.is_empty() && !name.starts_with('#') {
            names.entry(number).or_insert_with(|| name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_by_number_and_broken_lines_are_passed_over() {
        let passwd = b"root:x:0:0:root:/root:/bin/bash\n# comment:x:7:\nalso-root:x:0:0::/:\nbroken\n:x:5:\nno:x:number:\n\xff:x:9:\nann:x:1000:1000::/srv/ann:/bin/sh";
        let group = b"root:x:0:\nadm:x:4:ann,bob\nshort:x\n";
        let owners = Owners::parse(passwd, group);
        assert_eq!((owners.user(0), owners.user(1000), owners.user(5)), ("root", "ann", ""));
        assert_eq!((owners.user(7), owners.user(9)), ("", ""));
        assert_eq!((owners.group(0), owners.group(4), owners.group(1000)), ("root", "adm", ""));
    }
}
