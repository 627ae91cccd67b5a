//! LOG SENSE: the log pages, as a table. SPC-5 r22 "LOG SENSE command", "Log parameters".
//!
//! Nothing is saved (DS is 1). There are no thresholds of log parameters.

use block::Usage;

use super::{Asked, Reported};
use crate::limits::THRESHOLD_SET_BYTES;
use crate::lu::{LuTotals, SELF_TESTS, SelfTestResult, TrafficTotals};
use crate::sense::Sense;
use crate::snapshot::LuSnapshot;

/// A log page.
#[derive(Debug)]
pub(crate) struct LogPageRow {
    pub(crate) code: u8,
    pub(crate) subpage: u8,
    pub(crate) name: &'static str,
    body: Body,
}

#[derive(Clone, Copy, Debug)]
enum Body {
    /// The list of pages, with or without their subpage codes.
    List { subpages: bool },
    /// Parameters, made from what is known.
    Parameters(fn(&Figures) -> Vec<Parameter>),
}

/// What pages are made from.
struct Figures {
    totals: LuTotals,
    block_bytes: u64,
    self_tests: Vec<SelfTestResult>,
    usage: Option<Usage>,
    /// Since the start, in minutes.
    minutes: u32,
}

/// SPC-5 "Log parameter structure".
struct Parameter {
    code: u16,
    control: u8,
    value: Vec<u8>,
}

/// TSD: not saved by the target. FORMAT AND LINKING 00b: a counter.
const COUNTER: u8 = 0x20;
/// TSD; FORMAT AND LINKING 11b: binary data.
const BINARY: u8 = 0x23;

const ALL_SUBPAGES: u8 = 0xff;

const fn parameters(
    code: u8,
    name: &'static str,
    make: fn(&Figures) -> Vec<Parameter>,
) -> LogPageRow {
    LogPageRow {
        code,
        subpage: 0,
        name,
        body: Body::Parameters(make),
    }
}

const fn list(subpage: u8, name: &'static str) -> LogPageRow {
    let subpages = subpage == ALL_SUBPAGES;
    LogPageRow {
        code: 0x00,
        subpage,
        name,
        body: Body::List { subpages },
    }
}

/// All log pages, by page code and subpage code.
#[rustfmt::skip]
pub(crate) static PAGES: &[LogPageRow] = &[
    list(0x00, "Supported Log Pages"),
    list(ALL_SUBPAGES, "Supported Log Pages and Subpages"),
    parameters(0x02, "Write Error Counters", |figures| errors(&figures.totals.write)),
    parameters(0x03, "Read Error Counters", |figures| errors(&figures.totals.read)),
    parameters(0x05, "Verify Error Counters", |figures| errors(&figures.totals.verify)),
    parameters(0x0c, "Logical Block Provisioning", provisioning),
    parameters(0x0d, "Temperature", |_| temperature()),
    parameters(0x10, "Self-Test Results", self_tests),
    parameters(0x15, "Background Scan", background_scan),
    parameters(0x19, "General Statistics and Performance", performance),
    parameters(0x2f, "Informational Exceptions", |_| exceptions()),
];

