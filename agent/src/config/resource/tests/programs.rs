//! Kinds that programs change: what they are asked, what they are told to do, and how that is undone.

use std::fs;

use campanile_common::api::ChangeVerb;
use serde_json::json;

use super::machine::{Machine, desired, runs};
use crate::config::resource::{Pending, plan};
use crate::config::step::{Change, Step, Undo};

fn undos(change: &Change) -> Vec<String> {
    let undo = |step: &Step| match step {
        Step::Run { undo, .. } => Some(undo.clone()),
        _ => None,
    };
    let text = |undo: Undo| match undo {
        Undo::Nothing => "nothing".to_owned(),
        Undo::Left(left) => left,
        Undo::Run(all) => all.iter().map(|run| run.argv.join(" ")).collect::<Vec<_>>().join("; "),
        Undo::Last(all) => format!("last: {}", all[0].argv.join(" ")),
    };
    change.steps.iter().filter_map(undo).map(text).collect()
}

/// Keeps what is installed in a file, as `NAME VERSION`.
const DPKG_QUERY: &str =
    "for n; do :; done; grep -s \"^$n \" $S/installed | sed 's/^[^ ]* /installed /'; exit 0";
const APT_GET: &str = "for n; do :; done; name=${n%%=*}\n\
    case \"$name\" in ghost) echo 'E: Unable to locate package ghost' >&2; exit 100;; esac\n\
    case \"$*\" in *remove*) verb=Remv;; *) verb=Inst;; esac\n\
    case \"$*\" in\n\
    *-s*) [ $verb = Inst ] && echo \"Inst dep (1.0 D [amd64])\"; \
    [ $verb = Inst ] && echo \"Inst $name (2.0 D [amd64])\" || echo \"Remv $name [2.0]\";;\n\
    *) [ $verb = Inst ] && echo \"$name 2.0\" >> $S/installed || : > $S/installed;; esac";

#[test]
fn packages_are_installed_as_a_dry_run_says_and_one_that_is_not_to_be_had_fails_in_the_plan() {
    let machine = Machine::new(&[("dpkg-query", DPKG_QUERY), ("apt-get", APT_GET)]);
    let change = machine.apply("package:curl", json!({}));
    assert_eq!(change.shown.verb, ChangeVerb::Create);
    assert_eq!(change.shown.what, ["install 2.0", "also install dep"]);
    assert!(runs(&change)[0].ends_with(" install -- curl=2.0"), "the version that was planned");
    assert!(undos(&change)[0].ends_with(" purge -- dep curl"), "{:?}", undos(&change));
    let message = machine.problem("package:ghost", json!({}));
    assert!(
        message.contains("Unable to locate package ghost") && message.contains("check its name"),
        "{message}"
    );
    let change = machine.apply("package:curl", json!({"ensure": "absent"}));
    assert!(undos(&change)[0].ends_with(" install -- curl=2.0"), "{:?}", undos(&change));
    assert_eq!(machine.plan("package:ghost", json!({"ensure": "absent"})).unwrap(), None);
}

#[test]
fn the_real_dpkg_tells_what_is_installed() {
    if !std::path::Path::new("/usr/bin/dpkg-query").exists() {
        eprintln!("NOT TESTED: this machine has no dpkg-query");
        return;
    }
    let machine = Machine::new(&[("dpkg-query", "exec /usr/bin/dpkg-query \"$@\""), ("apt-get", "exit 100")]);
    assert_eq!(machine.plan("package:dpkg", json!({})).unwrap(), None);
    assert!(machine.plan("package:no-such-package-here", json!({})).is_err());
}

