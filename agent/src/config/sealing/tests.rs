//! What age seals is opened, and nothing else.

#![expect(clippy::disallowed_methods, reason = "tests lay out the files that are read")]

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::str::FromStr as _;

use proptest::prelude::*;

use super::*;

fn identity() -> Identity {
    Identity::from_secret(StaticSecret::from(random::bytes()))
}

fn theirs(identity: &Identity) -> age::x25519::Recipient {
    age::x25519::Recipient::from_str(&identity.recipient()).unwrap()
}

fn seal(recipients: &[age::x25519::Recipient], text: &[u8]) -> Vec<u8> {
    let recipients = recipients.iter().map(|one| -> &dyn age::Recipient { one });
    let mut sealed = Vec::new();
    let mut writer = age::Encryptor::with_recipients(recipients).unwrap().wrap_output(&mut sealed).unwrap();
    writer.write_all(text).unwrap();
    writer.finish().unwrap();
    sealed
}

#[test]
fn what_age_seals_is_opened_at_every_edge_of_its_chunks() {
    let identity = identity();
    let chunk = 64 << 10;
    for length in
        [0, 1, 15, 16, 17, chunk - 1, chunk, chunk + 1, 2 * chunk - 1, 2 * chunk, 1 << 20, 3_000_000]
    {
        let text: Vec<u8> = (0..length).map(|index| u8::try_from(index % 251).unwrap()).collect();
        let opened = identity.open(&seal(&[theirs(&identity)], &text)).unwrap();
        assert!(*opened == text, "{length} bytes");
    }
}

#[test]
fn what_is_sealed_to_several_is_opened_by_each_and_by_no_other() {
    let all: Vec<_> = (0..5).map(|_| identity()).collect();
    let sealed = seal(&all.iter().map(theirs).collect::<Vec<_>>(), b"for five");
    for one in &all {
        assert_eq!(one.open(&sealed).unwrap().as_slice(), b"for five");
    }
    assert_eq!(identity().open(&sealed).unwrap_err(), SealingError::NotForUs);
}

#[test]
fn age_opens_with_the_file_of_our_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secrets.key");
    let ours = Identity::load_or_create(&path).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let line = text.lines().find(|line| !line.starts_with('#')).unwrap();
    let key = age::x25519::Identity::from_str(line).unwrap();
    let sealed = seal(&[theirs(&ours)], b"both ways");
    assert_eq!(age::decrypt(&key, &sealed).unwrap(), b"both ways");
    assert!(
        text.contains(&ours.recipient()) && text.contains("\nAGE-SECRET-KEY-1"),
        "as age-keygen writes it"
    );
}

#[test]
fn a_key_of_age_is_read_and_has_the_same_recipient() {
    use age::secrecy::ExposeSecret as _;
    let key = age::x25519::Identity::generate();
    let text = format!("# created: today\n\n{}\n", key.to_string().expose_secret());
    assert_eq!(Identity::parse(&text).unwrap().recipient(), key.to_public().to_string());
}

#[test]
fn every_altered_byte_is_refused() {
    let identity = identity();
    let sealed = seal(&[theirs(&self::identity()), theirs(&identity)], b"a secret of some length");
    for place in 0..sealed.len() {
        for mask in [0x01, 0x20, 0x80] {
            let mut altered = sealed.clone();
            altered[place] ^= mask;
            assert!(
                identity.open(&altered).is_err(),
                "byte {place} of {} altered by {mask:#x}",
                sealed.len()
            );
        }
    }
}