/// LOG SENSE.
pub(crate) fn log_sense(asked: &Asked<'_>, out: &mut Vec<u8>) -> Reported {
    let cdb = &asked.command.cdb;
    let (code, subpage) = (cdb.byte::<2>() & 0x3f, cdb.byte::<3>());
    let pointer = cdb.be16::<5>();
    let pages = asked.lu.device.tables().log_pages;
    let is_there = |row: &&LogPageRow| row.code == code && row.is_there(asked.lu);
    let mut of_code = pages.iter().filter(is_there).peekable();
    if of_code.peek().is_none() {
        return Err(Sense::cdb_bit(2, 5).into());
    }
    let row = of_code
        .find(|row| row.subpage == subpage)
        .ok_or(Sense::cdb_byte(3))?;
    let body = match row.body {
        Body::List { subpages } => {
            if pointer > 0 {
                return Err(Sense::cdb_byte(5).into());
            }
            page_list(asked.lu, subpages)
        }
        Body::Parameters(make) => {
            let statistics = &asked.lu.statistics;
            let (totals, self_tests) = match cdb.byte::<2>() >> 6 {
                // Cumulative values; default cumulative values.
                0b01 => (statistics.totals(), statistics.self_tests()),
                0b11 => (LuTotals::default(), Vec::new()),
                // PC: there are no thresholds.
                _ => return Err(Sense::cdb_bit(2, 7).into()),
            };
            let mut parameters = make(&Figures {
                totals,
                block_bytes: u64::from(asked.lu.geometry().block_size_bytes.max(1)),
                self_tests,
                usage: statistics.usage(),
                minutes: u32::try_from(asked.view.now.as_secs() / 60).unwrap_or(u32::MAX),
            });
            // SPC-5 "PARAMETER POINTER field": from there on; beyond the last there is nothing to begin with.
            parameters.retain(|one| one.code >= pointer);
            if parameters.is_empty() {
                return Err(Sense::cdb_byte(5).into());
            }
            emit(&parameters)
        }
    };
    // DS, SPF, PAGE CODE.
    let first = 0x80 | u8::from(subpage != 0) << 6 | code;
    let mut reply = asked.reply(u32::from(cdb.be16::<7>()), out);
    reply.put(&[first, subpage]);
    // The longest page, Self-Test Results, has 404 bytes.
    reply.put(&u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes());
    reply.put(&body);
    Ok(reply.done())
}

fn page_list(lu: &LuSnapshot, subpages: bool) -> Vec<u8> {
    let mut list = Vec::new();
    let pages = lu.device.tables().log_pages.iter();
    for row in pages.filter(|row| row.is_there(lu)) {
        if subpages {
            list.extend([row.code, row.subpage]);
        } else if row.subpage == 0 {
            list.push(row.code);
        }
    }
    list
}

impl LogPageRow {
    /// Whether the logical unit has it: a thin one tells what it uses, once that is known.
    fn is_there(&self, lu: &LuSnapshot) -> bool {
        self.code != 0x0c || (lu.caps.unmap && lu.statistics.usage().is_some())
    }
}

fn emit(parameters: &[Parameter]) -> Vec<u8> {
    let mut body = Vec::new();
    for Parameter {
        code,
        control,
        value,
    } in parameters
    {
        body.extend(code.to_be_bytes());
        body.push(*control);
        body.push(u8::try_from(value.len()).unwrap_or(u8::MAX));
        body.extend(value);
    }
    body
}

/// SPC-5 "Read Error Counters log page" and those like it. What the disk below corrects it does not tell.
fn errors(totals: &TrafficTotals) -> Vec<Parameter> {
    let counter = |(code, value): (u16, u64)| Parameter {
        code,
        control: COUNTER,
        value: value.to_be_bytes().to_vec(),
    };
    // TOTAL BYTES PROCESSED, TOTAL UNCORRECTED ERRORS.
    [(0x0005, totals.bytes), (0x0006, totals.uncorrected_errors)]
        .map(counter)
        .into()
}

/// SPC-5 "General Statistics and Performance log page": commands, blocks, and the time that commands took.
fn performance(figures: &Figures) -> Vec<Parameter> {
    let LuTotals { read, write, .. } = &figures.totals;
    let block_bytes = figures.block_bytes;
    let numbers = [
        read.commands,
        write.commands,
        // NUMBER OF LOGICAL BLOCKS RECEIVED, TRANSMITTED.
        write.bytes / block_bytes,
        read.bytes / block_bytes,
        read.busy_us,
        write.busy_us,
        // A write weighs as much as a read.
        read.commands.wrapping_add(write.commands),
        read.busy_us.wrapping_add(write.busy_us),
    ];
    // Time interval: 1 times 10 to the power of -6 seconds.
    let interval = [(-6i32).to_be_bytes(), 1i32.to_be_bytes()];
    vec![
        Parameter {
            code: 0x0001,
            control: BINARY,
            value: numbers.map(u64::to_be_bytes).concat(),
        },
        Parameter {
            code: 0x0003,
            control: BINARY,
            value: interval.concat(),
        },
    ]
}

