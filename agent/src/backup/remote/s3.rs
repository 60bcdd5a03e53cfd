//! A repository in a bucket.
//!
//! Objects are stored whole, each with its hash, and only where there is none of that name yet: where the server knows
//! conditions by one request, else by looking first. All objects but `config` are named by the hash of their bytes, so that
//! of two who store one at once both store the same.

mod answer;
mod credentials;
mod sign;
mod wire;

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use campanile_backup::backend::{Backend, BackendError, Listed, Object, ObjectKind};
use campanile_common::backup::S3Place;
use data_encoding::BASE64;
use ring::digest;

use self::answer::{Asked, Refusal, list_page, refusal};
use self::credentials::{Credentials, CredentialsError};
use self::wire::{Answer, Ask, Silence, Wire, WireError};
use super::layout;
use super::patience::{Failure, Patience};
use crate::os::user;

/// Names asked for at once; servers give no more.
const PAGE_NAMES: &str = "1000";
/// Most pages of a list: a hundred million objects.
const PAGES_MAX: usize = 100_000;

/// A bucket that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(in crate::backup) enum S3Error {
    /// Its credentials.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The way there.
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// A part of a bucket.
#[derive(Debug)]
pub(in crate::backup) struct S3 {
    place: S3Place,
    wire: Wire,
    patience: Patience,
    /// The server does not know conditions and hashes in requests.
    is_plain: AtomicBool,
}

impl S3 {
    /// With the credentials in a file. Nothing is asked yet.
    pub(in crate::backup) fn new(
        place: &S3Place,
        credentials: &Path,
        patience: Patience,
    ) -> Result<Self, S3Error> {
        let credentials = Credentials::read(credentials, user::own().uid)?;
        let wire = Wire::new(place, credentials)?;
        Ok(Self { place: place.clone(), wire, patience, is_plain: AtomicBool::new(false) })
    }

    fn key(&self, path: &str) -> String {
        if self.place.prefix.is_empty() { path.to_owned() } else { format!("{}/{path}", self.place.prefix) }
    }

    /// Asks until there is an answer. Those of success are given, others as what they mean.
    fn ask(
        &self,
        object: Object,
        action: &str,
        ask: &Ask<'_>,
    ) -> Result<Result<Answer, Refusal>, BackendError> {
        let asked =
            Asked { bucket: &self.place.bucket, host: self.wire.host(), region: self.wire.region(), action };
        let never = |reason| Failure::Lasting(BackendError::Refused { object, reason });
        self.patience.patiently(&self.place, || match self.wire.exchange(ask) {
            Ok(answer) if (200..300).contains(&answer.status) => Ok(Ok(answer)),
            Ok(Answer { status, body }) => match refusal(status, &body, asked) {
                Refusal::Again(why) => Err(Failure::Passing(why)),
                Refusal::Never(reason) => Err(never(reason)),
                Refusal::Full(reason) => Err(Failure::Lasting(BackendError::Full { object, reason })),
                refusal => Ok(Err(refusal)),
            },
            Err(Silence::Passing(why)) => Err(Failure::Passing(why)),
            Err(Silence::Lasting(why)) => Err(never(format!("{}: {why}", self.wire.host()))),
        })
    }

    fn is_there(&self, object: Object) -> Result<bool, BackendError> {
        let key = self.key(&layout::path(object));
        let ask = Ask { method: "HEAD", key: &key, query: &[], headers: Vec::new(), body: b"" };
        match self.ask(object, "s3:GetObject", &ask)? {
            Ok(_) => Ok(true),
            Err(Refusal::Missing) => Ok(false),
            Err(other) => Err(odd(object, &other)),
        }
    }

    /// False where the server does not know what else is asked of it, and stored nothing.
    fn store(&self, object: Object, bytes: &[u8], is_plain: bool) -> Result<bool, BackendError> {
        let key = self.key(&layout::path(object));
        let mut headers = vec![("content-type", "application/octet-stream".to_owned())];
        if !is_plain {
            // A bucket with a lock on its objects wants a hash of its own.
            let hash = BASE64.encode(digest::digest(&digest::SHA256, bytes).as_ref());
            headers.push(("if-none-match", "*".to_owned()));
            headers.push(("x-amz-checksum-sha256", hash));
        }
        let ask = Ask { method: "PUT", key: &key, query: &[], headers, body: bytes };
        match self.ask(object, "s3:PutObject", &ask)? {
            Ok(_) | Err(Refusal::Exists) => Ok(true),
            Err(Refusal::NotImplemented(_)) if !is_plain => Ok(false),
            Err(other) => Err(odd(object, &other)),
        }
    }

