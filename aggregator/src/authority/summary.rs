//! What a version of the authority changes, for whoever is asked to sign it. Pure.

use campanile_common::authority::{Document, Operator, Role};

/// What changes, in one line.
pub(super) fn summary(before: &Document, after: &Document) -> String {
    let has = |document: &Document, name: &str| document.operators.iter().any(|o| o.name == name);
    let names = |of: &Document, not: &Document| {
        let names: Vec<_> =
            of.operators.iter().filter(|o| !has(not, &o.name)).map(|o| o.name.as_str()).collect();
        names.join(", ")
    };
    let mut parts = Vec::new();
    for (verb, names) in [("adds", names(after, before)), ("removes", names(before, after))] {
        if !names.is_empty() {
            parts.push(format!("{verb} {names}"));
        }
    }
    for role in Role::ALL {
        let (was, is) = (before.threshold(role), after.threshold(role));
        if was != is {
            parts.push(format!("{role:?} takes {is} instead of {was}").to_lowercase());
        }
    }
    let is_altered = |o: &&Operator| before.operators.iter().any(|b| b.name == o.name && b != *o);
    let altered: Vec<_> = after.operators.iter().filter(is_altered).map(|o| o.name.as_str()).collect();
    if !altered.is_empty() {
        parts.push(format!("changes keys or roles of {}", altered.join(", ")));
    }
    if before.recovery != after.recovery {
        parts.push("changes recovery keys".to_owned());
    }
    if parts.is_empty() {
        parts.push(format!("is valid until {}", after.expires));
    }
    format!("authority version {} {}", after.version, parts.join("; "))
}
