//! The task against a steward that follows a script, over a real socket.

#![expect(clippy::disallowed_methods, reason = "tests lay out the files that are looked for")]

use std::os::fd::OwnedFd;
use std::thread;

use campanile_common::authority::{Delivery, RunId, SignedOrder};
use campanile_common::id::JournalId;
use campanile_common::wire::v1::order::{
    Deliver, DeliveryMode, JournalPosition, OrderReply, Outcome, OutputChunk, OutputStream, RunResult,
};
use campanile_common::wire::v1::request::{Reply, Request};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen,
    recv, send, socket_with,
};
use tempfile::TempDir;

use super::super::relay::run_of;
use super::*;
use crate::steward::protocol::JournalQuery;

/// Far beyond what any step takes; a step that hangs fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A steward's end, without its sense.
struct Script(OwnedFd);

/// A connection of the agent.
struct Peer(OwnedFd);

impl Script {
    fn listen(path: &Path) -> Self {
        drop(std::fs::remove_file(path));
        let socket =
            socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        bind(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
        listen(&socket, 4).unwrap();
        Self(socket)
    }

    fn accept(&self) -> Peer {
        Peer(accept_with(&self.0, SocketFlags::CLOEXEC).unwrap())
    }
}

impl Peer {
    fn take(&self) -> Option<StewardRequest> {
        let mut packet = vec![0; PACKET_BYTES_MAX];
        let (_, length) = recv(&self.0, &mut packet[..], RecvFlags::empty()).unwrap();
        (length > 0).then(|| StewardRequest::from_packet(&packet[..length]).unwrap())
    }

    /// The next that is not the agent's own look at what we have.
    fn take_asked(&self) -> StewardRequest {
        loop {
            match self.take().expect("the agent stays connected") {
                StewardRequest::Describe(tag) => {
                    drop(self.try_tell(&StewardEvent::Refused(tag, String::new())))
                }
                request => return request,
            }
        }
    }

    fn tell(&self, event: &StewardEvent) {
        self.try_tell(event).unwrap();
    }

    fn try_tell(&self, event: &StewardEvent) -> io::Result<usize> {
        Ok(send(&self.0, &event.to_packet().unwrap(), SendFlags::NOSIGNAL)?)
    }
}

struct Setup {
    orders: OrderHandle,
    socket: PathBuf,
    stop: CancellationToken,
    folder: TempDir,
}

impl Setup {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::within(folder)
    }

    /// Starts a relay whose state and socket are in this folder.
    fn within(folder: TempDir) -> Self {
        let socket = folder.path().join("steward.sock");
        let (task, orders) = OrderTask::new(&socket, folder.path(), Standing::default());
        let stop = CancellationToken::new();
        tokio::spawn(task.run(Pulse::default(), stop.clone()));
        Self { orders, socket, stop, folder }
    }
}

fn deliver(id: u8) -> Box<Deliver> {
    let order = SignedOrder { bytes: vec![0xff, id], signatures: Vec::new() };
    let delivery = Delivery { order, proof: None, occurrence: None };
    Box::new(Deliver { delivery, mode: DeliveryMode::Start, journal: None })
}

fn position(sequence: u64) -> JournalPosition {
    JournalPosition { journal: JournalId::from_bytes([3; 8]), sequence }
}

fn outcome(run: RunId) -> Outcome {
    Outcome {
        run,
        result: RunResult::Exited { code: 0 },
        started: None,
        finished: Timestamp::from_millis(5),
        output_bytes: 0,
        output_kept: 0,
        journal: None,
        audit: None,
    }
}

fn chunk(offset: u64, length: usize) -> OutputChunk {
    OutputChunk { offset, stream: OutputStream::Stdout, bytes: vec![b'x'; length] }
}

async fn next<T>(replies: &mut mpsc::Receiver<T>) -> Option<T> {
    tokio::time::timeout(PATIENCE, replies.recv()).await.expect("an answer within a minute")
}

