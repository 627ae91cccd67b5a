//! The command line of `quintain bench`.

use std::path::PathBuf;

use clap::ValueEnum;

/// Which slots follow each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pattern {
    /// Anywhere in the span.
    #[default]
    Random,
    /// One after the other; sessions begin at even distances.
    Sequential,
}

/// Load a logical unit and measure it: reads unless told otherwise.
///
/// One thread works all sessions. Look at the client's share of its core: near 100 % it is this program that is measured, and
/// not the target.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    // As an attribute: rustdoc takes the brackets of a comment for a link.
    #[arg(value_name = "URL", help = "iscsi://HOST[:PORT]/TARGET/LUN")]
    pub(crate) url: String,

    /// Bytes that one command moves, a multiple of the disk's blocks, up to 16 MiB
    #[arg(long, value_name = "SIZE", default_value = "4KiB")]
    pub(crate) block_size: String,

    /// Share of reads, in per cent; the rest are writes
    #[arg(long, value_name = "PERCENT", default_value_t = 100, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) read: u8,

    /// Order of the commands
    #[arg(long, value_enum, default_value_t)]
    pub(crate) pattern: Pattern,

    /// Commands in flight on each session
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) depth: u32,

    /// Sessions, each with one connection
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) sessions: u32,

    /// Only the first part of the disk [default: all of it]
    #[arg(long, value_name = "SIZE")]
    pub(crate) span: Option<String>,

    /// Seconds to measure
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) time: u32,

    /// Seconds of load before the first that counts
    #[arg(long, value_name = "SECONDS", default_value_t = 1)]
    pub(crate) warm_up: u32,

    /// Ask for header and data digests
    #[arg(long)]
    pub(crate) digests: bool,

    /// Write data that can be told apart, compare every read of it, and read it all back at the end
    #[arg(long)]
    pub(crate) verify: bool,

    /// Write: what is on the disk is lost
    #[arg(long)]
    pub(crate) overwrite: bool,

    /// Where the random numbers start; the same seed gives the same commands
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,

    /// The initiator's name
    #[arg(
        long,
        value_name = "IQN",
        default_value = "iqn.2026-11.org.example:quintain-bench"
    )]
    pub(crate) initiator: String,

    /// Log in by CHAP, as this user
    #[arg(long, value_name = "USER", requires = "chap_secret_file")]
    pub(crate) chap: Option<String>,

    /// The file that holds the user's secret
    #[arg(long, value_name = "FILE", requires = "chap")]
    pub(crate) chap_secret_file: Option<PathBuf>,

    /// Tell the result in one line of JSON, and nothing on the way
    #[arg(long)]
    pub(crate) json: bool,
}

const EXAMPLES: &str = "\
Examples:
  quintain bench iscsi://127.0.0.1/iqn.2026-11.org.example:disk/0
  quintain bench URL --read 70 --overwrite --sessions 4 --depth 16 --time 30
  quintain bench URL --block-size 1MiB --pattern sequential --depth 4
  quintain bench URL --read 50 --overwrite --verify --span 1GiB --json";
