//! Sealing a value to nodes, on this machine: what leaves it can be opened by each node's steward and nobody else.

use std::collections::BTreeMap;
use std::str::FromStr as _;

use age::x25519;
use anyhow::{Context as _, anyhow};
use campanile_common::id::{Digest, NodeId};
use zeroize::Zeroizing;

use super::pins::Recipient;
use crate::config::Parts;
use crate::os::random;

/// Longest value: a key, a certificate chain, a small keystore.
pub(super) const VALUE_BYTES_MAX: usize = 1024 * 1024;
/// Characters of a drawn value: no quoting is needed anywhere.
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Seals a value to each recipient; the copies are added to `parts`.
///
/// # Errors
/// When a recipient is none.
pub(super) fn seal(
    value: &[u8],
    recipients: &[Recipient],
    parts: &mut Parts,
) -> anyhow::Result<BTreeMap<NodeId, Digest>> {
    let mut sealed = BTreeMap::new();
    for one in recipients {
        let recipient = x25519::Recipient::from_str(&one.key)
            .map_err(|error| anyhow!("the sealing key of {} is none: {error}", one.name))?;
        let bytes = age::encrypt(&recipient, value)
            .with_context(|| format!("cannot seal the value for {}", one.name))?;
        sealed.insert(one.node, parts.add(bytes));
    }
    Ok(sealed)
}

/// A random value of so many letters and digits, each as likely as any other.
pub(super) fn draw(length: usize) -> Zeroizing<String> {
    let mut value = Zeroizing::new(String::with_capacity(length));
    while value.len() < length {
        let bytes = Zeroizing::new(random::bytes::<64>());
        // The upper two values of six bits are left out, so that none is drawn twice as often.
        let letters = bytes.iter().filter_map(|byte| ALPHABET.get(usize::from(byte & 63)));
        for letter in letters.take(length - value.len()) {
            value.push(char::from(*letter));
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::node;

    fn recipient(number: usize, identity: &x25519::Identity) -> Recipient {
        let key = identity.to_public().to_string();
        Recipient { node: node(number).node_id, name: format!("db-{number}"), key }
    }

    #[test]
    fn each_node_opens_its_own_copy_and_no_other() {
        let (one, two) = (x25519::Identity::generate(), x25519::Identity::generate());
        let recipients = [recipient(1, &one), recipient(2, &two)];
        let mut parts = Parts::default();
        let sealed = seal(b"hunter2", &recipients, &mut parts).unwrap();
        assert_eq!(sealed.len(), 2);
        let copy = |number: usize| parts.read(&sealed[&node(number).node_id]).unwrap();
        assert_eq!(age::decrypt(&one, &copy(1)).unwrap(), b"hunter2");
        assert_eq!(age::decrypt(&two, &copy(2)).unwrap(), b"hunter2");
        assert!(age::decrypt(&one, &copy(2)).is_err());
        assert!(!copy(1).windows(7).any(|window| window == b"hunter2"));
    }

    #[test]
    fn a_recipient_that_is_none_names_its_node() {
        let bad = Recipient { node: node(1).node_id, name: "db-1".into(), key: "age1nonsense".into() };
        let error = seal(b"x", &[bad], &mut Parts::default()).unwrap_err();
        assert!(error.to_string().starts_with("the sealing key of db-1 is none"), "{error}");
    }

    #[test]
    fn drawn_values_are_long_enough_plain_and_different() {
        let (one, two) = (draw(32), draw(32));
        assert_eq!((one.len(), draw(500).len()), (32, 500));
        assert_ne!(*one, *two);
        assert!(draw(2000).bytes().all(|byte| ALPHABET.contains(&byte)));
        let counted: std::collections::BTreeSet<u8> = draw(5000).bytes().collect();
        assert_eq!(counted.len(), 62, "every character is drawn");
    }
}
