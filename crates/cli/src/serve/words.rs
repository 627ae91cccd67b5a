//! What goes wrong with the tree, in the words of the command line: who typed a path has never heard of `lun0`, and asks for
//! things by flags.

use engine::{ApplyError, OpenProblem, StartError, StoreProblem, UnitReport};
use model::{Change, Mistake, ObjectPath};

use super::plan::Disk;

/// What the tree calls the disk behind a LUN: a path may hold what no name of a backstore can.
pub(crate) fn backstore_name(lun: usize) -> String {
    format!("lun{lun}")
}

/// Why the engine did not start.
pub(crate) fn of_start(disks: &[Disk], error: &StartError) -> String {
    let StartError::Apply(ApplyError::Store { path, problem }) = error else {
        return error.to_string();
    };
    let named = |path: &str| disk_named(disks, path).unwrap_or_else(|| path.to_owned());
    let label = named(&path.to_string());
    let (reason, hint) = match problem {
        StoreProblem::Open(error) => {
            let reason = match &error.problem {
                OpenProblem::AlreadyOpen { by } => {
                    format!("it is the same disk as {}", named(by))
                }
                _ => error.reason().into_owned(),
            };
            (
                reason,
                flag_for(&error.problem).unwrap_or_else(|| error.hint()),
            )
        }
        StoreProblem::SameSerial { serial, other } => (
            format!("{} has the same serial {serial}", named(other)),
            "give each a serial of its own with --serial TEXT",
        ),
        // Nothing is resized or removed here, and a device that does not answer has no words of its own.
        StoreProblem::NoAnswer
        | StoreProblem::NoThread(_)
        | StoreProblem::Resize(_)
        | StoreProblem::StillInUse { .. } => (problem.reason(), problem.hint()),
    };
    format!("{label}: {reason}; {hint}")
}

/// What the command line has for a problem.
fn flag_for(problem: &OpenProblem) -> Option<&'static str> {
    match problem {
        OpenProblem::NotFound => Some("give a size to create it, as in --size 10GiB"),
        OpenProblem::DeviceBlocks { .. } => Some("use --block-size 4096"),
        OpenProblem::SerialNeeded => Some("give one with --serial TEXT, the same at every start"),
        _ => None,
    }
}

/// What the operator should know of a disk's identity.
pub(crate) fn of_copy(label: &str, unit: &UnitReport) -> Option<String> {
    let (of, serial) = (unit.copy_of.as_deref()?, &unit.serial);
    Some(format!(
        "{label}: this file is a copy of the disk with serial {of}, so it gets an identity of its own: serial {serial}; --serial {of} keeps the old one, for a disk that was moved"
    ))
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
    format!("{subject}: {}; {}", error.reason, error.hint)
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
    use engine::OpenError;

    use super::*;

    fn disks(paths: &[&str]) -> Vec<Disk> {
        let mut disks: Vec<Disk> = paths.iter().map(|path| Disk::Path(path.into())).collect();
        disks.push(Disk::Ram { bytes: 512 });
        disks
    }

    fn refused(path: &str, problem: StoreProblem) -> StartError {
        let path = path.parse().expect("a path");
        StartError::Apply(ApplyError::Store { path, problem })
    }

    fn open(path: &str, problem: OpenProblem) -> StoreProblem {
        let path = path.into();
        StoreProblem::Open(OpenError { path, problem })
    }

    fn same_serial(other: &str) -> StoreProblem {
        StoreProblem::SameSerial {
            serial: "S".to_owned(),
            other: other.to_owned(),
        }
    }

    #[test]
    fn of_start_names_disks_as_they_were_typed_and_what_is_missing_by_its_flag() {
        let disks = disks(&["a.img", "/srv/b c.img"]);
        let same = |by: &str| OpenProblem::AlreadyOpen { by: by.to_owned() };
        for (path, problem, expected) in [
            (
                "/backstores/file/lun0",
                open("/x/a.img", OpenProblem::NotFound),
                "a.img: there is no such file; give a size to create it, as in --size 10GiB",
            ),
            (
                "/backstores/file/lun0",
                open("/x/a.img", OpenProblem::Swap),
                "a.img: it is swap space; swapoff it first",
            ),
            (
                "/backstores/file/lun0",
                open("/x/a.img", same("lun1")),
                "a.img: it is the same disk as /srv/b c.img; give each disk once",
            ),
            (
                "/backstores/file/lun1",
                same_serial("/backstores/file/lun0"),
                "/srv/b c.img: a.img has the same serial S; give each a serial of its own with --serial TEXT",
            ),
            (
                "/backstores/ram/lun2",
                open("lun2", OpenProblem::NoMemory),
                "RAM disk at LUN 2: there is not so much memory; give a smaller size",
            ),
            (
                "/backstores/file/lun1",
                StoreProblem::NoAnswer,
                "/srv/b c.img: it does not answer; see to the device or the network behind it",
            ),
        ] {
            assert_eq!(of_start(&disks, &refused(path, problem)), expected);
        }
        let other = StartError::Apply(ApplyError::ShuttingDown);
        assert_eq!(of_start(&disks, &other), other.to_string());
    }

    #[test]
    fn of_start_of_a_path_that_reads_like_a_name_is_that_path() {
        let disks = disks(&["lun1", "my lun0"]);
        let error = refused(
            "/backstores/file/lun0",
            same_serial("/backstores/file/lun1"),
        );
        let expected =
            "lun1: my lun0 has the same serial S; give each a serial of its own with --serial TEXT";
        assert_eq!(of_start(&disks, &error), expected);
    }
}
