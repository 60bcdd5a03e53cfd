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
