//! A steward in a folder of its own, and a client that speaks to it.

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use campanile_agent::os::packet::{Interest, PacketSocket, Received, wait};
use campanile_agent::steward::pin::write_pin;
use campanile_agent::steward::protocol::{PACKET_BYTES_MAX, StewardEvent, StewardRequest, Tag};
use campanile_common::api::AuditEntry;
use campanile_common::authority::{
    Action, Command, Delivery, Document, Limits, Operator, OperatorKey, Order, Role, RunId, SignedAuthority,
    Targets, Tier,
};
use campanile_common::id::{FleetId, NodeId, OrderId};
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::order::{Deliver, DeliveryMode, Outcome, OutputStream, RunResult};
use campanile_common::wire::v1::request::StewardDescription;
use zeroize::Zeroizing;

pub(crate) const FLEET: FleetId = FleetId::from_bytes([1; 16]);
pub(crate) const NODE: NodeId = NodeId::from_bytes([2; 8]);
/// Longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const OPEN_POLICY: &str =
    "highest_tier = 3\nclasses = [\"observe\", \"command\", \"shell\"]\n[units]\nchange = [\"*\"]\n";

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap())
}

pub(crate) fn key(seed: u8) -> OperatorKey {
    OperatorKey::from_seed(Zeroizing::new([seed; 32])).unwrap()
}

/// One operator, alice, with every role, and one recovery key.
pub(crate) fn first_document() -> Document {
    let operator =
        Operator { name: "alice".to_owned(), key: key(1).public(), roles: Role::ALL.into_iter().collect() };
    let mut document = Document::first(
        FLEET,
        "fleet".to_owned(),
        operator,
        now() - Duration::from_secs(3600),
        now() + Duration::from_secs(86_400),
    );
    document.recovery.push(key(200).public());
    document
}

pub(crate) fn first_authority() -> SignedAuthority {
    first_document().sign(&[&key(1)]).unwrap()
}

fn random<const N: usize>() -> [u8; N] {
    campanile_agent::os::random::bytes()
}

/// An order of tier 2 for this node that runs `sh -c SCRIPT`.
pub(crate) fn shell(script: &str) -> Order {
    command(&["sh", "-c", script])
}

pub(crate) fn command(argv: &[&str]) -> Order {
    let argv = argv.iter().map(|word| (*word).to_owned()).collect();
    order(Action::Run(Command { argv, user: None, stdin: Vec::new() }))
}

pub(crate) fn order(action: Action) -> Order {
    Order {
        format: Order::FORMAT,
        fleet: FLEET,
        id: OrderId::from_bytes(random()),
        authority_version: 1,
        tier: Tier::Change,
        not_before: now() - Duration::from_secs(60),
        expires: now() + Duration::from_secs(60),
        targets: Targets::Nodes(vec![NODE]),
        action,
        limits: Limits::default(),
        standing: None,
        reason: "a test".to_owned(),
    }
}

/// The order, signed by alice, to be started.
pub(crate) fn deliver(order: &Order) -> Deliver {
    let order = order.sign(&[&key(1)]).unwrap();
    let delivery = Delivery { order, proof: None, occurrence: None };
    Deliver { delivery, mode: DeliveryMode::Start, journal: None }
}

pub(crate) fn run_of(order: &Order) -> RunId {
    RunId { order: order.id, occurrence: None }
}

/// A folder with a pin, a policy and settings; the steward in it, when it runs.
pub(crate) struct Node {
    folder: tempfile::TempDir,
    program: PathBuf,
    steward: Option<Child>,
}

impl Node {
    /// Enrolled, with a policy that permits everything, and started.
    pub(crate) fn new() -> Self {
        Self::with_settings("")
    }

    /// With more settings of the steward; `@` in them is the node's folder.
    pub(crate) fn with_settings(more: &str) -> Self {
        Self::laid_out("never", env!("CARGO_BIN_EXE_campanile-agent").into(), more)
    }

