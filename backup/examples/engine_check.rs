//! Checks or prunes a repository in a folder, and says what it cost.
//!
//! `engine_check REPOSITORY structure|bytes|authentic|content|prune|closure [N/M]`, with the password in `RESTIC_PASSWORD`.
#![expect(clippy::disallowed_methods, reason = "a program that measures itself")]

use std::env;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use campanile_backup::backend::Directory;
use campanile_backup::check::{self, Report, Share};
use campanile_backup::closure::closure;
use campanile_backup::prune::{self, Facts, Policy};
use campanile_backup::repository::Repository;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [path, work, rest @ ..] = arguments.as_slice() else {
        return Err("engine_check REPOSITORY structure|bytes|authentic|content|prune|closure [N/M]".into());
    };
    let share: Share = rest.first().map_or(Ok(Share::ALL), |text| text.parse())?;
    let password = env::var("RESTIC_PASSWORD")?;
    let backend = Arc::new(Directory::open(Path::new(path))?);
    let repository = Repository::open_with_password(backend, password.as_bytes())?;
    let (cpu, begun) = (cpu_seconds()?, Instant::now());
    match work.as_str() {
        "structure" => print(&check::structure(&repository)?),
        "bytes" => print(&check::bytes(&**repository.backend(), share, &mut |_| {})?),
        "authentic" => print(&check::authentic(&repository, share, &|_| {})?),
        "content" => print(&check::content(&repository, share, &|_| {})?),
        "closure" => {
            let index = repository.load_index()?;
            for (id, snapshot) in repository.snapshots()? {
                println!("{id} needs {} packs", closure(&repository, &index, snapshot.tree)?.len());
            }
        }
        "prune" => {
            let facts = Facts::load(&repository, &[])?;
            let plan = prune::plan(&facts, &Policy::default())?;
            println!("{:?}", plan.figures);
            let removals = prune::execute(&repository, &facts, &plan, &mut |_| true)?;
            let removed = prune::apply(&**repository.backend(), &removals, &mut |_| true)?;
            println!("{} packed anew, {removed} objects removed", plan.repack.len());
        }
        other => return Err(format!("no such work: {other}").into()),
    }
    println!(
        "{:.2} s, CPU {:.2} s, peak {} MiB",
        begun.elapsed().as_secs_f64(),
        cpu_seconds()? - cpu,
        peak_bytes()? >> 20
    );
    Ok(())
}

fn print(report: &Report) {
    report.findings.iter().for_each(|finding| println!("{finding}"));
    let coverage = report.coverage;
    println!(
        "{} findings, {} leftovers, {} of {} objects, {} of {} MiB",
        report.findings.len(),
        report.leftovers.len(),
        coverage.objects,
        coverage.of_objects,
        coverage.bytes >> 20,
        coverage.of_bytes >> 20
    );
}

/// User and system time of this process, in the kernel's ticks of a hundredth of a second.
fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let behind = stat.rsplit(") ").next().ok_or("no process")?;
    let ticks: Vec<f64> = behind.split(' ').skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() / 100.0)
}

fn peak_bytes() -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no peak")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
}
