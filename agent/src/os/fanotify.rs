//! Tells which process wrote into a file of a folder. Only root may ask, and only the kernel's own file systems tell.

use std::io;
use std::path::Path;

use nix::fcntl::AT_FDCWD;
use nix::sys::fanotify::{self, EventFFlags, InitFlags, MarkFlags, MaskFlags};

use super::user;

/// Reads before others have their turn.
const READS_MAX: usize = 16;

/// A file that was written, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Number of its file system.
    pub device: u64,
    /// Number of its inode.
    pub inode: u64,
    /// When its content was changed, in seconds after 1970.
    pub modified_s: i64,
    /// Name, number and user of the process, and who had signed in.
    pub who: String,
}

/// Watched folders.
#[derive(Debug)]
pub struct Fanotify {
    group: fanotify::Fanotify,
    /// This program's name: what it writes is not told.
    own: String,
}

impl Fanotify {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// When this process may not.
    pub fn new() -> io::Result<Self> {
        let flags = InitFlags::FAN_CLASS_NOTIF | InitFlags::FAN_CLOEXEC | InitFlags::FAN_NONBLOCK;
        let opened = EventFFlags::O_RDONLY | EventFFlags::O_CLOEXEC | EventFFlags::O_LARGEFILE;
        let own = std::fs::read_to_string("/proc/self/comm")?;
        Ok(Self { group: fanotify::Fanotify::init(flags, opened)?, own })
    }

    /// Watches the files directly in a folder.
    ///
    /// # Errors
    /// When it is not there, or its file system cannot tell.
    pub fn watch(&self, folder: &Path) -> io::Result<()> {
        let how = MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_ONLYDIR;
        let what = MaskFlags::FAN_MODIFY | MaskFlags::FAN_EVENT_ON_CHILD;
        Ok(self.group.mark(how, what, AT_FDCWD, Some(folder))?)
    }

    /// Takes what was told so far. A process that has ended meanwhile is nobody's any more and is left out.
    pub fn take(&self) -> Vec<Written> {
        let mut written = Vec::new();
        for _ in 0..READS_MAX {
            let Ok(events) = self.group.read_events() else { break };
            for event in events {
                let found = event.fd().and_then(|file| rustix::fs::fstat(file).ok());
                let Some((stat, who)) = found.zip(who(event.pid(), &self.own)) else { continue };
                let (device, inode, modified_s) = (stat.st_dev, stat.st_ino, stat.st_mtime);
                written.push(Written { device, inode, modified_s, who });
            }
        }
        written
    }
}

/// `vim (pid 4211, uid 0, login alice)`.
fn who(pid: i32, own: &str) -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;
    let folder = Path::new("/proc").join(pid.to_string());
    let name = std::fs::read_to_string(folder.join("comm")).ok().filter(|name| name != own)?;
    let uid = std::fs::metadata(&folder).ok()?.uid();
    let login =
        std::fs::read_to_string(folder.join("loginuid")).ok().and_then(|text| text.trim().parse().ok());
    let login = login.filter(|login| *login != u32::MAX).map(|login| {
        let known = user::numbered(login).map_or_else(|| login.to_string(), |user| user.name);
        format!(", login {known}")
    });
    let name: String = name.trim_end().chars().filter(|letter| !letter.is_control()).collect();
    Some(format!("{name} (pid {pid}, uid {uid}{})", login.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;
    use std::process::Command;

    use super::*;

    #[test]
    fn the_process_that_wrote_a_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let Ok(fanotify) = Fanotify::new() else {
            eprintln!("SKIPPED: needs root");
            return;
        };
        if fanotify.watch(folder.path()).is_err() {
            eprintln!("SKIPPED: the file system of {} cannot tell", folder.path().display());
            return;
        }
        let file = folder.path().join("file");
        std::fs::write(&file, "by ourselves").unwrap();
        assert_eq!(fanotify.take(), [], "what we write is not told");
        // It lives until its standard input ends.
        let script = "echo theirs > \"$0\"; echo done; read end";
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).arg(&file);
        let (stdin, stdout) = (std::process::Stdio::piped(), std::process::Stdio::piped());
        let mut child = shell.stdin(stdin).stdout(stdout).spawn().unwrap();
        let mut line = [0; 5];
        io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
        let written = fanotify.take();
        let found = written.last().unwrap();
        assert!(found.who.starts_with(&format!("sh (pid {}, uid 0", child.id())), "{found:?}");
        assert_eq!(found.inode, std::fs::metadata(&file).unwrap().ino());
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
