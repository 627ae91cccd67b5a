//! Many at once, calls that block, and the end.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use control_api::{AttributeMap, Client, ClientError, Precondition};
use daemon::api::{Limits, Stopped};
use serde_json::json;

use super::{PATIENCE, Rig, SOON, eventually, problem_of, request};

fn alias(text: &str) -> AttributeMap {
    [("alias".to_owned(), json!(text))].into()
}

fn create(client: &Client, path: &str) {
    client
        .put(path, &AttributeMap::new(), Precondition::Absent, false)
        .unwrap();
}

#[test]
fn concurrent_clients_lose_no_change() {
    const CLIENTS: usize = 12;
    const ROUNDS: usize = 25;
    let rig = Rig::new();
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let client = rig.client();
            scope.spawn(move || {
                let path = format!("/targets/{number}");
                create(&client, &path);
                for round in 0..ROUNDS {
                    client
                        .patch(&path, &alias(&round.to_string()), None, false)
                        .unwrap();
                    let answer = client.tree(&path, 0).unwrap();
                    assert_eq!(answer.object.attributes["alias"], json!(round.to_string()));
                }
            });
        }
    });
    assert_eq!(rig.fake.state().generation, (CLIENTS * (ROUNDS + 1)) as u64);
}

#[test]
fn one_of_many_wins_a_generation() {
    let rig = Rig::new();
    create(&rig.client(), "/x");
    let won = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for number in 0..10 {
            let (client, won) = (rig.client(), &won);
            scope.spawn(move || {
                match client.patch("/x", &alias(&number.to_string()), Some(1), false) {
                    Ok(_) => drop(won.fetch_add(1, Ordering::Relaxed)),
                    error => assert!(problem_of(error).is("stale_generation")),
                }
            });
        }
    });
    assert_eq!((won.into_inner(), rig.fake.state().generation), (1, 2));
}

#[test]
fn replacement_is_computed_anew_when_the_tree_moved() {
    let rig = Rig::new();
    create(&rig.client(), "/x");
    rig.fake.hold();
    let client = rig.client();
    let put =
        std::thread::spawn(move || client.put("/x", &alias("mine"), Precondition::None, false));
    rig.fake.wait_for_held(1);
    // It was computed on generation 1, which is no longer in force when it comes through.
    rig.fake.state().generation = 5;
    rig.fake.release();
    assert_eq!(put.join().unwrap().unwrap().generation, 6);
    assert_eq!(rig.fake.state().objects["/x"].attributes, alias("mine"));
}

#[test]
fn changes_that_block_keep_no_look_waiting() {
    let limits = Limits {
        changes: 2,
        turn_timeout: SOON,
        ..Limits::default()
    };
    let rig = Rig::with(limits);
    create(&rig.client(), "/x");
    rig.fake.hold();
    let blocked: Vec<_> = (0..2)
        .map(|_| {
            let client = rig.client();
            std::thread::spawn(move || client.patch("/x", &alias("a"), None, false))
        })
        .collect();
    rig.fake.wait_for_held(2);
    assert_eq!(rig.client().status().unwrap().generation, 1);
    let problem = problem_of(rig.client().patch("/x", &alias("b"), None, false));
    assert_eq!(
        (problem.status, problem.code.as_deref()),
        (503, Some("busy"))
    );
    rig.fake.release();
    for change in blocked {
        change.join().unwrap().unwrap();
    }
    assert_eq!(rig.fake.state().generation, 3);
}

#[test]
fn change_goes_on_when_its_caller_hangs_up() {
    let rig = Rig::new();
    rig.fake.hold();
    let mut stream = rig.connect();
    stream
        .write_all(request("PUT", "/v1/tree/x", "", "").as_bytes())
        .unwrap();
    rig.fake.wait_for_held(1);
    drop(stream);
    rig.fake.release();
    eventually(|| (rig.fake.state().generation == 1).then_some(()));
}

#[test]
fn panic_of_a_call_is_its_callers_problem_only() {
    let rig = Rig::new();
    create(&rig.client(), "/x");
    rig.fake.state().is_broken = true;
    let problem = problem_of(rig.client().patch("/x", &alias("a"), None, false));
    assert_eq!(
        (problem.status, problem.code.as_deref()),
        (500, Some("internal"))
    );
    rig.fake.state().is_broken = false;
    rig.client().patch("/x", &alias("a"), None, false).unwrap();
}

#[test]
fn stop_lets_a_running_call_end() {
    let rig = Rig::new();
    rig.fake.hold();
    let client = rig.client();
    let put = std::thread::spawn(move || client.put("/x", &alias("a"), Precondition::None, false));
    rig.fake.wait_for_held(1);
    let server = rig.server;
    let stop = std::thread::spawn(move || server.stop(PATIENCE));
    let client = Client::new(&rig.socket);
    eventually(|| matches!(client.status(), Err(ClientError::NotRunning { .. })).then_some(()));
    rig.fake.release();
    assert_eq!(put.join().unwrap().unwrap().generation, 1);
    assert_eq!(stop.join().unwrap(), Stopped::Clean);
}

#[test]
fn stop_at_its_deadline_cuts_a_call_that_does_not_end() {
    let rig = Rig::new();
    rig.fake.hold();
    let client = rig.client();
    let put = std::thread::spawn(move || client.put("/x", &alias("a"), Precondition::None, false));
    rig.fake.wait_for_held(1);
    assert_eq!(rig.server.stop(SOON), Stopped::Cut(1));
    let error = put.join().unwrap().unwrap_err();
    assert!(
        matches!(error, ClientError::Protocol(_) | ClientError::Io(_)),
        "{error:?}"
    );
    // Nobody waits for it any more, and still it is made.
    rig.fake.release();
    eventually(|| (rig.fake.state().generation == 1).then_some(()));
}

#[test]
fn stop_does_not_wait_for_idle_connections() {
    let rig = Rig::new();
    let mut idle = [rig.connect(), rig.connect()];
    idle[0]
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    eventually(|| rig.client().is_ready().ok());
    assert_eq!(rig.server.stop(PATIENCE), Stopped::Clean);
    for stream in &mut idle {
        super::read_to_end(stream);
    }
}

#[test]
fn dropped_server_is_gone() {
    let rig = Rig::new();
    let fake = Arc::clone(&rig.fake);
    drop(rig.server);
    assert!(matches!(
        Client::new(&rig.socket).status(),
        Err(ClientError::NotRunning { .. })
    ));
    eventually(|| (Arc::strong_count(&fake) == 2).then_some(()));
}
