#![allow(clippy::cast_possible_truncation)]

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};

use super::*;

const SECRETS: [&[u8]; 2] = [b"first's secret", b"second's secret"];
const INTERVAL: Duration = Duration::from_secs(1);

struct Bench {
    exchange: Exchange,
    now: Instant,
    drawn: u8,
}

impl Bench {
    fn new(servers: usize) -> Self {
        let secrets = SECRETS[..servers]
            .iter()
            .map(|secret| Zeroizing::new(secret.to_vec()));
        let nas = Nas {
            identifier: "quintain".to_owned(),
            address: None,
        };
        let patience = Patience {
            interval: INTERVAL,
            tries: 2,
        };
        Self {
            exchange: Exchange::new(secrets.collect(), nas, patience),
            now: Instant::now(),
            drawn: 0,
        }
    }

    fn ask(&mut self, token: u64) {
        self.ask_as(token, "alice");
    }

    fn ask_as(&mut self, token: u64, user: &str) {
        let credentials = Credentials {
            user: user.to_owned(),
            identifier: 7,
            challenge: vec![1; 32],
            response: [2; 16],
            initiator: "iqn.2024-01.lab.example:host1".to_owned(),
            target: None,
        };
        let drawn = &mut self.drawn;
        self.exchange
            .begin(token, credentials, self.now, &mut draws(drawn));
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        let drawn = &mut self.drawn;
        self.exchange.handle_timeout(self.now, &mut draws(drawn));
    }

    fn sent(&mut self) -> Vec<Transmit> {
        std::iter::from_fn(|| self.exchange.poll_transmit()).collect()
    }

    fn only_sent(&mut self) -> Transmit {
        let mut sent = self.sent();
        assert_eq!(sent.len(), 1, "{sent:?}");
        sent.remove(0)
    }

    fn outcomes(&mut self) -> Vec<(u64, End)> {
        std::iter::from_fn(|| self.exchange.poll_outcome())
            .map(|outcome| (outcome.token, outcome.end))
            .collect()
    }

    fn notices(&mut self) -> Vec<Notice> {
        std::iter::from_fn(|| self.exchange.poll_notice()).collect()
    }

    fn reply(&mut self, to: &Transmit, code: u8) {
        let datagram = reply(to, code, SECRETS[to.server]);
        self.exchange.handle_datagram(to.server, &datagram);
    }
}

fn draws(drawn: &mut u8) -> impl FnMut() -> Option<[u8; 16]> {
    || {
        *drawn = drawn.wrapping_add(1);
        Some([*drawn; 16])
    }
}

/// What a server makes of a request.
fn reply(to: &Transmit, code: u8, secret: &[u8]) -> Vec<u8> {
    let mut packet = vec![code, to.packet[1], 0, 38];
    packet.extend_from_slice(&to.packet[4..20]);
    packet.extend_from_slice(&[80, 18]);
    let mut signed = packet.clone();
    signed.extend_from_slice(&[0; 16]);
    let mac: Hmac<Md5> = Hmac::new_from_slice(secret).expect("any length");
    packet.extend_from_slice(&mac.chain_update(&signed).finalize().into_bytes());
    let digest = Md5::new().chain_update(&packet).chain_update(secret);
    packet[4..20].copy_from_slice(&digest.finalize());
    packet
}

#[test]
fn reply_ends_its_question_once() {
    for (code, end) in [(2, End::Accept), (3, End::Reject), (11, End::Reject)] {
        let mut bench = Bench::new(1);
        bench.ask(5);
        let sent = bench.only_sent();
        bench.reply(&sent, code);
        bench.reply(&sent, code);
        assert_eq!(bench.outcomes(), [(5, end)]);
        assert_eq!(bench.exchange.poll_timeout(), None);
        assert!(bench.notices().is_empty());
    }
}

#[test]
fn questions_in_flight_have_identifiers_and_authenticators_of_their_own() {
    let mut bench = Bench::new(1);
    for token in 0..256 {
        bench.ask(token);
    }
    let sent = bench.sent();
    let mut identifiers: Vec<u8> = sent.iter().map(|it| it.packet[1]).collect();
    identifiers.sort_unstable();
    identifiers.dedup();
    assert_eq!(identifiers.len(), 256);
    // Another one has no place, and is told so.
    bench.ask(1000);
    assert_eq!(bench.outcomes(), [(1000, End::NoAnswer)]);
    // Answers in another order find their questions.
    for (at, it) in sent.iter().enumerate().rev() {
        bench.reply(it, if at % 2 == 0 { 2 } else { 3 });
    }
    let mut outcomes = bench.outcomes();
    outcomes.reverse();
    for (at, (token, end)) in outcomes.into_iter().enumerate() {
        let expected = if at % 2 == 0 {
            End::Accept
        } else {
            End::Reject
        };
        assert_eq!((token, end), (at as u64, expected));
    }
}

