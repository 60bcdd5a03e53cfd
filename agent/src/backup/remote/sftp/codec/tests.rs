//! Packets as OpenSSH writes them, and bytes that are none.

use proptest::prelude::*;

use super::*;

fn text(bytes: &[u8]) -> Vec<u8> {
    let mut all = u32::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    all.extend(bytes);
    all
}

fn packet(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut all = vec![kind, 0, 0, 0, 7];
    parts.iter().for_each(|part| all.extend(*part));
    all
}

#[test]
fn a_request_is_written_as_the_draft_has_it() {
    let write = encode(9, &Request::Write { handle: b"h", offset: 258, bytes: b"xyz" });
    let expected = [&[0, 0, 0, 25, 6, 0, 0, 0, 9][..], &text(b"h"), &[0, 0, 0, 0, 0, 0, 1, 2], &text(b"xyz")];
    assert_eq!(write, expected.concat());
    let open = encode(1, &Request::OpenNew("/a"));
    let expected =
        [&[0, 0, 0, 23, 3, 0, 0, 0, 1][..], &text(b"/a"), &[0, 0, 0, 0x2a, 0, 0, 0, 4, 0, 0, 1, 0x80]];
    assert_eq!(open, expected.concat());
    let sync = encode(2, &Request::Sync(b"h"));
    assert_eq!(sync[4..], [&[200, 0, 0, 0, 2][..], &text(b"fsync@openssh.com"), &text(b"h")].concat());
    assert_eq!(hello(), [0, 0, 0, 5, 1, 0, 0, 0, 3]);
    let length = packet_length(write[..4].try_into().unwrap()).unwrap();
    assert_eq!(length, write.len() - 4);
}

#[test]
fn what_a_server_can_do_is_in_its_welcome() {
    let welcome_of = |version: u8, names: &[(&str, &str)]| {
        let mut all = vec![2, 0, 0, 0, version];
        for (name, version) in names {
            all.extend(text(name.as_bytes()));
            all.extend(text(version.as_bytes()));
        }
        welcome(&all)
    };
    let all = welcome_of(3, &[("x@y", "1"), (FSYNC, "1"), (STATVFS, "2")]).unwrap();
    assert_eq!(all, Abilities { has_fsync: true, has_statvfs: true });
    assert_eq!(welcome_of(3, &[(FSYNC, "9")]).unwrap(), Abilities::default());
    assert_eq!(welcome_of(6, &[]), Err(CodecError::Version(6)));
    assert_eq!(welcome(&packet(101, &[])), Err(CodecError::Kind(101)));
    assert_eq!(welcome(&[2, 0, 0, 0, 3, 0, 0, 0, 9, 1]), Err(CodecError::Damaged));
}

#[test]
fn replies_are_read() {
    let status = packet(101, &[&[0, 0, 0, 2], &text(b"No such\nfile"), &text(b"en")]);
    let expected = Status { code: Code::Missing, message: "No such file".to_owned() };
    assert_eq!(decode(&status), Ok((7, Reply::Status(expected))));
    let old = packet(101, &[&[0, 0, 0, 0]]);
    assert_eq!(decode(&old), Ok((7, Reply::Status(Status { code: Code::Ok, message: String::new() }))));
    assert_eq!(decode(&packet(102, &[&text(b"h")])), Ok((7, Reply::Handle(b"h".to_vec()))));
    assert_eq!(decode(&packet(103, &[&text(b"abc")])), Ok((7, Reply::Data(b"abc".to_vec()))));
    // Size, owner, mode and times, and an extension.
    let details: &[&[u8]] = &[
        &[0x80, 0, 0, 15],
        &[0, 0, 0, 0, 0, 0, 1, 0],
        &[0; 8],
        &[0, 0, 0x81, 0x80],
        &[0, 0, 0, 1, 0, 0, 0, 2],
        &[0, 0, 0, 1],
        &text(b"k"),
        &text(b"v"),
    ];
    let details = details.concat();
    let file = Details { size: Some(256), is_folder: false, modified: Some(2) };
    assert_eq!(decode(&packet(105, &[&details])), Ok((7, Reply::Details(file))));
    let folder: &[&[u8]] =
        &[&[0, 0, 0, 2], &text(b"a"), &text(b"long a"), &details, &text(b"\xff"), &text(b""), &[0; 4]];
    let names = packet(104, &[&folder.concat()]);
    assert_eq!(decode(&names), Ok((7, Reply::Names(vec![Entry { name: "a".to_owned(), details: file }]))));
    let room =
        [[0, 0, 0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0, 16, 0], [9; 8], [9; 8], [0, 0, 0, 0, 0, 0, 0, 3]];
    assert_eq!(free_bytes(&room.concat()), Ok(3 * 4096));
    assert_eq!(free_bytes(&[0; 39]), Err(CodecError::Damaged));
}

#[test]
fn what_is_no_packet_is_an_error_and_takes_no_memory() {
    for length in [0, 4, PACKET_BYTES_MAX + 1, u32::MAX, u32::from_be_bytes(*b"Welc")] {
        assert_eq!(packet_length(length.to_be_bytes()), Err(CodecError::Length(length)));
    }
    assert_eq!(decode(&[]), Err(CodecError::Damaged));
    assert_eq!(decode(&packet(99, &[])), Err(CodecError::Kind(99)));
    // Lengths and counts of four thousand million.
    for kind in [102, 103, 104] {
        assert_eq!(decode(&packet(kind, &[&[0xff; 4]])), Err(CodecError::Damaged));
    }
    assert_eq!(decode(&packet(105, &[&[0x80, 0, 0, 0], &[0xff; 4]])), Err(CodecError::Damaged));
    assert_eq!(decode(&packet(102, &[&text(b"h"), b"more"])), Err(CodecError::Damaged));
}

proptest! {
    #[test]
    fn any_bytes_are_a_packet_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..600), kind in 95_u8..110) {
        let mut packet = bytes.clone();
        drop(decode(&packet));
        drop(welcome(&packet));
        drop(free_bytes(&packet));
        if let Some(first) = packet.first_mut() {
            *first = kind;
        }
        drop(decode(&packet));
    }

    #[test]
    fn a_cut_or_altered_packet_is_no_other_packet_of_more(
        data in proptest::collection::vec(any::<u8>(), 0..200), cut in 0_usize..200, at in 0_usize..200, bit in 0_u8..8,
    ) {
        let whole = packet(103, &[&text(&data)]);
        if cut < whole.len() {
            prop_assert!(decode(&whole[..cut]).is_err());
        }
        let mut altered = whole;
        let at = at % altered.len();
        altered[at] ^= 1 << bit;
        if let Ok((_, Reply::Data(read))) = decode(&altered) {
            prop_assert!(read.len() <= data.len());
        }
    }
}
