//! Unix sockets on which processes of one user speak to each other.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Longest path of a socket: the kernel's structure holds 108 bytes with the zero at the end.
pub const PATH_BYTES_MAX: usize = 107;

/// Listens at `path`, which only this user can connect to. What an earlier process left there is removed.
///
/// # Errors
/// When the path is too long or the socket cannot be made.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    if path.as_os_str().len() > PATH_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{} is longer than the {PATH_BYTES_MAX} bytes of a socket's path", path.display()),
        ));
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // The folder is private, so nobody connects before the mode is set.
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The next connection; none when `deadline` came first.
///
/// # Errors
/// When listening fails.
pub fn accept(listener: &UnixListener, deadline: Instant) -> io::Result<Option<UnixStream>> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        let mut ready = [PollFd::new(listener, PollFlags::IN)];
        match poll(&mut ready, Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
            Ok(_) => {}
        }
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(Some(stream));
            }
            // Whoever knocked went away again.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionAborted) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Connects; none when nobody listens there.
///
/// # Errors
/// When it fails otherwise.
pub fn connect(path: &Path) -> io::Result<Option<UnixStream>> {
    if path.as_os_str().len() > PATH_BYTES_MAX {
        return Ok(None);
    }
    match UnixStream::connect(path) {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// True when the process at the other end belongs to the user of this one.
///
/// # Errors
/// When the kernel does not tell.
pub fn is_own(stream: &UnixStream) -> io::Result<bool> {
    Ok(rustix::net::sockopt::socket_peercred(stream)?.uid == rustix::process::geteuid())
}

/// Bounds every read and write.
///
/// # Errors
/// When the kernel refuses.
pub fn set_patience(stream: &UnixStream, patience: Duration) -> io::Result<()> {
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_its_owners_alone_and_replaces_a_dead_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        drop(listen(&path).unwrap());
        assert!(connect(&path).unwrap().is_none(), "nobody listens there any more");
        let listener = listen(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let stream = connect(&path).unwrap().unwrap();
        let accepted = accept(&listener, Instant::now() + Duration::from_secs(20)).unwrap().unwrap();
        assert!(is_own(&stream).unwrap() && is_own(&accepted).unwrap());
    }

    #[test]
    fn a_path_too_long_for_the_kernel_says_so() {
        let long = Path::new("/").join("x".repeat(PATH_BYTES_MAX));
        assert!(listen(&long).unwrap_err().to_string().contains("107 bytes"));
        assert!(connect(&long).unwrap().is_none());
    }
}
