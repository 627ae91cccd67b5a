//! What to say of an object that is not there.

use super::Tree;
use crate::attributes::nearest;
use crate::path::ObjectPath;

impl Tree {
    /// What to do about a path at which nothing stands: look at the nearest name of its kind there, or see that its owner is
    /// missing already.
    #[must_use]
    pub fn hint_for_missing(&self, path: &ObjectPath) -> String {
        if let Some(owner) = path.owner().filter(|owner| self.find(owner).is_none()) {
            return format!(
                "there is no {owner} either; {}",
                self.hint_for_missing(&owner)
            );
        }
        match self.nearest_beside(path) {
            Some(near) => format!("did you mean {near}?"),
            None => "look with ls at what there is".to_owned(),
        }
    }

    /// The name nearest to a path's own among those of its kind at that place.
    fn nearest_beside(&self, path: &ObjectPath) -> Option<String> {
        let near = |name: &str, names: Vec<String>| {
            nearest(name, names.iter().map(String::as_str)).map(ToOwned::to_owned)
        };
        match path {
            ObjectPath::Backstore(kind, name) => {
                let of_kind = self.backstores().filter(|store| store.kind == *kind);
                // One of another type is meant where its name is the very same.
                near(name, of_kind.map(|store| store.name.clone()).collect())
                    .or_else(|| Some(self.resolve(name)?.reference()))
            }
            ObjectPath::AluaGroup(kind, store, name) => {
                let groups = &self.backstore(*kind, store)?.alua;
                near(name, groups.keys().cloned().collect())
            }
            ObjectPath::Target(name) => {
                let names = self.targets().map(|target| target.name.to_string());
                near(name.as_str(), names.collect())
            }
            ObjectPath::Tpg(target, tag) => {
                let tags = self.target(target)?.tpgs.keys().map(ToString::to_string);
                near(&tag.to_string(), tags.collect())
            }
            ObjectPath::Portal(target, tag, at) => {
                let portals = self.group(target, *tag)?.portals.keys();
                near(&at.to_string(), portals.map(ToString::to_string).collect())
            }
            ObjectPath::Acl(target, tag, initiator) => {
                let acls = self.group(target, *tag)?.acls.keys();
                near(initiator.as_str(), acls.map(ToString::to_string).collect())
            }
            // One number is as near as another.
            ObjectPath::Lun(..)
            | ObjectPath::MappedLun(..)
            | ObjectPath::Daemon
            | ObjectPath::Discovery => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::tree_of;

    const T: &str = "/targets/iqn.2026-11.org.example:t";

    #[test]
    fn hint_for_missing_names_the_nearest_of_its_kind_or_the_missing_owner() {
        let group = format!("{T}/tpgs/1");
        let tree = tree_of(&[
            "create /backstores/ram/disk0 size=1MiB".to_owned(),
            "create /backstores/null/zero size=1MiB".to_owned(),
            format!("create {T}"),
            format!("create {group}"),
            format!("create {group}/portals/127.0.0.1:3260"),
            format!("create {group}/acls/iqn.2026-11.org.example:host1"),
        ]);
        let nothing = "look with ls at what there is";
        for (path, expected) in [
            (
                "/backstores/ram/disk1".to_owned(),
                "did you mean disk0?".to_owned(),
            ),
            (
                "/backstores/ram/zero".to_owned(),
                "did you mean null/zero?".to_owned(),
            ),
            (
                "/backstores/ram/quite-another".to_owned(),
                nothing.to_owned(),
            ),
            (
                format!("{T}x"),
                format!("did you mean {}?", &T["/targets/".len()..]),
            ),
            (
                format!("{group}/portals/127.0.0.1:3261"),
                "did you mean 127.0.0.1:3260?".to_owned(),
            ),
            (
                format!("{group}/acls/iqn.2026-11.org.example:host2"),
                "did you mean iqn.2026-11.org.example:host1?".to_owned(),
            ),
            (format!("{group}/luns/3"), nothing.to_owned()),
            (
                "/backstores/ram/disk9/alua/g".to_owned(),
                "there is no /backstores/ram/disk9 either; did you mean disk0?".to_owned(),
            ),
        ] {
            let parsed = path.parse().expect("a path");
            assert_eq!(tree.hint_for_missing(&parsed), expected, "{path}");
        }
    }
}
