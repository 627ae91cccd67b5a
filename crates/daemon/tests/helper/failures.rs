//! Helpers that fail or mean harm: nothing hangs, everything has its answer, and a helper that is well again is used again.
//!
//! Nothing here measures time. Where an answer must not wait for its deadline, the deadline is an hour away.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use auth::{
    Answer, Authenticator, ChapAlgorithm, Mutual, MutualChallenge, Policy, Refusal, Reply, Verdict,
    VerifyRequest,
};
use daemon::helper::{HelperAuthenticator, HelperConfig, MAX_LINE_BYTES};
use serde_json::{Value, json};

use crate::ask::{begin_policy, begin_verify, name, policy, request, verify};
use crate::server::{Lines, Script, Server, eventually, usual_hello};

/// A deadline that a test waits for.
const SOON: Duration = Duration::from_millis(200);

/// A deadline that no test waits for.
const NEVER: Duration = Duration::from_secs(3600);

const UNAVAILABLE: Policy = Policy::Deny(Refusal::Unavailable);

fn helper(server: &Server, timeout: Duration) -> HelperAuthenticator {
    let config = HelperConfig {
        timeout,
        ..HelperConfig::new(server.socket())
    };
    HelperAuthenticator::start(config, None).expect("a thread")
}

fn question(asks_for_proof: bool) -> VerifyRequest {
    VerifyRequest {
        request: request("host1", Some("disk1")),
        algorithm: ChapAlgorithm::Md5,
        identifier: 1,
        challenge: vec![1; 32],
        name: "alice".to_owned(),
        response: vec![2; 16],
        mutual: asks_for_proof.then(|| MutualChallenge {
            identifier: 2,
            challenge: vec![3; 1024],
        }),
    }
}

fn ask(helper: &HelperAuthenticator) -> Policy {
    policy(helper, &request("host1", Some("disk1")))
}

fn open(id: &Value) -> Value {
    json!({"id": id, "policy": {"open": true}})
}

/// A helper that opens to everybody, at its best.
fn opens() -> impl Script {
    |_, lines: &mut Lines| {
        lines.greet_as_usual();
        while let Some(line) = lines.next() {
            lines.say(&open(&line["id"]));
        }
    }
}

/// The first connection runs `fails`, later ones open to everybody.
fn at_first(fails: impl Fn(&mut Lines) + Send + Sync + 'static) -> impl Script {
    let well = opens();
    move |number, lines: &mut Lines| match number {
        0 => fails(lines),
        _ => well(number, lines),
    }
}

fn is_well_again(helper: &HelperAuthenticator) {
    eventually("an answer", || ask(helper) == Policy::Open);
}

#[test]
fn no_helper_is_refused_at_once_until_there_is_one() {
    let mut server = Server::absent();
    let helper = helper(&server, NEVER);
    for _ in 0..10 {
        assert_eq!(ask(&helper), UNAVAILABLE);
        assert_eq!(
            verify(&helper, &question(true)),
            Verdict::Deny(Refusal::Unavailable)
        );
    }
    server.listen(opens());
    is_well_again(&helper);
    // The file stays, and nobody listens.
    server.die();
    eventually("a refusal", || ask(&helper) == UNAVAILABLE);
    server.restart(opens());
    is_well_again(&helper);
}

#[test]
fn path_that_is_no_socket_is_refused_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    std::fs::write(&file, "").expect("a file");
    for path in [file, folder.path().join("x".repeat(200)), "".into()] {
        let config = HelperConfig {
            timeout: NEVER,
            ..HelperConfig::new(path)
        };
        let helper = HelperAuthenticator::start(config, None).expect("a thread");
        assert_eq!(ask(&helper), UNAVAILABLE);
    }
}

