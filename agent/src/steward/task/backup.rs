//! The part of a turn that backups have: what runs by schedule, and what is noticed for it.

use std::os::fd::BorrowedFd;

use campanile_common::api::AuditOutcome;
use campanile_common::time::Timestamp;

use super::{READS_A_TURN, Task, Token};
use crate::os::clock;
use crate::settings::Settings;
use crate::steward::backup::{Backups, Surroundings, Where};
use crate::steward::execute::Port;
use crate::steward::orders::local;
use crate::steward::protocol::StewardEvent;

/// Of backups, in the steward's state folder.
const FOLDER: &str = "backup";

pub(super) fn open(settings: &Settings, arguments: Vec<String>) -> Backups {
    let places = Where {
        folder: settings.steward.state_dir.join(FOLDER),
        policies: settings.steward.policies_dir(),
        proc_root: settings.proc_root.clone(),
        settings: arguments,
    };
    Backups::new(places, clock::now())
}

impl Task {
    pub(super) fn backup_ports(&self) -> Vec<(Token, BorrowedFd<'_>)> {
        let running = self.backups.running.iter().flat_map(|running| running.guarded.ports(true));
        let watcher = self.backups.watcher.iter().flat_map(|watcher| watcher.guarded.ports(true));
        let running = running.map(|(port, descriptor)| (Token::Backup(port), descriptor));
        running.chain(watcher.map(|(port, descriptor)| (Token::Noticed(port), descriptor))).collect()
    }

    pub(super) fn serve_backup(&mut self, port: Port) {
        let Some(running) = &mut self.backups.running else { return };
        match port {
            Port::Socket => running.guarded.listen(),
            Port::Output(stream) => running.read(stream, READS_A_TURN),
        }
    }

    pub(super) fn serve_noticed(&mut self, port: Port) {
        match port {
            Port::Socket => self.backups.watcher.iter_mut().for_each(|watcher| watcher.guarded.listen()),
            Port::Output(stream) => self.backups.hear(stream, READS_A_TURN, clock::now()),
        }
    }

    /// Starts what is due and takes leave of what has ended.
    pub(super) fn tend_backups(&mut self, now: Timestamp) {
        if !self.backups.is_due(now) {
            return;
        }
        let denied = self.orders.backup_denial(now);
        let node = self.orders.pinned().ok().map(|(_, node)| node);
        let (launcher, limits) = (&self.launcher, &self.orders.policy.policy().limits);
        let around = Surroundings { launcher, limits, node, denied, now };
        if let Some((policy, reason)) = self.backups.tend(&around) {
            let target = format!("backup-policy:{policy}");
            self.orders.audit.note(now, local("backup.failed", &target, AuditOutcome::Failed, reason));
        }
        let Some(report) = self.backups.news(now) else { return };
        let event = StewardEvent::Proof(Box::new(report.clone()));
        let numbers: Vec<u64> = self.server.connections().keys().copied().collect();
        for number in numbers {
            self.tell(number, &event);
        }
    }
}