    /// One whose commands run in units of the service manager that runs this machine; none, and a word about it, where
    /// there is no such machine. `program` may be a copy of the agent.
    pub(crate) fn in_units(program: PathBuf) -> Option<Self> {
        let can = Path::new("/run/systemd/system").is_dir() && rustix::process::geteuid().is_root();
        if !can {
            eprintln!("SKIPPED: needs root on a machine that systemd runs");
        }
        can.then(|| Self::laid_out("auto", program, ""))
    }

    fn laid_out(units: &str, program: PathBuf, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let more = more.replace('@', &folder.path().display().to_string());
        let mut node = Self { folder, program, steward: None };
        write_pin(&node.state(), FLEET, NODE, &[first_authority()]).unwrap();
        node.write_policy(OPEN_POLICY);
        let at = |name: &str| node.path(name).display().to_string();
        let settings = format!(
            "state_dir = \"{}\"\nlog_level = \"info\"\nlog_format = \"text\"\npolicy = \"{}\"\n[steward]\n\
             state_dir = \"{}\"\nsocket = \"{}\"\nunits = \"{units}\"\n{more}",
            at("agent"),
            at("policy.toml"),
            at("state"),
            at("steward.sock"),
        );
        std::fs::write(node.path("agent.toml"), settings).unwrap();
        node.start();
        node
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.path("state")
    }

    pub(crate) fn write_policy(&self, text: &str) {
        campanile_agent::os::file::replace(&self.path("policy.toml"), text.as_bytes()).unwrap();
    }

    pub(crate) fn start(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        let steward = Process::new(&self.program)
            .args(["steward", "--config"])
            .arg(self.path("agent.toml"))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.steward = Some(steward);
    }

    pub(crate) fn pid(&self) -> u32 {
        self.steward.as_ref().unwrap().id()
    }

    pub(crate) fn kill(&mut self) {
        let mut steward = self.steward.take().unwrap();
        steward.kill().unwrap();
        steward.wait().unwrap();
    }

    /// Asks it to stop; its exit code.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        let mut steward = self.steward.take().unwrap();
        let pid = rustix::process::Pid::from_child(&steward);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        steward.wait().unwrap().code()
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.path("steward.sock"))
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(steward) = &mut self.steward {
            steward.kill().ok();
            steward.wait().ok();
        }
        if std::thread::panicking() {
            eprintln!("--- log of the steward\n{}", self.log());
        }
    }
}

/// Waits until `is_so`; fails after a while.
#[track_caller]
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A connection to a steward.
pub(crate) struct Client {
    pub(crate) socket: PacketSocket,
    buffer: Vec<u8>,
}

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) was_received: bool,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) outcome: Outcome,
}

impl Client {
    /// A connection that is answered. A steward that was killed while it started a guard leaves its listening socket
    /// open in the guard until that has replaced its program; what is connected to that is reset, and tries again.
    pub(crate) fn connect(path: &Path) -> Self {
        let mut answered = None;
        eventually("the steward answers", || {
            answered = PacketSocket::connect(path).ok().and_then(Self::asked);
            answered.is_some()
        });
        answered.unwrap()
    }

    /// A connection that asks nothing.
    pub(crate) fn silent(path: &Path) -> Self {
        Self { socket: PacketSocket::connect(path).unwrap(), buffer: vec![0; PACKET_BYTES_MAX] }
    }

    /// The connection, once whoever is at its other end has described itself.
    fn asked(socket: PacketSocket) -> Option<Self> {
        let mut client = Self { socket, buffer: vec![0; PACKET_BYTES_MAX] };
        let question = StewardRequest::Describe(Tag(0)).to_packet().unwrap();
        if !client.socket.send(&question).ok()? {
            return None;
        }
        matches!(client.next()?, StewardEvent::Description(..)).then_some(client)
    }

    pub(crate) fn send(&self, request: &StewardRequest) {
        self.send_packet(&request.to_packet().unwrap());
    }

