//! One connection: a process `ssh`, what goes in and what comes out.
//!
//! Several threads ask at once. Each request has a number; a thread reads replies and hands each to who waits for it. A
//! caller has at most [`WINDOW`] requests under way, so that what is held is bounded, and the reader never waits for anybody.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::codec::{self, Abilities, CodecError, Reply, Request};
use super::command::Cut;
use crate::os::dialogue::{Dialogue, Input, Output, Pipes, last_complaints};
use crate::os::stopwatch::{Stopwatch, pause};

/// Most requests of a caller under way: 2 MiB of a file, which fills a line of 100 MB/s at 20 ms.
pub(super) const WINDOW: usize = 64;
/// How long signing in may take.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(60);
/// A server that answers nothing for so long is away.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// How long what `ssh` says of its end is waited for.
const LAST_WORDS: Duration = Duration::from_secs(3);

const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// A reply and the number of its request; none when there will be none.
type Message = Option<(u32, Reply)>;

/// One connection.
#[derive(Debug)]
pub(super) struct Session {
    input: Mutex<Option<Input>>,
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
    pub(super) abilities: Abilities,
}

#[derive(Debug)]
struct Shared {
    calls: Mutex<Waiting>,
    dialogue: Mutex<Dialogue>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u32,
    by_number: BTreeMap<u32, Sender<Message>>,
    end: Option<Cut>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Session {
    /// Starts `program` and waits until it is connected.
    pub(super) fn start(program: &Path, arguments: &[String]) -> Result<Self, Cut> {
        let (dialogue, pipes) = Dialogue::start(program, arguments)
            .map_err(|error| Cut::lasting(format!("cannot run {}: {error}", program.display())))?;
        let Pipes { mut input, output, complaints } = pipes;
        let shared = Arc::new(Shared { calls: Mutex::default(), dialogue: Mutex::new(dialogue) });
        let (said, last_words) = channel();
        let (welcome, welcomed) = channel();
        // It ends with the process that holds the other end.
        thread::spawn(move || said.send(last_complaints(complaints)).ok());
        let for_reader = Arc::clone(&shared);
        let reader = thread::spawn(move || for_reader.read(output, &welcome, &last_words));
        // That it cannot be written is what its end says as well.
        let greeted = input.write_all(&codec::hello()).and_then(|()| input.flush());
        let abilities = welcomed.recv_timeout(if greeted.is_ok() { WELCOME_TIMEOUT } else { LAST_WORDS });
        let mut session = Self {
            input: Mutex::new(Some(input)),
            shared,
            reader: Some(reader),
            abilities: Abilities::default(),
        };
        match abilities {
            Ok(abilities) => {
                session.abilities = abilities;
                Ok(session)
            }
            Err(RecvTimeoutError::Timeout) => {
                session.cut();
                Err(Cut::passing("it did not answer in time".to_owned()))
            }
            Err(RecvTimeoutError::Disconnected) => Err(session.end()),
        }
    }

    /// Whether it is of no more use.
    pub(super) fn has_ended(&self) -> bool {
        locked(&self.shared.calls).end.is_some()
    }

    /// Asks one thing.
    pub(super) fn call(&self, request: &Request<'_>) -> Result<Reply, Cut> {
        let mut calls = self.calls();
        calls.send(request)?;
        calls.receive().map(|(_, reply)| reply)
    }

    /// For several requests under way at once.
    pub(super) fn calls(&self) -> Calls<'_> {
        let (sender, replies) = channel();
        Calls { session: self, sender, replies, count: 0 }
    }

    /// Ends the process: everybody who waits is told.
    fn cut(&self) {
        locked(&self.shared.dialogue).kill();
    }

    /// Why it ended. Waits for that.
    fn end(&mut self) -> Cut {
        self.join();
        let end = locked(&self.shared.calls).end.take();
        end.unwrap_or_else(|| Cut::passing("the connection was cut".to_owned()))
    }

    fn join(&mut self) {
        drop(locked(&self.input).take());
        let Some(reader) = self.reader.take() else { return };
        let watch = Stopwatch::start();
        while !reader.is_finished() && watch.elapsed() < LAST_WORDS {
            pause(LOOK_INTERVAL);
        }
        if !reader.is_finished() {
            self.cut();
        }
        drop(reader.join());
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.join();
    }
}

