//! What decoding may cost in memory, checked by the kernel: a child process gets so much and no more.

use std::process::{Command, Output};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{Outcomes, good_frames, mutate, take};
use campanile_common::wire::v1::sample::SampleDecoder;
use campanile_tests::random::Random;

/// What decoders may use beyond what the process used before. A frame's body is 64 KiB; the largest values
/// for their bytes are labels of two empty texts, 48 bytes in memory for 2 on the wire.
const MEMORY_BYTES_MAX: u64 = 8 << 20;
/// Frames the child decodes; lies about lengths and counts are most of them.
const FRAMES: u64 = 50_000;
const CHILD: &str = "CAMPANILE_MEMORY_CHILD";

/// Runs this test of this program again, as a child that does `part`.
fn child(test: &str, part: &str) -> Output {
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CHILD, part)
        // A backtrace takes more memory than the child has, and the wait for it never ends.
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    output
}

fn is_child(part: &str) -> bool {
    std::env::var(CHILD).is_ok_and(|found| found == part)
}

/// From here on every allocation past the limit fails, and a failed allocation ends the process.
fn limit_memory() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let used_kib: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmData:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB"))
        .and_then(|number| number.parse().ok())
        .expect("/proc/self/status tells VmData");
    let limit = used_kib * 1024 + MEMORY_BYTES_MAX;
    let maximum = getrlimit(Resource::Data).maximum;
    setrlimit(Resource::Data, Rlimit { current: Some(limit), maximum }).unwrap();
}

#[test]
fn no_lie_about_a_length_costs_more_memory_than_a_frame_may() {
    const TEST: &str = "memory::no_lie_about_a_length_costs_more_memory_than_a_frame_may";
    if !is_child("decode") {
        let output = child(TEST, "decode");
        assert!(output.status.success());
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "the child found its test");
        return;
    }
    let seed = campanile_tests::random::seed();
    println!("CAMPANILE_SEED={seed}");
    let good = good_frames();
    limit_memory();
    let (mut samples, mut outcomes) = (SampleDecoder::default(), Outcomes::default());
    for case in 0..FRAMES {
        let mut random = Random::of_case(seed, case);
        let bytes = mutate::mutated(&mut random, &good);
        take(&bytes, &mut random, &mut samples, &mut outcomes);
    }
    for bytes in dense_frames() {
        take(&bytes, &mut Random::of_case(seed, FRAMES), &mut samples, &mut outcomes);
    }
}

/// Frames of full length whose values are as large in memory, for their bytes, as the wire allows.
fn dense_frames() -> Vec<Vec<u8>> {
    let zeros = vec![0; 65_500];
    // Kinds that hold lists: capabilities, processes, series with labels, differences, an authority chain.
    let lists = [(0, 1), (1, 33), (1, 49), (1, 65), (1, 66)];
    let mut frames: Vec<Vec<u8>> = lists.iter().map(|&(v, kind)| mutate::framed(v, kind, &zeros)).collect();
    // A schema that claims 16,000 series without name or label, and one series that claims 16,000 empty labels.
    let mut many_series = vec![0; 8];
    many_series.extend([0, 0, 251, 0x80, 0x3E]);
    let mut many_labels = vec![0; 8];
    many_labels.extend([0, 0, 1, 0, 251, 0x80, 0x3E]);
    for mut body in [many_series, many_labels] {
        body.resize(65_500, 0);
        frames.push(mutate::framed(1, 65, &body));
    }
    frames
}

/// Shows that the limit bites: the check above could not fail otherwise.
#[test]
fn a_process_that_takes_more_than_its_limit_is_ended() {
    const TEST: &str = "memory::a_process_that_takes_more_than_its_limit_is_ended";
    if !is_child("exceed") {
        let output = child(TEST, "exceed");
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains("memory allocation of"));
        return;
    }
    limit_memory();
    let claimed = usize::try_from(2 * MEMORY_BYTES_MAX).unwrap();
    println!("{}", std::hint::black_box(Vec::<u8>::with_capacity(claimed)).capacity());
}
