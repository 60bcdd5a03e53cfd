//! `--watch`: the same again every second, until Ctrl-C.

use std::time::{Duration, Instant};

use clap::Args;

use crate::client::ClientError;
use crate::context::Context;
use crate::exit::Exit;
use crate::os::process;
use crate::os::signal::StopRequest;

/// How often it is drawn.
const EVERY: Duration = Duration::from_secs(1);
/// How often we look whether to stop meanwhile.
const LOOK: Duration = Duration::from_millis(50);
/// Cursor to the top left, and everything below it erased: no flicker as with a cleared screen.
const HOME: &[u8] = b"\x1b[H\x1b[J";

/// Flag of the verbs that can be watched.
#[derive(Debug, Default, Clone, Copy, Args)]
pub struct Watch {
    /// Draw it again every second until Ctrl-C
    #[arg(short, long)]
    watch: bool,
}

impl Watch {
    /// Runs `draw` once, or every second. An aggregator that does not answer for a while is waited for.
    ///
    /// # Errors
    /// When drawing fails, or is refused.
    pub fn run(
        &self,
        context: &mut Context<'_>,
        mut draw: impl FnMut(&mut Context<'_>) -> anyhow::Result<Exit>,
    ) -> anyhow::Result<Exit> {
        if !self.watch {
            return draw(context);
        }
        let stop = StopRequest::listen()?;
        while !stop.is_asked() {
            let began = Instant::now();
            // Drawn in memory first, so that the screen is never half empty while the aggregator answers.
            let mut page = Vec::new();
            let drawn = draw(&mut Context { out: &mut page, err: &mut *context.err, ..*context });
            if let Err(error) = drawn {
                if !is_passing(&error) {
                    return Err(error);
                }
                page = format!("{error:#}\n").into_bytes();
            }
            if context.environment.stdout_is_terminal {
                context.out.write_all(HOME)?;
            }
            context.out.write_all(&page)?;
            context.out.flush()?;
            while !stop.is_asked() && began.elapsed() < EVERY {
                process::pause(LOOK);
            }
        }
        Ok(Exit::Interrupted)
    }
}

/// True for failures that end by themselves, such as a restart of the aggregator.
fn is_passing(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref(),
        Some(
            ClientError::Unreachable { .. } | ClientError::Timeout { .. } | ClientError::NotUnderstood { .. }
        )
    ) || error.downcast_ref::<ClientError>().and_then(ClientError::code) == Some("unavailable")
}
