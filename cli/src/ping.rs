//! `ping`: a round trip from the aggregator to each agent.

use campanile_common::api::Pong;
use clap::Args;

use crate::context::Context;
use crate::exit::Exit;
use crate::node::Selection;
use crate::profile;
use crate::render::{self, Cell, Column, Tone, column};
use crate::watch::Watch;

/// Options of `ping`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  campanile ping
  campanile ping -l role=web --watch

Exit code 4 when a node does not answer.")]
pub struct Ping {
    #[command(flatten)]
    selector: Selection,
    #[command(flatten)]
    watch: Watch,
}

const COLUMNS: [Column<Pong>; 2] = [
    column("NODE", |pong, _| Cell::new(&pong.node)),
    column("RTT", |pong, _| match pong.rtt_ms {
        Some(rtt) => Cell::new(format!("{rtt:.1} ms")).toned(Tone::Good),
        None => Cell::new("silent").toned(Tone::Bad),
    }),
];

/// Carries it out.
///
/// # Errors
/// When it fails.
pub fn run(context: &mut Context<'_>, arguments: &Ping) -> anyhow::Result<Exit> {
    let client = profile::client(context)?;
    arguments.watch.run(context, |context| {
        let pongs: Vec<Pong> = client.get("/api/v1/ping", &[("selector", &arguments.selector.to_text())])?;
        render::list(context, &pongs, &COLUMNS, |pong| pong.node.clone())?;
        context.hint(&summary(&pongs))?;
        let silent = pongs.iter().any(|pong| pong.rtt_ms.is_none());
        Ok(if silent { Exit::SomeSilent } else { Exit::Fine })
    })
}

fn summary(pongs: &[Pong]) -> String {
    let mut rtts: Vec<f64> = pongs.iter().filter_map(|pong| pong.rtt_ms).collect();
    rtts.sort_by(f64::total_cmp);
    let counts = format!("{} asked: {} answered", pongs.len(), rtts.len());
    match (rtts.first(), rtts.get(rtts.len() / 2), rtts.last()) {
        (Some(least), Some(median), Some(most)) => {
            format!("{counts}, {least:.1} / {median:.1} / {most:.1} ms (least, median, most)")
        }
        _ => counts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts_who_answered() {
        let pong = |rtt_ms| Pong { node: "a".to_owned(), rtt_ms };
        let pongs = [pong(Some(3.0)), pong(None), pong(Some(1.0)), pong(Some(2.0))];
        assert_eq!(summary(&pongs), "4 asked: 3 answered, 1.0 / 2.0 / 3.0 ms (least, median, most)");
        assert_eq!(summary(&[pong(None)]), "1 asked: 0 answered");
    }
}
