//! Objects in memory: for tests, and to see what a run would write.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Backend, BackendError, Listed, Object, ObjectKind};

/// All objects in a map.
#[derive(Debug, Default)]
pub struct Memory {
    objects: Mutex<BTreeMap<Object, Vec<u8>>>,
}

impl Memory {
    fn objects(&self) -> MutexGuard<'_, BTreeMap<Object, Vec<u8>>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces an object's bytes, as damage does.
    pub fn overwrite(&self, object: Object, bytes: Vec<u8>) {
        self.objects().insert(object, bytes);
    }

    /// Bytes of all objects together.
    pub fn size(&self) -> u64 {
        self.objects().values().map(|bytes| bytes.len() as u64).sum()
    }
}

impl Backend for Memory {
    fn put(&self, object: Object, bytes: &[u8]) -> Result<(), BackendError> {
        self.objects().entry(object).or_insert_with(|| bytes.to_vec());
        Ok(())
    }

    fn get(&self, object: Object, range: Option<Range<u64>>) -> Result<Vec<u8>, BackendError> {
        let objects = self.objects();
        let bytes = objects.get(&object).ok_or(BackendError::Missing(object))?;
        let Some(range) = range else { return Ok(bytes.clone()) };
        let index = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
        bytes.get(index(range.start)..index(range.end)).map(<[u8]>::to_vec).ok_or(BackendError::Short(object))
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>, BackendError> {
        let objects = self.objects();
        let of_kind = objects.iter().filter(|(object, _)| object.kind == kind);
        Ok(of_kind.map(|(object, bytes)| Listed { id: object.id, size: bytes.len() as u64 }).collect())
    }

    fn remove(&self, object: Object) -> Result<(), BackendError> {
        self.objects().remove(&object);
        Ok(())
    }
}
