//! How far this machine's clock on the wall is ahead of UTC: `/etc/localtime`, in the format of RFC 8536.

use std::fs::File;
use std::io::Read as _;

use campanile_common::time::Timestamp;

const PATH: &str = "/etc/localtime";
/// The longest zones have some kilobytes.
const BYTES_MAX: u64 = 256 * 1024;
const HEADER_BYTES: usize = 44;
const DAY_S: i64 = 86_400;
const HOUR_S: i64 = 3600;

/// Seconds that the node's clock is ahead of UTC at that time; none, as for UTC, where it has no zone.
pub fn ahead_of_utc_s(at: Timestamp) -> i32 {
    let mut bytes = Vec::new();
    let read = File::open(PATH).and_then(|file| file.take(BYTES_MAX).read_to_end(&mut bytes));
    // No further than the year 9999: the rules know no later one.
    let at = i64::try_from(at.as_secs()).unwrap_or(i64::MAX).min(253_402_300_799);
    read.ok().and_then(|_| offset(&bytes, at)).and_then(|offset| i32::try_from(offset).ok()).unwrap_or(0)
}

/// The offset at a time: by the last change before it, or by the rule behind the table.
fn offset(bytes: &[u8], at: i64) -> Option<i64> {
    let first = Header::read(bytes)?;
    if first.version == 0 {
        return Table { header: first, body: bytes.get(HEADER_BYTES..)?, width: 4 }
            .offset(at)
            .map(|(offset, _)| offset);
    }
    // From version 2 on, the whole comes again in 64 bits, with a rule for the time after the last change.
    let second = bytes.get(HEADER_BYTES + first.body_bytes(4)..)?;
    let header = Header::read(second)?;
    let body = second.get(HEADER_BYTES..)?;
    let rule = body.get(header.body_bytes(8)..)?;
    let rule = std::str::from_utf8(rule.strip_prefix(b"\n")?.split(|byte| *byte == b'\n').next()?).ok()?;
    let (offset, is_last) = Table { header, body, width: 8 }.offset(at)?;
    Some(if is_last { ruled(rule, at).unwrap_or(offset) } else { offset })
}

struct Header {
    version: u8,
    /// Of each: UTC marks, standard marks, leap seconds, changes, kinds, bytes of names.
    counts: [usize; 6],
}

impl Header {
    fn read(bytes: &[u8]) -> Option<Self> {
        let header = bytes.get(..HEADER_BYTES)?.strip_prefix(b"TZif")?;
        let mut counts = [0; 6];
        for (count, number) in counts.iter_mut().zip(header[16..].chunks_exact(4)) {
            *count = usize::try_from(u32::from_be_bytes(number.try_into().ok()?)).ok()?;
        }
        let fits = counts.iter().all(|count| *count < 1 << 20);
        fits.then_some(Self { version: header[0], counts })
    }

    fn body_bytes(&self, width: usize) -> usize {
        let [utc, standard, leaps, changes, kinds, names] = self.counts;
        changes * (width + 1) + kinds * 6 + names + leaps * (width + 4) + standard + utc
    }
}

struct Table<'a> {
    header: Header,
    body: &'a [u8],
    width: usize,
}

impl Table<'_> {
    /// The offset, and whether no later change is in the table.
    fn offset(&self, at: i64) -> Option<(i64, bool)> {
        let [_, _, _, changes, kinds, _] = self.header.counts;
        let times = self.body.get(..changes * self.width)?;
        let after = times.chunks_exact(self.width).take_while(|time| number(time) <= at).count();
        let indexes = self.body.get(changes * self.width..)?.get(..changes)?;
        let kind = if after == 0 { 0 } else { usize::from(indexes[after - 1]) };
        let table = self.body.get(changes * (self.width + 1)..)?.get(..kinds * 6)?;
        Some((number(table.get(kind * 6..kind * 6 + 4)?), after == changes))
    }
}

/// Big-endian, signed, of four or eight bytes.
fn number(bytes: &[u8]) -> i64 {
    let start = bytes.first().map_or(0, |first| if *first >= 0x80 { -1 } else { 0 });
    bytes.iter().fold(start, |all, byte| all << 8 | i64::from(*byte))
}

/// What a rule such as `CET-1CEST,M3.5.0,M10.5.0/3` says of a time.
fn ruled(rule: &str, at: i64) -> Option<i64> {
    let mut parts = rule.split(',');
    let (standard, rest) = zone(parts.next()?)?;
    let standard = -standard;
    if rest.is_empty() {
        return Some(standard);
    }
    let (begin, end) = (parts.next()?, parts.next()?);
    let summer = match zone_name(rest)? {
        "" => standard + HOUR_S,
        said => -hours(said)?,
    };
    let (year, first) = year_of(at + standard);
    let begin = first * DAY_S + moment(begin, year, first)? - standard;
    let end = first * DAY_S + moment(end, year, first)? - summer;
    let is_summer = if begin < end { (begin..end).contains(&at) } else { !(end..begin).contains(&at) };
    Some(if is_summer { summer } else { standard })
}

/// What comes behind a name such as `CET` or `<-03>`.
fn zone_name(text: &str) -> Option<&str> {
    match text.strip_prefix('<') {
        Some(quoted) => quoted.split_once('>').map(|(_, rest)| rest),
        None => Some(text.trim_start_matches(|c: char| c.is_ascii_alphabetic())),
    }
}