/// What keeps a connection open and gives no answer: the deadline refuses.
#[test]
fn helper_that_gives_no_answer_is_refused_at_the_deadline() {
    let scripts: [fn(&mut Lines); 8] = [
        // No hello; half of one.
        |_| {},
        |lines| lines.write(b"{\"hello\":{\"protocol\":1,"),
        // No answer; half of one; its end missing.
        Lines::greet_as_usual,
        |lines| {
            lines.greet_as_usual();
            lines.next();
            lines.write(b"{\"id\":0,\"pol");
        },
        |lines| {
            lines.greet_as_usual();
            lines.next();
            lines.write(open(&0.into()).to_string().as_bytes());
        },
        // Other numbers: of nobody, and of questions of the other kind.
        |lines| {
            lines.greet_as_usual();
            lines.next();
            for id in [1, 2, 77, u64::MAX] {
                lines.say(&open(&id.into()));
            }
        },
        // Lines that are none of the protocol's but could be.
        |lines| {
            lines.greet_as_usual();
            for _ in 0..50 {
                lines.say(&json!({"forget": true}));
            }
        },
        // As slow as can be, and alive.
        |lines| {
            lines.greet_as_usual();
            for byte in open(&0.into()).to_string().bytes() {
                lines.write(&[byte]);
                std::thread::sleep(Duration::from_millis(20));
            }
        },
    ];
    for (at, script) in scripts.into_iter().enumerate() {
        let server = Server::start(move |_, lines: &mut Lines| {
            script(lines);
            lines.stay();
        });
        let helper = helper(&server, SOON);
        let several: Vec<_> = (0..3)
            .map(|_| begin_verify(&helper, &question(false)))
            .collect();
        assert_eq!(ask(&helper), UNAVAILABLE, "script {at}");
        for pending in several {
            assert_eq!(
                pending.wait(),
                Verdict::Deny(Refusal::Unavailable),
                "script {at}"
            );
        }
    }
}

/// What ends the connection, or makes us end it: everything that waits is refused at once, and the next connection serves.
#[test]
fn helper_that_breaks_off_is_refused_at_once_and_asked_anew() {
    let scripts: [fn(&mut Lines); 10] = [
        // Closes: at once, after its hello, after a question, within a line.
        |_| {},
        Lines::greet_as_usual,
        |lines| {
            lines.greet_as_usual();
            lines.next();
        },
        |lines| {
            lines.greet_as_usual();
            lines.next();
            lines.write(b"{\"id\":0,\"policy\":{\"open\":tr");
        },
        // Talks rubbish: for a hello, for an answer, in a hello of another version, in a second hello.
        |lines| {
            lines.write(b"helo quintain\n");
            lines.stay();
        },
        |lines| {
            lines.greet_as_usual();
            lines.next();
            lines.write(b"\xff\xfe\0\n");
            lines.stay();
        },
        |lines| {
            lines.greet(&json!({"protocol": 2, "algorithms": ["md5"]}));
            lines.stay();
        },
        |lines| {
            lines.greet_as_usual();
            lines.say(&json!({"hello": usual_hello()}));
            lines.stay();
        },
        // Never ends its line: for a hello, for an answer.
        endless,
        |lines| {
            lines.greet_as_usual();
            lines.next();
            endless(lines);
        },
    ];
    for script in scripts {
        let server = Server::start(at_first(script));
        let helper = helper(&server, NEVER);
        let several: Vec<_> = (0..3)
            .map(|_| begin_policy(&helper, &request("host1", Some("disk1"))))
            .collect();
        for pending in several {
            // The first ones may still be asked on the second connection.
            let answer = pending.wait();
            assert!([UNAVAILABLE, Policy::Open].contains(&answer), "{answer:?}");
        }
        is_well_again(&helper);
        assert!(server.connections() > 1);
    }
}

fn endless(lines: &mut Lines) {
    let piece = vec![b'x'; 4096];
    for _ in 0..=MAX_LINE_BYTES / piece.len() {
        lines.write(&piece);
    }
    lines.stay();
}

#[test]
fn answer_that_is_malformed_refuses_its_question_only() {
    let server = Server::start(|_, lines: &mut Lines| {
        lines.greet_as_usual();
        let answers = [
            json!({"policy": {"opne": true}}),
            json!({"policy": {"open": false}}),
            json!({"verdict": {"allow": true}}),
            json!({"policy": {"open": true}, "verdict": {"allow": true}}),
            json!({"policy": []}),
            json!({}),
            json!({"policy": {"open": true}}),
        ];
        for mut answer in answers {
            let Some(line) = lines.next() else { return };
            answer["id"] = line["id"].clone();
            lines.say(&answer);
        }
        lines.stay();
    });
    let helper = helper(&server, NEVER);
    for _ in 0..6 {
        assert_eq!(ask(&helper), UNAVAILABLE);
    }
    assert_eq!(ask(&helper), Policy::Open);
    assert_eq!(server.connections(), 1);
}

