//! Asking before a destructive step: the targets are printed, and with `--yes` their number must be known.

use crate::context::Context;
use crate::exit::UsageError;
use crate::os::terminal;

/// Checks the number of targets that was expected, if one was.
///
/// # Errors
/// When it is another.
pub fn expected(count: usize, expect: Option<usize>) -> Result<(), UsageError> {
    match expect {
        Some(expected) if expected != count => {
            Err(UsageError(format!("{count} nodes are named, --expect says {expected}; nothing was done")))
        }
        _ => Ok(()),
    }
}

/// Checks the number, or prints the targets and asks.
///
/// # Errors
/// When the number is another than expected, is not given beside `--yes`, or nobody can be asked.
pub fn targets(
    context: &mut Context<'_>,
    what: &str,
    names: &[&str],
    expect: Option<usize>,
) -> anyhow::Result<bool> {
    expected(names.len(), expect)?;
    let count = names.len();
    if context.global.yes {
        if expect.is_none() && count > 1 {
            let text = format!("{count} nodes are named; with --yes, --expect {count} must say so too");
            return Err(UsageError(text).into());
        }
        return Ok(true);
    }
    for name in names {
        context.hint(name)?;
    }
    let question = match names {
        [name] => format!("{what} on {name}? [y/N] "),
        _ => format!("{what} on these {count} nodes? type their number: "),
    };
    let answer = terminal::ask("answer", &question, "give --yes, and --expect N for several nodes")?;
    Ok(if count == 1 { is_yes(&answer) } else { answer.parse() == Ok(count) })
}

/// Asks a question about one thing; `--yes` answers it.
///
/// # Errors
/// When nobody can be asked.
pub fn question(context: &mut Context<'_>, question: &str) -> anyhow::Result<bool> {
    if context.global.yes {
        return Ok(true);
    }
    Ok(is_yes(&terminal::ask("answer", &format!("{question} [y/N] "), "give --yes")?))
}

fn is_yes(answer: &str) -> bool {
    matches!(answer, "y" | "Y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Environment;
    use crate::testing;

    #[test]
    fn several_nodes_need_their_number_beside_yes() {
        testing::with_context(&["--yes"], &Environment::default(), |context| {
            assert!(targets(context, "run it", &["a"], None).unwrap());
            assert!(targets(context, "run it", &["a", "b"], Some(2)).unwrap());
            for (names, expect) in [(&["a", "b"][..], None), (&["a", "b"], Some(3)), (&["a"], Some(2))] {
                let error = targets(context, "run it", names, expect).unwrap_err();
                assert!(error.downcast_ref::<UsageError>().is_some(), "{names:?} {expect:?}");
            }
        });
    }
}
