//! What somebody means by a name that is none.

use super::{Attribute, LIO_CREDENTIALS, ObjectKind};

/// The known name that is nearest to one that is not known, if any is near.
#[must_use]
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let bound = name.len().div_ceil(3).max(2);
    known
        .map(|one| (distance(name, one), one))
        .filter(|(far, _)| *far <= bound)
        .min()
        .map(|(_, one)| one)
}

/// Levenshtein's distance, letters in any case equal.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.to_lowercase().chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let replace = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// A beginning shorter than this is no word for anything.
const SHORTEST_BEGINNING: usize = 4;

impl ObjectKind {
    /// The attribute that is meant by a name which no attribute has: LIO's name of it, its name without the group before the dot,
    /// the beginning of one name alone, or a name spelled nearly so.
    #[must_use]
    pub fn meant(self, name: &str) -> Option<&'static str> {
        let rows = self.attributes();
        let wanted = bare(name);
        let is_called = |row: &&Attribute| {
            let same = |other: &str| other.eq_ignore_ascii_case(wanted);
            same(bare(row.name)) || row.lio_path().is_some_and(|file| same(bare(&file)))
        };
        if let Some(row) = rows.iter().find(is_called) {
            return Some(row.name);
        }
        let credential = LIO_CREDENTIALS.iter().find(|(theirs, _)| *theirs == wanted);
        if let Some(row) = credential.and_then(|(_, ours)| self.attribute(ours)) {
            return Some(row.name);
        }
        let mut begins = rows.iter().filter(|row| {
            let head = bare(row.name).get(..wanted.len());
            head.is_some_and(|head| head.eq_ignore_ascii_case(wanted))
        });
        if let (Some(row), None) = (begins.next(), begins.next())
            && wanted.len() >= SHORTEST_BEGINNING
        {
            return Some(row.name);
        }
        let whole = nearest(name, rows.iter().map(|row| row.name));
        whole.or_else(|| {
            let near = nearest(wanted, rows.iter().map(|row| bare(row.name)))?;
            let row = rows.iter().find(|row| bare(row.name) == near)?;
            Some(row.name)
        })
    }
}

/// A name without the groups before it.
fn bare(name: &str) -> &str {
    name.rsplit(['.', '/']).next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_finds_a_typing_mistake_and_nothing_far_away() {
        let known = ["write_cache", "read_only", "param.InitialR2T"];
        let find = |name| nearest(name, known.into_iter());
        assert_eq!(find("write_cash"), Some("write_cache"));
        assert_eq!(find("param.initialr2t"), Some("param.InitialR2T"));
        assert_eq!(find("readonly"), Some("read_only"));
        assert_eq!(find("colour"), None);
    }

    #[test]
    fn meant_is_found_by_lios_name_a_part_a_beginning_or_a_mistake() {
        for (kind, name, expected) in [
            (ObjectKind::Backstore, "emulate_tpu", Some("thin")),
            (ObjectKind::Backstore, "attrib.emulate_tpu", Some("thin")),
            (
                ObjectKind::Backstore,
                "emulate_caw",
                Some("attrib.emulate_caw"),
            ),
            (ObjectKind::Backstore, "sise", Some("size")),
            (ObjectKind::Acl, "password", Some("chap.secret")),
            (ObjectKind::Acl, "mutual_userid", Some("mutual_chap.user")),
            (ObjectKind::Acl, "chap.secert", Some("chap.secret")),
            (ObjectKind::Tpg, "initialr2t", Some("param.InitialR2T")),
            (
                ObjectKind::Tpg,
                "param.MaxBurst",
                Some("param.MaxBurstLength"),
            ),
            (
                ObjectKind::Tpg,
                "attrib.generate_node_acl",
                Some("generate_node_acls"),
            ),
            (
                ObjectKind::Tpg,
                "login_timout",
                Some("attrib.login_timeout"),
            ),
            (ObjectKind::Tpg, "colour", None),
            (ObjectKind::Tpg, "Max", None),
            (ObjectKind::Tpg, "", None),
        ] {
            assert_eq!(kind.meant(name), expected, "{kind:?} {name}");
        }
    }
}
