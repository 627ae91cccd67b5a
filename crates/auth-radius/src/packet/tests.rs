use super::*;

const AUTHENTICATOR: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
const SECRET: &[u8] = b"shared";

// Computed with Python's hmac and hashlib: attributes 80, 1, 3, 60, 32, 4, 61, 31, 30 of the request below.
const REQUEST: &str = "012a00b6000102030405060708090a0b0c0d0e0f5012748e6249e518738fb5792c5de18362820107616c696365031307aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa3c22cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc200a7175696e7461696e0406c00002093d06000000051f1f69716e2e323032342d30312e6c61622e6578616d706c653a686f7374311e1f69716e2e323032342d30312e6c61622e6578616d706c653a6469736b31";

// The same way: Reply-Message "hello", then the Message-Authenticator.
const ACCEPT: &str =
    "022a002d535878de8a494e06cd2546e4cbc1b3f4120768656c6c6f501282d8fe6e0ae0acb4ed5af5948908ee51";
const REJECT: &str =
    "032a002d2ff6fbb21b78b114e174bf7da098c463120768656c6c6f501275f92d97086cc98465e1d435b7f06a26";
const CHALLENGE: &str =
    "0b2a002d320988aea6be2dce4a4e8ef6e2b703fa120768656c6c6f501247036e1168c03d24072ef94d8c626ed4";

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal"))
        .collect()
}

fn credentials() -> Credentials {
    Credentials {
        user: "alice".to_owned(),
        identifier: 7,
        challenge: vec![0xcc; 32],
        response: [0xaa; 16],
        initiator: "iqn.2024-01.lab.example:host1".to_owned(),
        target: Some("iqn.2024-01.lab.example:disk1".to_owned()),
    }
}

fn nas() -> Nas {
    Nas {
        identifier: "quintain".to_owned(),
        address: Some([192, 0, 2, 9].into()),
    }
}

/// A reply with the right Response Authenticator, as a server makes it that knows the secret, or somebody who has found the
/// bytes that make it fit.
fn signed(mut packet: Vec<u8>) -> Vec<u8> {
    packet[4..20].copy_from_slice(&AUTHENTICATOR);
    let digest = Md5::new()
        .chain_update(&packet)
        .chain_update(SECRET)
        .finalize();
    packet[4..20].copy_from_slice(&digest);
    packet
}

#[test]
fn emit_is_the_packet_byte_for_byte() {
    let packet = credentials().emit(42, &AUTHENTICATOR, &nas(), SECRET);
    assert_eq!(packet, Some(bytes(REQUEST)));
}

#[test]
fn emit_of_what_no_attribute_holds_is_nothing() {
    let long = "x".repeat(254);
    let with = |change: &dyn Fn(&mut Credentials)| {
        let mut credentials = credentials();
        change(&mut credentials);
        credentials.emit(42, &AUTHENTICATOR, &nas(), SECRET)
    };
    assert!(with(&|it| it.user.clone_from(&long)).is_none());
    assert!(with(&|it| it.user.clear()).is_none());
    assert!(with(&|it| it.challenge = vec![0; 254]).is_none());
    assert!(with(&|it| it.initiator.clone_from(&long)).is_none());
    let longest = with(&|it| {
        it.user = "x".repeat(253);
        it.challenge = vec![0; 253];
        it.initiator = "x".repeat(253);
        it.target = None;
    });
    assert!(longest.is_some_and(|packet| packet.len() < MAX_PACKET_BYTES));
}

#[test]
fn emit_without_an_address_or_a_target_leaves_them_out() {
    let credentials = Credentials {
        target: None,
        ..credentials()
    };
    let length = |address| {
        let nas = Nas { address, ..nas() };
        let packet = credentials.emit(42, &AUTHENTICATOR, &nas, SECRET);
        packet.expect("short").len()
    };
    let v6 = std::net::Ipv6Addr::LOCALHOST.into();
    assert_eq!(length(Some([192, 0, 2, 9].into())), length(None) + 6);
    assert_eq!(length(Some(v6)), length(None) + 18);
    assert_eq!(length(None), bytes(REQUEST).len() - 6 - 31);
}

