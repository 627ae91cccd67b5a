//! Every path past authentication, where it is required: none leads to a session.

use super::*;

fn required(mutual_required: bool) -> Rule {
    Rule::Chap(ChapRule {
        mutual_required,
        ..chap_rule()
    })
}

/// One request of a path: current stage, next stage, pairs.
type Sent = (Stage, Option<Stage>, &'static [&'static str]);

const CHAP_R: &str = "CHAP_R=0x00112233445566778899aabbccddeeff";

/// Each path to its end; none knows a secret.
const PATHS: &[&[Sent]] = &[
    // Starting behind the security stage.
    &[(OPERATIONAL, None, &[])],
    &[(OPERATIONAL, Some(FULL_FEATURE), &[])],
    &[(OPERATIONAL, Some(FULL_FEATURE), &["InitialR2T=No"])],
    // Jumping over it.
    &[(SECURITY, Some(FULL_FEATURE), &[])],
    &[(SECURITY, Some(OPERATIONAL), &[])],
    &[(SECURITY, None, &[]), (SECURITY, Some(FULL_FEATURE), &[])],
    &[(SECURITY, None, &[]), (SECURITY, Some(OPERATIONAL), &[])],
    // Offering other methods.
    &[(SECURITY, Some(FULL_FEATURE), &["AuthMethod=None"])],
    &[(SECURITY, Some(OPERATIONAL), &["AuthMethod=None"])],
    &[(SECURITY, None, &["AuthMethod=None"])],
    &[(SECURITY, None, &["AuthMethod="])],
    &[(SECURITY, None, &["AuthMethod=KRB5,SRP,None"])],
    &[(SECURITY, None, &["AuthMethod=chap"])],
    // Leaving the exchange.
    &[
        (SECURITY, None, &["AuthMethod=CHAP"]),
        (SECURITY, Some(FULL_FEATURE), &[]),
    ],
    &[
        (SECURITY, None, &["AuthMethod=CHAP"]),
        (SECURITY, Some(OPERATIONAL), &[]),
    ],
    &[
        (SECURITY, None, &["AuthMethod=CHAP"]),
        (SECURITY, None, &[]),
    ],
    &[
        (SECURITY, Some(FULL_FEATURE), &["AuthMethod=CHAP,None"]),
        (SECURITY, Some(FULL_FEATURE), &["CHAP_A=5"]),
        (SECURITY, Some(FULL_FEATURE), &[]),
    ],
    &[
        (SECURITY, None, &["AuthMethod=CHAP"]),
        (SECURITY, None, &["CHAP_A=5"]),
        (SECURITY, Some(OPERATIONAL), &["CHAP_N=labuser"]),
    ],
    // Steps out of turn.
    &[(SECURITY, None, &["CHAP_A=5"])],
    &[(SECURITY, None, &["AuthMethod=CHAP", "CHAP_A=5"])],
    &[(
        SECURITY,
        None,
        &["AuthMethod=CHAP", "CHAP_N=labuser", CHAP_R],
    )],
    &[
        (SECURITY, None, &["AuthMethod=CHAP"]),
        (SECURITY, Some(FULL_FEATURE), &["CHAP_N=labuser", CHAP_R]),
    ],
    &[
        (SECURITY, None, &["AuthMethod=CHAP"]),
        (SECURITY, None, &["CHAP_A=5", "CHAP_N=labuser", CHAP_R]),
    ],
    // No algorithm, none in common, a wrong one.
    &[
        (SECURITY, None, &["AuthMethod=CHAP"]),
        (SECURITY, None, &["CHAP_A=9"]),
    ],
    &[
        (SECURITY, None, &["AuthMethod=CHAP"]),
        (SECURITY, None, &["CHAP_A="]),
    ],
    // Wrong proofs.
    &[
        (SECURITY, None, &["AuthMethod=CHAP"]),
        (SECURITY, None, &["CHAP_A=5"]),
        (
            SECURITY,
            Some(FULL_FEATURE),
            &["CHAP_N=labuser", CHAP_R, "CHAP_I=1", "CHAP_C=0x01"],
        ),
    ],
    &[
        (SECURITY, None, &["AuthMethod=CHAP"]),
        (SECURITY, None, &["CHAP_A=5"]),
        (
            SECURITY,
            Some(FULL_FEATURE),
            &["CHAP_N=nobody", CHAP_R, "CHAP_I=1", "CHAP_C=0x01"],
        ),
    ],
    &[
        (SECURITY, None, &["AuthMethod=CHAP"]),
        (SECURITY, None, &["CHAP_A=5"]),
        (
            SECURITY,
            Some(FULL_FEATURE),
            &["CHAP_N=labuser", "CHAP_R=0x00"],
        ),
    ],
    &[
        (SECURITY, None, &["AuthMethod=CHAP"]),
        (SECURITY, None, &["CHAP_A=5"]),
        (
            SECURITY,
            Some(FULL_FEATURE),
            &["CHAP_N=labuser", "CHAP_R=None"],
        ),
    ],
];

