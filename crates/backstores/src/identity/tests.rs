use std::fs::File;
use std::io::Write;

use super::*;

fn hints(entropy: u8) -> IdentityHints {
    IdentityHints {
        serial: None,
        entropy: [entropy; 8],
        machine_id: MachineId::parse("0123456789abcdef0123456789abcdef"),
    }
}

/// A file where extended attributes work, or `None` with a line where they do not.
fn file_with_attributes(name: &str) -> Option<(tempfile::TempDir, File)> {
    let folder = tempfile::tempdir().unwrap();
    let file = File::create_new(folder.path().join(name)).unwrap();
    let probe = rustix::fs::fsetxattr(&file, "user.probe", b"x", rustix::fs::XattrFlags::empty());
    if probe.is_err() {
        eprintln!(
            "left out: no extended attributes in {}",
            folder.path().display()
        );
        return None;
    }
    Some((folder, file))
}

#[test]
fn from_serial_same_text_gives_same_naa_of_type_3() {
    let one = Identity::from_serial("disk-1").unwrap();
    let again = Identity::from_serial("disk-1").unwrap();
    let other = Identity::from_serial("disk-2").unwrap();
    assert_eq!(one, again);
    assert_ne!(one.naa(), other.naa());
    assert_eq!(one.naa() >> 60, 3);
    assert_eq!(one.serial(), "disk-1");
    // A change of the formula would rename every disk in the world that has a given serial.
    assert_eq!(format!("{:016x}", one.naa()), "3dea47b20f5c3764");
}

#[test]
fn from_serial_of_what_a_vpd_page_cannot_carry_is_refused() {
    let long = "x".repeat(65);
    for (serial, error) in [
        ("", SerialError::Empty),
        (long.as_str(), SerialError::TooLong),
        ("a\nb", SerialError::NotPrintable),
        ("disque-é", SerialError::NotPrintable),
        (" a", SerialError::NotPrintable),
        ("a ", SerialError::NotPrintable),
    ] {
        assert_eq!(Identity::from_serial(serial), Err(error), "{serial:?}");
    }
    assert!(Identity::from_serial(&"x".repeat(64)).is_ok());
    assert!(Identity::from_serial("a b").is_ok());
}

#[test]
fn digest_of_parts_that_join_to_the_same_text_differs() {
    assert_ne!(
        Identity::derived(&[b"ab", b"c"]),
        Identity::derived(&[b"a", b"bc"])
    );
}

#[test]
fn machine_id_parse_takes_32_hex_digits_only() {
    let id = MachineId::parse("0123456789ABCDEF0123456789abcdef\n").unwrap();
    assert_eq!(id.as_bytes(), b"0123456789abcdef0123456789abcdef");
    assert_eq!(format!("{id:?}"), "MachineId(..)");
    for text in ["", "uninitialized\n", "0123", &"g".repeat(32)] {
        assert_eq!(MachineId::parse(text), None, "{text}");
    }
}

#[test]
fn of_file_second_start_finds_the_stored_identity() {
    let Some((_folder, file)) = file_with_attributes("a.img") else {
        return;
    };
    let (first, origin) = of_file(&file, &hints(1)).unwrap();
    assert_eq!(origin, IdentityOrigin::New);
    assert_eq!(first.serial(), "0101010101010101");
    let (second, origin) = of_file(&file, &hints(2)).unwrap();
    assert_eq!(origin, IdentityOrigin::Stored);
    assert_eq!(first, second);
    // Without a machine id the attribute is enough.
    let (third, _) = of_file(&file, &IdentityHints::default()).unwrap();
    assert_eq!(first, third);
}

#[test]
fn of_file_copied_with_its_attribute_gets_a_new_identity_and_says_so() {
    let Some((folder, file)) = file_with_attributes("a.img") else {
        return;
    };
    let (original, _) = of_file(&file, &hints(1)).unwrap();
    let mut value = [0_u8; 256];
    let length = rustix::fs::fgetxattr(&file, IDENTITY_ATTRIBUTE, &mut value[..]).unwrap();
    let copy = File::create_new(folder.path().join("b.img")).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::fsetxattr(&copy, IDENTITY_ATTRIBUTE, &value[..length], flags).unwrap();

    let (renamed, origin) = of_file(&copy, &hints(2)).unwrap();
    assert_ne!(original, renamed);
    let of = original.serial().to_owned();
    assert_eq!(origin, IdentityOrigin::Copy { of });
    let (again, origin) = of_file(&copy, &hints(3)).unwrap();
    assert_eq!((again, origin), (renamed, IdentityOrigin::Stored));
    let (still, _) = of_file(&file, &hints(4)).unwrap();
    assert_eq!(still, original);
}

