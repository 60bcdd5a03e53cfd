//! The engine on a folder, to be measured: `engine init REPOSITORY`, `engine save REPOSITORY PATH...`.
//!
//! The master key lies beside the repository, as an unattended run has it at hand, so that no password hash is paid.
//! A password in `$BENCH_PASSWORD` opens the repository for stock `restic`.

#![expect(
    clippy::disallowed_methods,
    reason = "a program that is run by hand: arguments, clock and files are its own"
)]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use campanile_backup::backend::Directory;
use campanile_backup::key::MasterKey;
use campanile_backup::key_file::KeyFile;
use campanile_backup::repository::Repository;
use campanile_backup::save::{self, Request};
use campanile_backup::tree::FileTime;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["init", repository] => init(Path::new(repository)),
        ["save", repository, roots @ ..] => save(Path::new(repository), roots),
        _ => Err("usage: engine init REPOSITORY | engine save REPOSITORY PATH...".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("engine: {error}");
            ExitCode::FAILURE
        }
    }
}

fn key_path(repository: &Path) -> PathBuf {
    repository.with_extension("key")
}

fn open(path: &Path) -> Result<Repository, Box<dyn Error>> {
    let key = MasterKey::from_json(&std::fs::read(key_path(path))?)?;
    Ok(Repository::open(Arc::new(Directory::open(path)?), key)?)
}

fn now() -> Result<FileTime, Box<dyn Error>> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(FileTime { seconds: i64::try_from(since.as_secs())?, nanoseconds: since.subsec_nanos() })
}

fn init(path: &Path) -> Result<(), Box<dyn Error>> {
    let key = MasterKey::generate();
    let repository = Repository::create(Arc::new(Directory::create(path)?), key)?;
    std::fs::write(key_path(path), repository.key().to_json().as_bytes())?;
    let password = std::env::var("BENCH_PASSWORD")?;
    let created = now()?.to_rfc3339();
    let file = KeyFile::seal(repository.key(), password.as_bytes(), created, String::new(), String::new());
    repository.add_key(&file)?;
    Ok(())
}

fn save(path: &Path, roots: &[&str]) -> Result<(), Box<dyn Error>> {
    let repository = open(path)?;
    let roots = roots.iter().map(PathBuf::from).collect();
    let outcome = save::run(&repository, &Request::new(roots, "bench".to_owned(), now()?), &())?;
    let save::Outcome { snapshot, summary, unread, .. } = outcome;
    println!("snapshot {}", snapshot.short());
    println!(
        "files {} new, {} changed, {} unchanged",
        summary.files_new, summary.files_changed, summary.files_unmodified
    );
    println!(
        "added {} bytes in {} chunks, {} stored",
        summary.data_added, summary.data_blobs, summary.data_added_packed
    );
    for save::Unread { path, why } in unread {
        println!("{} {why}", path.display());
    }
    Ok(())
}
