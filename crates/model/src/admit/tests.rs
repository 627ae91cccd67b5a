use super::*;
use crate::testing::{at, change, name, tree_of};

fn initiator() -> IscsiName {
    name("iqn.2026-11.org.example:host1")
}

const T: &str = "/targets/iqn.2026-11.org.example:t";

fn rule_of(tree: &Tree, local: &str) -> Rule {
    let target = name("iqn.2026-11.org.example:t");
    match admit(tree, &initiator(), &target, at(local)) {
        Ok(admission) => admission.rule,
        Err(Refusal(rule)) => rule,
    }
}

fn group(tag: u16, portal: &str, attributes: &str) -> Vec<String> {
    vec![
        format!("create {T}/tpgs/{tag} {attributes}"),
        format!("create {T}/tpgs/{tag}/portals/{portal}"),
    ]
}

fn tree(groups: Vec<Vec<String>>) -> Tree {
    let mut lines = vec![format!("create {T}")];
    lines.extend(groups.into_iter().flatten());
    tree_of(&lines)
}

#[test]
fn admit_each_rule_decides_alone() {
    let closed = tree(vec![group(1, "127.0.0.1:3260", "")]);
    assert_eq!(rule_of(&closed, "127.0.0.1:3260"), Rule::NoAcl);
    assert_eq!(rule_of(&closed, "127.0.0.2:3260"), Rule::NoPortal);
    assert_eq!(rule_of(&closed, "127.0.0.1:3261"), Rule::NoPortal);
    assert_eq!(
        rule_of(&Tree::default(), "127.0.0.1:3260"),
        Rule::UnknownTarget
    );
    let open = tree(vec![group(1, "0.0.0.0:3260", "generate_node_acls=true")]);
    assert_eq!(rule_of(&open, "10.0.0.1:3260"), Rule::AnyInitiator);
    assert_eq!(rule_of(&open, "[::1]:3260"), Rule::NoPortal);
    assert_eq!(rule_of(&open, "[::ffff:10.0.0.1]:3260"), Rule::AnyInitiator);
    let disabled = change(&open, &[format!("set {T}/tpgs/1 enabled=false")]);
    assert_eq!(rule_of(&disabled, "10.0.0.1:3260"), Rule::GroupDisabled);
    let named = change(
        &closed,
        &[format!(
            "create {T}/tpgs/1/acls/iqn.2026-11.org.example:host1"
        )],
    );
    assert_eq!(rule_of(&named, "127.0.0.1:3260"), Rule::NodeAcl);
}

#[test]
fn admit_specific_portal_wins_over_wildcard_of_another_target_port() {
    let mut lines = group(1, "0.0.0.0:3260", "");
    lines.push(format!(
        "create {T}/tpgs/1/portals/10.0.0.1:3260 advertise=a:1"
    ));
    let tree = tree(vec![lines]);
    let target = tree
        .target(&name("iqn.2026-11.org.example:t"))
        .expect("it exists");
    let group = &target.tpgs[&1];
    let portal = |local| serving_portal(group, at(local)).map(|p| p.address.to_string());
    assert_eq!(portal("10.0.0.1:3260").as_deref(), Some("10.0.0.1:3260"));
    assert_eq!(portal("10.0.0.2:3260").as_deref(), Some("0.0.0.0:3260"));
    assert_eq!(portal("10.0.0.2:3261"), None);
}

#[test]
fn explain_tells_each_rule_up_to_the_one_that_decides() {
    let target = name("iqn.2026-11.org.example:t");
    let closed = tree(vec![group(1, "127.0.0.1:3260", "")]);
    let (result, steps) = explain(&closed, &initiator(), &target, at("127.0.0.1:3260"));
    assert_eq!(result.map(|a| a.rule), Err(Refusal(Rule::NoAcl)));
    let rules: Vec<Rule> = steps.iter().map(|step| step.rule).collect();
    assert_eq!(
        rules,
        [Rule::Target, Rule::Portal, Rule::GroupEnabled, Rule::NoAcl]
    );
    let path = steps[1].path.as_ref().map(ToString::to_string);
    assert_eq!(path, Some(format!("{T}/tpgs/1/portals/127.0.0.1:3260")));
}