#[tokio::test]
async fn a_node_that_never_had_a_steward_denies_at_once() {
    let setup = Setup::new();
    let mut replies = setup.orders.deliver(deliver(1));
    let Some(OrderReply::Outcome(outcome)) = next(&mut replies).await else { panic!("no outcome") };
    let RunResult::Denied(denial) = outcome.result else { panic!("{:?}", outcome.result) };
    assert_eq!(denial.code.as_str(), "no_steward");
    assert!(denial.reason.contains("systemctl enable --now"), "{}", denial.reason);
    assert_eq!(next(&mut replies).await, None);
    let (sender, mut replies) = mpsc::channel(1);
    setup.orders.ask(Request::Describe, sender);
    assert!(matches!(next(&mut replies).await, Some(Reply::Failed(_))));
    setup.stop.cancel();
}

#[tokio::test]
async fn a_run_is_carried_out_and_reported() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script::listen(&folder.path().join("steward.sock"));
    let setup = Setup::within(folder);
    let steward = thread::spawn(move || {
        let peer = script.accept();
        let StewardRequest::Deliver(delivered) = peer.take_asked() else { panic!("no delivery") };
        let run = run_of(&delivered);
        peer.tell(&StewardEvent::Received(run, position(1)));
        peer.tell(&StewardEvent::Output(run, chunk(0, 16 * 1024)));
        peer.tell(&StewardEvent::Outcome(outcome(run)));
        assert_eq!(peer.take_asked(), StewardRequest::Reported(run));
        delivered
    });
    let mut replies = setup.orders.deliver(deliver(1));
    assert_eq!(next(&mut replies).await, Some(OrderReply::Received(position(1))));
    assert!(matches!(next(&mut replies).await, Some(OrderReply::Output(_))));
    let Some(OrderReply::Outcome(outcome)) = next(&mut replies).await else { panic!("no outcome") };
    setup.orders.reported(outcome.run);
    let delivered = tokio::task::spawn_blocking(|| steward.join().unwrap()).await.unwrap();
    assert_eq!(delivered, deliver(1), "the bytes are the aggregator's");
}

#[tokio::test]
async fn a_steward_that_is_killed_gets_its_runs_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("steward.sock");
    let script = Script::listen(&path);
    let setup = Setup::within(folder);
    let steward = thread::spawn(move || {
        let peer = script.accept();
        let StewardRequest::Deliver(delivered) = peer.take_asked() else { panic!("no delivery") };
        peer.tell(&StewardEvent::Received(run_of(&delivered), position(1)));
        drop((peer, script));
        let script = Script::listen(&path);
        let peer = script.accept();
        let StewardRequest::Deliver(again) = peer.take_asked() else { panic!("no delivery") };
        assert_eq!(again, delivered);
        peer.tell(&StewardEvent::Received(run_of(&again), position(3)));
        peer.tell(&StewardEvent::Outcome(outcome(run_of(&again))));
    });
    let mut replies = setup.orders.deliver(deliver(1));
    assert_eq!(next(&mut replies).await, Some(OrderReply::Received(position(1))));
    assert!(matches!(next(&mut replies).await, Some(OrderReply::Outcome(_))), "received once");
    tokio::task::spawn_blocking(|| steward.join().unwrap()).await.unwrap();
    assert!(setup.folder.path().join(SEEN_FILE).exists());
}

#[tokio::test]
async fn a_run_waits_for_a_steward_that_was_there_before() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(SEEN_FILE), "").unwrap();
    let setup = Setup::within(folder);
    let mut replies = setup.orders.deliver(deliver(1));
    let script = Script::listen(&setup.socket);
    let steward = thread::spawn(move || {
        let peer = script.accept();
        let StewardRequest::Deliver(delivered) = peer.take_asked() else { panic!("no delivery") };
        peer.tell(&StewardEvent::Outcome(outcome(run_of(&delivered))));
        // Until the agent has read it.
        while peer.take().is_some() {}
    });
    assert!(matches!(next(&mut replies).await, Some(OrderReply::Outcome(_))));
    setup.stop.cancel();
    tokio::task::spawn_blocking(|| steward.join().unwrap()).await.unwrap();
}

