//! The target's name where none is given: made from the host's name and the first disk's, and so the same at every start.

use std::path::Path;

use iscsi_wire::IscsiName;

/// The naming authority of names that are made here (RFC 7143 §4.2.7.4): a month in which the project has its name.
const AUTHORITY: &str = "iqn.2026-11.org.quintain";

/// Linux's own limit of a host name.
const MOST_HOST_BYTES: usize = 64;
/// A file name may have 255 bytes, an iSCSI name 223 in all.
const MOST_DISK_BYTES: usize = 100;

/// `iqn.2026-11.org.quintain.HOST:DISK`, of the characters that every initiator takes.
pub(crate) fn default_target_name(host: &str, first_disk: Option<&Path>) -> String {
    let host = legal(host, MOST_HOST_BYTES);
    let disk = match first_disk {
        None => "ram".to_owned(),
        Some(path) => {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            legal(&stem, MOST_DISK_BYTES)
        }
    };
    let host = if host.is_empty() { "localhost" } else { &host };
    let disk = if disk.is_empty() { "disk" } else { &disk };
    format!("{AUTHORITY}.{host}:{disk}")
}

/// What is left of `text` in lower-case letters, digits, dashes and dots (RFC 3722 §6.2), at most `most` bytes: no part
/// between dots is empty, and none begins or ends with a dash, as in a domain name.
fn legal(text: &str, most: usize) -> String {
    let mut name = String::new();
    let mut pending = None;
    for c in text.chars() {
        let c = c.to_ascii_lowercase();
        if c.is_ascii_alphanumeric() {
            let needed = 1 + usize::from(pending.is_some());
            if name.len() + needed > most {
                break;
            }
            name.extend(pending.take());
            name.push(c);
        } else if !name.is_empty() {
            // Of several in a row one is kept, and a dot before a dash.
            let dot = c == '.' || pending == Some('.');
            pending = Some(if dot { '.' } else { '-' });
        }
    }
    name
}

/// Reads the name that the operator gave, or makes one.
///
/// # Errors
/// The given one is no iSCSI name.
pub(crate) fn target_name(
    given: Option<&str>,
    host: &str,
    first_disk: Option<&Path>,
) -> anyhow::Result<IscsiName> {
    let text = match given {
        Some(text) => text.to_owned(),
        None => default_target_name(host, first_disk),
    };
    IscsiName::parse(&text).map_err(|error| {
        anyhow::anyhow!("--name {text}: {error}; write it as iqn.2026-11.org.example:disk")
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn default_target_name_is_host_and_file_stem_in_legal_characters() {
        let table = [
            ("vec1", Some("disk.img"), "vec1:disk"),
            (
                "Web-1.example.org",
                Some("/srv/Disk One_v2.RAW"),
                "web-1.example.org:disk-one-v2",
            ),
            ("host", Some("/dev/sdb"), "host:sdb"),
            ("host", Some("archive.tar.gz"), "host:archive.tar"),
            ("host", Some(".hidden"), "host:hidden"),
            ("host", Some("a-.-b.img"), "host:a.b"),
            ("host", Some(".."), "host:disk"),
            ("host", Some("диск.img"), "host:disk"),
            ("host", None, "host:ram"),
            ("", Some("disk.img"), "localhost:disk"),
            ("(none)", Some("disk.img"), "none:disk"),
        ];
        for (host, path, end) in table {
            let name = default_target_name(host, path.map(Path::new));
            assert_eq!(name, format!("{AUTHORITY}.{end}"));
        }
    }

    #[test]
    fn target_name_given_wrongly_is_refused_with_an_example() {
        for text in [
            "disk",
            "iqn.2026-13.org.example",
            "iqn.2026-11.org.example:a b",
            "",
        ] {
            let error = target_name(Some(text), "host", None)
                .unwrap_err()
                .to_string();
            assert!(
                error.contains(text) && error.contains("iqn.2026-11.org.example:disk"),
                "{error}"
            );
        }
        let given = target_name(Some("IQN.2026-11.org.Example:Disk"), "host", None).unwrap();
        assert_eq!(given.as_str(), "iqn.2026-11.org.example:disk");
    }

    proptest! {
        #[test]
        fn default_target_name_of_any_names_is_a_legal_name(host in ".{0,300}", file in ".{0,300}") {
            let name = default_target_name(&host, Some(Path::new(&file)));
            let parsed = IscsiName::parse(&name);
            prop_assert_eq!(parsed.map(|parsed| parsed.to_string()), Ok(name));
        }
    }
}
