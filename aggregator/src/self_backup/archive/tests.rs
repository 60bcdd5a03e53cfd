//! What is written reads back, and nothing else does.

use std::collections::BTreeMap;

use age::x25519::Identity;
use campanile_common::authority::sha256;
use campanile_common::fleet::FleetFile;
use campanile_common::id::{AggregatorId, FleetId};
use campanile_common::time::Timestamp;

use super::*;

struct Sample {
    identity: Identity,
    files: BTreeMap<&'static str, Vec<u8>>,
}

impl Sample {
    fn new() -> Self {
        let files = [
            ("fleet.json", b"{}".to_vec()),
            ("state.db", vec![7; 3 * BLOCK]),
            ("config/parts/ab/abcd", Vec::new()),
        ];
        Self { identity: Identity::generate(), files: files.into() }
    }

    fn manifest(&self) -> Manifest {
        let fleet = FleetFile {
            format: 1,
            fleet_id: FleetId::from_bytes([1; 16]),
            fleet_name: "test".to_owned(),
            aggregator_id: AggregatorId::from_bytes([2; 8]),
            authority: Digest::from_bytes([3; 32]),
        };
        let entry = |(name, content): (&&str, &Vec<u8>)| FileEntry {
            name: (*name).to_owned(),
            bytes: content.len() as u64,
            sha256: sha256(&[content]),
        };
        Manifest::new(&fleet, Timestamp::from_millis(1_000), self.files.iter().map(entry).collect())
    }

    fn sealed(&self) -> Vec<u8> {
        self.seal(&self.manifest()).unwrap()
    }

    fn seal(&self, manifest: &Manifest) -> io::Result<Vec<u8>> {
        let open = |name: &str| Ok(self.files[name].as_slice());
        write(&[self.identity.to_public()], manifest, Vec::new(), open, &|| Ok(()))
    }

    fn read(&self, bytes: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, ArchiveError> {
        read_with(bytes, &self.identity)
    }
}

fn read_with(bytes: &[u8], identity: &Identity) -> Result<BTreeMap<String, Vec<u8>>, ArchiveError> {
    let (manifest, mut archive) = Archive::open(bytes, &Identities(vec![identity.clone()]))?;
    let mut files = BTreeMap::new();
    for entry in &manifest.files {
        let mut content = Vec::new();
        archive.file(entry, &mut content)?;
        files.insert(entry.name.clone(), content);
    }
    archive.finish()?;
    Ok(files)
}

#[test]
fn what_was_written_reads_back() {
    let sample = Sample::new();
    let read = sample.read(&sample.sealed()).unwrap();
    assert_eq!(read.len(), 3);
    assert!(sample.files.iter().all(|(name, content)| read[*name] == *content));
}

#[test]
fn a_damaged_byte_anywhere_is_refused() {
    let sample = Sample::new();
    let good = sample.sealed();
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        assert!(sample.read(&bytes).is_err(), "byte {at} of {}", good.len());
    }
}

#[test]
fn a_file_that_is_cut_off_or_longer_is_refused() {
    let sample = Sample::new();
    let good = sample.sealed();
    for length in (0..good.len()).step_by(37) {
        assert!(sample.read(&good[..length]).is_err(), "{length} of {} bytes", good.len());
    }
    let mut longer = good;
    longer.push(0);
    assert!(sample.read(&longer).is_err());
}

#[test]
fn another_identity_opens_nothing_and_is_told_so() {
    let sample = Sample::new();
    let error = read_with(&sample.sealed(), &Identity::generate()).unwrap_err();
    assert!(matches!(error, ArchiveError::WrongIdentity), "{error}");
}

#[test]
fn a_newer_format_is_told_from_damage() {
    let sample = Sample::new();
    let text =
        String::from_utf8(sample.manifest().to_bytes()).unwrap().replace("\"format\": 1", "\"format\": 9");
    let recipient = sample.identity.to_public();
    let sealed = age::Encryptor::with_recipients(std::iter::once(&recipient as _)).unwrap();
    let mut out = sealed.wrap_output(Vec::new()).unwrap();
    begin(&mut out, manifest::NAME, text.len() as u64, 0).unwrap();
    out.write_all(text.as_bytes()).unwrap();
    pad(&mut out, text.len() as u64).unwrap();
    let error = sample.read(&out.finish().unwrap()).unwrap_err();
    assert!(matches!(error, ArchiveError::Manifest(ManifestError::TooNew { found: 9 })), "{error}");
}

#[test]
fn a_file_that_changed_after_it_was_listed_is_not_written() {
    let mut sample = Sample::new();
    let manifest = sample.manifest();
    sample.files.insert("fleet.json", b"[]".to_vec());
    let error = sample.seal(&manifest).unwrap_err();
    assert!(error.to_string().contains("fleet.json changed"), "{error}");
}

#[test]
fn a_content_that_is_not_the_manifests_is_refused_though_the_envelope_is_whole() {
    let mut sample = Sample::new();
    let mut manifest = sample.manifest();
    let identity = sample.identity.clone();
    sample.files.insert("fleet.json", b"[]".to_vec());
    // The envelope is made around other content than the manifest names.
    let entry = manifest.files.iter_mut().find(|file| file.name == "fleet.json").unwrap();
    let said = std::mem::replace(&mut entry.sha256, sha256(&[b"[]"]));
    let sealed = sample.seal(&manifest).unwrap();
    let (mut read, mut archive) = Archive::open(sealed.as_slice(), &Identities(vec![identity])).unwrap();
    for entry in &mut read.files {
        if entry.name == "fleet.json" {
            entry.sha256 = said;
            let error = archive.file(entry, &mut Vec::new()).unwrap_err();
            assert!(error.to_string().contains("not what the manifest says"), "{error}");
            return;
        }
        archive.file(entry, &mut Vec::new()).unwrap();
    }
    panic!("fleet.json is listed");
}