#[tokio::test]
async fn output_that_nobody_takes_holds_the_steward_up_and_is_not_kept_here() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script::listen(&folder.path().join("steward.sock"));
    let setup = Setup::within(folder);
    let (fills, filled) = tokio::sync::oneshot::channel();
    let steward = thread::spawn(move || {
        let peer = script.accept();
        let StewardRequest::Deliver(delivered) = peer.take_asked() else { panic!("no delivery") };
        let run = run_of(&delivered);
        let packet = |offset| StewardEvent::Output(run, chunk(offset, 16 * 1024)).to_packet().unwrap();
        let mut sent: u64 = 0;
        while send(&peer.0, &packet(sent * 16 * 1024), SendFlags::DONTWAIT | SendFlags::NOSIGNAL).is_ok() {
            sent += 1;
            assert!(sent < 1000, "the agent takes what nobody takes from it");
        }
        fills.send(sent).unwrap();
        // Its end waits for room.
        peer.tell(&StewardEvent::Outcome(outcome(run)));
        while peer.take().is_some() {}
        sent
    });
    let mut replies = setup.orders.deliver(deliver(1));
    let sent = filled.await.unwrap();
    let mut bytes = 0;
    while let Some(reply) = next(&mut replies).await {
        match reply {
            OrderReply::Output(chunk) => bytes += chunk.bytes.len(),
            OrderReply::Outcome(_) => break,
            OrderReply::Received(_) => panic!("it was not said"),
        }
    }
    assert_eq!(bytes as u64, sent * 16 * 1024, "nothing is lost");
    setup.stop.cancel();
    tokio::task::spawn_blocking(|| steward.join().unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_journal_that_nobody_reads_any_more_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script::listen(&folder.path().join("steward.sock"));
    let setup = Setup::within(folder);
    let steward = thread::spawn(move || {
        let peer = script.accept();
        let StewardRequest::Journal(tag, JournalQuery { unit, .. }) = peer.take_asked() else {
            panic!("no journal")
        };
        assert_eq!(unit, "nginx.service");
        peer.tell(&StewardEvent::Journal(tag, b"line\n".to_vec()));
        assert_eq!(peer.take_asked(), StewardRequest::Stop(tag));
    });
    let (sender, mut replies) = mpsc::channel(1);
    let unit = "nginx.service".to_owned();
    setup.orders.ask(Request::Journal { unit, since_s: None, lines: 10, is_followed: true }, sender);
    assert_eq!(next(&mut replies).await, Some(Reply::Journal(b"line\n".to_vec())));
    drop(replies);
    tokio::task::spawn_blocking(|| steward.join().unwrap()).await.unwrap();
}

#[tokio::test]
async fn an_ended_journal_ends_for_whoever_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script::listen(&folder.path().join("steward.sock"));
    let setup = Setup::within(folder);
    let steward = thread::spawn(move || {
        let peer = script.accept();
        let StewardRequest::Journal(tag, _) = peer.take_asked() else { panic!("no journal") };
        peer.tell(&StewardEvent::Ended(tag));
        while peer.take().is_some() {}
    });
    let (sender, mut replies) = mpsc::channel(1);
    let unit = "nginx.service".to_owned();
    setup.orders.ask(Request::Journal { unit, since_s: None, lines: 10, is_followed: false }, sender);
    assert_eq!(next(&mut replies).await, None);
    setup.stop.cancel();
    tokio::task::spawn_blocking(|| steward.join().unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_steward_that_talks_nonsense_is_left_and_dialled_again() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script::listen(&folder.path().join("steward.sock"));
    let setup = Setup::within(folder);
    let steward = thread::spawn(move || {
        let peer = script.accept();
        send(&peer.0, b"nonsense", SendFlags::NOSIGNAL).unwrap();
        while peer.take().is_some() {}
        let peer = script.accept();
        let StewardRequest::Deliver(delivered) = peer.take_asked() else { panic!("no delivery") };
        peer.tell(&StewardEvent::Outcome(outcome(run_of(&delivered))));
        while peer.take().is_some() {}
    });
    let mut replies = setup.orders.deliver(deliver(1));
    assert!(matches!(next(&mut replies).await, Some(OrderReply::Outcome(_))));
    setup.stop.cancel();
    tokio::task::spawn_blocking(|| steward.join().unwrap()).await.unwrap();
}
