//! Opening a repository with an escrow identity, and stock restic with what comes of it.

use std::path::Path;
use std::process::Command;

use super::*;
use crate::context::Environment;
use crate::exit::Exit;

fn campanile(line: &[&str]) -> (Exit, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let line = ["campanile", "backup", "key", "open"].iter().chain(line).map(Into::into);
    let exit = crate::run_with(line, &Environment::default(), &mut out, &mut err);
    (exit, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

/// An identity in the file that age-keygen writes.
fn identity(folder: &Path, name: &str) -> (Identity, String) {
    use age::secrecy::ExposeSecret as _;
    let identity = Identity::generate();
    let text = format!(
        "# created: 2026-05-03T10:14:00Z\n# public key: {}\n{}\n",
        identity.to_public(),
        identity.to_string().expose_secret()
    );
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    (identity, path.to_str().unwrap().to_owned())
}

fn armoured(sealed: &[u8]) -> String {
    let body = BASE64.encode(sealed);
    let lines: Vec<&str> =
        body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("{ARMOUR_BEGIN}\n{}\n{ARMOUR_END}\n", lines.join("\n"))
}

/// The JSON of a key file with `password` sealed to `identity` in it.
fn with_escrow(json: &[u8], identity: &Identity, password: &str) -> Vec<u8> {
    let mut key_file: serde_json::Value = serde_json::from_slice(json).unwrap();
    let recipient = identity.to_public();
    let sealed = age::encrypt(&recipient, password.as_bytes()).unwrap();
    let recipients = [recipient.to_string()];
    key_file["campanile_escrow"] =
        serde_json::json!({ "recipients": recipients, "password": armoured(&sealed) });
    serde_json::to_vec(&key_file).unwrap()
}

fn restic(repository: &Path, password: &Path, arguments: &[&str]) {
    let done = Command::new("restic")
        .args(["--no-cache", "-q", "-r", repository.to_str().unwrap(), "--password-file"])
        .arg(password)
        .args(arguments)
        .output()
        .expect("restic judges the backups; install it with apt");
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// The only key file of a repository.
fn key_file(repository: &Path) -> std::path::PathBuf {
    let mut files = std::fs::read_dir(repository.join("keys")).unwrap();
    files.next().unwrap().unwrap().path()
}

#[test]
fn stock_restic_restores_with_the_password_that_the_escrow_identity_opens() {
    let folder = tempfile::tempdir().unwrap();
    let (repository, password) = (folder.path().join("repository"), folder.path().join("first"));
    std::fs::write(&password, "0123456789abcdef").unwrap();
    let saved = folder.path().join("saved");
    std::fs::create_dir(&saved).unwrap();
    std::fs::write(saved.join("bell"), "ding dong\n").unwrap();
    restic(&repository, &password, &["init"]);
    restic(&repository, &password, &["backup", saved.to_str().unwrap()]);
    // The key file as a node writes it, under the name that its content has.
    let (escrow, identity_file) = identity(folder.path(), "escrow.txt");
    let old = key_file(&repository);
    let json = with_escrow(&std::fs::read(&old).unwrap(), &escrow, "0123456789abcdef");
    std::fs::remove_file(&old).unwrap();
    let name = data_encoding::HEXLOWER.encode(ring::digest::digest(&ring::digest::SHA256, &json).as_ref());
    std::fs::write(repository.join("keys").join(name), json).unwrap();
    std::fs::remove_file(&password).unwrap();

    let key_file = key_file(&repository);
    let (exit, out, err) = campanile(&[key_file.to_str().unwrap(), "--identity", &identity_file]);
    assert_eq!((exit, out.as_str(), err.as_str()), (Exit::Fine, "0123456789abcdef\n", ""));
    let opened = folder.path().join("password");
    std::fs::write(&opened, out).unwrap();
    let back = folder.path().join("back");
    restic(&repository, &opened, &["check", "--read-data"]);
    restic(&repository, &opened, &["restore", "latest", "--target", back.to_str().unwrap()]);
    let restored = back.join(saved.strip_prefix("/").unwrap()).join("bell");
    assert_eq!(std::fs::read(restored).unwrap(), b"ding dong\n");
}

#[test]
fn what_does_not_open_says_whose_it_is_and_what_to_try() {
    let folder = tempfile::tempdir().unwrap();
    let (escrow, escrow_file) = identity(folder.path(), "escrow.txt");
    let (stranger, stranger_file) = identity(folder.path(), "stranger.txt");
    let key_file = folder.path().join("key");
    let path = key_file.to_str().unwrap();
    let run = |json: &[u8], identity: &str| {
        std::fs::write(&key_file, json).unwrap();
        let (exit, out, err) = campanile(&[path, "--identity", identity]);
        assert_eq!((exit, out.as_str()), (Exit::Failed, ""), "{err}");
        err
    };
    let sealed = with_escrow(b"{}", &escrow, "secret");
    let err = run(&sealed, &stranger_file);
    assert!(err.contains(&escrow.to_public().to_string()), "{err}");
    assert!(err.contains(&stranger.to_public().to_string()) && !err.contains("secret"), "{err}");
    assert!(run(b"{}", &escrow_file).contains("try the other files"));
    assert!(run(b"\x00", &escrow_file).contains("is no key file"));
    let damaged = br#"{"campanile_escrow":{"recipients":[],"password":"x"}}"#;
    assert!(run(damaged, &escrow_file).contains("damaged"));
    std::fs::write(folder.path().join("none.txt"), "age-encryption.org/v1\n").unwrap();
    let none = folder.path().join("none.txt");
    assert!(run(&sealed, none.to_str().unwrap()).contains("age -d FILE"));
}

/// An aggregator that stores these key files of `node-1`.
fn storing(files: Vec<(campanile_common::id::Digest, Vec<u8>)>) -> crate::testing::Script {
    let keys: Vec<campanile_common::api::StoredKey> = files
        .iter()
        .map(|(key, bytes)| campanile_common::api::StoredKey {
            key: *key,
            received: campanile_common::time::Timestamp::from_millis(1_790_000_000_000),
            size: u64::try_from(bytes.len()).unwrap(),
            content: Some(BASE64.encode(bytes)),
        })
        .collect();
    crate::testing::Script::choosing(Box::new(move |line, _| {
        if !line.starts_with("GET /api/v1/backups/node-1/keys") {
            let none = r#"{"title":"No","status":404,"code":"not_found","detail":"there is none"}"#;
            return crate::testing::answer("404 No", none);
        }
        let page = campanile_common::api::Page { items: keys.clone(), next_cursor: None };
        crate::testing::answer("200 OK", &serde_json::to_string(&page).unwrap())
    }))
}

#[test]
fn key_files_of_the_store_are_listed_fetched_and_opened_and_none_that_was_altered() {
    use campanile_common::authority::sha256;

    let folder = crate::testing::operator();
    let (escrow, identity_file) = identity(folder.path(), "escrow.txt");
    let plain = br#"{"created":"2026-05-03T10:14:00Z","username":"root","hostname":"node-1"}"#;
    let good = with_escrow(plain, &escrow, "secret");
    let named = |bytes: &[u8]| sha256(&[bytes]);
    let mut altered = good.clone();
    altered[3] ^= 1;
    let script =
        storing(vec![(named(plain), plain.to_vec()), (named(b"x"), altered), (named(&good), good.clone())]);
    let run =
        |line: &[&str]| crate::testing::campanile(&script, &folder, &[&["backup", "key"], line].concat());
    let (exit, out, err) = run(&["ls", "node-1"]);
    assert_eq!((exit, err.as_str()), (Exit::Fine, ""));
    assert!(out.contains(&escrow.to_public().to_string()) && out.contains("damaged"), "{out}");
    let keys = folder.path().join("keys");
    let (exit, out, err) = run(&["export", "node-1", "--to", &format!("{}/", keys.display())]);
    assert_eq!(exit, Exit::SomeFailed, "{err}");
    assert_eq!(std::fs::read(keys.join(named(&good).to_string())).unwrap(), good);
    assert_eq!((out.lines().count(), std::fs::read_dir(&keys).unwrap().count()), (2, 2));
    assert_eq!(run(&["export", "node-1", "--to", keys.to_str().unwrap()]).0, Exit::SomeFailed, "again");
    let (exit, out, err) = run(&["open", "node-1", "--identity", &identity_file]);
    assert_eq!((exit, out.as_str()), (Exit::Fine, "secret\n"), "{err}");
    let (_, stranger) = identity(folder.path(), "stranger.txt");
    let (exit, out, _) = run(&["open", "node-1", "--identity", &stranger]);
    assert_eq!((exit, out.as_str()), (Exit::Failed, ""));
    assert_eq!(run(&["ls", "node-2"]).0, Exit::Failed);
}

#[test]
fn one_file_is_the_newest_and_nothing_is_written_over() {
    let folder = crate::testing::operator();
    let bytes = br#"{"created":"2026-05-03T10:14:00Z"}"#;
    let script = storing(vec![(campanile_common::authority::sha256(&[bytes]), bytes.to_vec())]);
    let to = folder.path().join("key.json");
    let export = || {
        let line = ["backup", "key", "export", "node-1", "--to", to.to_str().unwrap()];
        crate::testing::campanile(&script, &folder, &line).0
    };
    assert_eq!((export(), export()), (Exit::Fine, Exit::Failed));
    assert_eq!(std::fs::read(&to).unwrap(), bytes);
    let (exit, _, err) = crate::testing::campanile(&script, &folder, &["backup", "key", "ls", "node-1"]);
    assert!(exit == Exit::Fine && err.contains("nobody but node-1"), "{err}");
}