#[test]
fn question_without_an_answer_is_sent_again_unchanged_then_to_the_next_server() {
    let mut bench = Bench::new(2);
    bench.ask(1);
    let first = bench.only_sent();
    assert_eq!(first.server, 0);
    bench.pass(INTERVAL / 2);
    assert_eq!(bench.sent(), []);
    bench.pass(INTERVAL / 2);
    assert_eq!(bench.only_sent(), first);
    bench.pass(INTERVAL);
    let second = bench.only_sent();
    assert_eq!(second.server, 1);
    assert_ne!(second.packet[4..20], first.packet[4..20]);
    assert_eq!(bench.notices(), [Notice::Silent(0)]);
    bench.pass(INTERVAL);
    assert_eq!(bench.only_sent(), second);
    // The first server's reply is too late.
    bench.reply(&first, 2);
    assert_eq!(bench.outcomes(), []);
    bench.pass(INTERVAL);
    assert_eq!(bench.outcomes(), [(1, End::NoAnswer)]);
    assert_eq!(bench.notices(), [Notice::Silent(1)]);
    assert_eq!(
        (bench.sent(), bench.exchange.poll_timeout()),
        (vec![], None)
    );
}

#[test]
fn reply_to_the_second_sending_counts() {
    let mut bench = Bench::new(1);
    bench.ask(1);
    bench.sent();
    bench.pass(INTERVAL);
    let again = bench.only_sent();
    bench.reply(&again, 2);
    assert_eq!(bench.outcomes(), [(1, End::Accept)]);
}

#[test]
fn server_that_did_not_answer_comes_last_for_a_while() {
    let mut bench = Bench::new(2);
    let first_asked = |bench: &mut Bench, token| {
        bench.ask(token);
        let sent = bench.only_sent();
        bench.reply(&sent, 2);
        assert_eq!(bench.outcomes(), [(token, End::Accept)]);
        sent.server
    };
    assert_eq!(first_asked(&mut bench, 1), 0);
    bench.ask(2);
    bench.pass(INTERVAL);
    bench.pass(INTERVAL);
    bench.sent();
    assert_eq!(first_asked(&mut bench, 3), 1);
    bench.pass(SHUNNED);
    bench.sent();
    bench.outcomes();
    assert_eq!(first_asked(&mut bench, 4), 0);
}

#[test]
fn reply_that_is_forged_is_dropped_and_the_genuine_one_counts() {
    let mut bench = Bench::new(2);
    bench.ask(1);
    let sent = bench.only_sent();
    let mut unsigned = reply(&sent, 2, SECRETS[0]);
    unsigned.truncate(20);
    unsigned[3] = 20;
    let other_identifier = {
        let mut packet = reply(&sent, 2, SECRETS[0]);
        packet[1] ^= 1;
        packet
    };
    for (server, datagram, notice) in [
        (0, unsigned, Some(NoReply::Unsigned)),
        (
            0,
            reply(&sent, 2, SECRETS[1]),
            Some(NoReply::WrongAuthenticator),
        ),
        (0, reply(&sent, 1, SECRETS[0]), Some(NoReply::Malformed)),
        (0, reply(&sent, 5, SECRETS[0]), Some(NoReply::Malformed)),
        (0, other_identifier, None),
        (0, vec![2], None),
        (0, Vec::new(), None),
        // From another server than the one that was asked.
        (1, reply(&sent, 2, SECRETS[0]), None),
        (9, reply(&sent, 2, SECRETS[0]), None),
    ] {
        bench.exchange.handle_datagram(server, &datagram);
        assert_eq!(bench.outcomes(), []);
        let expected: Vec<_> = notice
            .map(|reason| Notice::Dropped(server, reason))
            .into_iter()
            .collect();
        assert_eq!(bench.notices(), expected);
    }
    bench.reply(&sent, 3);
    assert_eq!(bench.outcomes(), [(1, End::Reject)]);
}

#[test]
fn question_that_does_not_fit_is_sent_to_nobody() {
    let mut bench = Bench::new(2);
    bench.ask_as(1, &"x".repeat(254));
    assert_eq!(bench.outcomes(), [(1, End::Unfit)]);
    assert_eq!(bench.sent(), []);
}

#[test]
fn question_without_randomness_is_sent_to_nobody() {
    let mut bench = Bench::new(1);
    bench.drawn = 0;
    let credentials = Credentials {
        user: "alice".to_owned(),
        identifier: 7,
        challenge: vec![1; 32],
        response: [2; 16],
        initiator: "iqn.2024-01.lab.example:host1".to_owned(),
        target: None,
    };
    bench
        .exchange
        .begin(1, credentials, bench.now, &mut || None);
    assert_eq!(bench.outcomes(), [(1, End::NoAnswer)]);
    assert_eq!(bench.sent(), []);
}
