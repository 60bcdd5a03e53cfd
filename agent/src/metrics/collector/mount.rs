//! `/proc/self/mountinfo`: which file systems there are to ask.

use super::text::{covers, fields, lines};

/// Kinds without space of their own: node_exporter's list, and `efivarfs`, whose few KiB are never for users.
const KINDS_WITHOUT_SPACE: [&str; 26] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "erofs",
    "fusectl",
    "hugetlbfs",
    "iso9660",
    "mqueue",
    "nsfs",
    "overlay",
    "proc",
    "procfs",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "squashfs",
    "sysfs",
    "tracefs",
    "efivarfs",
];

/// Mount points that are left out unless settings say otherwise; node_exporter's list, as [`covers`] reads it.
pub const EXCLUDE_DEFAULT: [&str; 6] =
    ["/dev", "/proc", "/sys", "/run/credentials/*", "/var/lib/docker/*", "/var/lib/containers/storage/*"];

/// One mounted file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// What is mounted.
    pub device: String,
    /// Kind of file system.
    pub kind: String,
    /// Where.
    pub point: String,
    /// Whether the file system itself takes no writes. How it is mounted here does not count: a sandboxed service
    /// sees most of them read-only.
    pub is_readonly: bool,
}

impl Mount {
    /// Whether another machine or a program answers for it, so that it can hang when all of this machine is well.
    pub fn is_remote(&self) -> bool {
        const KINDS: [&str; 9] = ["nfs", "cifs", "smb", "ceph", "9p", "fuse", "afs", "lustre", "glusterfs"];
        KINDS.iter().any(|kind| self.kind.starts_with(kind))
            || self.device.starts_with("//")
            || self.device.contains(":/")
    }
}

/// One line: `27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard`.
struct Line {
    device_number: Vec<u8>,
    root: Vec<u8>,
    mount: Mount,
}

/// The file systems to ask, in the order they were mounted. A mount hides an earlier one at the same place, and a
/// part of a file system that is there as a whole is left out.
pub fn mounts(text: &[u8], exclude: &[String]) -> Vec<Mount> {
    let mut found: Vec<Line> = Vec::new();
    for line in lines(text).filter_map(read_line) {
        found.retain(|earlier| earlier.mount.point != line.mount.point);
        found.push(line);
    }
    found.retain(|line| is_wanted(&line.mount, exclude));
    let is_repeated = |index: usize, line: &Line| {
        found.iter().enumerate().any(|(other, known)| {
            known.device_number == line.device_number
                && if known.root == line.root { other < index } else { known.root == b"/" }
        })
    };
    let repeated: Vec<bool> =
        found.iter().enumerate().map(|(index, line)| is_repeated(index, line)).collect();
    found.into_iter().zip(repeated).filter(|(_, repeated)| !repeated).map(|(line, _)| line.mount).collect()
}

fn is_wanted(mount: &Mount, exclude: &[String]) -> bool {
    // The root of a container is an overlay, and all the disk it has.
    let has_space = !KINDS_WITHOUT_SPACE.contains(&mount.kind.as_str())
        || (mount.kind == "overlay" && mount.point == "/");
    has_space && !exclude.iter().any(|pattern| covers(pattern, &mount.point))
}

fn read_line(line: &[u8]) -> Option<Line> {
    let mut before = fields(line).skip(2);
    let device_number = before.next()?.to_vec();
    let root = before.next()?.to_vec();
    let point = before.next()?;
    let mut after = fields(line).skip_while(|field| *field != b"-").skip(1);
    let kind = after.next()?;
    let device = after.next()?;
    let options = after.next()?;
    let is_readonly = options.split(|byte| *byte == b',').any(|option| option == b"ro");
    let mount =
        Mount { device: unescape(device)?, kind: unescape(kind)?, point: unescape(point)?, is_readonly };
    Some(Line { device_number, root, mount })
}

/// The kernel writes blanks, line ends and backslashes as `\` and three octal digits.
fn unescape(field: &[u8]) -> Option<String> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((byte, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| *byte == b'\\').and_then(|digits| {
            let text = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(text, 8).ok()
        });
        bytes.push(octal.unwrap_or(*byte));
        rest = if octal.is_some() { &after[3..] } else { after };
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn points(text: &str) -> Vec<String> {
        let exclude = EXCLUDE_DEFAULT.map(str::to_owned);
        mounts(text.as_bytes(), &exclude).into_iter().map(|mount| mount.point).collect()
    }

    #[test]
    fn kinds_without_space_and_excluded_places_are_left_out() {
        let text = "\
22 27 0:21 / /proc rw - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
28 27 0:25 / /run rw,nosuid - tmpfs tmpfs rw
29 27 0:26 / /dev/shm rw - tmpfs tmpfs rw
30 27 0:27 / /var/lib/docker/overlay2/x/merged rw - ext4 /dev/sdz rw
31 27 0:28 / /snap/core/1 ro - squashfs /dev/loop0 ro
";
        assert_eq!(points(text), ["/", "/run"]);
    }

    #[test]
    fn a_bound_part_of_a_file_system_is_not_listed_beside_the_whole() {
        let text = "\
27 1 254:0 / / rw - ext4 /dev/vda rw
28 27 254:0 /srv/data /var/data rw - ext4 /dev/vda rw
29 27 254:0 / /mnt/again rw - ext4 /dev/vda rw
";
        assert_eq!(points(text), ["/"]);
    }

    #[test]
    fn subvolumes_without_their_whole_are_all_listed() {
        let text = "\
27 1 0:30 /@ / rw - btrfs /dev/vda rw
28 27 0:30 /@home /home rw - btrfs /dev/vda rw
";
        assert_eq!(points(text), ["/", "/home"]);
    }

    #[test]
    fn a_later_mount_hides_an_earlier_one_at_the_same_place() {
        let text = "\
27 1 254:0 / / rw - ext4 /dev/vda rw
28 27 8:1 / /mnt rw - ext4 /dev/sda1 rw
29 27 8:2 / /mnt rw - xfs /dev/sda2 ro
";
        let found = mounts(text.as_bytes(), &[]);
        assert_eq!(found.len(), 2);
        assert_eq!((found[1].device.as_str(), found[1].is_readonly), ("/dev/sda2", true));
    }

    #[test]
    fn the_root_of_a_container_is_its_overlay() {
        let text = "27 1 0:50 / / rw - overlay overlay rw\n28 27 0:51 / /x rw - overlay overlay rw\n";
        assert_eq!(points(text), ["/"]);
    }

    #[test]
    fn a_read_only_view_of_a_writable_file_system_is_not_readonly() {
        let found = mounts(b"27 1 254:0 / / ro,relatime - ext4 /dev/vda rw\n", &[]);
        assert!(!found[0].is_readonly);
    }

    #[test]
    fn escaped_blanks_are_read() {
        let found = mounts(b"27 1 254:0 / /mnt/my\\040disk rw - ext4 /dev/vda rw\n", &[]);
        assert_eq!(found[0].point, "/mnt/my disk");
    }

    proptest! {
        #[test]
        fn garbage_is_read_without_a_panic(text in any::<Vec<u8>>()) {
            let _ = mounts(&text, &[]);
        }

        #[test]
        fn almost_mountinfo_is_read_without_a_panic(text in "([0-9:/ \\\\-]|ext4|\n){0,200}") {
            let _ = mounts(text.as_bytes(), &["/*".to_owned()]);
        }
    }
}
