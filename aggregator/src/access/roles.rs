//! Which role permits what, and what grants add up to. Pure.

use campanile_common::api::{AccessRole, Grant};
use campanile_common::selector::{Selector, SelectorError, Subject};

use super::Permission;

impl Permission {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Read,
        Self::EditNode,
        Self::Observe,
        Self::Routine,
        Self::Command,
        Self::Config,
        Self::Freeze,
        Self::Backup,
        Self::RetireNode,
        Self::Enroll,
        Self::ReadAudit,
        Self::ManagePeople,
        Self::Administer,
    ];
}

/// The one table of roles and permissions.
pub(super) fn permits(role: AccessRole, permission: Permission) -> bool {
    use AccessRole::{Admin, Backup, Deployer, Operator, Security, Viewer};
    match permission {
        Permission::Read => matches!(role, Viewer | Operator | Deployer | Backup | Security | Admin),
        Permission::EditNode | Permission::Freeze => matches!(role, Operator | Security | Admin),
        Permission::Observe => matches!(role, Operator | Deployer | Backup | Security | Admin),
        Permission::Routine => matches!(role, Operator | Deployer | Security | Admin),
        Permission::Command | Permission::Config => matches!(role, Operator | Deployer | Admin),
        Permission::Backup => matches!(role, Backup | Admin),
        Permission::RetireNode | Permission::Enroll | Permission::ReadAudit => {
            matches!(role, Security | Admin)
        }
        Permission::ManagePeople | Permission::Administer => matches!(role, Admin),
    }
}

/// Grants with their selectors parsed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Scope(Vec<(AccessRole, Selector)>);

impl Scope {
    /// Reads grants that somebody asks for.
    pub(super) fn parse(grants: &[Grant]) -> Result<Self, SelectorError> {
        let parsed = grants.iter().map(|grant| Ok((grant.role, grant.selector.parse()?)));
        parsed.collect::<Result<_, _>>().map(Self)
    }

    /// Reads grants that were stored; one that cannot be read grants nothing.
    pub(super) fn of_stored(grants: &[Grant]) -> Self {
        let readable = grants.iter().filter_map(|grant| Some((grant.role, grant.selector.parse().ok()?)));
        Self(readable.collect())
    }

    /// True when a grant permits this on the node; without a node, when a grant over all nodes does.
    pub(super) fn may(&self, permission: Permission, subject: Option<&Subject<'_>>) -> bool {
        self.granting(permission).any(|selector| match subject {
            Some(subject) => selector.matches(subject),
            None => selector.is_everything(),
        })
    }

    /// True when any grant permits this on some node.
    pub(super) fn may_somewhere(&self, permission: Permission) -> bool {
        self.granting(permission).next().is_some()
    }

    /// True when whatever `other` permits, this permits too. Errs on the side of no: a narrower selector counts
    /// only when it repeats every term of the wider one.
    pub(super) fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|(role, wanted)| {
            let needed = Permission::ALL.into_iter().filter(|permission| permits(*role, *permission));
            needed
                .into_iter()
                .all(|permission| self.granting(permission).any(|selector| wanted.is_within(selector)))
        })
    }

    fn granting(&self, permission: Permission) -> impl Iterator<Item = &Selector> {
        self.0.iter().filter(move |(role, _)| permits(*role, permission)).map(|(_, selector)| selector)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use campanile_common::label::Labels;

    const ROLES: [AccessRole; 6] = [
        AccessRole::Viewer,
        AccessRole::Operator,
        AccessRole::Deployer,
        AccessRole::Backup,
        AccessRole::Security,
        AccessRole::Admin,
    ];

    fn scope(grants: &[(AccessRole, &str)]) -> Scope {
        let grant =
            |(role, selector): &(AccessRole, &str)| Grant { role: *role, selector: (*selector).to_owned() };
        Scope::parse(&grants.iter().map(grant).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn every_role_permits_exactly_what_the_table_says() {
        // Columns: viewer, operator, deployer, backup, security, admin.
        let table = [
            (Permission::Read, "yyyyyy"),
            (Permission::EditNode, "nynnyy"),
            (Permission::Observe, "nyyyyy"),
            (Permission::Routine, "nyynyy"),
            (Permission::Command, "nyynny"),
            (Permission::Config, "nyynny"),
            (Permission::Freeze, "nynnyy"),
            (Permission::Backup, "nnnyny"),
            (Permission::RetireNode, "nnnnyy"),
            (Permission::Enroll, "nnnnyy"),
            (Permission::ReadAudit, "nnnnyy"),
            (Permission::ManagePeople, "nnnnny"),
            (Permission::Administer, "nnnnny"),
        ];
        assert_eq!(table.map(|(permission, _)| permission), Permission::ALL);
        for (permission, row) in table {
            for (role, expected) in ROLES.into_iter().zip(row.chars()) {
                assert_eq!(permits(role, permission), expected == 'y', "{role:?} {permission:?}");
            }
        }
    }

    #[test]
    fn a_grant_holds_on_its_nodes_alone() {
        let scope = scope(&[(AccessRole::Viewer, ""), (AccessRole::Security, "role=web")]);
        let (web, db): (Labels, Labels) = ("role=web".parse().unwrap(), "role=db".parse().unwrap());
        let (web, db) =
            (Subject { id: "1", name: "a", labels: &web }, Subject { id: "2", name: "b", labels: &db });
        assert!(scope.may(Permission::Read, Some(&db)) && scope.may(Permission::Read, None));
        assert!(scope.may(Permission::RetireNode, Some(&web)));
        assert!(!scope.may(Permission::RetireNode, Some(&db)));
        assert!(!scope.may(Permission::RetireNode, None) && scope.may_somewhere(Permission::RetireNode));
        assert!(!scope.may_somewhere(Permission::Administer));
        assert!(!Scope::default().may_somewhere(Permission::Read));
    }

    #[test]
    fn nothing_covers_more_than_itself() {
        use AccessRole::{Admin, Operator, Security, Viewer};
        for (own, wanted, expected) in [
            (vec![(Admin, "")], vec![(Security, ""), (Viewer, "role=db")], true),
            (vec![(Viewer, "")], vec![(Operator, "")], false),
            (vec![(Viewer, ""), (Operator, "role=web")], vec![(Operator, "role=web,zone=a")], true),
            (vec![(Operator, "role=web")], vec![(Operator, "")], false),
            (vec![(Operator, "role=web")], vec![(Operator, "role=w*")], false),
            (vec![(Operator, "role=web")], vec![(Operator, "role in (web,db)")], false),
            (vec![(Operator, "role=web")], vec![(Viewer, "role!=web")], false),
            (vec![(Operator, "role=web"), (Viewer, "")], vec![(Viewer, "zone=b")], true),
            // Security may retire nodes but not run commands: neither role holds the other.
            (vec![(Security, "zone=a")], vec![(Operator, "zone=a")], false),
            (vec![(Operator, "zone=a")], vec![(Security, "zone=a")], false),
            (vec![(Security, "zone=a"), (Operator, "zone=a")], vec![(Operator, "zone=a")], true),
            (vec![], vec![], true),
            (vec![], vec![(Viewer, "role=web")], false),
        ] {
            assert_eq!(scope(&own).covers(&scope(&wanted)), expected, "{own:?} {wanted:?}");
        }
    }

    #[test]
    fn a_stored_grant_that_cannot_be_read_grants_nothing() {
        let grants = [Grant { role: AccessRole::Admin, selector: "role=(".to_owned() }];
        assert!(Scope::parse(&grants).is_err());
        assert!(!Scope::of_stored(&grants).may_somewhere(Permission::Read));
    }
}