/// Requests of one caller.
#[derive(Debug)]
pub(super) struct Calls<'a> {
    session: &'a Session,
    sender: Sender<Message>,
    replies: Receiver<Message>,
    count: usize,
}

impl Calls<'_> {
    /// Whether there may be one more under way.
    pub(super) fn has_room(&self) -> bool {
        self.count < WINDOW
    }

    /// Whether none is under way.
    pub(super) fn is_done(&self) -> bool {
        self.count == 0
    }

    /// Sends a request; its number.
    pub(super) fn send(&mut self, request: &Request<'_>) -> Result<u32, Cut> {
        let id = {
            let mut waiting = locked(&self.session.shared.calls);
            if let Some(end) = &waiting.end {
                return Err(end.clone());
            }
            let id = waiting.next;
            waiting.next = id.wrapping_add(1);
            waiting.by_number.insert(id, self.sender.clone());
            id
        };
        self.count += 1;
        let packet = codec::encode(id, request);
        let written = match locked(&self.session.input).as_mut() {
            Some(input) => input.write_all(&packet).and_then(|()| input.flush()),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        };
        if written.is_err() {
            // Why is what the end of the process says.
            self.session.cut();
            while self.receive().is_ok() {}
            return Err(self.ended());
        }
        Ok(id)
    }

    /// The next reply.
    pub(super) fn receive(&mut self) -> Result<(u32, Reply), Cut> {
        match self.replies.recv_timeout(SILENCE_MAX) {
            Ok(Some(reply)) => {
                self.count = self.count.saturating_sub(1);
                Ok(reply)
            }
            Ok(None) => Err(self.ended()),
            Err(_) => {
                self.session.cut();
                Err(Cut::passing(format!("it answered nothing for {} seconds", SILENCE_MAX.as_secs())))
            }
        }
    }

    fn ended(&self) -> Cut {
        let end = locked(&self.session.shared.calls).end.clone();
        end.unwrap_or_else(|| Cut::passing("the connection was cut".to_owned()))
    }
}

impl Shared {
    /// The thread that reads.
    fn read(&self, mut output: Output, welcome: &Sender<Abilities>, last_words: &Receiver<String>) {
        let ended = self.hand_out(&mut output, welcome);
        let complaint = match &ended {
            Err(ReadError::Io(_)) => {
                locked(&self.dialogue).end();
                last_words.recv_timeout(LAST_WORDS).unwrap_or_default()
            }
            Err(ReadError::Codec(_)) | Ok(()) => {
                locked(&self.dialogue).kill();
                String::new()
            }
        };
        let end = match ended {
            Err(ReadError::Codec(error)) => Cut::lasting(error.to_string()),
            Err(ReadError::Io(_)) | Ok(()) => Cut::of_complaint(&complaint),
        };
        let mut waiting = locked(&self.calls);
        waiting.end = Some(end);
        for sender in std::mem::take(&mut waiting.by_number).into_values() {
            // Who asked waits no more.
            drop(sender.send(None));
        }
    }

    /// Reads replies until there are no more.
    fn hand_out(&self, output: &mut Output, welcome: &Sender<Abilities>) -> Result<(), ReadError> {
        let abilities = codec::welcome(&packet(output)?)?;
        if welcome.send(abilities).is_err() {
            return Ok(());
        }
        loop {
            let (id, reply) = codec::decode(&packet(output)?)?;
            let sender = locked(&self.calls).by_number.remove(&id);
            let sender = sender.ok_or(CodecError::Unasked(id))?;
            // Who asked may have given up.
            drop(sender.send(Some((id, reply))));
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Codec(#[from] CodecError),
}

fn packet(output: &mut Output) -> Result<Vec<u8>, ReadError> {
    let mut length = [0; 4];
    output.read_exact(&mut length)?;
    let mut packet = vec![0; codec::packet_length(length)?];
    output.read_exact(&mut packet)?;
    Ok(packet)
}