#[test]
fn what_is_cut_short_or_has_more_at_its_end_is_refused() {
    let identity = identity();
    let text = vec![7; (64 << 10) + 10];
    let sealed = seal(&[theirs(&identity)], &text);
    let body = sealed.len() - (text.len() + 2 * 16 + 16);
    for length in (0..body + 40).chain([sealed.len() - 26, sealed.len() - 27, sealed.len() - 1]) {
        assert!(identity.open(&sealed[..length]).is_err(), "cut to {length}");
    }
    assert!(identity.open(&[&sealed[..], b"x"].concat()).is_err());
    // Whole chunks left out are noticed too: the last is marked as such.
    let chunk = (64 << 10) + 16;
    assert_eq!(identity.open(&sealed[..body + 16 + chunk]).unwrap_err(), SealingError::Altered);
    let tail = [&sealed[..body + 16], &sealed[body + 16 + chunk..]].concat();
    assert_eq!(identity.open(&tail).unwrap_err(), SealingError::Altered);
}

#[test]
fn a_secret_longer_than_the_limit_is_refused_unread() {
    assert_eq!(identity().open(&vec![0; SEALED_BYTES_MAX + 1]).unwrap_err(), SealingError::TooLong);
}

#[test]
fn a_share_of_low_order_is_refused() {
    let zero = data_encoding::BASE64_NOPAD.encode(&[0; 32]);
    let text = format!("age-encryption.org/v1\n-> X25519 {zero}\n{zero}\n--- {zero}\n0123456789012345");
    let refused = identity().open(text.as_bytes()).unwrap_err();
    assert_eq!(refused, SealingError::Malformed("an X25519 share is of low order"));
}

#[test]
fn malformed_envelopes_say_what_is_wrong() {
    let zero = data_encoding::BASE64_NOPAD.encode(&[0; 32]);
    for (text, what) in [
        ("age-encryption.org/v2\n".to_owned(), "first line"),
        (format!("age-encryption.org/v1\n--- {zero}\n"), "no recipient"),
        (format!("age-encryption.org/v1\n-> X25519 {zero} {zero}\n{zero}\n--- {zero}\n"), "two arguments"),
        (format!("age-encryption.org/v1\n-> X25519 AA\n{zero}\n--- {zero}\n"), "32 bytes"),
        (format!("age-encryption.org/v1\n-> X25519 {zero}\nAA\n--- {zero}\n"), "32 bytes"),
        (format!("age-encryption.org/v1\n-> X25519  {zero}\n{zero}\n--- {zero}\n"), "empty"),
        (format!("age-encryption.org/v1\n-> X25519 {zero}\n{}\n--- {zero}\n", "A".repeat(68)), "too long"),
        (format!("age-encryption.org/v1\n{}", "-> x\n\n".repeat(20_000)), "65536"),
        ("age-encryption.org/v1\nwhat\n".to_owned(), "no known kind"),
    ] {
        let refused = identity().open(text.as_bytes()).unwrap_err().to_string();
        assert!(refused.contains(what), "{refused}");
    }
}

#[test]
fn the_key_is_made_once_for_its_owner_alone_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secrets.key");
    let first = Identity::load_or_create(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(Identity::load_or_create(&path).unwrap().recipient(), first.recipient());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing of the attempt is left");
}

#[test]
fn two_that_make_the_key_at_once_get_the_same() {
    for _ in 0..50 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secrets.key");
        let make = || Identity::load_or_create(&path).unwrap().recipient();
        let all = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(make)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(all.iter().all(|one| *one == make()), "{all:?}");
    }
}

#[test]
fn a_damaged_key_is_an_error_that_names_it_and_it_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secrets.key");
    Identity::load_or_create(&path).unwrap();
    let whole = std::fs::read_to_string(&path).unwrap();
    let long = "#".repeat(5000);
    for damaged in ["", "# only this\n", &whole[..whole.len() - 2], &whole.replace("KEY-1", "KEY-1Q"), &long]
    {
        std::fs::write(&path, damaged).unwrap();
        let error = Identity::load_or_create(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), damaged);
    }
    std::fs::write(&path, format!("{whole}{whole}")).unwrap();
    let error = Identity::load_or_create(&path).unwrap_err().to_string();
    assert!(
        error.contains("secrets.key") && error.contains("is damaged") && error.contains("rotate"),
        "{error}"
    );
}