/// RFC 2865 §7.2, whose reply has no Message-Authenticator.
#[test]
fn parse_reply_of_the_standards_example_lacks_only_a_signature() {
    let request_authenticator: [u8; 16] = bytes("2aee86f08d0d55969ca5978e0d3367a2")
        .try_into()
        .expect("16 bytes");
    let reply = bytes(
        "0201003815efbc7dab26cfa3dc34d9c03c8601a406060000000207060000000108 06fffffffe0a06000000020d06000000010c06000005dc"
            .replace(' ', "")
            .as_str(),
    );
    let mut signed = reply.clone();
    signed[4..20].copy_from_slice(&request_authenticator);
    let digest = Md5::new()
        .chain_update(&signed)
        .chain_update(b"xyzzy5461")
        .finalize();
    assert_eq!(digest.as_slice(), &reply[4..20]);
    assert_eq!(
        parse_reply(&reply, &request_authenticator, b"xyzzy5461"),
        Err(NoReply::Unsigned)
    );
}

#[test]
fn parse_reply_each_code() {
    for (packet, expected) in [
        (ACCEPT, Reply::Accept),
        (REJECT, Reply::Reject),
        (CHALLENGE, Reply::Reject),
    ] {
        let mut packet = bytes(packet);
        assert_eq!(parse_reply(&packet, &AUTHENTICATOR, SECRET), Ok(expected));
        // RFC 2865 §3: what follows the length is padding.
        packet.extend_from_slice(&[0xff; 30]);
        assert_eq!(parse_reply(&packet, &AUTHENTICATOR, SECRET), Ok(expected));
    }
}

#[test]
fn parse_reply_with_any_bit_changed_is_none() {
    let accept = bytes(ACCEPT);
    for bit in 0..accept.len() * 8 {
        let mut changed = accept.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(
            parse_reply(&changed, &AUTHENTICATOR, SECRET).is_err(),
            "bit {bit}"
        );
    }
}

#[test]
fn parse_reply_cut_anywhere_is_none() {
    let accept = bytes(ACCEPT);
    for length in 0..accept.len() {
        let cut = parse_reply(&accept[..length], &AUTHENTICATOR, SECRET);
        assert_eq!(cut, Err(NoReply::Malformed), "{length}");
    }
}

#[test]
fn parse_reply_to_another_request_or_under_another_secret_is_none() {
    let accept = bytes(ACCEPT);
    let wrong = Err(NoReply::WrongAuthenticator);
    assert_eq!(parse_reply(&accept, &[0; 16], SECRET), wrong);
    assert_eq!(parse_reply(&accept, &AUTHENTICATOR, b"other"), wrong);
}

/// What Blast-RADIUS makes: the Response Authenticator fits, the Message-Authenticator is missing or does not.
#[test]
fn parse_reply_with_a_fitting_response_authenticator_alone_is_none() {
    let accept = bytes(ACCEPT);
    let without = {
        let mut packet = accept[..27].to_vec();
        packet[3] = 27;
        signed(packet)
    };
    assert_eq!(
        parse_reply(&without, &AUTHENTICATOR, SECRET),
        Err(NoReply::Unsigned)
    );
    let mut wrong = accept.clone();
    wrong[44] ^= 1;
    assert_eq!(
        parse_reply(&signed(wrong), &AUTHENTICATOR, SECRET),
        Err(NoReply::WrongAuthenticator)
    );
    // Two of them, the first of them right.
    let mut twice = accept.clone();
    twice.extend_from_slice(&accept[27..]);
    twice[3] = 63;
    assert_eq!(
        parse_reply(&signed(twice), &AUTHENTICATOR, SECRET),
        Err(NoReply::Malformed)
    );
    // A right Message-Authenticator, and a Response Authenticator that does not fit.
    let mut unfit = accept;
    unfit[4] ^= 1;
    assert_eq!(
        parse_reply(&unfit, &AUTHENTICATOR, SECRET),
        Err(NoReply::WrongAuthenticator)
    );
}

#[test]
fn parse_reply_with_attributes_that_do_not_fit_is_none() {
    for attributes in [
        &[18][..],
        &[18, 0],
        &[18, 1],
        &[18, 3],
        &[80, 2],
        &[80, 17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ] {
        let length = u8::try_from(20 + attributes.len()).expect("short");
        let mut packet = vec![2, 42, 0, length];
        packet.extend_from_slice(&[0; 16]);
        packet.extend_from_slice(attributes);
        assert_eq!(
            parse_reply(&signed(packet), &AUTHENTICATOR, SECRET),
            Err(NoReply::Malformed),
            "{attributes:?}"
        );
    }
}
