//! A real `sshd` of this machine's OpenSSH, for one user and one key, on a port of its own.
//!
//! Each connection is taken here and given to an `sshd` of its own, so that the port is known and a connection can be cut.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::{Value, json};

use crate::support::Node;

pub(crate) struct SshServer {
    folder: tempfile::TempDir,
    port: u16,
    user: String,
    open: Arc<Mutex<Vec<(TcpStream, Child)>>>,
    is_over: Arc<AtomicBool>,
    taking: Option<JoinHandle<()>>,
}

fn make_key(path: &Path) {
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path).status();
    assert!(made.expect("openssh-client is installed: scripts/setup.sh test").success());
}

fn public(path: &Path) -> String {
    std::fs::read_to_string(path.with_extension("pub")).unwrap()
}

impl SshServer {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for key in ["host", "client", "stranger"] {
            make_key(&at(key));
        }
        std::fs::write(at("authorized_keys"), format!("restrict {}", public(&at("client")))).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::fs::write(at("known_hosts"), format!("[127.0.0.1]:{port} {}", public(&at("host")))).unwrap();
        std::fs::write(at("other_hosts"), format!("[127.0.0.1]:{port} {}", public(&at("stranger")))).unwrap();
        std::fs::write(at("no_hosts"), "").unwrap();
        let config = format!(
            "HostKey {0}/host\nAuthorizedKeysFile {0}/authorized_keys\nPidFile none\nStrictModes no\nUsePAM no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n\
             LogLevel QUIET\nSubsystem sftp internal-sftp\n",
            folder.path().display()
        );
        std::fs::write(at("sshd_config"), config).unwrap();
        let id = Command::new("id").arg("-un").output().unwrap();
        let user = String::from_utf8(id.stdout).unwrap().trim().to_owned();
        if user == "root" {
            // Where it locks its own helper in; the package makes it at the start of the machine.
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        let (open, is_over) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (opened, over, config) = (Arc::clone(&open), Arc::clone(&is_over), at("sshd_config"));
        let taking = std::thread::spawn(move || take(&listener, &config, &opened, &over));
        Self { folder, port, user, open, is_over, taking: Some(taking) }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn target(&self, node: &Node) -> String {
        let path = node.path("repository");
        format!("sftp://{}@127.0.0.1:{}/{}", self.user, self.port, path.display())
    }

    /// The node's policy `files` saves to its folder `repository` by way of this server.
    pub(crate) fn policy(&self, node: &Node, keys: Value) {
        let mut policy = json!({
            "target": self.target(node), "identity": self.path("client"), "known_hosts": self.path("known_hosts"),
        });
        for (key, value) in keys.as_object().unwrap() {
            policy[key] = value.clone();
        }
        node.policy("files", policy);
    }

    /// How stock restic gets here.
    pub(crate) fn restic_command(&self) -> String {
        format!(
            "ssh -o BatchMode=yes -o UserKnownHostsFile={} -i {} -p {} {}@127.0.0.1 -s sftp",
            self.path("known_hosts").display(),
            self.path("client").display(),
            self.port,
            self.user
        )
    }

    /// Cuts every connection; how many there were.
    pub(crate) fn cut(&self) -> usize {
        let open = std::mem::take(&mut *self.open.lock().unwrap());
        let mut count = 0;
        for (stream, child) in open {
            count += usize::from(stream.shutdown(Shutdown::Both).is_ok());
            end(child);
        }
        count
    }
}

fn end(mut child: Child) {
    drop(child.kill());
    child.wait().unwrap();
}

fn take(listener: &TcpListener, config: &Path, open: &Mutex<Vec<(TcpStream, Child)>>, over: &AtomicBool) {
    for stream in listener.incoming() {
        let stream = stream.unwrap();
        if over.load(Ordering::Relaxed) {
            return;
        }
        let ends: [OwnedFd; 2] = [stream.try_clone().unwrap().into(), stream.try_clone().unwrap().into()];
        let [input, output] = ends;
        let child = Command::new("/usr/sbin/sshd")
            .args(["-i", "-f"])
            .arg(config)
            .stdin(Stdio::from(input))
            .stdout(Stdio::from(output))
            .stderr(Stdio::null())
            .spawn()
            .expect("openssh-server is installed: scripts/setup.sh test");
        open.lock().unwrap().push((stream, child));
    }
}

impl Drop for SshServer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // Wakes the thread that takes connections.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        if let Some(taking) = self.taking.take() {
            drop(taking.join());
        }
        self.cut();
    }
}