#[test]
fn answer_given_twice_counts_once() {
    let server = Server::start(|_, lines: &mut Lines| {
        lines.greet_as_usual();
        while let Some(line) = lines.next() {
            let id = &line["id"];
            lines.say(&json!({"id": id, "policy": {"deny": "not_authorized"}}));
            lines.say(&open(id));
            lines.say(&json!({"id": id, "verdict": {"allow": true}}));
        }
    });
    let helper = helper(&server, NEVER);
    for _ in 0..10 {
        assert_eq!(ask(&helper), Policy::Deny(Refusal::NotAuthorized));
    }
    assert_eq!(server.connections(), 1);
}

#[test]
fn answer_that_comes_late_finds_nobody_and_harms_no_other() {
    // Answers each question only when the next one comes, after the deadline of the former.
    let server = Server::start(|_, lines: &mut Lines| {
        lines.greet_as_usual();
        let mut late = None;
        while let Some(line) = lines.next() {
            if let Some(late) = late.replace(line["id"].clone()) {
                lines.say(&open(&late));
            }
        }
    });
    let helper = helper(&server, SOON);
    for _ in 0..3 {
        assert_eq!(ask(&helper), UNAVAILABLE);
    }
    assert_eq!(server.connections(), 1);
}

#[test]
fn thousand_questions_in_flight_each_get_their_own_answer_in_any_order() {
    const QUESTIONS: usize = 1000;
    let server = Server::start(|_, lines: &mut Lines| {
        lines.greet_as_usual();
        let mut asked: Vec<Value> = (0..QUESTIONS).map_while(|_| lines.next()).collect();
        assert_eq!(asked.len(), QUESTIONS);
        // Back to front, but for every third, which comes last.
        asked.reverse();
        let (last, first): (Vec<_>, Vec<_>) =
            asked.iter().enumerate().partition(|(at, _)| at % 3 == 0);
        for (_, line) in first.into_iter().chain(last) {
            let initiator = line["policy"]["initiator"].as_str().expect("a name");
            let policy = if initiator.ends_with(['0', '2', '4', '6', '8']) {
                json!({"open": true})
            } else {
                json!({"deny": "not_authorized"})
            };
            lines.say(&json!({"id": line["id"], "policy": policy}));
        }
        lines.stay();
    });
    let helper = helper(&server, NEVER);
    let asked: Vec<_> = (0..QUESTIONS)
        .map(|host| begin_policy(&helper, &request(&format!("host{host}"), None)))
        .collect();
    for (host, pending) in asked.into_iter().enumerate() {
        let expected = if host % 2 == 0 {
            Policy::Open
        } else {
            Policy::Deny(Refusal::NotAuthorized)
        };
        assert_eq!(pending.wait(), expected, "{host}");
    }
    assert_eq!(server.connections(), 1);
}

#[test]
fn helper_that_reads_nothing_is_refused_at_the_deadline() {
    let server = Server::start(|_, lines: &mut Lines| {
        lines.greet_as_usual();
        // More than the socket and we hold stays with us until its time is over.
        std::thread::sleep(SOON * 20);
    });
    let helper = helper(&server, SOON);
    let asked: Vec<_> = (0..1500)
        .map(|_| begin_verify(&helper, &question(true)))
        .collect();
    for pending in asked {
        assert_eq!(pending.wait(), Verdict::Deny(Refusal::Unavailable));
    }
}

#[test]
fn question_beyond_the_bound_is_refused_at_once_and_the_end_answers_all() {
    let server = Server::start(|_, lines: &mut Lines| {
        lines.greet_as_usual();
        lines.stay();
    });
    let config = HelperConfig {
        timeout: NEVER,
        max_questions: 4,
        ..HelperConfig::new(server.socket())
    };
    let helper = HelperAuthenticator::start(config, None).expect("a thread");
    let asked: Vec<_> = (0..4)
        .map(|_| begin_verify(&helper, &question(true)))
        .collect();
    let unused = || Reply::new(|_| panic!("answered by value"));
    let beyond = helper.policy(&request("host1", None), unused());
    assert_eq!(beyond, Answer::Now(UNAVAILABLE));
    drop(helper);
    for pending in asked {
        assert_eq!(pending.wait(), Verdict::Deny(Refusal::Unavailable));
    }
}

