//! Pages of lists: an opaque cursor that stays right while the list changes.
//!
//! A cursor names the last entry that was seen by its sort key, not by its position, so that entries which come
//! and go elsewhere neither repeat nor hide others.

use campanile_common::api::Page;
use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;

use super::failure::{Failure, Outcome};

/// Entries of a page when the caller does not say.
pub(super) const LIMIT_DEFAULT: usize = 100;
/// Most entries of one page.
pub(super) const LIMIT_MAX: usize = 1000;
/// Longest cursor that is read at all.
const CURSOR_BYTES_MAX: usize = 1024;

/// Which page of a list.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageParams {
    /// Entries per page, 1 to 1000; 100 unless said otherwise.
    pub(super) limit: Option<usize>,
    /// `nextCursor` of the page before.
    pub(super) cursor: Option<String>,
}

/// Sort key of an entry: its name, and its id where names are equal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) name: String,
    pub(super) id: String,
}

impl Place {
    pub(super) fn new(name: impl Into<String>, id: impl Into<String>) -> Self {
        Self { name: name.into(), id: id.into() }
    }

    fn to_cursor(&self) -> String {
        // The id has no NUL in it, so the last one is ours.
        BASE64URL_NOPAD.encode(format!("{}\0{}", self.name, self.id).as_bytes())
    }

    fn from_cursor(cursor: &str) -> Outcome<Self> {
        let read = || {
            let bytes =
                BASE64URL_NOPAD.decode(cursor.get(..cursor.len().min(CURSOR_BYTES_MAX))?.as_bytes()).ok()?;
            let text = String::from_utf8(bytes).ok()?;
            let (name, id) = text.rsplit_once('\0')?;
            Some(Self::new(name, id))
        };
        read().ok_or_else(|| Failure::invalid("the cursor is none that this list gave; begin without one"))
    }
}

/// The wanted size of a page.
pub(super) fn limit(asked: Option<usize>) -> Outcome<usize> {
    match asked {
        None => Ok(LIMIT_DEFAULT),
        Some(limit) if (1..=LIMIT_MAX).contains(&limit) => Ok(limit),
        Some(_) => Err(Failure::invalid(format!("limit must be 1 to {LIMIT_MAX}"))),
    }
}

/// The page after `cursor` of `entries`.
pub(super) fn page<T>(
    entries: impl IntoIterator<Item = T>,
    place: impl Fn(&T) -> Place,
    limit: usize,
    cursor: Option<&str>,
) -> Outcome<Page<T>> {
    let after = cursor.map(Place::from_cursor).transpose()?;
    let mut placed: Vec<(Place, T)> = entries
        .into_iter()
        .map(|entry| (place(&entry), entry))
        .filter(|(place, _)| after.as_ref().is_none_or(|after| place > after))
        .collect();
    placed.sort_by(|(a, _), (b, _)| a.cmp(b));
    let is_last = placed.len() <= limit;
    placed.truncate(limit);
    let next_cursor = placed.last().filter(|_| !is_last).map(|(place, _)| place.to_cursor());
    Ok(Page { items: placed.into_iter().map(|(_, entry)| entry).collect(), next_cursor })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn place(entry: &(&str, u32)) -> Place {
        Place::new(entry.0, entry.1.to_string())
    }

    #[test]
    fn pages_follow_each_other_in_order_of_name_and_id() {
        let entries = [("b", 1), ("a", 2), ("a", 1), ("c", 1)];
        let first = page(entries, place, 2, None).unwrap();
        assert_eq!(first.items, [("a", 1), ("a", 2)]);
        let second = page(entries, place, 2, first.next_cursor.as_deref()).unwrap();
        assert_eq!(second.items, [("b", 1), ("c", 1)]);
        assert_eq!(second.next_cursor, None);
    }

    #[test]
    fn entries_that_come_and_go_neither_repeat_nor_hide_others() {
        let first = page([("a", 1), ("b", 1), ("d", 1)], place, 2, None).unwrap();
        // `a` and the last seen `b` went, `c` came.
        let second = page([("c", 1), ("d", 1)], place, 2, first.next_cursor.as_deref()).unwrap();
        assert_eq!(second.items, [("c", 1), ("d", 1)]);
    }

    #[test]
    fn a_foreign_cursor_and_an_odd_limit_are_refused() {
        assert!(page([("a", 1)], place, 2, Some("hello!")).is_err());
        assert!(page([("a", 1)], place, 2, Some(&BASE64URL_NOPAD.encode(b"no separator"))).is_err());
        assert!(limit(Some(0)).is_err());
        assert!(limit(Some(LIMIT_MAX + 1)).is_err());
        assert_eq!(limit(None), Ok(LIMIT_DEFAULT));
    }

    proptest! {
        #[test]
        fn walking_the_pages_sees_each_entry_once(names in proptest::collection::btree_set("[a-c]{1,3}", 0..20), limit in 1_usize..5) {
            let mut seen = Vec::new();
            let mut cursor = None;
            loop {
                let page = page(names.iter().cloned(), |n| Place::new(n.clone(), "x"), limit, cursor.as_deref()).unwrap();
                seen.extend(page.items);
                cursor = page.next_cursor;
                if cursor.is_none() {
                    break;
                }
            }
            prop_assert_eq!(seen, names.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn any_text_as_a_cursor_is_refused_or_read_without_a_panic(text in ".{0,1100}") {
            drop(page([("a", 1)], place, 1, Some(&text)));
        }
    }
}
