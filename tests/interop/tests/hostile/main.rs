//! What bad input gets: the answer RFC 7143 names for it, or the end of the connection, and nothing else. Beside each attack a
//! session under load never notices; when the attackers are gone, what they cost is given back.

mod connections;
mod data_out;
mod logins;
mod memory;
mod requests;
mod rubbish;

use interop::pattern::Random;

/// Where the attackers write: past the part of LUN 0 that the witness uses.
const ATTACK_LBA: u64 = 65_536;

fn random_bytes(random: &mut Random, count: usize) -> Vec<u8> {
    (0..count)
        .map(|_| random.next_u64().to_le_bytes()[3])
        .collect()
}
