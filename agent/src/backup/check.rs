//! `backup check`: everything that snapshots need is there, and every blob of a share of the packs is what it was.

use campanile_backup::backend::{Backend, ObjectKind};
use campanile_backup::check::{self, Report, Share, Subject};
use campanile_common::api::{BackupFigures, BackupLine, BackupResult, BackupVerb};

use super::error::BackupError;
use super::job::Job;
use super::pace::Pace;
use super::place::{Done, Of, Program};
use super::record::Checked;
use super::runs::StartedBy;
use super::target::Target;
use crate::os::background;

/// Findings that are told; the others are counted.
const FINDINGS_SHOWN_MAX: usize = 200;

impl Program {
    pub(super) fn check(&self, of: &Of, share: Share, by: StartedBy) -> Result<Done, BackupError> {
        let (target, job) = self.target(of)?;
        self.recorded_check(&target, share, by, || self.read_back(&target, job.as_ref(), share))
    }

    fn read_back(&self, target: &Target, job: Option<&Job>, share: Share) -> Result<Checked, BackupError> {
        background::stand_back();
        self.started(BackupVerb::Check, job.map(|job| &job.name), target);
        let repository = self.open(target)?;
        let lock = self.lock(&repository, target)?;
        let pace = Pace::new(self, lock.as_ref());
        let structure = check::structure(&repository)?;
        let content = check::content(&repository, share, &|bytes| pace.verified(bytes))?;
        have_looked_at(&**repository.backend(), &content);
        if pace.is_lost() {
            return Err(campanile_backup::lock::LockError::Lost.into());
        }
        let findings = self.tell(&structure) + self.tell(&content);
        let first = structure.findings.first().or_else(|| content.findings.first());
        let figures = BackupFigures {
            findings,
            stored_bytes: content.coverage.bytes,
            of_bytes: content.coverage.of_bytes,
            ..BackupFigures::default()
        };
        let result = if findings == 0 { BackupResult::Ok } else { BackupResult::Failed };
        let repository = repository.config().id.to_string();
        let done = Done { result, repository, snapshot: None, figures };
        Ok(Checked { done, finding: first.map(ToString::to_string) })
    }

    fn tell(&self, report: &Report) -> u64 {
        for finding in report.findings.iter().take(FINDINGS_SHOWN_MAX) {
            self.output.line(&BackupLine::Finding { what: finding.to_string() });
        }
        report.findings.len() as u64 + report.more_findings
    }
}

/// Reads damaged packs as a whole: the aggregator's store compares them on their way out, so that it knows at once, tells
/// people, and mends them from its second place. What comes back is of no use.
fn have_looked_at(backend: &dyn Backend, report: &Report) {
    for finding in report.findings.iter().take(FINDINGS_SHOWN_MAX) {
        match finding.subject {
            Subject::Object(object) if object.kind == ObjectKind::Pack => drop(backend.get(object, None)),
            Subject::Object(_) | Subject::Blob(_) => {}
        }
    }
}
