//! A save confines itself once its policy says what it needs: it reads everything, and writes its records and the
//! repository. With or without a unit of systemd, and within whatever that unit leaves.

use std::path::{Path, PathBuf};

use campanile_daemon::confine::{self, Bounds, Listens};

use super::error::BackupError;
use super::job::{Job, Source};
use super::place::Program;
use super::target::Target;

impl Program {
    /// Gives up what this save never needs. One that runs commands gives up nothing: they may be anything.
    pub(super) fn confine(&self, job: &Job) -> Result<(), BackupError> {
        if !self.place.is_confined || runs_commands(job) {
            return Ok(());
        }
        // Makes the folders of both, where they are not there yet.
        self.keys()?;
        let mut writes = vec![self.place.folder.clone(), PathBuf::from("/dev/null")];
        writes.extend(self.place.sealing_key.parent().map(Path::to_owned));
        if let Target::Folder(folder) = &job.target {
            writes.extend(folder.ancestors().find(|folder| folder.exists()).map(Path::to_owned));
        }
        let bounds =
            Bounds { reads: vec!["/".into()], writes, starts_programs: true, listens: Listens::Nowhere };
        // How far that went is the kernel's; the save is the same.
        drop(confine::confine(&bounds));
        Ok(())
    }
}

fn runs_commands(job: &Job) -> bool {
    let has_hooks = !job.before.is_empty() || !job.after.is_empty();
    has_hooks || matches!(job.source, Source::Command { .. }) || matches!(job.target, Target::Sftp { .. })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn job(mut keys: Value) -> Job {
        keys["keep"] = json!({ "last": 3 });
        keys["schedule"] = json!("@daily");
        keys["escrow"] = json!(["age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"]);
        let file = json!({ "format": 1, "name": "files", "policy": keys });
        Job::parse(file.to_string().as_bytes(), "files").unwrap()
    }

    #[test]
    fn a_save_that_runs_commands_gives_up_nothing() {
        assert!(!runs_commands(&job(json!({ "paths": ["/etc"], "target": "dir:/b" }))));
        assert!(!runs_commands(&job(json!({ "paths": ["/etc"], "target": "aggregator" }))));
        assert!(runs_commands(&job(
            json!({ "paths": ["/etc"], "target": "dir:/b", "run_after": [["sync"]] })
        )));
        assert!(runs_commands(&job(json!({ "command": ["dump"], "file_name": "d", "target": "dir:/b" }))));
    }
}
