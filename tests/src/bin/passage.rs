//! A place between agents and their aggregator for tests that have a network of their own: `passage FROM TO`, and on
//! standard input, a line each, what becomes of UDP: `pass`, `drop`, `lose N`, `late N` (one packet in N), `rebind`.
//! With `--proxy`, an HTTP proxy that connects to TO for whoever asks it.

use std::net::SocketAddr;
use std::process::ExitCode;

use campanile_tests::support::{ConnectProxy, Passage, Udp};

const USAGE: &str =
    "usage: passage [--proxy] FROM TO; then pass, drop, lose N, late N or rebind on standard input";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_proxy = arguments.first().is_some_and(|first| first == "--proxy");
    let addresses: Result<Vec<SocketAddr>, _> =
        arguments.iter().skip(usize::from(is_proxy)).map(|text| text.parse()).collect();
    let Some([from, to]) = addresses.ok().and_then(|found| <[SocketAddr; 2]>::try_from(found).ok()) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    if is_proxy {
        let _proxy = ConnectProxy::open(from, to, None);
        return follow(|_| true);
    }
    let passage = match Passage::open(from, to, Some(Udp::Passed)) {
        Ok(passage) => passage,
        Err(error) => {
            eprintln!("passage: {from}: {error}");
            return ExitCode::FAILURE;
        }
    };
    follow(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let every = || words.get(1).and_then(|word| word.parse().ok()).filter(|every| *every > 0);
        let udp = match words.first() {
            Some(&"pass") => Some(Udp::Passed),
            Some(&"drop") => Some(Udp::Dropped),
            Some(&"rebind") => Some(Udp::Rebound),
            Some(&"lose") => every().map(Udp::OneLostIn),
            Some(&"late") => every().map(Udp::OneLateIn),
            _ => None,
        };
        udp.map(|udp| passage.set(udp)).is_some()
    })
}

/// Until standard input ends.
fn follow(mut take: impl FnMut(&str) -> bool) -> ExitCode {
    println!("ready");
    for line in std::io::stdin().lines() {
        let Ok(line) = line else { return ExitCode::FAILURE };
        if !take(&line) {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
        println!("ok");
    }
    ExitCode::SUCCESS
}
