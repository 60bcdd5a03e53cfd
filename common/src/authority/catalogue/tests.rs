//! What a catalogue accepts, as a whole and of its parameters.

use super::*;
use crate::authority::fixture::{FLEET, authority, catalogue, catalogue_document, key, operator, words};
use proptest::prelude::*;

fn arguments(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn a_command_is_expanded_with_its_defaults() {
    let catalogue = catalogue(&authority());
    let command = catalogue.expand("pack", &arguments(&[("name", "web"), ("folder", "/srv/web")])).unwrap();
    assert_eq!(command.argv, words("/usr/bin/tar --create --file=/backup/web.tar /srv/web --level=3"));
    assert_eq!(command.user.as_deref(), Some("backup"));
}

#[test]
fn arguments_outside_their_values_are_refused_by_name() {
    let catalogue = catalogue(&authority());
    let good = [("name", "web"), ("folder", "/srv/web")];
    for (parameter, value) in [
        ("name", ""),
        ("name", "-rf"),
        ("name", "a b"),
        ("name", "a/b"),
        ("folder", "/etc"),
        ("folder", "/srvx"),
        ("folder", "/srv/../etc"),
        ("folder", "srv/web"),
        ("folder", "/srv/a\nb"),
        ("level", "0"),
        ("level", "10"),
        ("level", "+3"),
        ("level", "03"),
        ("level", "three"),
        ("unknown", "x"),
    ] {
        let mut given = arguments(&good);
        given.insert(parameter.to_owned(), value.to_owned());
        let error = catalogue.expand("pack", &given).unwrap_err();
        assert!(
            matches!(&error, CatalogueError::Argument { parameter: named, .. } if named == parameter),
            "{error}"
        );
    }
    let missing = catalogue.expand("pack", &arguments(&[("name", "web")])).unwrap_err();
    assert_eq!(missing.to_string(), "parameter `folder`: missing; give a path beneath /srv");
    assert_eq!(
        catalogue.expand("unpack", &arguments(&[])),
        Err(CatalogueError::NoCommand("unpack".to_owned()))
    );
}

proptest! {
    #[test]
    fn a_value_never_becomes_another_argument(name in any::<String>(), folder in any::<String>()) {
        let catalogue = catalogue(&authority());
        if let Ok(command) = catalogue.expand("pack", &arguments(&[("name", &name), ("folder", &folder)])) {
            prop_assert_eq!(command.argv.len(), 5);
            prop_assert!(command.argv[3].starts_with("/srv"));
        }
    }
}

#[test]
fn a_catalogue_only_rises_and_needs_its_signatures() {
    let authority = authority();
    let signed = catalogue_document().sign(&[&key(1)]).unwrap();
    assert!(signed.clone().verify(&authority, Some(3)).is_ok());
    for current in [4, 5] {
        let error = signed.clone().verify(&authority, Some(current)).unwrap_err();
        assert_eq!(error, CatalogueError::NotNewer { found: 4, current });
    }
    let unsigned = catalogue_document().sign(&[]).unwrap().verify(&authority, None);
    assert_eq!(unsigned, Err(CatalogueError::Signatures { found: 0, needed: 1 }));
    let stranger = catalogue_document().sign(&[&key(8)]).unwrap().verify(&authority, None);
    assert_eq!(stranger, Err(CatalogueError::Signatures { found: 0, needed: 1 }));
    let mut foreign = catalogue_document();
    foreign.fleet = FleetId::from_bytes([2; 16]);
    assert!(matches!(
        foreign.sign(&[&key(1)]).unwrap().verify(&authority, None),
        Err(CatalogueError::ForeignFleet { ours: FLEET, .. })
    ));
}

#[test]
fn an_altered_byte_is_never_accepted() {
    let authority = authority();
    let signed = catalogue_document().sign(&[&key(1)]).unwrap();
    for index in 0..signed.bytes.len() {
        let mut altered = signed.clone();
        altered.bytes[index] ^= 1;
        assert!(altered.verify(&authority, None).is_err(), "byte {index}");
    }
}

#[test]
fn a_catalogue_falls_with_its_signers() {
    let authority = authority();
    let catalogue = catalogue(&authority);
    assert!(catalogue.is_verified_under(&authority));
    let mut next = authority.document().successor(authority.digest(), Timestamp::from_millis(2));
    next.operators = vec![operator("bob", 2), operator("eve", 3)];
    let next = authority.verify_next(next.sign(&[&key(1)]).unwrap()).unwrap();
    assert!(!catalogue.is_verified_under(&next));
    assert!(catalogue.signed().clone().verify(&next, None).is_err());
}

#[test]
fn what_lint_must_find_is_found() {
    type Damage = fn(&mut CatalogueDocument);
    let broken: [(Damage, &str); 8] = [
        (|c| c.version = 0, "versions begin at 1"),
        (|c| c.expires = c.issued, "it expires before it was issued"),
        (|c| c.commands.get_mut("pack").unwrap().argv.clear(), "it names no program"),
        (|c| c.commands.get_mut("pack").unwrap().argv[0] = "{name}".to_owned(), "its program is a parameter"),
        (
            |c| c.commands.get_mut("pack").unwrap().argv.push("{other}".to_owned()),
            "its command uses an unknown parameter",
        ),
        (|c| c.commands.get_mut("pack").unwrap().argv.push("{name".to_owned()), "a { without its }"),
        (|c| c.services[0].verbs.clear(), "a rule permits nothing"),
        (
            |c| {
                c.commands.get_mut("pack").unwrap().parameters.get_mut("level").unwrap().default =
                    Some("11".to_owned())
            },
            "a default is not acceptable",
        ),
    ];
    for (damage, rule) in broken {
        let mut document = catalogue_document();
        damage(&mut document);
        let error = document.check().unwrap_err();
        assert!(
            matches!(&error, CatalogueError::Inconsistent { rule: found, .. } if *found == rule),
            "{error}"
        );
        assert!(document.sign(&[&key(1)]).is_err());
    }
}
