//! When a schedule is due, as far as a grant must know: the least time between two runs.
//!
//! The aggregator decides when each run is due; a node holds it to what the grant says here.

use std::time::Duration;

use crate::duration;

/// Minutes of a day.
const DAY: u32 = 24 * 60;

/// Names for schedules, with the hours between two runs at least, less the hour that is left out in spring.
const NAMED: [(&str, u64); 7] = [
    ("@hourly", 1),
    ("@daily", 23),
    ("@midnight", 23),
    ("@weekly", 7 * 24 - 1),
    ("@monthly", 28 * 24 - 1),
    ("@yearly", 365 * 24 - 1),
    ("@annually", 365 * 24 - 1),
];

/// Text that is no schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no schedule: {problem}; write five fields as in cron, e.g. '0 3 * * *', or '@every 15m'"
)]
pub(super) struct WhenError {
    text: String,
    problem: String,
}

/// The least time between two runs. Where clocks change, a day is an hour shorter: so may the time be.
///
/// # Errors
/// When the text is no schedule.
pub(super) fn interval(text: &str) -> Result<Duration, WhenError> {
    let fail = |problem: String| WhenError { text: text.to_owned(), problem };
    if let Some(every) = text.strip_prefix("@every ") {
        let every = duration::parse(every.trim()).map_err(|error| fail(error.to_string()))?;
        if every < Duration::from_secs(60) {
            return Err(fail("runs are a minute apart at least".to_owned()));
        }
        return Ok(every);
    }
    if let Some((_, hours)) = NAMED.iter().find(|(name, _)| *name == text) {
        return Ok(Duration::from_secs(hours * 3600));
    }
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    let [minutes, hours, days, months, weekdays] = fields.as_slice() else {
        return Err(fail(format!("it has {} fields", fields.len())));
    };
    let minutes = values(minutes, 0, 59, &[]).map_err(|problem| fail(format!("minute: {problem}")))?;
    let hours = values(hours, 0, 23, &[]).map_err(|problem| fail(format!("hour: {problem}")))?;
    values(days, 1, 31, &[]).map_err(|problem| fail(format!("day: {problem}")))?;
    values(months, 1, 12, &MONTHS).map_err(|problem| fail(format!("month: {problem}")))?;
    values(weekdays, 0, 7, &WEEKDAYS).map_err(|problem| fail(format!("day of the week: {problem}")))?;
    let mut times: Vec<u32> =
        hours.iter().flat_map(|hour| minutes.iter().map(move |minute| hour * 60 + minute)).collect();
    times.sort_unstable();
    let within = times.windows(2).map(|pair| pair[1] - pair[0]);
    let around = DAY - times.last().copied().unwrap_or(0) + times.first().copied().unwrap_or(0);
    let least = within.chain([around]).min().unwrap_or(DAY);
    // An hour that is left out brings times an hour closer.
    let least = if least > 60 { least - 60 } else { least };
    Ok(Duration::from_secs(u64::from(least) * 60))
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// The values of one field: `*`, numbers, ranges, steps and lists of them.
fn values(field: &str, least: u32, most: u32, names: &[&str]) -> Result<Vec<u32>, String> {
    let number = |text: &str| -> Result<u32, String> {
        let named = names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let value = match named {
            Some(place) => u32::try_from(place).ok().map(|place| place + least),
            None => text.parse().ok(),
        };
        let value = value.filter(|value| (least..=most).contains(value));
        value.ok_or_else(|| format!("`{text}` is not between {least} and {most}"))
    };
    let mut found = Vec::new();
    for part in field.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => {
                let step: u32 =
                    step.parse().ok().filter(|step| *step > 0).ok_or_else(|| format!("`{part}`"))?;
                (range, Some(step))
            }
            None => (part, None),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (least, most),
            Some((from, to)) => (number(from)?, number(to)?),
            None => (number(range)?, if step.is_some() { most } else { number(range)? }),
        };
        if from > to {
            return Err(format!("`{part}` ends before it begins"));
        }
        found.extend((from..=to).step_by(usize::try_from(step.unwrap_or(1)).unwrap_or(1)));
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(text: &str) -> u64 {
        interval(text).unwrap().as_secs() / 60
    }

    #[test]
    fn the_least_time_between_two_runs() {
        assert_eq!(minutes("@every 15m"), 15);
        assert_eq!(minutes("*/15 * * * *"), 15);
        assert_eq!(minutes("@daily"), 23 * 60);
        assert_eq!(minutes("0 * * * *"), 60);
        assert_eq!(minutes("0,50 * * * *"), 10);
        // A day and half a day, each less the hour that is left out in spring.
        assert_eq!(minutes("0 3 * * *"), 23 * 60);
        assert_eq!(minutes("30 6,18 * * mon-fri"), 11 * 60);
        assert_eq!(minutes("0 0 1 jan *"), 23 * 60);
        assert_eq!(minutes("59,0 23,0 * * *"), 1);
    }

    #[test]
    fn nonsense_is_refused_with_examples() {
        for text in [
            "",
            "0 3 * *",
            "60 * * * *",
            "0 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "5-1 * * * *",
            "*/0 * * * *",
            "a * * * *",
            "@every 5",
            "@every 30s",
            "@dayly",
        ] {
            let error = interval(text).unwrap_err().to_string();
            assert!(error.contains("@every 15m"), "{text}: {error}");
        }
    }
}
