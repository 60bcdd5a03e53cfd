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

/// System calls that no daemon makes: other processes' memory, the kernel's code, mounts, keys, clocks,
/// namespaces, and interfaces of the kernel that are attacked often.
const NEVER_CALLED: &[libc::c_long] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
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

/// System calls that start another program.
const START_PROGRAMS: &[libc::c_long] = &[libc::SYS_execve, libc::SYS_execveat];

/// What a process may still do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// Files and folders that it reads, with all that is beneath. What is not there now is left out.
    pub reads: Vec<PathBuf>,
    /// Files and folders in which it may do everything but start programs.
    pub writes: Vec<PathBuf>,
    /// Whether it starts programs, those beneath `reads`.
    pub starts_programs: bool,
    /// Where it listens.
    pub listens: Listens,
}

/// TCP ports on which a process listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listens {
    /// On whichever it likes.
    Anywhere,
    /// On none.
    Nowhere,
    /// On this one; 0 for any that is free.
    On(u16),
}

/// Confines this thread and everything that it starts from now on; how far that went.
pub fn confine(bounds: &Bounds) -> Confinement {
    let files = restrict_files(bounds);
    let calls = refuse_calls(bounds.starts_programs);
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
    let mut rules = Ruleset::default().handle_access(AccessFs::from_all(RIGHTS))?.scope(Scope::Signal)?;
    if bounds.listens != Listens::Anywhere {
        rules = rules.handle_access(AccessNet::BindTcp)?;
    }
    let all_but_programs = AccessFs::from_all(RIGHTS) & !AccessFs::Execute;
    let read = AccessFs::from_read(RIGHTS);
    let read = if bounds.starts_programs { read } else { read & all_but_programs };
    let mut rules = rules
        .create()?
        .add_rules(path_beneath_rules(&bounds.reads, read))?
        .add_rules(path_beneath_rules(&bounds.writes, all_but_programs))?;
    if let Listens::On(port) = bounds.listens {
        rules = rules.add_rule(NetPort::new(port, AccessNet::BindTcp))?;
    }
    rules.restrict_self()
}