#[test]
fn dnf_does_the_same_where_there_is_no_apt() {
    let rpm = "[ -e $S/installed ] && cat $S/installed || exit 1";
    let dnf = "case \"$*\" in *ghost*) exit 0;; *repoquery*) echo 2.0-1.el9;; *install*) echo 2.0-1.el9 > $S/installed;; \
        *remove*) rm $S/installed;; esac";
    let machine = Machine::new(&[("rpm", rpm), ("dnf", dnf)]);
    let change = machine.apply("package:curl", json!({"version": "2.0"}));
    assert_eq!(runs(&change), ["dnf -y install -- curl-2.0-1.el9"]);
    assert_eq!(undos(&change), ["dnf -y remove -- curl"]);
    let change = machine.plan("package:curl", json!({"version": "1.0"})).unwrap().unwrap();
    assert_eq!(undos(&change), ["dnf -y install -- curl-2.0-1.el9"], "`downgrade` does not go up again");
    let change = machine.apply("package:curl", json!({"ensure": "absent"}));
    assert_eq!(undos(&change), ["dnf -y install -- curl-2.0-1.el9"]);
    assert!(machine.problem("package:ghost", json!({})).contains("dnf knows no package `ghost`"));
}

/// A unit's states are files.
const SYSTEMCTL: &str = "for u; do :; done\n\
    case $1 in\n\
    show) [ $u = ghost.service ] && { echo LoadState=not-found; exit 0; }; echo LoadState=loaded\n\
    [ -e $S/$u.active ] && echo ActiveState=active || echo ActiveState=inactive\n\
    [ -e $S/$u.enabled ] && echo UnitFileState=enabled || echo UnitFileState=disabled;;\n\
    start|restart) touch $S/$u.active;; stop) rm -f $S/$u.active;;\n\
    enable) touch $S/$u.enabled;; disable) rm -f $S/$u.enabled;; esac";

#[test]
fn a_service_gets_its_unit_is_enabled_started_and_restarts_when_it_changes() {
    let machine = Machine::new(&[("systemctl", SYSTEMCTL)]);
    let table =
        |unit: &str| json!({"unit": unit, "drop_in": "[Service]\n", "enabled": true, "state": "running"});
    let change = machine.apply("service:a.service", table("[Unit]\n"));
    assert_eq!(change.shown.what[..2], ["unit file", "directory /etc/systemd"]);
    let expected =
        ["systemctl daemon-reload", "systemctl enable -- a.service", "systemctl start -- a.service"];
    assert_eq!(runs(&change), expected);
    assert_eq!(
        undos(&change),
        ["last: systemctl daemon-reload", "systemctl disable -- a.service", "systemctl stop -- a.service"]
    );
    let change = machine.apply("service:a.service", table("[Unit]\nAfter=b\n"));
    assert_eq!(runs(&change), ["systemctl daemon-reload", "systemctl restart -- a.service"]);
    assert_eq!(undos(&change)[1], "last: systemctl restart -- a.service", "with its old unit file");
    // Without the drop-in there is none of ours.
    machine.apply(
        "service:a.service",
        json!({"unit": "[Unit]\nAfter=b\n", "enabled": true, "state": "running"}),
    );
    assert!(!machine.at("/etc/systemd/system/a.service.d/50-campanile.conf").exists());
    let change = machine.apply("service:a.service", json!({"enabled": false, "state": "stopped"}));
    assert_eq!(runs(&change), ["systemctl disable -- a.service", "systemctl stop -- a.service"]);
}

#[test]
fn a_notified_service_restarts_or_reloads_where_it_runs() {
    let machine = Machine::new(&[("systemctl", SYSTEMCTL)]);
    assert_eq!(machine.notified("service:a.service", json!({})), None, "it does not run");
    machine.apply("service:a.service", json!({"state": "running"}));
    let change = machine.notified("service:a.service", json!({})).unwrap();
    assert_eq!(
        (change.shown.verb, runs(&change)),
        (ChangeVerb::Run, vec!["systemctl restart -- a.service".to_owned()])
    );
    let change = machine.notified("service:a.service", json!({"on_change": "reload"})).unwrap();
    assert_eq!(runs(&change), ["systemctl reload -- a.service"]);
    assert_eq!(machine.notified("service:a.service", json!({"on_change": "nothing"})), None);
    let change = machine.notified("service:a.service", json!({"state": "stopped"})).unwrap();
    assert_eq!(runs(&change), ["systemctl stop -- a.service"]);
    let message = machine.problem("service:ghost.service", json!({"enabled": true}));
    assert!(message.contains("there is no unit ghost.service"), "{message}");
    assert_eq!(machine.plan("service:ghost.service", json!({"state": "stopped"})).unwrap(), None);
}