#[test]
fn chap_required_every_path_without_a_proof_is_refused() {
    for mutual_required in [false, true] {
        for discovery in [false, true] {
            for path in PATHS {
                let mut bench = Bench::new(required(mutual_required));
                walk(&mut bench, path, discovery);
                let what = format!("{path:?} {mutual_required} {discovery}");
                let refusals = [
                    LoginStatus::AUTHENTICATION_FAILURE,
                    LoginStatus::MISSING_PARAMETER,
                    LoginStatus::INITIATOR_ERROR,
                ];
                let status = bench.last_status();
                assert!(status.is_some_and(|one| refusals.contains(&one)), "{what}");
                assert!(bench.closed && bench.commit_requests.is_empty(), "{what}");
            }
        }
    }
}

fn walk(bench: &mut Bench, path: &[Sent], discovery: bool) {
    let initiator = format!("InitiatorName={INITIATOR}");
    let target = format!("TargetName={TARGET}");
    let second = if discovery {
        "SessionType=Discovery"
    } else {
        target.as_str()
    };
    for (at, (current, next, pairs)) in path.iter().enumerate() {
        assert!(!bench.closed, "{path:?} ended before its last request");
        let mut sent: Vec<&str> = if at == 0 {
            vec![&initiator, second]
        } else {
            Vec::new()
        };
        sent.extend(*pairs);
        bench.send(request(*current, *next), &sent);
    }
}

/// A second CHAP_A in one login is a key sent twice: no second challenge, and no status that says more.
#[test]
fn second_challenge_is_never_sent() {
    let mut bench = Bench::new(chap());
    let names = names();
    bench.send(
        request(SECURITY, None),
        &named(&names, &["AuthMethod=CHAP"]),
    );
    bench.send(request(SECURITY, None), &["CHAP_A=5"]);
    let response = bench.send(request(SECURITY, None), &["CHAP_A=6"]);
    assert_eq!(response.header.status, LoginStatus::INITIATOR_ERROR);
    assert!(response.text().is_empty());
}

#[test]
fn mutual_required_proof_without_a_challenge_to_the_target_is_refused() {
    for (mutual_required, accepted) in [(true, false), (false, true)] {
        let mut bench = Bench::new(required(mutual_required));
        let names = names();
        bench.send(
            request(SECURITY, None),
            &named(&names, &["AuthMethod=CHAP"]),
        );
        let challenge = bench.send(request(SECURITY, None), &["CHAP_A=5"]);
        let [name, proof] = proof(&challenge, USER_SECRET);
        bench.send(request(SECURITY, Some(FULL_FEATURE)), &[&name, &proof]);
        assert_eq!(bench.established.is_some(), accepted);
        assert_eq!(bench.questions.contains(&"verify"), accepted);
    }
}

#[test]
fn proof_with_the_wrong_secret_is_refused_and_with_the_targets_own_too() {
    for secret in [b"guess".as_slice(), TARGET_SECRET] {
        let mut bench = Bench::new(chap());
        let names = names();
        bench.send(
            request(SECURITY, None),
            &named(&names, &["AuthMethod=CHAP"]),
        );
        let challenge = bench.send(request(SECURITY, None), &["CHAP_A=5"]);
        let [name, proof] = proof(&challenge, secret);
        let response = bench.send(request(SECURITY, Some(FULL_FEATURE)), &[&name, &proof]);
        assert_eq!(response.header.status, LoginStatus::AUTHENTICATION_FAILURE);
        assert!(bench.commit_requests.is_empty());
    }
}

