//! No bytes panic a login, and none make a session where the policy wants a proof.

use proptest::prelude::*;

use super::*;

const VALUES: &[&str] = &[
    "",
    "Yes",
    "No",
    "None",
    "CHAP",
    "CHAP,None",
    "None,CHAP",
    "5",
    "5,6,7,8",
    "0",
    "1",
    "3600",
    "262144",
    "0xffff",
    "CRC32C,None",
    "Reject",
    "NotUnderstood",
    "Irrelevant",
    "Normal",
    "Discovery",
    "0x00112233445566778899aabbccddeeff",
    "0bAAAA",
    "labuser",
    "RFC3720",
    "1~2",
    INITIATOR,
    TARGET,
    "18446744073709551616",
    "-1",
    "a,b,c",
    "ü",
];

fn pairs() -> impl Strategy<Value = Vec<u8>> {
    let known = (0..iscsi_wire::keys::KEYS.len()).prop_map(|at| iscsi_wire::keys::KEYS[at].name);
    let key = prop_oneof![8 => known.prop_map(str::to_owned), 1 => "[A-Za-z]{1,8}"];
    let value = prop_oneof![
        8 => (0..VALUES.len()).prop_map(|at| VALUES[at].to_owned()),
        1 => "\\PC{0,40}",
    ];
    proptest::collection::vec((key, value), 0..8).prop_map(|pairs| {
        let mut text = Vec::new();
        for (key, value) in pairs {
            TextWriter::new(&mut text).push(&key, &value);
        }
        text
    })
}

/// A request that is mostly legal.
fn requests() -> impl Strategy<Value = Vec<u8>> {
    (
        0..4u8,
        0..4u8,
        any::<bool>(),
        prop::bool::weighted(0.2),
        pairs(),
    )
        .prop_map(|(current, next, transit, more, text)| {
            let header = LoginRequest {
                transit,
                r#continue: more && !transit,
                current_stage: Stage::from(current.min(1)),
                next_stage: Stage::from(next),
                ..request(SECURITY, None)
            };
            pdu(header, &text)
        })
}

fn run(bench: &mut Bench, bytes: &[u8], first: bool) {
    if first {
        let names = names();
        bench.feed(&pdu(request(SECURITY, None), &text(&named(&names, &[]))));
    }
    bench.feed(bytes);
}

proptest! {
    #[test]
    fn any_bytes_end_quietly(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let mut bench = Bench::new(chap());
        run(&mut bench, &bytes, false);
        prop_assert!(bench.commit_requests.is_empty());
        let mut bench = Bench::new(chap());
        run(&mut bench, &bytes, true);
        prop_assert!(bench.commit_requests.is_empty());
    }

    #[test]
    fn any_requests_make_no_session_without_a_verdict(
        stream in proptest::collection::vec(requests(), 0..8),
        named_first: bool,
        noise in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let mut bytes = stream.concat();
        if let (Some((at, value)), false) = (noise, bytes.is_empty()) {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let mut bench = Bench::new(chap());
        run(&mut bench, &bytes, named_first);
        prop_assert!(bench.commit_requests.is_empty() && !bench.allowed);
        // Each answer is answered once: what leaves is bounded by what came.
        let sent: usize = bench.responses.iter().map(|it| it.bytes.len()).sum();
        prop_assert!(sent <= 80 * 256 + 1024);
    }

    #[test]
    fn any_requests_under_an_open_policy_keep_the_bounds(
        stream in proptest::collection::vec(requests(), 0..8),
    ) {
        let mut bench = Bench::open();
        run(&mut bench, &stream.concat(), true);
        prop_assert!(bench.commit_requests.len() <= 1);
        if let Some(established) = &bench.established {
            let params = &established.params;
            prop_assert!(params.first_burst_length <= params.max_burst_length);
            prop_assert!((512..=0x00ff_ffff).contains(&params.max_send_data_segment_length));
            prop_assert_eq!((params.max_connections, params.error_recovery_level), (1, 0));
        }
    }
}