fn disk_tree(extra: &[String]) -> Tree {
    let mut lines = vec![
        "create /backstores/ram/a size=1MiB".to_owned(),
        "create /backstores/ram/b size=1MiB".to_owned(),
        format!("create {T}"),
        format!("create {T}/tpgs/1"),
        format!("create {T}/tpgs/1/portals/127.0.0.1:3260"),
        format!("create {T}/tpgs/1/luns/0 backstore=a write_protect=true"),
        format!("create {T}/tpgs/1/luns/1 backstore=ram/b"),
        format!("create {T}/tpgs/1/acls/iqn.2026-11.org.example:host1"),
    ];
    lines.extend_from_slice(extra);
    tree_of(&lines)
}

fn seen(tree: &Tree) -> Vec<(u16, u16, bool)> {
    let target = name("iqn.2026-11.org.example:t");
    let admission = admit(tree, &initiator(), &target, at("127.0.0.1:3260")).expect("admitted");
    let short = |lun: VisibleLun| (lun.number.0, lun.lun.0, lun.write_protect);
    admission.luns().into_iter().map(short).collect()
}

#[test]
fn luns_of_an_acl_keep_the_groups_write_protect() {
    let acl = format!("{T}/tpgs/1/acls/iqn.2026-11.org.example:host1");
    assert_eq!(seen(&disk_tree(&[])), [(0, 0, true), (1, 1, false)]);
    let mapped = disk_tree(&[
        format!("create {acl}/luns/7 lun=0"),
        format!("create {acl}/luns/8 lun=1"),
        format!("create {acl}/luns/9 lun=1 write_protect=true"),
    ]);
    assert_eq!(seen(&mapped), [(7, 0, true), (8, 1, false), (9, 1, true)]);
    // Taking the last mapping away shows nothing, not everything.
    let bare = change(
        &mapped,
        &[7, 8, 9].map(|n| format!("delete {acl}/luns/{n}")),
    );
    assert_eq!(seen(&bare), []);
    let lun_gone = change(&mapped, &[format!("delete {T}/tpgs/1/luns/1")]);
    assert_eq!(seen(&lun_gone), [(7, 0, true)]);
}

#[test]
fn luns_of_the_demo_mode_are_protected_where_the_group_says_so() {
    let open = disk_tree(&[
        format!("delete {T}/tpgs/1/acls/iqn.2026-11.org.example:host1"),
        format!("set {T}/tpgs/1 generate_node_acls=true"),
    ]);
    assert_eq!(seen(&open), [(0, 0, true), (1, 1, false)]);
    let protect = format!("set {T}/tpgs/1 attrib.demo_mode_write_protect=1");
    assert_eq!(
        seen(&change(&open, &[protect])),
        [(0, 0, true), (1, 1, true)]
    );
    let named = disk_tree(&[format!("set {T}/tpgs/1 attrib.prod_mode_write_protect=1")]);
    assert_eq!(seen(&named), [(0, 0, true), (1, 1, true)]);
}

fn asker<'a>(initiator: &'a IscsiName, local: &str) -> Asker<'a> {
    Asker {
        initiator,
        local: at(local),
        group: None,
    }
}

fn told(portal: &str, advertise: &str, local: &str) -> Vec<String> {
    let mut lines = vec![format!("create {T}/tpgs/3 generate_node_acls=true")];
    lines.push(format!("create {T}/tpgs/3/portals/{portal} {advertise}"));
    let found = visible_targets(&tree(vec![lines]), asker(&initiator(), local), None);
    found.into_iter().flat_map(|t| t.addresses).collect()
}