#[test]
fn question_that_was_answered_makes_room() {
    let server = Server::start(opens());
    let config = HelperConfig {
        max_questions: 1,
        ..HelperConfig::new(server.socket())
    };
    let helper = HelperAuthenticator::start(config, None).expect("a thread");
    // The room comes back just after the answer has been delivered.
    for _ in 0..20 {
        is_well_again(&helper);
    }
}

#[test]
fn last_owner_that_goes_in_the_receiver_of_an_answer_ends_the_thread() {
    let server = Server::start(opens());
    let helper = Arc::new(helper(&server, NEVER));
    let (sender, receiver) = std::sync::mpsc::channel();
    let own = Arc::clone(&helper);
    let reply = Reply::new(move |answer: Option<Policy>| {
        drop(own);
        sender.send(answer).expect("the test listens");
    });
    let answer = helper.policy(&request("host1", None), reply);
    drop(helper);
    assert_eq!(answer, Answer::Later);
    let answers: Vec<_> = receiver.iter().collect();
    assert!(
        [Some(Policy::Open), Some(UNAVAILABLE)].contains(&answers[0]),
        "{answers:?}"
    );
    assert_eq!(answers.len(), 1);
}

#[test]
fn policy_said_to_hold_is_not_asked_for_again_until_it_is_forgotten() {
    let questions = Arc::new(AtomicUsize::new(0));
    let script = |questions: &Arc<AtomicUsize>| {
        let questions = Arc::clone(questions);
        move |_: usize, lines: &mut Lines| {
            lines.greet_as_usual();
            while let Some(line) = lines.next() {
                let number = questions.fetch_add(1, Ordering::SeqCst);
                let mut answer = open(&line["id"]);
                answer["policy"]["cache_seconds"] = 3600.into();
                lines.say(&answer);
                if number == 1 {
                    lines.say(&json!({"forget": true}));
                }
            }
        }
    };
    let mut server = Server::start(script(&questions));
    let helper = helper(&server, NEVER);
    let asked = || questions.load(Ordering::SeqCst);
    for _ in 0..5 {
        assert_eq!(ask(&helper), Policy::Open);
    }
    assert_eq!(asked(), 1);
    // The second question's answer is followed by "forget", which forgets the first too.
    assert_eq!(policy(&helper, &request("host2", None)), Policy::Open);
    eventually("a question", || {
        ask(&helper) == Policy::Open && asked() == 3
    });
    // It holds without the helper, and no longer than the next hello.
    server.die();
    eventually("no connection", || {
        policy(&helper, &request("host3", None)) == UNAVAILABLE
    });
    assert_eq!(ask(&helper), Policy::Open);
    assert_eq!(asked(), 3);
    server.restart(script(&questions));
    eventually("a question", || ask(&helper) == Policy::Open && asked() > 3);
}

#[test]
fn verdict_may_name_an_acl() {
    let server = Server::start(|_, lines: &mut Lines| {
        lines.greet_as_usual();
        while let Some(line) = lines.next() {
            let acl = "iqn.2024-01.lab.example:template";
            lines.say(&json!({"id": line["id"], "verdict": {"allow": true, "acl": acl}}));
        }
    });
    let verdict = verify(&helper(&server, NEVER), &question(false));
    let expected = Verdict::Allow {
        mutual: None,
        acl: Some(name("template")),
    };
    assert_eq!(verdict, expected);
}

#[test]
fn proof_of_the_target_that_nobody_can_give_is_refused() {
    let server = Server::start(|_, lines: &mut Lines| {
        lines.greet(&json!({"protocol": 1, "algorithms": ["md5"]}));
        while let Some(line) = lines.next() {
            let id = &line["id"];
            lines.say(&if line["policy"].is_object() {
                json!({"id": id, "policy": {"chap": {}}})
            } else {
                json!({"id": id, "verdict": {"allow": true}})
            });
        }
    });
    let helper = helper(&server, NEVER);
    let Policy::Chap(policy) = ask(&helper) else {
        panic!("not CHAP");
    };
    assert_eq!(
        (&*policy.algorithms, policy.mutual, policy.none_allowed),
        (&[ChapAlgorithm::Md5][..], Mutual::Never, false)
    );
    assert_eq!(
        verify(&helper, &question(true)),
        Verdict::Deny(Refusal::MutualNotConfigured)
    );
}