#[test]
fn a_timer_is_two_units_that_are_enabled_and_started() {
    let machine = Machine::new(&[("systemctl", SYSTEMCTL)]);
    let table = json!({"on_calendar": "daily", "command": ["echo", "50% of \"$HOME\""], "persistent": true});
    let change = machine.apply("timer:tidy", table);
    assert_eq!(runs(&change).len(), 3, "{:?}", runs(&change));
    let text = machine.read("/etc/systemd/system/tidy.service");
    assert!(text.contains("ExecStart=\"echo\" \"50%% of \\\"$$HOME\\\"\"\n"), "{text}");
    assert!(machine.read("/etc/systemd/system/tidy.timer").contains("OnCalendar=daily\nPersistent=true\n"));
    let change = machine.apply("timer:tidy", json!({"on_calendar": "weekly", "command": ["true"]}));
    assert_eq!(runs(&change).last().unwrap(), "systemctl restart -- tidy.timer");
    machine.apply("timer:tidy", json!({"ensure": "absent"}));
    assert!(!machine.at("/etc/systemd/system/tidy.timer").exists());
}

#[test]
fn users_and_groups_are_made_changed_and_removed_and_their_files_kept() {
    let machine = Machine::new(&[
        ("groupadd", "echo 'app:x:4712:' >> $R/etc/group"),
        ("groupmod", "sed -i 's/4712/4799/' $R/etc/group"),
        ("groupdel", "sed -i '/^app:/d' $R/etc/group"),
        ("useradd", "echo 'app:x:4711:4712::/srv/app:/bin/sh' >> $R/etc/passwd"),
        ("usermod", "sed -i 's,/bin/sh$,/bin/false,' $R/etc/passwd"),
        ("userdel", "sed -i '/^app:/d' $R/etc/passwd"),
    ]);
    let change = machine.apply("group:app", json!({"gid": 4712, "system": true}));
    assert_eq!(runs(&change), ["groupadd -r -g 4712 app"]);
    let user = json!({"uid": 4711, "group": "app", "home": "/srv/app", "shell": "/bin/sh"});
    let change = machine.apply("user:app", user);
    assert_eq!(runs(&change), ["useradd -u 4711 -g app -d /srv/app -s /bin/sh -m app"]);
    assert_eq!(undos(&change), ["userdel -r app"], "its home was not there before");
    assert!(matches!(&change.steps[1], Step::Keep { path } if path == "/etc/shadow"), "{:?}", change.steps);
    let change = machine.apply("user:app", json!({"shell": "/bin/false"}));
    assert_eq!(change.shown.what, ["shell /bin/sh -> /bin/false"]);
    assert_eq!(runs(&change), ["usermod -s /bin/false app"]);
    machine.apply("group:app", json!({"gid": 4799}));
    assert_eq!(undos(&machine.apply("user:app", json!({"ensure": "absent"}))), ["nothing"]);
    machine.apply("group:app", json!({"ensure": "absent"}));
    let message = machine.problem("user:app", json!({"groups": ["ghost"]}));
    assert!(message.contains("no group `ghost`"), "{message}");
}

#[test]
fn a_user_of_the_plan_may_own_a_file_of_it_and_have_keys() {
    let machine = Machine::new(&[("useradd", ""), ("usermod", ""), ("userdel", "")]);
    let mut pending = Pending::default();
    let mut planned = |id: &str, table| {
        plan(&machine.host, &mut pending, &desired(id, table), false).map(|change| change.unwrap())
    };
    let file = || json!({"content": "", "owner": "app", "group": "app"});
    assert!(planned("file:/etc/a", file()).is_err());
    planned("user:app", json!({"home": "/srv/app"})).unwrap();
    planned("file:/etc/a", file()).unwrap();
    let change = planned("authorized_key:app/x", json!({"key": "ssh-rsa A"})).unwrap();
    assert!(change.shown.what.contains(&"directory /srv/app/.ssh".to_owned()), "{:?}", change.shown.what);
}

