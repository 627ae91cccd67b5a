//! Trees for tests, written as lines: `create PATH name=value ...`, `set PATH ...`, `delete PATH [cascade]`.

use std::net::SocketAddr;

use iscsi_wire::IscsiName;

use crate::{Change, Mistake, Plan, Raw, Tree};

pub(crate) fn name(text: &str) -> IscsiName {
    IscsiName::parse(text).expect("a test's name is well formed")
}

pub(crate) fn at(text: &str) -> SocketAddr {
    text.parse().expect("a test's address is well formed")
}

/// The change that a line stands for.
pub(crate) fn parse(line: &str) -> Change {
    let mut words = line.split_whitespace();
    let verb = words.next().expect("a verb");
    let path = words.next().expect("a path").parse().expect("a legal path");
    let rest: Vec<&str> = words.collect();
    let given = || {
        let pair = |word: &&str| {
            let (name, value) = word.split_once('=').expect("name=value");
            let raw = (value != "default").then(|| Raw::from(value));
            (name.to_owned(), raw)
        };
        rest.iter().map(pair).collect()
    };
    match verb {
        "create" => Change::Create {
            path,
            attributes: given(),
        },
        "set" => Change::Set {
            path,
            attributes: given(),
        },
        "delete" => Change::Delete {
            path,
            cascade: rest.contains(&"cascade"),
        },
        other => panic!("{other} is no verb"),
    }
}

pub(crate) fn plan<S: AsRef<str>>(tree: &Tree, lines: &[S]) -> Result<Plan, Vec<Mistake>> {
    let changes: Vec<Change> = lines.iter().map(|line| parse(line.as_ref())).collect();
    tree.plan(&changes)
}

/// The tree after changes that are legal.
pub(crate) fn change<S: AsRef<str>>(tree: &Tree, lines: &[S]) -> Tree {
    match plan(tree, lines) {
        Ok(plan) => plan.tree,
        Err(mistakes) => panic!("{mistakes:#?}"),
    }
}

pub(crate) fn tree_of<S: AsRef<str>>(lines: &[S]) -> Tree {
    change(&Tree::default(), lines)
}