    /// A part of the objects of a kind, and where the next begins.
    fn list_part(&self, kind: ObjectKind, from: Option<&str>) -> Result<answer::ListPage, BackendError> {
        let some = Object { kind, ..Object::CONFIG };
        let end = if kind == ObjectKind::Config { "" } else { "/" };
        let prefix = self.key(&format!("{}{end}", kind.folder()));
        let mut query = vec![("list-type", "2"), ("max-keys", PAGE_NAMES), ("prefix", prefix.as_str())];
        query.extend(from.map(|from| ("continuation-token", from)));
        let ask = Ask { method: "GET", key: "", query: &query, headers: Vec::new(), body: b"" };
        let answer = self.ask(some, "s3:ListBucket", &ask)?.map_err(|refusal| odd(some, &refusal))?;
        list_page(&answer.body).map_err(|reason| BackendError::Refused { object: some, reason })
    }
}

impl Backend for S3 {
    fn put(&self, object: Object, bytes: &[u8]) -> Result<(), BackendError> {
        let is_plain = self.is_plain.load(Ordering::Relaxed);
        // Of what is not named by its hash nothing may be replaced, whatever the server knows.
        if (is_plain || object.kind == ObjectKind::Config) && self.is_there(object)? {
            return Ok(());
        }
        if !self.store(object, bytes, is_plain)? {
            self.is_plain.store(true, Ordering::Relaxed);
            return self.put(object, bytes);
        }
        Ok(())
    }

    fn get(&self, object: Object, range: Option<Range<u64>>) -> Result<Vec<u8>, BackendError> {
        let length = match &range {
            Some(range) if range.is_empty() => return Ok(Vec::new()),
            Some(range) => Some(range.end - range.start),
            None => None,
        };
        let key = self.key(&layout::path(object));
        let headers = range.iter().map(|range| ("range", format!("bytes={}-{}", range.start, range.end - 1)));
        let ask = Ask { method: "GET", key: &key, query: &[], headers: headers.collect(), body: b"" };
        let answer = self.ask(object, "s3:GetObject", &ask)?.map_err(|refusal| odd(object, &refusal))?;
        let got = answer.body.len() as u64;
        match length {
            Some(length) if got < length => Err(BackendError::Short(object)),
            Some(length) if got > length => {
                let reason = "the server does not give parts of objects".to_owned();
                Err(BackendError::Refused { object, reason })
            }
            _ => Ok(answer.body),
        }
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>, BackendError> {
        let (mut listed, mut from) = (Vec::new(), None);
        for _ in 0..PAGES_MAX {
            let page = self.list_part(kind, from.as_deref())?;
            for (key, size) in &page.entries {
                let path = match self.place.prefix.as_str() {
                    "" => Some(key.as_str()),
                    prefix => key.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('/')),
                };
                let object = path.and_then(|path| layout::object(kind, path));
                listed.extend(object.map(|object| Listed { id: object.id, size: *size }));
            }
            if page.next.is_none() {
                return Ok(listed);
            }
            from = page.next;
        }
        let reason = "the list does not end".to_owned();
        Err(BackendError::Refused { object: Object { kind, ..Object::CONFIG }, reason })
    }

    fn remove(&self, object: Object) -> Result<(), BackendError> {
        let key = self.key(&layout::path(object));
        let ask = Ask { method: "DELETE", key: &key, query: &[], headers: Vec::new(), body: b"" };
        match self.ask(object, "s3:DeleteObject", &ask)? {
            Ok(_) | Err(Refusal::Missing) => Ok(()),
            Err(other) => Err(odd(object, &other)),
        }
    }
}

/// An answer that has no meaning for what was asked.
fn odd(object: Object, refusal: &Refusal) -> BackendError {
    let reason = match refusal {
        Refusal::Missing => return BackendError::Missing(object),
        Refusal::Short => return BackendError::Short(object),
        Refusal::Exists => "the server says that there is one already".to_owned(),
        Refusal::Again(why) | Refusal::NotImplemented(why) | Refusal::Full(why) | Refusal::Never(why) => {
            format!("the server does not do it: {why}")
        }
    };
    BackendError::Refused { object, reason }
}