#[test]
fn kernel_parameters_are_set_now_and_at_boot() {
    let machine = Machine::new(&[("sysctl", "kv=$3; echo \"${kv#*=}\" > $R/proc/sys/${kv%%=*}")]);
    machine.write("/proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n");
    machine.write("/proc/sys/net/ipv4/conf/eth0.1/rp_filter", "0\n");
    machine.write("/proc/sys/net/ipv4/conf/lo/rp_filter", "1\n");
    let change = machine.apply("sysctl:net.ipv4.ip_local_port_range", json!({"value": "1024 60999"}));
    assert_eq!(undos(&change), ["sysctl -q -w net/ipv4/ip_local_port_range=32768 60999"]);
    let change = machine.apply("sysctl:net.ipv4.conf.*.rp_filter", json!({"value": "1"}));
    assert_eq!(runs(&change), ["sysctl -q -w net/ipv4/conf/eth0.1/rp_filter=1"]);
    let boot = "net.ipv4.ip_local_port_range = 1024 60999\nnet.ipv4.conf.*.rp_filter = 1\n";
    assert_eq!(machine.read("/etc/sysctl.d/50-campanile.conf"), boot);
    // By hand, now alone.
    machine.write("/proc/sys/net/ipv4/ip_local_port_range", "1 2\n");
    let change = machine.apply("sysctl:net.ipv4.ip_local_port_range", json!({"value": "1024  60999"}));
    assert_eq!(change.shown.what, ["net/ipv4/ip_local_port_range 1 2 -> 1024 60999"]);
    assert!(machine.problem("sysctl:net.ghost", json!({"value": "1"})).contains("no parameter `net.ghost`"));
}

#[test]
fn modules_are_loaded_and_kept_out() {
    let modprobe = "case \"$*\" in *ghost*) exit 1;; '-n '*) ;; '-r '*) rmdir $R/sys/module/$2;; \
        *) mkdir -p $R/sys/module/$1;; esac";
    let machine = Machine::new(&[("modprobe", modprobe)]);
    let change = machine.apply("module:loop", json!({}));
    assert_eq!(
        (change.shown.verb, undos(&change)),
        (ChangeVerb::Create, vec!["modprobe -r loop".to_owned()])
    );
    assert_eq!(machine.read("/etc/modules-load.d/campanile-loop.conf"), "loop\n");
    let change = machine.apply("module:loop", json!({"ensure": "absent"}));
    assert_eq!(undos(&change), ["last: modprobe loop"], "once nothing keeps it out");
    assert!(machine.read("/etc/modprobe.d/campanile-loop.conf").starts_with("blacklist loop\n"));
    machine.apply("module:loop", json!({}));
    assert!(machine.problem("module:ghost", json!({})).contains("no module `ghost`"));
}

#[test]
fn mounts_are_listed_mounted_remounted_and_taken_away() {
    let mount =
        "case \"$*\" in *remount*) ;; *) echo \"tmpfs $1 tmpfs rw 0 0\" >> $R/proc/self/mounts;; esac";
    let machine = Machine::new(&[("mount", mount), ("umount", ": > $R/proc/self/mounts")]);
    machine.write("/proc/self/mounts", "");
    machine.write("/etc/fstab", "# root\nUUID=1 / ext4 defaults 0 1\n");
    let table = |options: &[&str]| json!({"device": "tmpfs", "fstype": "tmpfs", "options": options});
    let change = machine.apply("mount:/mnt/a", table(&["size=1m"]));
    assert_eq!(
        (runs(&change), undos(&change)),
        (vec!["mount /mnt/a".to_owned()], vec!["umount /mnt/a".to_owned()])
    );
    assert!(machine.at("/mnt/a").is_dir());
    let listed = "# root\nUUID=1 / ext4 defaults 0 1\ntmpfs /mnt/a tmpfs size=1m 0 0\n";
    assert_eq!(machine.read("/etc/fstab"), listed);
    let change = machine.apply("mount:/mnt/a", table(&["size=2m"]));
    assert_eq!(runs(&change), ["mount -o remount,size=2m /mnt/a"]);
    assert_eq!(undos(&change), ["last: mount -o remount,rw /mnt/a"]);
    // By hand: unmounted.
    machine.write("/proc/self/mounts", "");
    assert_eq!(machine.apply("mount:/mnt/a", table(&["size=2m"])).shown.what, ["mount tmpfs"]);
    let change = machine.apply("mount:/mnt/a", json!({"ensure": "absent"}));
    assert_eq!(undos(&change), ["mount -t tmpfs -o rw tmpfs /mnt/a"]);
    assert_eq!(machine.read("/etc/fstab"), "# root\nUUID=1 / ext4 defaults 0 1\n");
}

