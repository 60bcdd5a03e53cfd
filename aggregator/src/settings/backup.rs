//! Settings of backups: the nodes' in the store and its second place, and the aggregator's own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use campanile_common::backup::Retention;
use campanile_common::recurrence::Recurrence;
use campanile_common::unit::ByteCount;
use serde::Deserialize;

use super::{SettingsError, within};
use crate::backup::{BackupSettings, Limits, ReplicaSettings, VerifySettings};
use crate::self_backup::{self, SelfBackupSettings};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawBackup {
    dir: Option<PathBuf>,
    quota_bytes: Option<u64>,
    free_floor_bytes: Option<u64>,
    objects_per_hour: Option<u32>,
    verify_cycle_days: Option<u32>,
    verify_bytes_per_second: Option<u64>,
    replica: Option<RawReplica>,
    #[serde(default)]
    retention: Retention,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawReplica {
    dir: PathBuf,
    interval_s: Option<u64>,
    bytes_per_second: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSelfBackup {
    #[serde(default)]
    recipients: Vec<String>,
    dir: Option<PathBuf>,
    schedule: Option<String>,
    keep: Option<u32>,
}

impl RawBackup {
    pub(super) fn check(self, state_dir: &Path) -> Result<BackupSettings, SettingsError> {
        let (limits, verify) = (Limits::default(), VerifySettings::default());
        let cycle_days = u64::from(self.verify_cycle_days.unwrap_or(7));
        within("backup.verify_cycle_days", cycle_days, 1, 365, "give 1 to 365; 7 is the default")?;
        let rate = self.verify_bytes_per_second.unwrap_or(verify.rate.0);
        let rate_rule = "give 1048576 (1 MiB) or more; 16777216 is the default";
        within("backup.verify_bytes_per_second", rate, 1 << 20, u64::MAX, rate_rule)?;
        let floor_days = u64::from(self.retention.floor_days);
        let floor_rule = "give 1 to 3650; 30 is the default";
        within("backup.retention.floor_days", floor_days, 1, 3650, floor_rule)?;
        let objects_per_hour = self.objects_per_hour.unwrap_or(limits.objects_per_hour);
        let objects_rule = "give 100 or more; 20000 is the default";
        within("backup.objects_per_hour", objects_per_hour.into(), 100, u64::MAX, objects_rule)?;
        let dir = self.dir.unwrap_or_else(|| state_dir.join("backup"));
        let replica = self.replica.map(|replica| replica.check(&dir)).transpose()?;
        Ok(BackupSettings {
            dir,
            replica,
            limits: Limits {
                quota: self.quota_bytes.map_or(limits.quota, ByteCount),
                free_floor: self.free_floor_bytes.map_or(limits.free_floor, ByteCount),
                objects_per_hour,
            },
            retention: self.retention,
            verify: VerifySettings { cycle: Duration::from_secs(cycle_days * 86_400), rate: ByteCount(rate) },
        })
    }
}

impl RawReplica {
    pub(super) fn check(self, first: &Path) -> Result<ReplicaSettings, SettingsError> {
        let is_within = self.dir.starts_with(first) || first.starts_with(&self.dir);
        if !self.dir.is_absolute() || is_within {
            let rule = "give an absolute path that is not within backup.dir, best on another disk";
            return Err(SettingsError::Range {
                key: "backup.replica.dir",
                value: self.dir.display().to_string(),
                rule,
            });
        }
        let interval_s = self.interval_s.unwrap_or(3600);
        within(
            "backup.replica.interval_s",
            interval_s,
            1,
            604_800,
            "give 1 to 604800 (a week); 3600 is the default",
        )?;
        let rate = self.bytes_per_second;
        if let Some(rate) = rate {
            within(
                "backup.replica.bytes_per_second",
                rate,
                1 << 20,
                u64::MAX,
                "give 1048576 (1 MiB) or more",
            )?;
        }
        let interval = Duration::from_secs(interval_s);
        Ok(ReplicaSettings { dir: self.dir, interval, rate: rate.map(ByteCount) })
    }
}

impl RawSelfBackup {
    pub(super) fn check(self) -> Result<Option<SelfBackupSettings>, SettingsError> {
        let refused = |key, detail: String| SettingsError::Refused { key, detail };
        let recipients = self_backup::parse_recipients(&self.recipients)
            .map_err(|error| refused("self_backup.recipients", error.to_string()))?;
        let schedule = Recurrence::parse(self.schedule.as_deref().unwrap_or("@daily"))
            .map_err(|error| refused("self_backup.schedule", error.to_string()))?;
        let keep = self.keep.unwrap_or(7);
        within("self_backup.keep", keep.into(), 1, 10_000, "give 1 to 10000; 7 is the default")?;
        if recipients.is_empty() {
            return Ok(None);
        }
        let Some(dir) = self.dir.filter(|dir| dir.is_absolute()) else {
            let detail = "give the path of a folder on another disk, or of one that is copied elsewhere";
            return Err(refused("self_backup.dir", detail.to_owned()));
        };
        let keep = usize::try_from(keep).unwrap_or(usize::MAX);
        Ok(Some(SelfBackupSettings { recipients, dir, schedule, keep }))
    }
}