fn refuse_calls(starts_programs: bool) -> Result<String, String> {
    let arch = std::env::consts::ARCH.try_into().map_err(|_| "not for this processor".to_owned())?;
    let starting = if starts_programs { &[] } else { START_PROGRAMS };
    let refused: BTreeMap<_, _> =
        NEVER_CALLED.iter().chain(starting).map(|call| (*call, Vec::new())).collect();
    let count = refused.len();
    let refusal = SeccompAction::Errno(rustix::io::Errno::PERM.raw_os_error().unsigned_abs());
    let filter = SeccompFilter::new(refused, SeccompAction::Allow, refusal, arch);
    let program: BpfProgram =
        filter.and_then(BpfProgram::try_from).map_err(|error| format!("the filter is wrong: {error}"))?;
    seccompiler::apply_filter(&program).map_err(|error| format!("the kernel did not take it: {error}"))?;
    Ok(format!("{count} calls refused"))
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

    /// On a thread of its own: the others stay as free as they were.
    fn apart(attempt: impl FnOnce() + Send + 'static) {
        thread::spawn(attempt).join().unwrap();
    }

    fn confined(bounds: Bounds, attempt: impl FnOnce(Confinement) + Send + 'static) {
        apart(move || attempt(confine(&bounds)));
    }

    fn is_refused<T>(done: std::io::Result<T>) -> bool {
        done.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
    }

    fn start_program() -> std::io::Result<std::process::ExitStatus> {
        Command::new("/usr/bin/true").status()
    }

    fn listen(port: u16) -> std::io::Result<u16> {
        Ok(TcpListener::bind(("127.0.0.1", port))?.local_addr()?.port())
    }

    /// As the agent's `run` is bound.
    fn bounds(reads: Vec<PathBuf>, writes: Vec<PathBuf>) -> Bounds {
        Bounds { reads, writes, starts_programs: true, listens: Listens::Nowhere }
    }

    fn is_on(reached: &Confinement, name: &str) -> bool {
        reached.layers.iter().any(|layer| layer.layer == name && layer.is_on)
    }

    #[test]
    fn a_confined_process_touches_what_is_within_its_bounds_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let [open, closed, own] = ["open", "closed", "own"].map(|name| folder.path().join(name));
        for place in [&open, &closed, &own] {
            fs::create_dir_all(place.join("beneath")).unwrap();
            fs::write(place.join("file"), "text").unwrap();
        }
        confined(bounds(vec![open.clone()], vec![own.clone()]), move |reached| {
            assert!(is_on(&reached, LAYER_LANDLOCK), "this kernel has Landlock: {reached}");
            assert_eq!(fs::read_to_string(open.join("file")).unwrap(), "text");
            assert!(is_refused(fs::write(open.join("file"), "other")));
            assert!(is_refused(fs::read(closed.join("file"))));
            assert!(is_refused(fs::write(closed.join("file"), "other")));
            assert!(is_refused(fs::read_dir(&closed)));
            fs::write(own.join("new"), "text").unwrap();
            fs::rename(own.join("new"), own.join("beneath/new")).unwrap();
            fs::remove_file(own.join("beneath/new")).unwrap();
            assert!(is_refused(fs::rename(own.join("file"), closed.join("moved"))));
        });
    }

    #[test]
    fn it_listens_where_it_is_to_and_nowhere_else() {
        let with = |listens| Bounds { listens, ..bounds(vec!["/".into()], Vec::new()) };
        confined(with(Listens::Anywhere), |_| assert!(listen(0).is_ok()));
        confined(with(Listens::Nowhere), |_| assert!(is_refused(listen(0))));
        confined(with(Listens::On(0)), |_| {
            let free = listen(0).unwrap();
            assert!(is_refused(listen(free)), "no port but its own");
        });
        let own = listen(0).unwrap();
        confined(with(Listens::On(own)), move |_| {
            assert!(is_refused(listen(0)) && !is_refused(listen(own)));
        });
        listen(0).expect("another thread listens where it likes");
    }

    #[test]
    fn it_starts_programs_where_it_is_to() {
        confined(bounds(vec!["/".into()], vec!["/dev/null".into()]), |reached| {
            assert!(reached.is_confined() && start_program().unwrap().success(), "{reached}");
        });
        confined(bounds(vec!["/etc".into()], vec!["/dev/null".into()]), |_| {
            assert!(is_refused(start_program()), "the program is not beneath what it reads");
        });
    }

    #[test]
    fn one_that_starts_no_programs_is_refused_them_by_each_layer() {
        let none = Bounds {
            starts_programs: false,
            listens: Listens::On(0),
            ..bounds(vec!["/".into()], vec!["/dev/null".into()])
        };
        let files = none.clone();
        apart(move || {
            restrict_files(&files).unwrap();
            assert_eq!(start_program().unwrap_err().raw_os_error(), Some(libc::EACCES));
        });
        apart(|| {
            assert_eq!(refuse_calls(false).unwrap(), format!("{} calls refused", NEVER_CALLED.len() + 2));
            assert_eq!(start_program().unwrap_err().raw_os_error(), Some(libc::EPERM));
        });
        confined(none, |reached| {
            assert!(reached.is_confined() && is_refused(start_program()), "{reached}");
        });
    }

    #[test]
    fn a_confined_process_makes_no_call_that_it_never_needs() {
        let name = rustix::system::uname().nodename().to_bytes().to_vec();
        // Without a change, and as root it is allowed otherwise.
        let rename = move || rustix::system::sethostname(&name);
        if rustix::process::geteuid().is_root() {
            rename().unwrap();
        }
        confined(bounds(vec!["/".into()], Vec::new()), move |reached| {
            assert!(is_on(&reached, LAYER_SECCOMP) && is_on(&reached, LAYER_NO_NEW_PRIVS), "{reached}");
            assert_eq!(rename().unwrap_err(), rustix::io::Errno::PERM);
            assert!(reached.is_confined());
            let status = fs::read_to_string("/proc/thread-self/status").unwrap();
            assert!(status.contains("Seccomp:\t2") && status.contains("NoNewPrivs:\t1"), "{status}");
        });
    }

    #[test]
    fn what_it_starts_is_confined_as_well() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        confined(bounds(vec!["/".into()], vec!["/dev/null".into()]), move |_| {
            let mut shell = Command::new("sh");
            let status = shell.arg("-c").arg(format!("echo > {}", file.display())).output().unwrap().status;
            assert!(!status.success() && !file.exists());
        });
    }

    #[test]
    fn a_process_that_does_not_confine_itself_says_why() {
        let reached = unconfined("the setting says so");
        assert!(!reached.is_confined());
        assert!(
            reached.to_string().starts_with("landlock: off: the setting says so, seccomp: off"),
            "{reached}"
        );
    }
}
