//! Changes of the authority, against an aggregator that follows a script.

use std::sync::{Arc, Mutex};

use super::*;
use crate::order::tests::key;
use crate::testing::{Script, answer, authority_answer, campanile, operator};

/// Plays an aggregator that has the authority in `folder`; keeps what is put.
fn aggregator(folder: &std::path::Path, in_force: bool) -> (Script, Arc<Mutex<Option<SignedText>>>) {
    let kept = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&kept);
    let authority = authority_answer(folder);
    let choose = move |line: &str, body: &str| {
        if line.starts_with("GET /api/v1/authority?") {
            return authority.clone();
        }
        assert!(line.starts_with("PUT /api/v1/authority "), "{line}");
        *keep.lock().unwrap() = Some(serde_json::from_str(body).unwrap());
        let submitted = Submitted {
            in_force,
            id: "authority-2".to_owned(),
            signed_by: vec!["ada".to_owned()],
            signatures_needed: 1,
        };
        answer("200 OK", &serde_json::to_string(&submitted).unwrap())
    };
    (Script::choosing(Box::new(choose)), kept)
}

fn next_of(folder: &std::path::Path, kept: &Mutex<Option<SignedText>>) -> anyhow::Result<Authority> {
    let (bytes, signatures) = kept.lock().unwrap().take().unwrap().decode().unwrap();
    let environment = Script::start(Vec::new()).environment(folder);
    Ok(authority::load(&environment)?.verify_next(SignedAuthority { bytes, signatures })?)
}

#[test]
fn adding_an_operator_makes_a_version_that_follows() {
    let folder = operator();
    let (script, kept) = aggregator(folder.path(), true);
    let bob = keyring::public_text(&key(8).public());
    let line = ["operator", "add", "bob", "--key", &bob, "--roles", "change,critical", "--yes"];
    let (exit, out, err) = campanile(&script, &folder, &line);
    assert_eq!(exit, Exit::Fine, "{err}");
    assert!(out.contains("authority version 2 is in force, signed by ada"), "{out}");
    assert!(err.contains("+ bob: change,critical"), "{err}");
    let next = next_of(folder.path(), &kept).unwrap();
    assert_eq!(next.document().operators[1].key, key(8).public());
}

#[test]
fn a_change_that_waits_for_others_ends_with_its_code() {
    let folder = operator();
    let (script, _) = aggregator(folder.path(), false);
    let line = ["operator", "renew", "--for", "730d", "--yes"];
    let (exit, _, err) = campanile(&script, &folder, &line);
    assert_eq!(exit, Exit::Waiting, "{err}");
    assert!(err.contains("campanile approve sign authority-2"), "{err}");
}

#[test]
fn a_recovery_key_replaces_everybody_and_a_strangers_key_nobody() {
    let folder = operator();
    let (script, kept) = aggregator(folder.path(), true);
    let wrong = folder.path().join("wrong.key");
    std::fs::write(&wrong, keyring::recovery_text(&key(50)).as_bytes()).unwrap();
    let line = ["operator", "recover", "--name", "eve", "--yes", "--recovery-key"];
    let (exit, _, err) = campanile(&script, &folder, &[&line[..], &[wrong.to_str().unwrap()]].concat());
    assert_eq!(exit, Exit::Failed);
    assert!(err.contains("does not list this recovery key"), "{err}");

    // The operator's own key is another's as well: recovery makes it one under a new name.
    let own =
        crate::keyring::lock(&key(60), crate::testing::PASSPHRASE, keyring::WorkFactor::Fixed(2)).unwrap();
    std::fs::write(folder.path().join(keyring::KEY_FILE), own).unwrap();
    let right = folder.path().join("recovery/recovery-1.key");
    let (exit, _, err) = campanile(&script, &folder, &[&line[..], &[right.to_str().unwrap()]].concat());
    assert_eq!(exit, Exit::Fine, "{err}");
    let next = next_of(folder.path(), &kept).unwrap();
    assert_eq!(next.document().operators.len(), 1);
    assert_eq!(next.document().operators[0].key, key(60).public());
    assert!(next.document().recovery.is_empty());
}

#[test]
fn a_forked_chain_is_not_followed() {
    let (ours, theirs) = (operator(), operator());
    let (script, _) = aggregator(theirs.path(), true);
    let (exit, _, err) = campanile(&script, &ours, &["operator", "ls"]);
    assert_eq!(exit, Exit::Failed);
    assert!(err.contains("a fork, or a forgery"), "{err}");
}

#[test]
fn another_machine_begins_with_the_digest_and_no_other() {
    let theirs = operator();
    let digest = authority::first_digest(&Script::start(Vec::new()).environment(theirs.path())).unwrap();
    let ours = tempfile::tempdir().unwrap();
    let (script, _) = aggregator(theirs.path(), true);
    let wrong = Digest::from_bytes([0; 32]).to_string();
    let (exit, _, err) = campanile(&script, &ours, &["operator", "trust", &wrong]);
    assert_eq!(exit, Exit::Failed);
    assert!(err.contains("does not begin with this digest"), "{err}");
    let (exit, out, err) = campanile(&script, &ours, &["operator", "trust", &digest.to_string()]);
    assert_eq!(exit, Exit::Fine, "{err}");
    assert!(out.contains("ada"), "{out}");
    assert_eq!(campanile(&script, &ours, &["operator", "ls", "-o", "name"]).1, "ada\n");
}