/// RFC 7143 §12.1.3: the initiator sends our own challenge back, with a proof it got by having us answer elsewhere.
#[test]
fn reflected_challenge_is_refused_before_anybody_is_asked() {
    let mut bench = Bench::new(chap());
    let names = names();
    bench.send(
        request(SECURITY, None),
        &named(&names, &["AuthMethod=CHAP"]),
    );
    let challenge = bench.send(request(SECURITY, None), &["CHAP_A=5"]);
    let [name, proof] = proof(&challenge, USER_SECRET);
    let (identifier, reflected) = (
        format!("CHAP_I={}", challenge.value("CHAP_I")),
        format!("CHAP_C={}", challenge.value("CHAP_C")),
    );
    let pairs = [name.as_str(), &proof, &identifier, &reflected];
    let response = bench.send(request(SECURITY, Some(FULL_FEATURE)), &pairs);
    assert_eq!(response.header.status, LoginStatus::AUTHENTICATION_FAILURE);
    assert!(response.text().is_empty());
    assert!(!bench.questions.contains(&"verify") && bench.commit_requests.is_empty());
}

#[test]
fn chap_offered_but_not_required_lets_the_initiator_choose() {
    let rule = Rule::Chap(ChapRule {
        none_allowed: true,
        ..chap_rule()
    });
    let names = names();
    let table: &[(Stage, &[&str], bool, &str)] = &[
        (SECURITY, &["AuthMethod=None,CHAP"], true, "None"),
        (SECURITY, &["AuthMethod=CHAP,None"], false, "CHAP"),
        (OPERATIONAL, &[], true, ""),
        (SECURITY, &[], true, ""),
    ];
    for (stage, pairs, committed, method) in table {
        let mut bench = Bench::new(rule.clone());
        let response = bench.send(request(*stage, Some(FULL_FEATURE)), &named(&names, pairs));
        if !method.is_empty() {
            assert_eq!(response.value("AuthMethod"), *method);
        }
        assert_eq!(bench.established.is_some(), *committed, "{pairs:?}");
    }
}

#[test]
fn open_policy_and_an_initiator_that_insists_on_chap_have_nothing_in_common() {
    let mut bench = Bench::open();
    let names = names();
    let response = bench.send(
        request(SECURITY, None),
        &named(&names, &["AuthMethod=CHAP"]),
    );
    assert_eq!(response.header.status, LoginStatus::AUTHENTICATION_FAILURE);
}

#[test]
fn discovery_has_a_policy_of_its_own() {
    let initiator = format!("InitiatorName={INITIATOR}");
    for (rule, committed) in [(Rule::Open, true), (chap(), false), (Rule::Deny, false)] {
        let mut bench = Bench::open();
        bench.store = discovery_rule(rule);
        let pairs = [initiator.as_str(), "SessionType=Discovery"];
        bench.send(request(OPERATIONAL, Some(FULL_FEATURE)), &pairs);
        assert_eq!(bench.established.is_some(), committed);
    }
}

#[test]
fn chap_step_that_breaks_its_definition_is_no_authentication_failure() {
    let chosen: Sent = (SECURITY, None, &["AuthMethod=CHAP"]);
    let challenged: Sent = (SECURITY, None, &["CHAP_A=5"]);
    let table: [(&[Sent], LoginStatus); 8] = [
        (
            &[chosen, (SECURITY, None, &[])],
            LoginStatus::MISSING_PARAMETER,
        ),
        (
            &[chosen, challenged, (SECURITY, None, &["CHAP_N=labuser"])],
            LoginStatus::MISSING_PARAMETER,
        ),
        (
            &[chosen, challenged, (SECURITY, None, &[CHAP_R])],
            LoginStatus::MISSING_PARAMETER,
        ),
        (
            &[(SECURITY, None, &["AuthMethod=CHAP", "CHAP_A=5"])],
            LoginStatus::INITIATOR_ERROR,
        ),
        (
            &[chosen, (SECURITY, None, &["CHAP_A="])],
            LoginStatus::INITIATOR_ERROR,
        ),
        (
            &[
                chosen,
                challenged,
                (SECURITY, None, &["CHAP_N=labuser", "CHAP_R=None"]),
            ],
            LoginStatus::INITIATOR_ERROR,
        ),
        // What no step's definition forbids.
        (
            &[chosen, (SECURITY, None, &["CHAP_A=9"])],
            LoginStatus::AUTHENTICATION_FAILURE,
        ),
        (
            &[
                chosen,
                challenged,
                (SECURITY, None, &["CHAP_N=labuser", CHAP_R]),
            ],
            LoginStatus::AUTHENTICATION_FAILURE,
        ),
    ];
    for (path, status) in table {
        let mut bench = Bench::new(required(false));
        walk(&mut bench, path, false);
        assert_eq!(bench.last_status(), Some(status), "{path:?}");
    }
}
