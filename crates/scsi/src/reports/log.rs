//! LOG SENSE: the log pages, as a table. SPC-5 r22 "LOG SENSE command", "Log parameters".
//!
//! Nothing is saved (DS is 1). There are no thresholds.

use super::{Asked, Reported};
use crate::lu::{LuTotals, SELF_TESTS, SelfTestResult, TrafficTotals};
use crate::sense::Sense;

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
    parameters(0x10, "Self-Test Results", self_tests),
    parameters(0x19, "General Statistics and Performance", performance),
    parameters(0x2f, "Informational Exceptions", |_| exceptions()),
];

/// LOG SENSE.
pub(crate) fn log_sense(asked: &Asked<'_>, out: &mut Vec<u8>) -> Reported {
    let cdb = &asked.command.cdb;
    let (code, subpage) = (cdb.byte::<2>() & 0x3f, cdb.byte::<3>());
    let pointer = cdb.be16::<5>();
    let pages = asked.lu.device.tables().log_pages;
    let mut of_code = pages.iter().filter(|row| row.code == code).peekable();
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
            page_list(pages, subpages)
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

fn page_list(pages: &[LogPageRow], subpages: bool) -> Vec<u8> {
    let mut list = Vec::new();
    for row in pages {
        if subpages {
            list.extend([row.code, row.subpage]);
        } else if row.subpage == 0 {
            list.push(row.code);
        }
    }
    list
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
