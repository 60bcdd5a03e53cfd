//! Which releases of the agent this aggregator serves: its own and the one before. The aggregator is upgraded first.
//!
//! Releases are told apart by their first two numbers; the third one changes nothing that two programs share.

use campanile_common::api::UnsupportedAgents;

/// Names that are shown; the rest is counted.
const SHOWN_MAX: usize = 20;

/// How an agent stands to its aggregator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Skew {
    /// Served.
    Supported,
    /// The aggregator is to be upgraded.
    Newer,
    /// The agent is to be upgraded.
    Older,
}

/// First two numbers of a version; none when it is no version.
fn release(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split(['.', '-', '+']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// How an agent of one version stands to an aggregator of another. What is no version is not judged.
fn skew(agent: &str, aggregator: &str) -> Skew {
    let (Some(agent), Some(own)) = (release(agent), release(aggregator)) else { return Skew::Supported };
    // The first release of a major version follows the last of the one before, whose number is not known here.
    let is_previous = agent == own
        || (agent.0 == own.0 && agent.1.saturating_add(1) == own.1)
        || (agent.0.saturating_add(1) == own.0 && own.1 == 0);
    match agent.cmp(&own) {
        std::cmp::Ordering::Greater => Skew::Newer,
        _ if is_previous => Skew::Supported,
        _ => Skew::Older,
    }
}

/// Those of some agents, given as name and version in the order of names, that are not served; none when all are.
pub fn unsupported<'a>(
    agents: impl Iterator<Item = (&'a str, &'a str)>,
    aggregator: &str,
) -> Option<UnsupportedAgents> {
    let mut found = UnsupportedAgents::default();
    for (name, version) in agents {
        match skew(version, aggregator) {
            Skew::Supported => continue,
            Skew::Newer => found.newer += 1,
            Skew::Older => found.older += 1,
        }
        if found.first.len() < SHOWN_MAX {
            found.first.push(format!("{name} {version}"));
        }
    }
    (found != UnsupportedAgents::default()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aggregator_serves_its_own_release_and_the_one_before() {
        for (agent, aggregator, expected) in [
            ("0.1.0", "0.1.0", Skew::Supported),
            ("0.1.9", "0.1.0", Skew::Supported),
            ("0.1.0", "0.2.3", Skew::Supported),
            ("0.2.0", "0.1.0", Skew::Newer),
            ("1.0.0", "0.9.0", Skew::Newer),
            ("0.1.0", "0.3.0", Skew::Older),
            ("0.9.0", "1.0.0", Skew::Supported),
            ("0.9.0", "1.1.0", Skew::Older),
            ("1.2.0-rc.1", "1.2.0", Skew::Supported),
            ("nightly", "1.2.0", Skew::Supported),
            ("", "1.2.0", Skew::Supported),
            ("4294967295.4294967295.0", "1.2.0", Skew::Newer),
        ] {
            assert_eq!(skew(agent, aggregator), expected, "{agent} at {aggregator}");
        }
    }

    #[test]
    fn the_first_are_named_and_all_are_counted() {
        let names: Vec<String> = (0..30).map(|number| format!("n{number:02}")).collect();
        let agents = names.iter().map(|name| (name.as_str(), "0.9.0"));
        let found = unsupported(agents.chain([("old", "0.1.0"), ("fine", "0.4.1")]), "0.5.0").unwrap();
        assert_eq!((found.newer, found.older, found.first.len()), (30, 1, 20));
        assert_eq!(found.first[0], "n00 0.9.0");
        assert_eq!(unsupported([("fine", "0.5.0")].into_iter(), "0.5.0"), None);
    }
}
