//! What becomes of the authority: pure, so that what is printed is what is signed.

use std::collections::BTreeSet;

use anyhow::bail;
use campanile_common::authority::{Document, Operator, PublicKey, Role};
use campanile_common::id::Digest;
use campanile_common::time::Timestamp;

use crate::{authority, keyring, suggest};

/// A change of the authority.
#[derive(Debug, Clone)]
pub(super) enum Change {
    /// Give a person's key roles.
    Add { name: String, key: PublicKey, roles: BTreeSet<Role> },
    /// Take a person out.
    Remove { name: String },
    /// How many operators a role takes.
    Threshold { role: Role, count: u16 },
    /// A later end.
    Renew { expires: Timestamp },
    /// One operator in the place of all.
    Recover { name: String, key: PublicKey, spent: PublicKey },
}

impl Change {
    /// The next version.
    pub(super) fn next(
        &self,
        current: &Document,
        digest: Digest,
        now: Timestamp,
    ) -> anyhow::Result<Document> {
        let mut next = current.successor(digest, now);
        match self {
            Self::Add { name, key, roles } => {
                next.operators.retain(|operator| operator.name != *name);
                next.operators.push(Operator { name: name.clone(), key: *key, roles: roles.clone() });
            }
            Self::Remove { name } => {
                let names = current.operators.iter().map(|operator| operator.name.as_str());
                if !names.clone().any(|known| known == name) {
                    let close = suggest::question(&suggest::close(name, names));
                    bail!("there is no operator `{name}`{close}");
                }
                next.operators.retain(|operator| operator.name != *name);
                check_thresholds(&next, &format!("without {name}"))?;
            }
            Self::Threshold { role, count } => {
                next.thresholds.insert(*role, *count);
                check_thresholds(&next, "as it is")?;
            }
            Self::Renew { expires } => next.expires = *expires,
            Self::Recover { name, key, spent } => {
                next.operators = vec![Operator { name: name.clone(), key: *key, roles: Role::ALL.into() }];
                next.thresholds = Role::ALL.into_iter().map(|role| (role, 1)).collect();
                next.recovery.retain(|known| known != spent);
            }
        }
        Ok(next)
    }
}

/// Names the role that nobody could act in any more.
fn check_thresholds(next: &Document, when: &str) -> anyhow::Result<()> {
    for role in Role::ALL {
        let holders = next.operators.iter().filter(|operator| operator.roles.contains(&role)).count();
        let needed = next.threshold(role);
        if holders < needed {
            let name = authority::role_name(role);
            bail!(
                "role `{name}` takes {needed} operators, and {when} the authority has {holders}; add one, or lower it: \
                 campanile operator threshold {name} N"
            );
        }
    }
    Ok(())
}

/// What differs between two versions, one line each.
pub(super) fn differences(current: &Document, next: &Document) -> Vec<String> {
    let mut lines = Vec::new();
    if next.fleet != current.fleet || next.fleet_name != current.fleet_name {
        lines.push(format!("the fleet becomes {} ({})", next.fleet_name, next.fleet));
    }
    let find = |document: &Document, name: &str| {
        document.operators.iter().find(|operator| operator.name == name).cloned()
    };
    for operator in &next.operators {
        let roles = authority::roles_text(&operator.roles);
        let key = keyring::public_text(&operator.key);
        match find(current, &operator.name) {
            None => lines.push(format!("+ {}: {roles}, key {key}", operator.name)),
            Some(before) if before == *operator => {}
            Some(before) if before.key == operator.key => {
                let was = authority::roles_text(&before.roles);
                lines.push(format!("~ {}: {roles} instead of {was}", operator.name));
            }
            Some(_) => lines.push(format!("~ {}: {roles}, with another key {key}", operator.name)),
        }
    }
    for operator in current.operators.iter().filter(|operator| find(next, &operator.name).is_none()) {
        lines.push(format!("- {}", operator.name));
    }
    for role in Role::ALL {
        let (was, is) = (current.threshold(role), next.threshold(role));
        if was != is {
            lines.push(format!("role {} takes {is} operators instead of {was}", authority::role_name(role)));
        }
    }
    for key in next.recovery.iter().filter(|key| !current.recovery.contains(key)) {
        lines.push(format!("+ recovery key {}", keyring::public_text(key)));
    }
    for key in current.recovery.iter().filter(|key| !next.recovery.contains(key)) {
        lines.push(format!("- recovery key {}", keyring::public_text(key)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::tests::{NOW, authority as ada, key};
    use campanile_common::authority::SignedAuthority;

    fn bob(roles: &[Role]) -> Change {
        let roles = roles.iter().copied().collect();
        Change::Add { name: "bob".to_owned(), key: key(8).public(), roles }
    }

    #[test]
    fn an_operator_who_is_added_may_sign_in_the_next_version_and_not_before() {
        let current = ada();
        let next = bob(&[Role::Change]).next(current.document(), current.digest(), NOW).unwrap();
        assert!(current.verify_next(next.sign(&[&key(8)]).unwrap()).is_err());
        let accepted = current.verify_next(next.sign(&[&key(7)]).unwrap()).unwrap();
        assert_eq!(accepted.document().operators.len(), 2);
        let lines = differences(current.document(), accepted.document());
        assert_eq!(lines.len(), 1);
        assert!(lines[0].starts_with("+ bob: change, key cmpk_"), "{lines:?}");
    }

    #[test]
    fn a_role_that_nobody_could_fill_is_refused_with_what_to_do() {
        let current = ada();
        let threshold = Change::Threshold { role: Role::Critical, count: 2 };
        let error = threshold.next(current.document(), current.digest(), NOW).unwrap_err().to_string();
        assert!(
            error.contains("`critical` takes 2") && error.contains("operator threshold critical"),
            "{error}"
        );
        let remove = Change::Remove { name: "ada".to_owned() };
        assert!(remove.next(current.document(), current.digest(), NOW).is_err());
        let unknown = Change::Remove { name: "adda".to_owned() };
        let error = unknown.next(current.document(), current.digest(), NOW).unwrap_err().to_string();
        assert!(error.contains("did you mean ada?"), "{error}");
    }

    #[test]
    fn a_recovery_key_makes_one_new_operator_and_is_spent() {
        let mut document = ada().document().clone();
        document.recovery = vec![key(20).public(), key(21).public()];
        let signed = document.sign(&[&key(7)]).unwrap();
        let current = signed.clone().verify_pinned(signed.digest()).unwrap();
        let change =
            Change::Recover { name: "eve".to_owned(), key: key(9).public(), spent: key(20).public() };
        let next = change.next(current.document(), current.digest(), NOW).unwrap();
        let mut signed: SignedAuthority = next.sign(&[&key(20)]).unwrap();
        assert!(current.verify_next(signed.clone()).is_err(), "its own operator must mean it");
        signed.add_signature(&key(9));
        let recovered = current.verify_next(signed).unwrap();
        assert_eq!(recovered.document().recovery, [key(21).public()]);
        assert_eq!(recovered.document().operators[0].name, "eve");
    }

    #[test]
    fn another_key_under_a_known_name_is_told() {
        let current = ada();
        let change = Change::Add { name: "ada".to_owned(), key: key(9).public(), roles: Role::ALL.into() };
        let next = change.next(current.document(), current.digest(), NOW).unwrap();
        let lines = differences(current.document(), &next);
        assert!(lines[0].contains("with another key"), "{lines:?}");
    }
}
