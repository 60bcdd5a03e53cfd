//! Confines this process: files by Landlock, system calls by seccomp, and no way back for whatever it starts.
//!
//! To be called while there is one thread, for the thread that calls is the one that is confined, with all that it
//! starts. Best effort: what a kernel lacks is left out, and the answer says so. Whoever calls decides the bounds.

use std::collections::BTreeMap;
use std::path::PathBuf;

use campanile_common::api::{
    Confinement, ConfinementLayer, LAYER_CAPABILITIES, LAYER_LANDLOCK, LAYER_NO_NEW_PRIVS, LAYER_SECCOMP,
    LAYER_USER,
};
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, LandlockStatus, NetPort, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope, path_beneath_rules,
};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

/// The newest version whose rights are used. From the ninth on, connecting to sockets would be a right of its own, and
/// the service manager's, the bus's and the name service's lie all over `/run`.
const RIGHTS: ABI = ABI::V6;

/// System calls that no part of this program makes: other processes' memory, the kernel's code, mounts, keys, clocks,
/// namespaces, other programs, and interfaces of the kernel that are attacked often.
const NEVER_CALLED: &[libc::c_long] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
];

/// What a process may still do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bounds {
    /// Files and folders that it reads, with all that is beneath. What is not there now is left out.
    pub reads: Vec<PathBuf>,
    /// Files and folders in which it may do everything.
    pub writes: Vec<PathBuf>,
    /// The one TCP port on which it listens; 0 for any that is free.
    pub port: u16,
}

/// Confines this thread and everything that it starts from now on; how far that went.
pub fn confine(bounds: &Bounds) -> Confinement {
    let files = restrict_files(bounds);
    let calls = refuse_calls();
    let is_bound = rustix::thread::set_no_new_privs(true).is_ok();
    let layer = |name, done: Result<String, String>| {
        let is_on = done.is_ok();
        ConfinementLayer::new(name, is_on, done.unwrap_or_else(|reason| format!("off: {reason}")))
    };
    let mut layers = vec![layer(LAYER_LANDLOCK, files), layer(LAYER_SECCOMP, calls)];
    layers.push(ConfinementLayer::new(LAYER_NO_NEW_PRIVS, is_bound, if is_bound { "yes" } else { "no" }));
    layers.extend(standing());
    Confinement { layers }
}

/// A process that does not confine itself, and why.
pub fn unconfined(reason: &str) -> Confinement {
    let off = |name| ConfinementLayer::new(name, false, format!("off: {reason}"));
    let is_bound = rustix::thread::no_new_privs().unwrap_or(false);
    let bound = ConfinementLayer::new(LAYER_NO_NEW_PRIVS, is_bound, if is_bound { "yes" } else { "no" });
    let layers = [off(LAYER_LANDLOCK), off(LAYER_SECCOMP), bound].into_iter().chain(standing());
    Confinement { layers: layers.collect() }
}

/// Who it runs as, and with what rights beyond that.
fn standing() -> [ConfinementLayer; 2] {
    let user = rustix::process::geteuid();
    let effective = rustix::thread::capabilities(None).map(|sets| sets.effective.bits().count_ones());
    let capabilities = match effective {
        Ok(0) => "none".to_owned(),
        Ok(count) => count.to_string(),
        Err(_) => "unknown".to_owned(),
    };
    [
        ConfinementLayer::new(LAYER_USER, !user.is_root(), user.as_raw().to_string()),
        ConfinementLayer::new(LAYER_CAPABILITIES, effective == Ok(0), capabilities),
    ]
}

fn restrict_files(bounds: &Bounds) -> Result<String, String> {
    // A kernel of the first version refuses every move between folders, allowed or not.
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::Refer)
        .map_err(|_| {
            "the kernel has no Landlock, has it disabled, or is older than 5.19; or a filter refuses it"
                .to_owned()
        })?;
    let status = apply(bounds).map_err(|error| error.to_string())?;
    match (status.ruleset, status.landlock) {
        (RulesetStatus::NotEnforced, _) => Err("the kernel did not take the rules".to_owned()),
        (_, LandlockStatus::Available { effective_abi, .. }) => {
            Ok(format!("abi {}", (effective_abi as i32).min(RIGHTS as i32)))
        }
        (_, LandlockStatus::NotEnabled | LandlockStatus::NotImplemented) => {
            Err("the kernel has no Landlock".to_owned())
        }
    }
}

fn apply(bounds: &Bounds) -> Result<landlock::RestrictionStatus, RulesetError> {
    let rules = Ruleset::default()
        .handle_access(AccessFs::from_all(RIGHTS))?
        .handle_access(AccessNet::BindTcp)?
        .scope(Scope::Signal)?;
    let all_but_programs = AccessFs::from_all(RIGHTS) & !AccessFs::Execute;
    rules
        .create()?
        .add_rules(path_beneath_rules(&bounds.reads, AccessFs::from_read(RIGHTS) & !AccessFs::Execute))?
        .add_rules(path_beneath_rules(&bounds.writes, all_but_programs))?
        .add_rule(NetPort::new(bounds.port, AccessNet::BindTcp))?
        .restrict_self()
}

fn refuse_calls() -> Result<String, String> {
    let arch = std::env::consts::ARCH.try_into().map_err(|_| "not for this processor".to_owned())?;
    let refused: BTreeMap<_, _> = NEVER_CALLED.iter().map(|call| (*call, Vec::new())).collect();
    let refusal = SeccompAction::Errno(rustix::io::Errno::PERM.raw_os_error().unsigned_abs());
    let filter = SeccompFilter::new(refused, SeccompAction::Allow, refusal, arch);
    let program: BpfProgram =
        filter.and_then(BpfProgram::try_from).map_err(|error| format!("the filter is wrong: {error}"))?;
    seccompiler::apply_filter(&program).map_err(|error| format!("the kernel did not take it: {error}"))?;
    Ok(format!("{} calls refused", NEVER_CALLED.len()))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests try what is refused")]
mod tests {
    use std::fs;
    use std::io::ErrorKind;
    use std::net::TcpListener;
    use std::process::Command;
    use std::thread;

    use super::*;

    #[test]
    fn a_confined_process_has_its_folder_its_port_and_no_programs() {
        let folder = tempfile::tempdir().unwrap();
        let (own, other) = (folder.path().join("own"), folder.path().join("other"));
        for place in [&own, &other] {
            fs::create_dir(place).unwrap();
            fs::write(place.join("file"), "text").unwrap();
        }
        let bounds = Bounds { reads: vec!["/usr".into()], writes: vec![own.clone()], port: 0 };
        // On a thread of its own: the others stay as free as they were.
        let confined = thread::spawn(move || {
            let reached = confine(&bounds);
            assert!(reached.is_confined(), "this kernel has all of it: {reached}");
            let is_refused =
                |done: std::io::Result<()>| matches!(done.unwrap_err().kind(), ErrorKind::PermissionDenied);
            fs::rename(own.join("file"), own.join("moved")).unwrap();
            assert!(is_refused(fs::read(other.join("file")).map(drop)));
            assert!(is_refused(fs::write(other.join("file"), "other")));
            assert!(is_refused(Command::new("/usr/bin/true").status().map(drop)), "it starts nothing");
            let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            assert!(is_refused(TcpListener::bind(("127.0.0.1", free)).map(drop)), "no port but its own");
        });
        confined.join().unwrap();
    }
}