    pub(crate) fn send_packet(&self, packet: &[u8]) {
        while !self.socket.send(packet).unwrap() {
            let interest = Interest { read: false, write: true };
            wait(&[(self.socket.as_fd(), interest)], Some(PATIENCE)).unwrap();
        }
    }

    /// The next answer, whatever is told to everybody in between; none when the steward closed the connection.
    pub(crate) fn next(&mut self) -> Option<StewardEvent> {
        loop {
            match self.next_event()? {
                StewardEvent::Config(_) | StewardEvent::Reach(_) | StewardEvent::Proof(_) => {}
                answer => return Some(answer),
            }
        }
    }

    /// The next event; none when the steward closed the connection.
    pub(crate) fn next_event(&mut self) -> Option<StewardEvent> {
        let begun = Instant::now();
        loop {
            match self.socket.receive(&mut self.buffer) {
                Ok(Received::Packet(length)) => {
                    return Some(StewardEvent::from_packet(&self.buffer[..length]).unwrap());
                }
                Ok(Received::Nothing) => {
                    assert!(begun.elapsed() < PATIENCE, "the steward says nothing");
                    wait(&[(self.socket.as_fd(), Interest::READ)], Some(PATIENCE)).unwrap();
                }
                Ok(Received::TooLong) => panic!("a packet that is too long"),
                Ok(Received::Closed) | Err(_) => return None,
            }
        }
    }

    pub(crate) fn deliver(&self, deliver: &Deliver) {
        self.send(&StewardRequest::Deliver(Box::new(deliver.clone())));
    }

    /// Hears of runs until the outcome of `run`, whatever is said of others.
    pub(crate) fn outcome(&mut self, run: RunId) -> Told {
        let (mut was_received, mut stdout, mut stderr) = (false, Vec::new(), Vec::new());
        loop {
            match self.next().expect("the steward is there") {
                StewardEvent::Received(found, _) if found == run => was_received = true,
                StewardEvent::Output(found, chunk) if found == run => {
                    let before = stdout.len() + stderr.len();
                    assert_eq!(chunk.offset, u64::try_from(before).unwrap(), "output without a hole");
                    match chunk.stream {
                        OutputStream::Stdout => stdout.extend(chunk.bytes),
                        OutputStream::Stderr => stderr.extend(chunk.bytes),
                    }
                }
                StewardEvent::Outcome(outcome) if outcome.run == run => {
                    return Told { was_received, stdout, stderr, outcome };
                }
                _ => {}
            }
        }
    }

    /// The outcome of a run, whatever is told of its output.
    pub(crate) fn outcome_of(&mut self, run: RunId) -> Outcome {
        loop {
            match self.next().expect("the steward is there") {
                StewardEvent::Outcome(outcome) if outcome.run == run => return outcome,
                _ => {}
            }
        }
    }

    /// Delivers, and hears it to its end.
    pub(crate) fn run(&mut self, order: &Order) -> Told {
        self.deliver(&deliver(order));
        self.outcome(run_of(order))
    }

    pub(crate) fn describe(&mut self) -> StewardDescription {
        self.send(&StewardRequest::Describe(Tag(7)));
        loop {
            if let StewardEvent::Description(Tag(7), found) = self.next().unwrap() {
                return *found;
            }
        }
    }

    /// The whole audit chain.
    pub(crate) fn audit(&mut self) -> Vec<AuditEntry> {
        let mut entries: Vec<AuditEntry> = Vec::new();
        loop {
            let after = entries.last().map_or(0, |entry| entry.sequence);
            self.send(&StewardRequest::Audit(Tag(8), after, 64));
            let found = loop {
                if let StewardEvent::Audit(Tag(8), found) = self.next().unwrap() {
                    break found;
                }
            };
            if found.is_empty() {
                return entries;
            }
            entries.extend(found.iter().map(|text| serde_json::from_str::<AuditEntry>(text).unwrap()));
        }
    }
}

pub(crate) fn code(result: &RunResult) -> Option<campanile_common::authority::DenialCode> {
    match result {
        RunResult::Denied(denial) => Some(denial.code),
        _ => None,
    }
}
