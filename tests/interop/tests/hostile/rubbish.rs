//! Bytes without sense, before and after a login.

use std::io::Write;
use std::net::TcpStream;

use anyhow::Result;
use initiator::Initiator;
use interop::client::lun64;
use interop::pattern::Random;
use interop::{Driver, Peer, Siege, on_each_driver};

use crate::random_bytes;

on_each_driver! {
    rubbish_before_login_disturbs_nobody,
    rubbish_after_login_disturbs_nobody,
}

const PEERS: u64 = 500;

/// A first login request, as a good initiator sends it.
pub(crate) fn login_request() -> Vec<u8> {
    let mut initiator = Initiator::new(Peer::config(0));
    initiator.start_login();
    initiator.take_output()
}

fn rubbish_before_login_disturbs_nobody(driver: Driver) -> Result<()> {
    let siege = Siege::begin(driver, 2)?;
    for seed in 0..PEERS {
        let mut random = Random::new(seed * 7919 + 13);
        let mut stream = TcpStream::connect(siege.portal())?;
        let bytes = match random.below(5) {
            0 => {
                let count = usize::try_from(random.below(100_000))?;
                random_bytes(&mut random, count)
            }
            1 => vec![0; usize::try_from(random.below(100_000))?],
            // One byte of a good request changed, its length among them.
            2 => {
                let mut bytes = login_request();
                let at = usize::try_from(random.below(bytes.len() as u64))?;
                bytes[at] ^= random.next_u64().to_le_bytes()[5] | 1;
                bytes
            }
            // Cut off.
            3 => {
                let bytes = login_request();
                let end = usize::try_from(random.below(bytes.len() as u64))?;
                bytes[..end].to_vec()
            }
            // Text without end: the C bit is set in each request.
            _ => {
                let mut request = login_request();
                request[1] = (request[1] & 0x0c) | 0x40;
                request.repeat(usize::try_from(random.below(400))? + 1)
            }
        };
        // The target may have closed it before the last byte.
        let _sent = stream.write_all(&bytes);
    }
    siege.lift()
}

fn rubbish_after_login_disturbs_nobody(driver: Driver) -> Result<()> {
    /// Opcodes of an initiator, and one that no one has.
    const OPCODES: [u8; 9] = [0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x10, 0x1f];
    /// TEST UNIT READY, REQUEST SENSE, READ, WRITE, INQUIRY, MODE SELECT, RESERVE, RELEASE, MODE SENSE, START STOP UNIT, PREVENT ALLOW,
    /// READ CAPACITY, WRITE AND VERIFY, VERIFY, SYNCHRONIZE CACHE, WRITE SAME, UNMAP, PERSISTENT RESERVE, EXTENDED COPY,
    /// COMPARE AND WRITE, REPORT LUNS, MAINTENANCE IN, VARIABLE LENGTH CDB, vendors'.
    const COMMANDS: [u8; 40] = [
        0x00, 0x03, 0x08, 0x0a, 0x12, 0x15, 0x16, 0x17, 0x1a, 0x1b, 0x1e, 0x25, 0x28, 0x2a, 0x2e,
        0x2f, 0x35, 0x41, 0x42, 0x55, 0x56, 0x57, 0x5a, 0x5e, 0x5f, 0x83, 0x84, 0x88, 0x89, 0x8a,
        0x8e, 0x8f, 0x91, 0x93, 0x9e, 0xa0, 0xa3, 0xa8, 0x7f, 0xff,
    ];
    let siege = Siege::begin(driver, 2)?;
    for seed in 0..PEERS {
        let mut random = Random::new(seed * 7919 + 13);
        let mut peer = Peer::login(siege.portal(), Peer::config(3))?;
        for _ in 0..=random.below(20) {
            let mut header = random_bytes(&mut random, 48);
            let opcode = OPCODES[usize::try_from(random.below(OPCODES.len() as u64))?];
            header[0] = opcode | (header[0] & 0x40);
            if opcode == 0x01 {
                // Any command at all, but to LUN 1: a WRITE to LUN 0 would disturb the others by right.
                header[8..16].copy_from_slice(&lun64(1).0.to_be_bytes());
                // Its tag and CmdSN are right, and its ExpectedDataTransferLength is not absurd: else it would never be looked at.
                let command = peer.command([0; 16]);
                header[1] |= 0xc0;
                header[16..20].copy_from_slice(&command.itt.0.to_be_bytes());
                header[20..22].fill(0);
                header[24..28].copy_from_slice(&command.cmd_sn.0.to_be_bytes());
                if random.below(2) == 0 {
                    header[1] = 0x80 | [0x40, 0x20][usize::try_from(random.below(2))?];
                }
                header[32] = COMMANDS[usize::try_from(random.below(COMMANDS.len() as u64))?];
                // Numbers that are mostly small, as those that make sense are.
                for byte in &mut header[34..48] {
                    *byte &= if random.below(4) == 0 { 0xff } else { 0 };
                }
            }
            if opcode == 0x02 {
                // ABORT TASK: a reset of the target too.
                header[1] = 0x81;
            }
            let length = usize::try_from(random.below(2048))?;
            // TotalAHSLength and DataSegmentLength that the bytes keep, most of the time.
            header[4] = 0;
            header[5] = if random.below(16) == 0 { 0xff } else { 0 };
            header[6..8].copy_from_slice(&u16::try_from(length)?.to_be_bytes());
            let data = random_bytes(&mut random, length.next_multiple_of(4));
            peer.send_bytes(&[header, data].concat());
        }
    }
    siege.lift()
}
