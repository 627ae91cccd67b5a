//! What is mounted where, from `/proc/self/mountinfo`.

use std::path::PathBuf;

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) id: u64,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) root: String,
    pub(crate) mount_point: PathBuf,
    pub(crate) fs_type: String,
    pub(crate) source: String,
}

/// The mounts that this process sees; none where they cannot be read.
pub(crate) fn current() -> Vec<Mount> {
    let text = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    String::from_utf8_lossy(&text)
        .lines()
        .filter_map(parse_line)
        .collect()
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw`
fn parse_line(line: &str) -> Option<Mount> {
    let (place, device) = line.split_once(" - ")?;
    let mut place = place.split(' ');
    let id = place.next()?.parse().ok()?;
    let (major, minor) = place.nth(1)?.split_once(':')?;
    let root = unescaped(place.next()?);
    let mount_point = PathBuf::from(unescaped(place.next()?));
    let mut device = device.split(' ');
    Some(Mount {
        id,
        major: major.parse().ok()?,
        minor: minor.parse().ok()?,
        root,
        mount_point,
        fs_type: device.next()?.to_owned(),
        source: unescaped(device.next()?),
    })
}

/// The kernel writes space, tab, newline and backslash as a backslash and three octal digits.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let code = escape
            .get(1..4)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                out.push(char::from(code));
                rest = escape.get(4..).unwrap_or_default();
            }
            None => {
                out.push('\\');
                rest = escape.get(1..).unwrap_or_default();
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_line_with_optional_fields_and_escapes_is_the_mount() {
        let line = r"36 35 98:5 /a\040b /mnt/x\134y rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue";
        let mount = parse_line(line).unwrap();
        assert_eq!(mount.id, 36);
        assert_eq!((mount.major, mount.minor), (98, 5));
        assert_eq!(mount.root, "/a b");
        assert_eq!(mount.mount_point, PathBuf::from(r"/mnt/x\y"));
        assert_eq!(mount.fs_type, "ext3");
        assert_eq!(mount.source, "/dev/root");
    }

    #[test]
    fn parse_line_of_another_shape_is_none() {
        for line in ["", "36 35", "36 35 98 / /mnt rw - ext3 x", "a b - c d"] {
            assert_eq!(parse_line(line), None, "{line}");
        }
    }

    #[test]
    fn unescaped_of_a_lone_backslash_keeps_it() {
        assert_eq!(unescaped(r"a\9z\"), r"a\9z\");
    }

    #[test]
    fn current_mounts_have_a_root() {
        assert!(
            current()
                .iter()
                .any(|mount| mount.mount_point.as_os_str() == "/")
        );
    }
}
