//! What the ALUA groups of a backstore come to.

use super::{Backstore, ObjectId, Tree};
use crate::attributes::{ObjectKind, effective_bool, effective_integer, text_of};
use crate::value::Attributes;

/// The group that a LUN is in where it names none, as LIO calls it.
const DEFAULT_GROUP: &str = "default_tg_pt_gp";

/// An ALUA group, with its values resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessGroup {
    pub name: String,
    /// The target port group identifier.
    pub id: u16,
    /// The ASYMMETRIC ACCESS STATE code.
    pub state: u8,
    /// The target may change the state.
    pub implicit: bool,
    /// Initiators may change the state.
    pub explicit: bool,
    /// Initiators are asked to prefer the group.
    pub preferred: bool,
    /// The ASYMMETRIC ACCESS STATE codes that it may have.
    pub supported: Vec<u8>,
    /// The longest implicit transition that initiators are told of, in seconds; 0: not told.
    pub implicit_transition_seconds: u8,
    /// How long a change of the state takes, in milliseconds.
    pub transition_ms: u32,
    /// The state transitioning is told among those it can be in.
    pub transitioning: bool,
}

/// Which attribute allows which state.
const SUPPORT: [(&str, u8); 5] = [
    ("alua_support_active_optimized", 0x0),
    ("alua_support_active_nonoptimized", 0x1),
    ("alua_support_standby", 0x2),
    ("alua_support_unavailable", 0x3),
    ("alua_support_offline", 0xe),
];

impl Backstore {
    /// The groups that its ports are in, ascending by identifier, each identifier once. None where none was ever set, or
    /// they are switched off: every port is active/optimized then.
    #[must_use]
    pub fn access_groups(&self) -> Vec<AccessGroup> {
        let off = !effective_bool(
            ObjectKind::Backstore,
            &self.attributes,
            "attrib.alua_support",
            self.column(),
        );
        if off || self.alua.is_empty() {
            return Vec::new();
        }
        let none = Attributes::new();
        let default = self
            .alua
            .get(DEFAULT_GROUP)
            .map_or(&none, |group| &group.attributes);
        let others = self.alua.values().filter(|one| one.name != DEFAULT_GROUP);
        let others = others.map(|one| (one.name.as_str(), &one.attributes));
        let all = std::iter::once((DEFAULT_GROUP, default)).chain(others);
        let mut groups: Vec<AccessGroup> = all
            .map(|(name, attributes)| self.access_group(name, attributes))
            .collect();
        groups.sort_by_key(|group| group.id);
        groups.dedup_by_key(|group| group.id);
        groups
    }

    fn access_group(&self, name: &str, attributes: &Attributes) -> AccessGroup {
        let kind = ObjectKind::AluaGroup;
        let number = |name| effective_integer(kind, attributes, name, self.column());
        let flag = |name| effective_bool(kind, attributes, name, self.column());
        let byte = |name| u8::try_from(number(name)).unwrap_or(0);
        let state = byte("alua_access_state");
        let access = number("alua_access_type");
        let supported = SUPPORT
            .iter()
            .filter(|(name, code)| *code == state || flag(name))
            .map(|(_, code)| *code)
            .collect();
        AccessGroup {
            name: name.to_owned(),
            id: u16::try_from(number("tg_pt_gp_id")).unwrap_or(0),
            state,
            implicit: access & 1 != 0,
            explicit: access & 2 != 0,
            preferred: flag("preferred"),
            supported,
            implicit_transition_seconds: byte("implicit_trans_secs"),
            transition_ms: u32::try_from(number("trans_delay_msecs")).unwrap_or(0),
            transitioning: flag("alua_support_transitioning") && number("trans_delay_msecs") > 0,
        }
    }
}

impl Tree {
    /// The name of the ALUA group that the LUNs of a portal group have for a backstore.
    #[must_use]
    pub fn access_group_of(
        &self,
        backstore: ObjectId,
        target: &iscsi_wire::IscsiName,
        tag: u16,
    ) -> String {
        let group = self.group(target, tag);
        let luns = group.iter().flat_map(|group| group.luns.values());
        luns.filter(|lun| lun.backstore == backstore)
            .find_map(|lun| text_of(&lun.attributes, "alua_group"))
            .unwrap_or(DEFAULT_GROUP)
            .to_owned()
    }
}

#[cfg(test)]
mod tests {
    use crate::{BackstoreType, Change, ObjectPath, Tree};

    fn tree(lines: &[(&str, &[(&str, &str)])]) -> Tree {
        let mut changes = vec![Change::create(
            ObjectPath::Backstore(BackstoreType::Ram, "r".into()),
            [("size", 1_048_576.into())],
        )];
        for (path, attributes) in lines {
            let attributes: Vec<_> = attributes
                .iter()
                .map(|(name, value)| (*name, crate::Raw::from(*value)))
                .collect();
            changes.push(Change::create(path.parse().unwrap(), attributes));
        }
        Tree::default().plan(&changes).unwrap().tree
    }

    #[test]
    fn access_groups_are_none_until_one_is_set_and_then_have_the_default_one_too() {
        assert_eq!(
            tree(&[])
                .backstore(BackstoreType::Ram, "r")
                .unwrap()
                .access_groups(),
            []
        );
        let standby: &[(&str, &str)] = &[
            ("tg_pt_gp_id", "7"),
            ("alua_access_state", "2"),
            ("alua_access_type", "1"),
            ("alua_support_offline", "0"),
            ("preferred", "1"),
        ];
        let tree = tree(&[("/backstores/ram/r/alua/far", standby)]);
        let groups = tree
            .backstore(BackstoreType::Ram, "r")
            .unwrap()
            .access_groups();
        let [default, far] = groups.as_slice() else {
            panic!("{groups:?}");
        };
        assert_eq!((default.id, default.state), (0, 0));
        assert_eq!(default.supported, [0, 1, 2, 3, 14]);
        assert_eq!((far.name.as_str(), far.id, far.state), ("far", 7, 2));
        assert!(far.implicit && !far.explicit && far.preferred);
        assert_eq!(far.supported, [0, 1, 2, 3]);
    }
}