#[test]
fn of_file_with_a_given_serial_takes_and_keeps_it() {
    let Some((_folder, file)) = file_with_attributes("a.img") else {
        return;
    };
    let (before, _) = of_file(&file, &hints(1)).unwrap();
    let given = IdentityHints {
        serial: Some("on purpose".to_owned()),
        ..hints(2)
    };
    let (identity, origin) = of_file(&file, &given).unwrap();
    assert_eq!(origin, IdentityOrigin::Given);
    assert_eq!(identity.serial(), "on purpose");
    assert_ne!(identity, before);
    let (later, origin) = of_file(&file, &hints(3)).unwrap();
    assert_eq!((later, origin), (identity, IdentityOrigin::Stored));
}

#[test]
fn of_file_with_a_spoilt_attribute_gets_a_new_identity() {
    let Some((_folder, file)) = file_with_attributes("a.img") else {
        return;
    };
    let flags = rustix::fs::XattrFlags::empty();
    for spoilt in [&b"\xff\xfe"[..], b"", b"1 inode=1", &[b'x'; 300]] {
        rustix::fs::fsetxattr(&file, IDENTITY_ATTRIBUTE, spoilt, flags).unwrap();
        let (_, origin) = of_file(&file, &hints(7)).unwrap();
        assert_eq!(origin, IdentityOrigin::New);
    }
}

/// `/proc` takes no extended attributes.
fn file_without_attributes() -> File {
    File::open("/proc/self/mountinfo").unwrap()
}

#[test]
fn of_file_without_attributes_is_derived_and_stable() {
    let file = file_without_attributes();
    let (one, origin) = of_file(&file, &hints(1)).unwrap();
    assert_eq!(origin, IdentityOrigin::Derived);
    let (two, _) = of_file(&file, &hints(2)).unwrap();
    assert_eq!(one, two);
    let elsewhere = IdentityHints {
        machine_id: MachineId::parse(&"f".repeat(32)),
        ..hints(1)
    };
    let (other_machine, _) = of_file(&file, &elsewhere).unwrap();
    assert_ne!(one, other_machine);
}

#[test]
fn of_file_without_attributes_and_machine_id_needs_a_serial() {
    let file = file_without_attributes();
    let mut nothing = IdentityHints::default();
    assert_eq!(of_file(&file, &nothing), Err(SerialNeeded));
    nothing.serial = Some("mine".to_owned());
    let (identity, origin) = of_file(&file, &nothing).unwrap();
    assert_eq!((identity.serial(), origin), ("mine", IdentityOrigin::Given));
}

#[test]
fn of_block_device_without_a_machine_id_needs_a_serial() {
    let device = crate::sysfs::BlockDevice {
        major: 4095,
        minor: 1,
    };
    let path = std::path::Path::new("/dev/nobody");
    let nothing = IdentityHints::default();
    assert_eq!(of_block_device(&device, path, &nothing), Err(SerialNeeded));
    let (one, origin) = of_block_device(&device, path, &hints(1)).unwrap();
    assert_eq!(origin, IdentityOrigin::Derived);
    let (two, _) = of_block_device(&device, path, &hints(2)).unwrap();
    assert_eq!(one, two);
    let (other, _) =
        of_block_device(&device, std::path::Path::new("/dev/other"), &hints(1)).unwrap();
    assert_ne!(one, other);
}

#[test]
fn writing_the_file_does_not_change_its_identity() {
    let Some((_folder, mut file)) = file_with_attributes("a.img") else {
        return;
    };
    let (before, _) = of_file(&file, &hints(1)).unwrap();
    file.write_all(b"data").unwrap();
    let (after, _) = of_file(&file, &hints(2)).unwrap();
    assert_eq!(before, after);
}
