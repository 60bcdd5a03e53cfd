//! The key agent: holds the operator's key for a while and signs with it, as `ssh-agent` does.
//!
//! It serves one connection at a time, of its own user alone, and signs only what it can read itself. It ends after
//! its time, or when it is told to lock.

use std::io::{self, Read as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use campanile_common::api::SignatureText;
use campanile_common::authority::{OperatorKey, PublicKey, Signature};
use campanile_common::time::Timestamp;
use data_encoding::BASE64;
use zeroize::Zeroizing;

use super::protocol::{self, Reply, Request};
use crate::context::{Context, Environment};
use crate::exit::Exit;
use crate::keyring;
use crate::os::{clock, file, process, socket};
use crate::signer::{self, Signer, Subject};

/// Name of the socket.
const SOCKET: &str = "key-agent.sock";
/// How long one request may take: they come from this machine.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the wall clock is compared, which goes on while the machine sleeps.
const LOOK: Duration = Duration::from_secs(5);
/// What the agent says once it serves.
const READY: &str = "ready";

/// Where the agent's socket is: in the user's runtime folder, else in the operator's folder. A folder of keys other
/// than the usual has a socket of its own.
pub(super) fn socket_path(environment: &Environment) -> anyhow::Result<PathBuf> {
    match environment.path("XDG_RUNTIME_DIR") {
        Some(dir) if environment.get("CAMPANILE_CONFIG_DIR").is_none() => {
            Ok(dir.join("campanile").join(SOCKET))
        }
        _ => Ok(environment.config_dir()?.join(SOCKET)),
    }
}

/// A key agent that runs.
#[derive(Debug)]
pub struct KeyAgent {
    path: PathBuf,
    public: PublicKey,
    until: Timestamp,
}

impl KeyAgent {
    /// The agent of this user; none when none runs.
    ///
    /// # Errors
    /// When one is there but does not answer as it should.
    pub fn find(environment: &Environment) -> anyhow::Result<Option<Self>> {
        let path = socket_path(environment)?;
        match ask(&path, &Request::Describe)? {
            None => Ok(None),
            Some(Reply::Key { public, until }) => {
                Ok(Some(Self { path, public: keyring::parse_public(&public)?, until }))
            }
            Some(other) => bail!("the key agent gave an answer that makes no sense: {other:?}"),
        }
    }

    /// Until when it holds the key.
    pub fn until(&self) -> Timestamp {
        self.until
    }

    /// Has it forget the key and end.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn lock(&self) -> anyhow::Result<()> {
        ask(&self.path, &Request::Lock).map(drop)
    }
}

impl Signer for KeyAgent {
    fn public(&self) -> PublicKey {
        self.public
    }

    fn sign(&self, subject: Subject, bytes: &[u8]) -> anyhow::Result<Signature> {
        let request = Request::Sign { subject, bytes: BASE64.encode(bytes) };
        match ask(&self.path, &request)? {
            Some(Reply::Signed(text)) => Ok(Signature {
                key: text.key,
                bytes: BASE64.decode(text.signature.as_bytes()).context("the key agent's signature")?,
            }),
            Some(Reply::Refused { reason }) => bail!("the key agent {reason}"),
            Some(other) => bail!("the key agent gave an answer that makes no sense: {other:?}"),
            None => bail!("the key agent has ended; run `campanile key unlock` again"),
        }
    }
}

fn ask(path: &Path, request: &Request) -> anyhow::Result<Option<Reply>> {
    let told = || format!("the key agent at {} does not answer", path.display());
    let Some(mut stream) = socket::connect(path).with_context(told)? else { return Ok(None) };
    if !socket::is_own(&stream)? {
        bail!("{} belongs to another user; nothing was asked of it", path.display());
    }
    socket::set_patience(&stream, PATIENCE)?;
    protocol::write(&mut stream, request).with_context(told)?;
    protocol::read(&mut stream).map(Some).with_context(told)
}

/// Starts an agent with this key.
///
/// # Errors
/// When it does not start.
pub(super) fn start(environment: &Environment, key: &OperatorKey, until: Timestamp) -> anyhow::Result<()> {
    let path = socket_path(environment)?;
    if let Some(folder) = path.parent() {
        file::make_private_dir(folder)?;
    }
    let program = std::env::current_exe().context("cannot find this program")?;
    let until = until.as_millis().to_string();
    let line = ["key", "agent", "--until", &until, "--socket"].map(std::ffi::OsStr::new);
    let line: Vec<_> = line.into_iter().chain([path.as_os_str()]).collect();
    let said =
        process::start_with_secret(&program, &line, key.seed()).context("cannot start the key agent")?;
    if said != READY {
        bail!("the key agent does not start: {said}");
    }
    Ok(())
}

/// The agent itself: the seed comes on standard input.
pub(super) fn run(context: &mut Context<'_>, path: &Path, until: Timestamp) -> anyhow::Result<Exit> {
    let opened = open(path);
    match &opened {
        Ok(_) => writeln!(context.out, "{READY}")?,
        Err(error) => writeln!(context.out, "{error:#}")?,
    }
    context.out.flush()?;
    let (key, listener) = opened?;
    let served = serve(&key, &listener, until);
    // Whoever replaced this agent has the path now; removing a socket that is not ours would cut it off.
    if served? == Ending::Asked {
        std::fs::remove_file(path).ok();
    }
    Ok(Exit::Fine)
}

