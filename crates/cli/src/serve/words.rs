//! What goes wrong with the tree, in the words of the command line: who typed a path has never heard of `lun0`.

use engine::{ApplyError, StartError};
use model::{Change, Mistake, ObjectPath};

use super::plan::Disk;

/// What the tree calls the disk behind a LUN: a path may hold what no name of a backstore can.
pub(crate) fn backstore_name(lun: usize) -> String {
    format!("lun{lun}")
}

/// Why the engine did not start.
pub(crate) fn of_start(disks: &[Disk], error: &StartError) -> String {
    let StartError::Apply(ApplyError::Object { path, reason }) = error else {
        return error.to_string();
    };
    let reason = of_text(disks, reason);
    match disk_named(disks, path) {
        Some(label) if !reason.starts_with(&format!("{label}: ")) => format!("{label}: {reason}"),
        _ => reason,
    }
}

/// Why these changes make no tree.
pub(crate) fn of_mistake(disks: &[Disk], changes: &[Change], mistake: Option<&Mistake>) -> String {
    let Some(Mistake {
        change,
        attribute,
        error,
    }) = mistake
    else {
        return "the command line asks for what cannot be; see --help".to_owned();
    };
    let path = change.and_then(|at| changes.get(at)).map(Change::path);
    let subject = match (attribute.as_deref().and_then(flag_of), path) {
        (Some(flag), _) => flag.to_owned(),
        (None, Some(ObjectPath::Portal(_, _, address))) => format!("--listen {address}"),
        (None, Some(ObjectPath::Acl(_, _, initiator))) => format!("--initiator {initiator}"),
        _ => disk_named(disks, &error.path).unwrap_or_else(|| error.path.clone()),
    };
    format!(
        "{subject}: {}; {}",
        of_text(disks, &error.reason),
        error.hint
    )
}

/// The flag that an attribute's value came with.
fn flag_of(attribute: &str) -> Option<&'static str> {
    match attribute {
        "chap.user" => Some("--chap"),
        "chap.secret" => Some("--chap-secret-file"),
        "mutual_chap.user" => Some("--mutual-chap"),
        "mutual_chap.secret" => Some("--mutual-chap-secret-file"),
        _ => None,
    }
}

/// A text that may name disks as the tree does.
pub(crate) fn of_text(disks: &[Disk], text: &str) -> String {
    let is_name = |word: &str| lun_of(bare(word)).is_some();
    let typed = |(lun, disk): (usize, &Disk)| disk.label(lun).split(' ').any(is_name);
    // Where a path itself reads like one of the tree's names, nobody can tell which is meant.
    if disks.iter().enumerate().any(typed) {
        return text.to_owned();
    }
    let told = |word: &str| match disk_named(disks, bare(word)) {
        Some(label) => label + word.get(bare(word).len()..).unwrap_or_default(),
        None => word.to_owned(),
    };
    let words: Vec<String> = text.split(' ').map(told).collect();
    words.join(" ")
}

/// The word without the punctuation behind it.
fn bare(word: &str) -> &str {
    word.trim_end_matches([':', ';', ','])
}

/// What the operator calls the disk of this name or path in the tree.
fn disk_named(disks: &[Disk], name: &str) -> Option<String> {
    let lun = lun_of(name)?;
    Some(disks.get(lun)?.label(lun))
}

/// The LUN of `lun0` or `/backstores/file/lun0`.
fn lun_of(name: &str) -> Option<usize> {
    let name = match name.strip_prefix("/backstores/") {
        Some(rest) => rest.split_once('/')?.1,
        None => name,
    };
    let lun = name.strip_prefix("lun")?.parse().ok()?;
    (backstore_name(lun) == name).then_some(lun)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disks(paths: &[&str]) -> Vec<Disk> {
        let mut disks: Vec<Disk> = paths.iter().map(|path| Disk::Path(path.into())).collect();
        disks.push(Disk::Ram { bytes: 512 });
        disks
    }

    fn refused(path: &str, reason: &str) -> StartError {
        StartError::Apply(ApplyError::Object {
            path: path.to_owned(),
            reason: reason.to_owned(),
        })
    }

    #[test]
    fn of_text_with_names_of_the_tree_has_the_paths_that_were_typed() {
        let disks = disks(&["a.img", "/srv/b c.img"]);
        for (text, expected) in [
            ("lun1: it is a copy", "/srv/b c.img: it is a copy"),
            (
                "a.img: the same disk as lun1; stop",
                "a.img: the same disk as /srv/b c.img; stop",
            ),
            (
                "/backstores/file/lun0 has the same serial",
                "a.img has the same serial",
            ),
            ("lun2: no memory", "RAM disk at LUN 2: no memory"),
            (
                "lun3, lun01, lun, xlun0 and LUN 0",
                "lun3, lun01, lun, xlun0 and LUN 0",
            ),
            ("two  blanks ", "two  blanks "),
            ("", ""),
        ] {
            assert_eq!(of_text(&disks, text), expected);
        }
    }

    #[test]
    fn of_text_where_a_path_reads_like_a_name_is_left_alone() {
        for path in ["lun1", "my lun0", "/backstores/file/lun0"] {
            let text = "lun1: it is the same disk as lun0";
            assert_eq!(of_text(&disks(&[path]), text), text);
        }
        let text = of_text(&disks(&["/srv/lun1"]), "lun0: it is a copy");
        assert_eq!(text, "/srv/lun1: it is a copy");
    }

    #[test]
    fn of_start_names_the_disk_once() {
        let disks = disks(&["a.img", "a.img2"]);
        for (path, reason, expected) in [
            (
                "/backstores/file/lun0",
                "a.img: it is locked",
                "a.img: it is locked",
            ),
            (
                "/backstores/file/lun0",
                "/backstores/file/lun1 has the same serial",
                "a.img: a.img2 has the same serial",
            ),
            (
                "/backstores/ram/lun2",
                "/backstores/file/lun0 has the same serial",
                "RAM disk at LUN 2: a.img has the same serial",
            ),
            ("/targets/x", "it is no disk", "it is no disk"),
        ] {
            assert_eq!(of_start(&disks, &refused(path, reason)), expected);
        }
        let other = StartError::Apply(ApplyError::ShuttingDown);
        assert_eq!(of_start(&disks, &other), other.to_string());
    }
}
