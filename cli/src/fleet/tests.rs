//! A new fleet, as it lies on disk.

use super::*;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

fn make(folder: &Path) -> anyhow::Result<Foundation> {
    create(&Plan {
        name: "acme",
        operator: "ada",
        aggregator_dir: Some(&folder.join("aggregator")),
        operator_dir: &folder.join("operator"),
        passphrase: &Zeroizing::new("correct horse battery".to_owned()),
        work: WorkFactor::Fixed(2),
        recovery_keys: 2,
        now: Timestamp::from_millis(1_750_000_000_000),
    })
}

#[test]
fn the_written_authority_verifies_against_the_written_pin() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path()).unwrap();
    for side in ["aggregator", "operator"] {
        let dir = folder.path().join(side);
        let fleet: FleetFile = serde_json::from_slice(&fs::read(dir.join(FLEET_FILE)).unwrap()).unwrap();
        let bytes = fs::read(dir.join(AUTHORITY_DIR).join("0000000001")).unwrap();
        let signed: SignedAuthority = codec::decode("SignedAuthority", &bytes).unwrap();
        let authority = signed.verify_pinned(fleet.authority).unwrap();
        assert_eq!(authority.document().fleet, fleet.fleet_id);
        assert_eq!(authority.document().fleet_name, "acme");
        assert_eq!(authority.document().operators[0].name, "ada");
    }
}

#[test]
fn the_operators_key_is_the_one_the_authority_names() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path()).unwrap();
    let operator = folder.path().join("operator");
    let key = keyring::unlock(&fs::read(operator.join(KEY_FILE)).unwrap(), "correct horse battery").unwrap();
    let bytes = fs::read(operator.join(AUTHORITY_DIR).join("0000000001")).unwrap();
    let signed: SignedAuthority = codec::decode("SignedAuthority", &bytes).unwrap();
    let pin = signed.digest();
    assert_eq!(signed.verify_pinned(pin).unwrap().document().operators[0].key, key.public());
}

#[test]
fn private_keys_are_readable_by_their_owner_alone_and_only_where_they_belong() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path()).unwrap();
    for path in [format!("aggregator/{CA_KEY_FILE}"), format!("operator/{KEY_FILE}")] {
        let mode = fs::metadata(folder.path().join(&path)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{path}");
    }
    assert!(!folder.path().join("operator").join(CA_KEY_FILE).exists());
    assert!(!folder.path().join("aggregator").join(KEY_FILE).exists());
}

#[test]
fn the_key_of_all_backups_belongs_to_its_recipient_and_lies_with_the_recovery_keys_alone() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path()).unwrap();
    let operator = folder.path().join("operator");
    let key = operator.join(RECOVERY_DIR).join(ESCROW_KEY_FILE);
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(key).unwrap();
    let identity: age::x25519::Identity = text.lines().last().unwrap().parse().unwrap();
    let recipient = fs::read_to_string(operator.join(ESCROW_FILE)).unwrap();
    assert_eq!(recipient.trim(), identity.to_public().to_string());
    assert!(text.contains(recipient.trim()));
    assert!(!folder.path().join("aggregator").join(RECOVERY_DIR).exists());
}

#[test]
fn the_ca_key_belongs_to_the_ca() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path()).unwrap();
    let read = |name| fs::read_to_string(folder.path().join("aggregator").join(name)).unwrap();
    let key = KeyPair::from_pem(&read(CA_KEY_FILE)).unwrap();
    let certificate = ureq::tls::Certificate::from_pem(read(CA_FILE).as_bytes()).unwrap().der().to_vec();
    let public = rcgen::PublicKeyData::der_bytes(&key).to_vec();
    assert!(certificate.windows(public.len()).any(|window| window == public));
}

#[test]
fn nothing_that_exists_is_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path()).unwrap();
    let before = fs::read(folder.path().join("operator").join(KEY_FILE)).unwrap();
    let error = make(folder.path()).unwrap_err();
    assert!(error.to_string().contains("nothing is overwritten"), "{error}");
    assert_eq!(fs::read(folder.path().join("operator").join(KEY_FILE)).unwrap(), before);
}

#[test]
fn one_file_in_the_way_stops_it_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("operator")).unwrap();
    fs::write(folder.path().join("operator").join(CA_FILE), "other").unwrap();
    assert!(make(folder.path()).is_err());
    assert!(!folder.path().join("aggregator").exists());
}

#[test]
fn the_recovery_keys_are_those_that_the_authority_lists_and_its_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path()).unwrap();
    let operator = folder.path().join("operator");
    let bytes = fs::read(operator.join(AUTHORITY_DIR).join("0000000001")).unwrap();
    let signed: SignedAuthority = codec::decode("SignedAuthority", &bytes).unwrap();
    let listed = signed.read().unwrap().recovery;
    let written = [1, 2].map(|number| {
        let path = operator.join(RECOVERY_DIR).join(format!("recovery-{number}.key"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        keyring::parse_recovery(&fs::read_to_string(path).unwrap()).unwrap().public()
    });
    assert_eq!(listed, written);
    assert!(!folder.path().join("aggregator").join(RECOVERY_DIR).exists());
}

#[test]
fn a_foundation_holds_what_the_aggregators_folder_would_and_no_operators_key() {
    let folder = tempfile::tempdir().unwrap();
    let found = make(folder.path()).unwrap();
    let read = |name: &str| fs::read(folder.path().join("aggregator").join(name)).unwrap();
    assert_eq!(serde_json::from_slice::<FleetFile>(&read(FLEET_FILE)).unwrap(), found.fleet);
    assert_eq!((read(CA_FILE), read(CA_KEY_FILE)), (found.ca.clone().into(), found.ca_key.as_bytes().into()));
    assert_eq!(read("authority/0000000001"), found.authority().unwrap());
    let key = fs::read_to_string(folder.path().join("operator/recovery/escrow.key")).unwrap();
    assert!(!found.to_text().contains(key.lines().last().unwrap()));
}

#[test]
fn an_empty_name_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan {
        name: "",
        operator: "ada",
        aggregator_dir: Some(&folder.path().join("aggregator")),
        operator_dir: &folder.path().join("operator"),
        passphrase: &Zeroizing::new("correct horse battery".to_owned()),
        work: WorkFactor::Fixed(2),
        recovery_keys: 2,
        now: Timestamp::from_millis(1),
    };
    assert!(create(&plan).is_err());
}