#[test]
fn the_secret_is_in_no_debug_text() {
    let identity = identity();
    let shown = format!("{identity:?}");
    assert!(shown.contains(&identity.recipient()) && !shown.contains("SECRET"), "{shown}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_age_seals_is_opened(
        text in proptest::collection::vec(any::<u8>(), 0..2000),
        others in 0_usize..4,
    ) {
        let identity = identity();
        let mut recipients: Vec<_> = (0..others).map(|_| theirs(&self::identity())).collect();
        recipients.push(theirs(&identity));
        let opened = identity.open(&seal(&recipients, &text)).unwrap();
        prop_assert_eq!(opened.as_slice(), text.as_slice());
    }

    #[test]
    fn an_alteration_anywhere_is_refused(place in any::<prop::sample::Index>(), mask in 1_u8..=255) {
        let identity = identity();
        let mut sealed = seal(&[theirs(&identity)], &[9; 70_000]);
        let place = place.index(sealed.len());
        sealed[place] ^= mask;
        prop_assert!(identity.open(&sealed).is_err(), "byte {}", place);
    }

    #[test]
    fn garbage_is_refused_without_a_panic(garbage in proptest::collection::vec(any::<u8>(), 0..300)) {
        let identity = identity();
        prop_assert!(identity.open(&garbage).is_err());
        let headed = [b"age-encryption.org/v1\n-> X25519 ", &garbage[..]].concat();
        prop_assert!(identity.open(&headed).is_err());
    }
}

#[test]
fn what_is_sealed_here_age_opens_at_every_edge_of_its_chunks() {
    let (ours, other) = (identity(), identity());
    let key = age_identity(&ours);
    let chunk = 64 << 10;
    for length in [0, 1, chunk - 1, chunk, chunk + 1, 2 * chunk, 200_000] {
        let text: Vec<u8> = (0..length).map(|index| u8::try_from(index % 251).unwrap()).collect();
        let sealed = super::seal(&[other.to_recipient(), ours.to_recipient()], &text).unwrap();
        assert!(age::decrypt(&key, &sealed).unwrap() == text, "{length} bytes");
        assert!(*other.open(&sealed).unwrap() == text && *ours.open(&sealed).unwrap() == text);
        assert_eq!(identity().open(&sealed).unwrap_err(), SealingError::NotForUs);
    }
    assert_ne!(
        super::seal(&[ours.to_recipient()], b"x").unwrap(),
        super::seal(&[ours.to_recipient()], b"x").unwrap(),
        "never the same twice"
    );
}

fn age_identity(identity: &Identity) -> age::x25519::Identity {
    age::x25519::Identity::from_str(&identity.secret_text()).unwrap()
}

#[test]
fn a_recipient_is_printed_and_read_as_age_does_and_nothing_else_is_one() {
    let theirs = age::x25519::Identity::generate().to_public().to_string();
    assert_eq!(theirs.parse::<Recipient>().unwrap().to_string(), theirs);
    let mut mistyped = theirs.clone();
    mistyped.replace_range(10..11, if &theirs[10..11] == "q" { "p" } else { "q" });
    let secret = identity().secret_text().to_string();
    for text in ["", "age1", "age1yubikey1q", "ssh-ed25519 AAAA", &mistyped, &theirs[..40], &secret] {
        assert!(text.parse::<Recipient>().is_err(), "{text}");
    }
}

#[test]
fn nothing_is_sealed_to_a_point_that_nobody_owns() {
    assert!(super::seal(&[Recipient::of(PublicKey::from([0; 32]))], b"x").is_err());
}

#[test]
fn the_text_form_is_the_one_of_age() {
    let text = armored(&[7; 100]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "-----BEGIN AGE ENCRYPTED FILE-----");
    assert_eq!(lines.iter().map(|line| line.len()).collect::<Vec<_>>(), [34, 64, 64, 8, 32]);
    assert_eq!(lines[4], "-----END AGE ENCRYPTED FILE-----");
}
