//! Helpers by their sockets.

use std::sync::Arc;
use std::time::Duration;

use auth::{Authenticator, ChapStore, Policy, Refusal, Rule};
use daemon::helper::{DEFAULT_TIMEOUT, HelperPool};
use serde_json::json;

use crate::ask::{policy, request};
use crate::server::{Lines, Server, eventually, path_of};

fn built_in() -> Arc<dyn Authenticator> {
    Arc::new(ChapStore::new(Vec::new(), Rule::Deny).expect("legal"))
}

fn says(answer: &'static str) -> Server {
    Server::start(move |_, lines: &mut Lines| {
        lines.greet_as_usual();
        while let Some(line) = lines.next() {
            lines.say(&json!({"id": line["id"], "policy": {"deny": answer}}));
        }
    })
}

fn ask(pool: &HelperPool, socket: &str) -> Policy {
    let helper = pool.helper(socket, built_in()).expect("a thread");
    policy(&*helper, &request("host1", Some("disk1")))
}

#[test]
fn helpers_of_one_pool_have_one_connection_each_for_all_logins() {
    let (one, other) = (says("unknown_user"), says("wrong_response"));
    let pool = HelperPool::default();
    for _ in 0..10 {
        assert_eq!(
            ask(&pool, &path_of(&one)),
            Policy::Deny(Refusal::UnknownUser)
        );
        assert_eq!(
            ask(&pool, &path_of(&other)),
            Policy::Deny(Refusal::WrongResponse)
        );
    }
    assert_eq!((one.connections(), other.connections()), (1, 1));
}

#[test]
fn configure_ends_what_is_no_longer_used_and_starts_all_anew_with_another_timeout() {
    let (one, other) = (says("unknown_user"), says("wrong_response"));
    let paths = [path_of(&one), path_of(&other)];
    let pool = HelperPool::default();
    let ask_both = || paths.each_ref().map(|path| ask(&pool, path));
    let expected = [Refusal::UnknownUser, Refusal::WrongResponse].map(Policy::Deny);
    assert_eq!(ask_both(), expected);
    pool.configure([&*paths[0]], DEFAULT_TIMEOUT);
    assert_eq!(format!("{pool:?}"), format!("{{{:?}}}", paths[0]));
    assert_eq!(ask_both(), expected);
    assert_eq!((one.connections(), other.connections()), (1, 2));
    pool.configure(paths.iter().map(|path| &**path), Duration::from_secs(9));
    assert_eq!(format!("{pool:?}"), "{}");
    assert_eq!(ask_both(), expected);
    assert_eq!((one.connections(), other.connections()), (2, 3));
}

#[test]
fn helper_that_was_taken_away_keeps_nothing_waiting() {
    let silent = Server::start(|_, lines: &mut Lines| {
        lines.greet_as_usual();
        lines.stay();
    });
    let pool = HelperPool::default();
    pool.configure([], Duration::from_secs(3600));
    let socket = path_of(&silent);
    let helper = pool.helper(&socket, built_in()).expect("a thread");
    let pending = crate::ask::begin_policy(&*helper, &request("host1", None));
    eventually("a connection", || silent.connections() == 1);
    // As a login does: the question outlives the one that was asked.
    drop(helper);
    pool.configure([], Duration::from_secs(3600));
    assert_eq!(pending.wait(), Policy::Deny(Refusal::Unavailable));
}