/// Loads and lists what it is given; in its "namespace" it lists without loading.
const NFT: &str = "case \"$*\" in\n\
    '-f -') cat > $S/read; [ $(wc -l < $S/read) -le 2 ] && rm -f $S/table || tail -n +3 $S/read > $S/table;;\n\
    *list*) [ -e $S/table ] && cat $S/table || exit 1;; esac";

#[test]
fn a_table_of_the_firewall_is_loaded_whole_and_put_right_when_the_kernel_has_another() {
    let machine = Machine::new(&[("nft", NFT), ("unshare", "tail -n +3")]);
    let table = json!({"rules": "chain input { policy drop; }\n"});
    let change = machine.apply("firewall:inet/filter", table.clone());
    assert!(change.shown.confirmed, "a firewall may cut the node off");
    let Some(Step::Run { invocation, undo: Undo::Run(undo) }) = change.steps.last() else {
        panic!("{change:?}")
    };
    let delete = "table inet filter\ndelete table inet filter\n";
    let text = format!("{delete}table inet filter {{\nchain input {{ policy drop; }}\n}}\n");
    assert_eq!(str::from_utf8(&invocation.stdin).unwrap(), text);
    assert_eq!(str::from_utf8(&undo[0].stdin).unwrap(), delete, "there was none");
    assert_eq!(machine.read("/etc/nftables.d/campanile-inet-filter.nft"), text);
    assert!(machine.read("/etc/nftables.conf").ends_with("include \"/etc/nftables.d/campanile-*.nft\"\n"));
    // By hand, with `nft` alone.
    let live = machine.at("/").parent().unwrap().join("table");
    fs::write(&live, "table inet filter {\nchain input { policy accept; }\n}\n").unwrap();
    let change = machine.apply("firewall:inet/filter", table);
    assert_eq!(change.shown.what, ["replace the rules"]);
    let Some(Step::Run { undo: Undo::Run(undo), .. }) = change.steps.last() else { panic!("{change:?}") };
    assert!(str::from_utf8(&undo[0].stdin).unwrap().contains("policy accept"), "the rules there were");
    machine.apply("firewall:inet/filter", json!({"ensure": "absent"}));
    assert!(!live.exists());
}

#[test]
fn commands_run_when_their_guard_says_so() {
    let machine =
        Machine::new(&[("yes-program", "exit 0"), ("no-program", "exit 1"), ("work", "touch $R/etc/made")]);
    let runs_with = |table: serde_json::Value| machine.plan("command:c", table).unwrap().is_some();
    assert!(!runs_with(json!({"run": ["work"]})), "only when it is notified");
    assert!(machine.notified("command:c", json!({"run": ["work"]})).is_some());
    for (guard, is_run) in [
        (json!({"run": ["work"], "unless": ["yes-program"]}), false),
        (json!({"run": ["work"], "unless": ["no-program"]}), true),
        (json!({"run": ["work"], "unless": ["not-there-yet"]}), true),
        (json!({"run": ["work"], "only_if": ["yes-program"]}), true),
        (json!({"run": ["work"], "only_if": ["no-program"]}), false),
        (json!({"run": ["work"], "creates": "/etc/made", "only_if": ["no-program"]}), false),
    ] {
        assert_eq!(runs_with(guard.clone()), is_run, "{guard}");
    }
    machine.calls();
    let change = machine.apply("command:c", json!({"run": ["work"], "creates": "/etc/made"}));
    assert_eq!(machine.calls(), ["work "]);
    assert_eq!(undos(&change), ["command:c ran; what it did is not undone"]);
    assert_eq!(machine.notified("command:c", json!({"run": ["work"], "creates": "/etc/made"})), None);
}
