//! What `doctor` of a daemon says: one line a check, with what is so and, where something is wrong, what to do.

use std::fmt;

use serde::Serialize;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// It works and needs someone's attention.
    Warn,
    /// Something that the daemon is for does not work.
    Fail,
}

/// One line.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How it came out.
    pub state: State,
    /// What is so.
    pub detail: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Ok => "OK",
            State::Warn => "WARN",
            State::Fail => "FAIL",
        };
        write!(f, "{state:<5} {:<12} {}", self.name, self.detail)?;
        match &self.advice {
            Some(advice) => write!(f, "; {advice}"),
            None => Ok(()),
        }
    }
}

/// A check that found nothing wrong.
pub fn ok(name: &'static str, detail: impl Into<String>) -> Check {
    Check { name, state: State::Ok, detail: detail.into(), advice: None }
}

/// A check that found something to attend to.
pub fn warn(name: &'static str, detail: impl Into<String>, advice: impl Into<String>) -> Check {
    Check { name, state: State::Warn, detail: detail.into(), advice: Some(advice.into()) }
}

/// A check that found something broken.
pub fn fail(name: &'static str, detail: impl Into<String>, advice: impl Into<String>) -> Check {
    Check { name, state: State::Fail, detail: detail.into(), advice: Some(advice.into()) }
}

/// All of them as they are printed: a line each, or one JSON object with the worst state first.
pub fn shown(checks: &[Check], is_json: bool) -> String {
    if is_json {
        let worst = checks.iter().map(|check| check.state).max().unwrap_or(State::Ok);
        return serde_json::json!({ "state": worst, "checks": checks }).to_string();
    }
    checks.iter().map(Check::to_string).collect::<Vec<_>>().join("\n")
}

/// How many failed, if any.
pub fn failures(checks: &[Check]) -> Option<String> {
    let failed = checks.iter().filter(|check| check.state == State::Fail).count();
    (failed > 0).then(|| format!("{failed} of {} checks failed", checks.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_is_so_and_what_to_do() {
        assert_eq!(ok("clock", "is right").to_string(), "OK    clock        is right");
        assert_eq!(fail("disk", "is full", "make room").to_string(), "FAIL  disk         is full; make room");
    }

    #[test]
    fn json_leads_with_the_worst_state() {
        let checks = [ok("clock", "is right"), warn("disk", "fills", "make room")];
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&shown(&checks, true)).unwrap(),
            serde_json::json!({ "state": "warn", "checks": [
                { "name": "clock", "state": "ok", "detail": "is right" },
                { "name": "disk", "state": "warn", "detail": "fills", "advice": "make room" },
            ] })
        );
        assert_eq!(shown(&checks, false).lines().count(), 2);
    }

    #[test]
    fn only_what_failed_counts_as_failed() {
        let advised = [ok("clock", "is right"), warn("disk", "fills", "make room")];
        assert_eq!(failures(&advised), None);
        let failed = [ok("clock", "is right"), fail("disk", "is full", "make room")];
        assert_eq!(failures(&failed).as_deref(), Some("1 of 2 checks failed"));
    }
}
