//! Whether a tree can be served at all. Pure: each mistake is found before anything is touched.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::tree::{LogicalUnitNumber, PortalGroup, Target, Tree};
use crate::{ConfigCode, ConfigError};

/// Checks the whole tree.
///
/// # Errors
/// Every mistake found, in path order.
pub fn validate(tree: &Tree) -> Result<(), Vec<ConfigError>> {
    let mut errors = Vec::new();
    let mut ports: BTreeMap<u16, String> = BTreeMap::new();
    for backstore in tree.backstores.values() {
        if !matches!(backstore.block_size_bytes, 512 | 4096) {
            errors.push(error(
                format!("/backstores/{}", backstore.name),
                ConfigCode::OutOfRange,
                "the block size is neither 512 nor 4096",
                "use one of the two",
            ));
        }
    }
    for target in tree.targets.values() {
        check_portals(target, &mut errors);
        for group in target.tpgs.values() {
            let path = group_path(target, group);
            if group.relative_target_port == 0 {
                errors.push(error(
                    path.clone(),
                    ConfigCode::OutOfRange,
                    "the relative target port identifier is 0",
                    "use 1 to 65535",
                ));
            } else if ports
                .insert(group.relative_target_port, path.clone())
                .is_some()
            {
                errors.push(error(
                    path.clone(),
                    ConfigCode::Conflict,
                    "another portal group has the same relative target port identifier",
                    "give each group its own",
                ));
            }
            check_luns(tree, group, &path, &mut errors);
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors)
    }
}

fn check_luns(tree: &Tree, group: &PortalGroup, path: &str, errors: &mut Vec<ConfigError>) {
    for (number, lun) in &group.luns {
        let path = format!("{path}/luns/{}", number.0);
        if *number > LogicalUnitNumber::MAX {
            errors.push(error(
                path.clone(),
                ConfigCode::OutOfRange,
                "the LUN is above 16383",
                "use 0 to 16383",
            ));
        }
        if !tree.backstores.contains_key(&lun.backstore) {
            errors.push(error(
                path,
                ConfigCode::NoSuchObject,
                "its backstore does not exist",
                "create the backstore first",
            ));
        }
    }
    for acl in group.acls.values() {
        for (number, mapped) in acl.mapped_luns.iter().flatten() {
            if !group.luns.contains_key(&mapped.lun) {
                errors.push(error(
                    format!("{path}/acls/{}/luns/{}", acl.initiator, number.0),
                    ConfigCode::NoSuchObject,
                    "it maps a LUN that the portal group does not have",
                    "map one of the group's LUNs",
                ));
            }
        }
    }
}

/// Within a target, the group is found from the local address alone: two groups whose portals can match one address would
/// leave it to chance.
fn check_portals(target: &Target, errors: &mut Vec<ConfigError>) {
    let mut seen: Vec<(SocketAddr, u16)> = Vec::new();
    for group in target.tpgs.values() {
        for portal in &group.portals {
            let clash = seen.iter().any(|(address, tag)| {
                *tag != group.tag && addresses_overlap(*address, portal.address)
            });
            if clash {
                errors.push(error(
                    format!("{}/portals/{}", group_path(target, group), portal.address),
                    ConfigCode::Conflict,
                    "another portal group of the target answers at the same local address",
                    "use another address or port",
                ));
            }
            seen.push((portal.address, group.tag));
        }
    }
}

fn addresses_overlap(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port()
        && a.is_ipv4() == b.is_ipv4()
        && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}

fn group_path(target: &Target, group: &PortalGroup) -> String {
    format!("/targets/{}/tpgs/{}", target.name, group.tag)
}

fn error(path: String, code: ConfigCode, reason: &'static str, hint: &'static str) -> ConfigError {
    ConfigError {
        path,
        code,
        reason,
        hint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admit::tests::{group, tree_of};
    use crate::{Lun, ObjectId};

    #[test]
    fn validate_lun_without_backstore_is_refused_by_path() {
        let mut g = group(1, "127.0.0.1:3260");
        g.luns.insert(
            LogicalUnitNumber(3),
            Lun {
                id: ObjectId(9),
                backstore: ObjectId(99),
                write_protect: false,
            },
        );
        let errors = validate(&tree_of(vec![g])).unwrap_err();
        assert_eq!(errors.len(), 1);
        assert!(errors[0].path.ends_with("/tpgs/1/luns/3"), "{}", errors[0]);
        assert_eq!(errors[0].code, ConfigCode::NoSuchObject);
    }

    #[test]
    fn validate_two_groups_at_one_address_is_conflict() {
        let mut second = group(2, "0.0.0.0:3260");
        second.relative_target_port = 2;
        let errors = validate(&tree_of(vec![group(1, "127.0.0.1:3260"), second])).unwrap_err();
        assert_eq!(errors[0].code, ConfigCode::Conflict);
    }

    #[test]
    fn validate_two_groups_at_two_ports_is_accepted() {
        let mut second = group(2, "127.0.0.1:3261");
        second.relative_target_port = 2;
        assert!(validate(&tree_of(vec![group(1, "127.0.0.1:3260"), second])).is_ok());
    }

    #[test]
    fn validate_relative_target_port_twice_is_conflict() {
        let errors = validate(&tree_of(vec![
            group(1, "127.0.0.1:3260"),
            group(2, "127.0.0.1:3261"),
        ]))
        .unwrap_err();
        assert_eq!(errors[0].code, ConfigCode::Conflict);
    }
}