#[test]
fn visible_targets_tell_only_addresses_the_asker_can_use() {
    for (portal, advertise, local, expected) in [
        (
            "0.0.0.0:3260",
            "",
            "10.1.2.3:3260",
            &["10.1.2.3:3260,3"][..],
        ),
        ("[::]:3260", "", "[fe80::1]:3260", &["[fe80::1]:3260,3"]),
        ("[::]:3260", "", "10.1.2.3:3260", &[]),
        ("127.0.0.1:3260", "", "10.1.2.3:3261", &[]),
        (
            "127.0.0.1:3260",
            "",
            "127.0.0.1:3261",
            &["127.0.0.1:3260,3"],
        ),
        ("10.1.2.3:3260", "", "10.9.9.9:3260", &["10.1.2.3:3260,3"]),
        (
            "0.0.0.0:3260",
            "advertise=san.example.org:3260",
            "10.1.2.3:3260",
            &["san.example.org:3260,3"],
        ),
    ] {
        assert_eq!(told(portal, advertise, local), expected, "{portal} {local}");
    }
}

#[test]
fn visible_targets_hide_what_the_initiator_may_not_use() {
    let lines = group(1, "127.0.0.1:3260", "");
    let initiator = initiator();
    let told = |tree: &Tree| {
        let asker = asker(&initiator, "127.0.0.1:3260");
        visible_targets(tree, asker, None).len()
    };
    let hidden = tree(vec![lines]);
    assert_eq!(told(&hidden), 0);
    let shown = format!("set {T}/tpgs/1 attrib.demo_mode_discovery=1");
    assert_eq!(told(&change(&hidden, &[shown])), 1);
    let named = format!("create {T}/tpgs/1/acls/iqn.2026-11.org.example:host1");
    let named = change(&hidden, &[named]);
    assert_eq!(told(&named), 1);
    let disabled = format!("set {T}/tpgs/1 enabled=no");
    assert_eq!(told(&change(&named, &[disabled])), 0);
}

#[test]
fn visible_targets_tell_whoever_is_logged_in_of_its_own_group() {
    let tree = tree(vec![
        group(1, "127.0.0.1:3260", ""),
        group(2, "127.0.0.2:3260", ""),
    ]);
    let (initiator, target) = (initiator(), name("iqn.2026-11.org.example:t"));
    let own = Asker {
        group: Some(tree.group(&target, 2).expect("it is there").id),
        ..asker(&initiator, "127.0.0.2:3260")
    };
    let found = visible_targets(&tree, own, Some(&target));
    assert_eq!(found[0].addresses, ["127.0.0.2:3260,2"]);
}

#[test]
fn admit_where_a_helper_decides_needs_the_acl_that_it_names() {
    let tree = disk_tree(&[
        format!("delete {T}/tpgs/1/acls/iqn.2026-11.org.example:host1"),
        format!("create {T}/tpgs/1/acls/iqn.2026-11.org.example:lab"),
        format!("create {T}/tpgs/1/acls/iqn.2026-11.org.example:lab/luns/4 lun=1"),
        format!("set {T}/tpgs/1 auth_helper=/run/helper.sock"),
    ]);
    let target = name("iqn.2026-11.org.example:t");
    let admission = admit(&tree, &initiator(), &target, at("127.0.0.1:3260")).expect("provisional");
    assert_eq!(admission.rule, Rule::HelperDecides);
    let refused = |named: Option<&str>| {
        let named = named.map(name);
        admission.clone().served_by(named.as_ref()).map(|a| a.rule)
    };
    assert_eq!(refused(None), Err(Refusal(Rule::NoAcl)));
    assert_eq!(
        refused(Some("iqn.2026-11.org.example:none")),
        Err(Refusal(Rule::NoAcl))
    );
    let named = name("iqn.2026-11.org.example:lab");
    let served = admission.served_by(Some(&named)).expect("it is there");
    let luns: Vec<u16> = served.luns().iter().map(|lun| lun.number.0).collect();
    assert_eq!(luns, [4]);
}