fn open(path: &Path) -> anyhow::Result<(OperatorKey, UnixListener)> {
    process::hide_memory().context("cannot protect its memory")?;
    let mut seed = Zeroizing::new([0; 32]);
    io::stdin().lock().read_exact(&mut *seed).context("cannot read the key")?;
    Ok((OperatorKey::from_seed(seed)?, socket::listen(path)?))
}

/// Why the agent ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It was told to.
    Asked,
    /// Its time is over.
    TimeOver,
}

pub(super) fn serve(key: &OperatorKey, listener: &UnixListener, until: Timestamp) -> io::Result<Ending> {
    let deadline = Instant::now() + until.since(clock::now());
    loop {
        if clock::now() >= until || Instant::now() >= deadline {
            return Ok(Ending::TimeOver);
        }
        let Some(mut stream) = socket::accept(listener, deadline.min(Instant::now() + LOOK))? else {
            continue;
        };
        // One caller that misbehaves is no reason to leave the others without a key.
        if answer(key, &mut stream, until).is_ok_and(|is_asked| is_asked) {
            return Ok(Ending::Asked);
        }
    }
}

/// Serves one connection; true when it asked to lock.
fn answer(key: &OperatorKey, stream: &mut UnixStream, until: Timestamp) -> io::Result<bool> {
    if !socket::is_own(stream)? {
        return Ok(false);
    }
    socket::set_patience(stream, PATIENCE)?;
    let request = protocol::read(stream)?;
    protocol::write(stream, &decide(key, &request, until))?;
    Ok(request == Request::Lock)
}

/// What the agent answers.
pub(super) fn decide(key: &OperatorKey, request: &Request, until: Timestamp) -> Reply {
    match request {
        Request::Describe => Reply::Key { public: keyring::public_text(&key.public()), until },
        Request::Lock => Reply::Locked,
        Request::Sign { subject, bytes } => {
            let signed = BASE64
                .decode(bytes.as_bytes())
                .map_err(|_| signer::Refusal("the bytes are no base64".to_owned()))
                .and_then(|bytes| signer::sign_with(key, *subject, &bytes));
            match signed {
                Ok(signature) => Reply::Signed(SignatureText {
                    key: signature.key,
                    signature: BASE64.encode(&signature.bytes),
                }),
                Err(refusal) => Reply::Refused { reason: refusal.to_string() },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::thread;

    fn key() -> OperatorKey {
        OperatorKey::from_seed(Zeroizing::new([7; 32])).unwrap()
    }

    fn environment(folder: &Path) -> Environment {
        let variables =
            [("CAMPANILE_CONFIG_DIR".to_owned(), folder.to_str().unwrap().to_owned())].into_iter().collect();
        Environment { variables, ..Environment::default() }
    }

    #[test]
    fn an_agent_signs_until_it_is_locked_and_never_gives_the_seed() {
        let folder = tempfile::tempdir().unwrap();
        let environment = environment(folder.path());
        assert!(KeyAgent::find(&environment).unwrap().is_none());
        let listener = socket::listen(&socket_path(&environment).unwrap()).unwrap();
        let until = clock::now() + Duration::from_secs(60);
        let served = thread::spawn(move || serve(&key(), &listener, until));
        let agent = KeyAgent::find(&environment).unwrap().unwrap();
        assert_eq!(agent.public(), key().public());
        let refused = agent.sign(Subject::Order, b"anything").unwrap_err().to_string();
        assert!(refused.contains("refused to sign"), "{refused}");
        let foreign = ask(&socket_path(&environment).unwrap(), &Request::Describe).unwrap().unwrap();
        assert!(!format!("{foreign:?}").contains(&BASE64.encode(&[7; 32])));
        agent.lock().unwrap();
        assert_eq!(served.join().unwrap().unwrap(), Ending::Asked);
        assert!(KeyAgent::find(&environment).unwrap().is_none());
    }

    #[test]
    fn an_agent_whose_time_is_over_ends() {
        let folder = tempfile::tempdir().unwrap();
        let listener = socket::listen(&folder.path().join("a.sock")).unwrap();
        assert_eq!(serve(&key(), &listener, Timestamp::from_millis(1)).unwrap(), Ending::TimeOver);
    }

    #[test]
    fn a_caller_that_sends_garbage_does_not_end_the_agent() {
        let folder = tempfile::tempdir().unwrap();
        let environment = environment(folder.path());
        let path = socket_path(&environment).unwrap();
        let listener = socket::listen(&path).unwrap();
        let until = clock::now() + Duration::from_secs(60);
        let served = thread::spawn(move || serve(&key(), &listener, until));
        let mut stream = socket::connect(&path).unwrap().unwrap();
        stream.write_all(&[255; 64]).unwrap();
        drop(stream);
        KeyAgent::find(&environment).unwrap().unwrap().lock().unwrap();
        assert_eq!(served.join().unwrap().unwrap(), Ending::Asked);
    }
}