/// SPC-5 "Self-Test Results log page": always as many parameters, the most recent test first; zeros for one that was not.
fn self_tests(figures: &Figures) -> Vec<Parameter> {
    let results = figures.self_tests.iter().map(|result| {
        let mut value = vec![0; 16];
        // SELF-TEST RESULTS: 0h without error, 7h with a failure in some segment.
        let results = if result.failure.is_some() { 0x07 } else { 0x00 };
        value[0] = (result.code as u8) << 5 | results;
        // ACCUMULATED POWER ON HOURS.
        let hours = u16::try_from(result.at.as_secs() / 3600).unwrap_or(u16::MAX);
        value[2..4].copy_from_slice(&hours.to_be_bytes());
        match result.failure {
            Some((lba, sense)) => {
                value[4..12].copy_from_slice(&lba.0.to_be_bytes());
                value[12..15].copy_from_slice(&[sense.key as u8, sense.asc, sense.ascq]);
            }
            None => value[4..12].fill(0xff),
        }
        value
    });
    let none = std::iter::repeat_with(|| vec![0; 16]);
    let parameter = |(code, value)| Parameter {
        code,
        control: BINARY,
        value,
    };
    (1..)
        .zip(results.chain(none).take(SELF_TESTS))
        .map(parameter)
        .collect()
}

/// SBC-4 "Logical Block Provisioning log page": what is left and what is used, in threshold sets.
fn provisioning(figures: &Figures) -> Vec<Parameter> {
    // SCOPE: what is left is others' too, what is used is the unit's own.
    const OWN: u8 = 0x01;
    const SHARED: u8 = 0x02;
    let Some(usage) = figures.usage else {
        return Vec::new();
    };
    let parameter = |code, bytes: u64, scope| {
        let sets = u32::try_from(bytes / THRESHOLD_SET_BYTES).unwrap_or(u32::MAX);
        let [a, b, c, d] = sets.to_be_bytes();
        Parameter {
            code,
            control: BINARY,
            value: vec![a, b, c, d, scope, 0, 0, 0],
        }
    };
    let available = usage.available_bytes;
    let available = available.map(|bytes| parameter(0x0001, bytes, SHARED));
    // A set of which a part is used is used.
    let used = usage.used_bytes.next_multiple_of(THRESHOLD_SET_BYTES);
    let used = parameter(0x0002, used, OWN);
    available.into_iter().chain([used]).collect()
}

/// SPC-5 "Temperature log page": FFh, none is measured, and there is none to compare with.
fn temperature() -> Vec<Parameter> {
    let parameter = |code| Parameter {
        code,
        control: BINARY,
        value: vec![0, 0xff],
    };
    vec![parameter(0x0000), parameter(0x0001)]
}

/// SBC-4 "Background Scan log page": the status, which is that no scan is active; none is ever made.
fn background_scan(figures: &Figures) -> Vec<Parameter> {
    let mut value = vec![0; 12];
    // ACCUMULATED POWER ON MINUTES.
    value[..4].copy_from_slice(&figures.minutes.to_be_bytes());
    vec![Parameter {
        code: 0x0000,
        control: BINARY,
        value,
    }]
}

/// SPC-5 "Informational Exceptions log page": no exception; FFh: no temperature is measured.
fn exceptions() -> Vec<Parameter> {
    vec![Parameter {
        code: 0x0000,
        control: BINARY,
        value: vec![0, 0, 0xff, 0],
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_and_their_parameters_are_sorted() {
        for pair in PAGES.windows(2) {
            let key = |row: &LogPageRow| (row.code, row.subpage);
            assert!(key(&pair[0]) < key(&pair[1]), "{}", pair[1].name);
        }
        for row in PAGES {
            if let Body::Parameters(make) = row.body {
                let made = make(&Figures {
                    totals: LuTotals::default(),
                    block_bytes: 512,
                    self_tests: Vec::new(),
                    usage: Some(Usage {
                        used_bytes: 1,
                        available_bytes: Some(1),
                    }),
                    minutes: 0,
                });
                assert!(
                    made.is_sorted_by(|one, two| one.code < two.code),
                    "{}",
                    row.name
                );
                assert!(!made.is_empty() && emit(&made).len() <= 400, "{}", row.name);
            }
        }
    }
}