/// Seconds behind UTC of a name and its offset, and what follows it.
fn zone(text: &str) -> Option<(i64, &str)> {
    let rest = zone_name(text)?;
    let end = rest.find(|c: char| !c.is_ascii_digit() && !"+-:".contains(c)).unwrap_or(rest.len());
    Some((hours(&rest[..end])?, &rest[end..]))
}

/// Reads `-1`, `5:30` or `+10:00:00` as seconds.
fn hours(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut seconds = 0;
    for (part, weight) in digits.split(':').zip([HOUR_S, 60, 1]) {
        seconds += part.parse::<u16>().ok().map(i64::from)? * weight;
    }
    Some(sign * seconds)
}

/// Seconds after the year's beginning, by the clock on the wall: `M3.5.0/2`, `J60` or `59`.
fn moment(text: &str, year: i64, first: i64) -> Option<i64> {
    let (day, time) = text.split_once('/').map_or((text, Some(2 * HOUR_S)), |(day, time)| (day, hours(time)));
    let number = |text: &str| text.parse::<u16>().ok().map(i64::from);
    let day = if let Some(day) = day.strip_prefix('J') {
        let day = number(day)? - 1;
        day + i64::from(is_leap(year) && day >= 59)
    } else if let Some(day) = day.strip_prefix('M') {
        let mut parts = day.split('.').map(number);
        let (month, week, weekday) = (parts.next()??, parts.next()??, parts.next()??);
        let before: i64 = (1..month).map(|month| days_of(month, year)).sum();
        // 1970-01-01 was a Thursday.
        let starts = (first + before + 4).rem_euclid(7);
        let day = (weekday - starts).rem_euclid(7) + (week - 1) * 7;
        before + if day < days_of(month, year) { day } else { day - 7 }
    } else {
        number(day)?
    };
    Some(day * DAY_S + time?)
}

const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

const fn days_of(month: i64, year: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The year of a time, and its first day counted from 1970-01-01.
fn year_of(at: i64) -> (i64, i64) {
    let day = at.div_euclid(DAY_S);
    let first_of = |year: i64| {
        let past = year - 1;
        365 * (year - 1970) + (past / 4 - past / 100 + past / 400) - (1969 / 4 - 1969 / 100 + 1969 / 400)
    };
    let mut year = 1970 + day / 366;
    while first_of(year + 1) <= day {
        year += 1;
    }
    (year, first_of(year))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        i64::try_from(text.parse::<Timestamp>().unwrap().as_secs()).unwrap()
    }

    #[test]
    fn a_rule_says_when_summer_begins_and_ends() {
        let berlin = |text| ruled("CET-1CEST,M3.5.0,M10.5.0/3", at(text)).unwrap() / HOUR_S;
        assert_eq!(berlin("2026-03-29T00:59:59Z"), 1);
        assert_eq!(berlin("2026-03-29T01:00:00Z"), 2);
        assert_eq!(berlin("2026-10-25T00:59:59Z"), 2);
        assert_eq!(berlin("2026-10-25T01:00:00Z"), 1);
        let sydney = |text| ruled("AEST-10AEDT,M10.1.0,M4.1.0/3", at(text)).unwrap() / HOUR_S;
        assert_eq!([sydney("2026-01-15T00:00:00Z"), sydney("2026-07-15T00:00:00Z")], [11, 10]);
        assert_eq!([sydney("2026-04-04T15:59:59Z"), sydney("2026-04-04T16:00:00Z")], [11, 10]);
        assert_eq!(ruled("<+0530>-5:30", 0), Some(19_800));
        assert_eq!(ruled("<-03>3", 0), Some(-3 * HOUR_S));
        assert_eq!(ruled("UTC0", 0), Some(0));
        for nonsense in ["", "X", "CET-1CEST", "CET-1CEST,M3", "<CET-1"] {
            assert_eq!(ruled(nonsense, 0), None, "{nonsense}");
        }
    }

    /// A zone with one change, an hour ahead, at `change`, and a rule behind it.
    fn zone_file(change: i64, rule: &str) -> Vec<u8> {
        let header = |version: u8, counts: [u32; 6]| {
            let mut bytes = b"TZif".to_vec();
            bytes.push(version);
            bytes.extend([0; 15]);
            bytes.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
            bytes
        };
        let mut bytes = header(b'2', [0, 0, 0, 0, 1, 1]);
        bytes.extend([0; 7]);
        bytes.extend(header(b'2', [0, 0, 0, 1, 2, 4]));
        bytes.extend(change.to_be_bytes());
        bytes.push(1);
        for offset in [0_i32, 3600] {
            bytes.extend(offset.to_be_bytes());
            bytes.extend([0, 0]);
        }
        bytes.extend(b"ABC\0");
        bytes.extend(format!("\n{rule}\n").into_bytes());
        bytes
    }

    #[test]
    fn a_table_decides_until_its_last_change_and_the_rule_from_there_on() {
        let file = zone_file(1000, "");
        assert_eq!([offset(&file, 999), offset(&file, 1000)], [Some(0), Some(3600)]);
        let file = zone_file(1000, "X-3");
        assert_eq!([offset(&file, 999), offset(&file, 1000)], [Some(0), Some(3 * HOUR_S)]);
        for length in 0..file.len() {
            // Cut anywhere, it is read as far as it makes sense and no further.
            offset(&file[..length], 2000);
        }
        assert_eq!(offset(b"no zone", 0), None);
    }
}
