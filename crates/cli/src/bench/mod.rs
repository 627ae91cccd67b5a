//! `quintain bench`: a load generator on our own initiator.
//!
//! It measures any iSCSI target, ours or another's, and knows nothing of what is behind it. The initiator is the one that tests
//! targets: strict, so that a target which breaks the RFC ends the run, and not the fastest there could be.

mod args;
mod histogram;
mod report;
mod run;
mod session;
mod url;
mod verify;
mod workload;

use std::io::{self, Write};

use anyhow::{Context, Result, bail, ensure};
use auth::{ChapAlgorithm, Secret};
use daemon::SecretFile;
use initiator::{Chap, Config};
use iscsi_wire::{IscsiName, Isid};

pub(crate) use args::Args;

use report::Report;
use run::{Load, Measured};
use session::{Capacity, Session};
use url::Url;
use workload::Region;

use crate::log::tell;
use crate::serve::size::parse_size;

const MOST_COMMAND_BYTES: u64 = 16 << 20;

/// Loads the logical unit as told, and tells what came of it.
///
/// # Errors
/// A mistake in the command line, a target that cannot be had or breaks the protocol, a command that fails, or wrong data.
pub(crate) fn run(args: &Args) -> Result<()> {
    let url = Url::parse(&args.url)?;
    ensure!(
        args.read == 100 || args.overwrite,
        "--read {}: writes destroy what is on the disk; say --overwrite if that is meant",
        args.read
    );
    let config = config(args, &url)?;
    let mut sessions = Vec::new();
    let mut capacity = None;
    for index in 0..args.sessions {
        let mut config = config.clone();
        config.isid = isid(index);
        let (session, told) = Session::login(&url, config)?;
        sessions.push(session);
        capacity = Some(told);
    }
    let region = region(args, capacity.context("no session")?)?;
    let params = sessions[0].params().clone();
    let measured = Load::new(args, region, sessions).run()?;
    let Measured {
        counts,
        elapsed,
        client,
    } = measured;
    let report = Report {
        counts,
        region,
        params,
        elapsed,
        client,
    };
    let text = if args.json {
        report.json(args).to_string() + "\n"
    } else {
        report.text(args)
    };
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .context("standard output cannot be written")
}

/// What every login offers: the fast keys, and CHAP where it is asked for.
fn config(args: &Args, url: &Url) -> Result<Config> {
    let initiator = IscsiName::parse(&args.initiator).ok();
    let initiator = initiator.with_context(|| {
        let example = "iqn.2026-11.org.example:host";
        format!(
            "--initiator {}: not an iSCSI name; write it as {example}",
            args.initiator
        )
    })?;
    let digest = if args.digests { "CRC32C" } else { "None" };
    let mut config = Config::normal(initiator.as_ref(), &url.target)
        .with_key("HeaderDigest", digest)
        .with_key("DataDigest", digest)
        .with_key("FirstBurstLength", "262144")
        .with_key("MaxBurstLength", "1048576");
    if let (Some(user), Some(file)) = (&args.chap, &args.chap_secret_file) {
        let read = SecretFile::read(file)?;
        read.notes.iter().for_each(|note| tell(note));
        config = config.with_chap(Chap {
            name: user.clone(),
            secret: read.secret,
            algorithms: ChapAlgorithm::ALL.map(ChapAlgorithm::number).to_vec(),
            digest: chap_response,
            mutual: None,
        });
    }
    Ok(config)
}

/// RFC 7143 §11.12.5: a random format ISID (type 2); each session of an initiator port has its own.
fn isid(index: u32) -> Isid {
    let [_, a, b, c] = index.to_be_bytes();
    Isid([0x80, 0x51, 0xbe, a, b, c])
}

/// The slots that the load works on.
fn region(args: &Args, capacity: Capacity) -> Result<Region> {
    let size = parse_size(&args.block_size)?;
    let block_bytes = capacity.block_bytes;
    ensure!(
        size <= MOST_COMMAND_BYTES && size.is_multiple_of(block_bytes.into()),
        "--block-size {}: at most 16 MiB, and a multiple of the disk's blocks of {block_bytes} bytes",
        args.block_size
    );
    let whole = capacity.blocks.saturating_mul(block_bytes.into());
    let span = match &args.span {
        None => whole,
        Some(span) => parse_size(span)?,
    };
    ensure!(
        size <= span && span <= whole,
        "the disk has {whole} bytes: --span and --block-size have to fit"
    );
    let slots = span / size;
    if args.verify && slots > verify::MOST_SLOTS {
        bail!(
            "--verify: {slots} places are too many to remember; say --span {} or less",
            size * verify::MOST_SLOTS
        );
    }
    Ok(Region {
        slot_bytes: u32::try_from(size)?,
        block_bytes,
        slots,
    })
}

fn chap_response(algorithm: u8, identifier: u8, secret: &[u8], challenge: &[u8]) -> Vec<u8> {
    let secret = Secret::new(secret.to_vec());
    match ChapAlgorithm::from_number(algorithm.into()) {
        Some(algorithm) => auth::chap::response(algorithm, identifier, &secret, challenge),
        // None of those that were offered: the initiator has refused it before it comes here.
        None => Vec::new(),
    }
}
