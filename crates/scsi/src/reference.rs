//! The reference page of commands and pages, made from the tables.

use std::fmt::Write as _;

use crate::device::{DeviceType, Tables};
use crate::opcodes::Row;
use crate::reports::ModePageRow;

const HEAD: &str = "\
# The logical units

What a disk answers, and what a CD or DVD drive does, made from the tables that the program reads
(`cargo run -p scsi --example reference > docs/scsi.md`). A test holds the two together. An initiator learns the same by REPORT
SUPPORTED OPERATION CODES (a disk), INQUIRY and MODE SENSE.
";

const COMMANDS: &str = "
## Commands

*Reserved*: served although another initiator has reserved the logical unit (SPC-2 RESERVE). *Always*: served whatever else is
wrong, with a unit attention pending or for a LUN that is not there. *Medium*: NOT READY while the store is not there. *Writes*:
DATA PROTECT while the logical unit or the LUN is write protected. *Lost*: served while persistent reservations that were saved
cannot be read. While a disk is being sanitized, only what is always served is. *Standby*, *unavailable*: served through a target port that is in this state. *Counts as*: what it is to a persistent reservation of another. *Timeout*: the recommended command timeout, in seconds.

*CDB usage*: the CDB's bytes in hexadecimal, with ones where the device server looks; a bit set anywhere else is INVALID FIELD IN
CDB with a pointer to it. A disk with protection information also looks at bits 7 to 5 of byte 1 of the commands that move blocks (RDPROTECT and the like, but for type 2), and 7 to 6 of
FORMAT UNIT. The commands of 32 bytes are there where it is of type 2.

| Command | Code | Served | Counts as | Timeout | CDB usage |
|---|---|---|---|---|---|
";

const MODE: &str = "
## Mode pages

MODE SENSE gives current, default and changeable values and, where there is a state directory, saved ones (MODE SELECT with SP). A
value that cannot change must be sent as it is: anything else is INVALID FIELD IN PARAMETER LIST with a pointer to the bit.

| Page | Code | Bytes | Can change |
|---|---|---|---|
";

const LOG: &str = "
## Log pages

Cumulative values since the start, or since LOG SELECT set them back; they are not saved, and there are no thresholds. A time interval
is a microsecond. A thin disk has Logical Block Provisioning when it is known what it uses.

| Page | Code |
|---|---|
";

const VPD: &str = "
## Vital product data

| Page | Code |
|---|---|
";

/// The page, in Markdown.
#[must_use]
pub fn reference() -> String {
    let mut page = HEAD.to_owned();
    for device in DeviceType::ALL {
        // The words that explain the tables stand with the first of them.
        let is_first = device == DeviceType::ALL[0];
        of_device(&mut page, device.tables(), is_first);
    }
    page
}

fn of_device(page: &mut String, tables: &Tables, explains: bool) {
    // Writing to a string does not fail.
    let _written = writeln!(page, "\n# {}", tables.name);
    section(page, COMMANDS, explains);
    tables
        .commands
        .rows
        .iter()
        .for_each(|row| command(page, row));
    section(page, MODE, explains);
    tables
        .mode_pages
        .iter()
        .for_each(|row| mode_page(page, row));
    if !tables.log_pages.is_empty() {
        section(page, LOG, explains);
    }
    for row in tables.log_pages {
        let code = code_and_subpage(row.code, row.subpage);
        let _written = writeln!(page, "| {} | {code} |", row.name);
    }
    section(page, VPD, explains);
    for row in tables.vpd_pages {
        let _written = writeln!(page, "| {} | {:02x}h |", row.name, row.code);
    }
}

/// The head of a table: its title, what explains it, and the columns.
fn section(page: &mut String, head: &str, explains: bool) {
    let paragraphs: Vec<&str> = head.split("\n\n").collect();
    match paragraphs[..] {
        [title, .., columns] if !explains => {
            let _written = write!(page, "{title}\n\n{columns}");
        }
        _ => page.push_str(head),
    }
}

fn command(page: &mut String, row: &Row) {
    let code = match row.service_action {
        Some(action) => format!("{:02x}h/{action:02x}h", row.opcode),
        None => format!("{:02x}h", row.opcode),
    };
    let rules = row.rules;
    let served = [
        (rules.always, "always"),
        (rules.while_reserved && !rules.always, "reserved"),
        (rules.while_lost && !rules.always, "lost"),
        (rules.while_standby && !rules.while_unavailable, "standby"),
        (rules.while_unavailable && !rules.always, "unavailable"),
        (rules.medium, "medium"),
        (rules.writes, "writes"),
    ];
    let served: Vec<&str> = served
        .into_iter()
        .filter_map(|(holds, word)| holds.then_some(word))
        .collect();
    let usage: Vec<String> = row.usage[..usize::from(row.cdb_bytes)]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let _written = writeln!(
        page,
        "| {} | {code} | {} | {} | {} | `{}` |",
        row.name,
        served.join(", "),
        rules.access.word(),
        row.timeout_seconds,
        usage.join(" ")
    );
}

fn mode_page(page: &mut String, row: &ModePageRow) {
    let code = code_and_subpage(row.code, row.subpage);
    let fields: Vec<&str> = row.fields.iter().map(|field| field.name).collect();
    let _written = writeln!(
        page,
        "| {} | {code} | {} | {} |",
        row.name,
        row.bytes,
        fields.join(", ")
    );
}

fn code_and_subpage(code: u8, subpage: u8) -> String {
    match subpage {
        0 => format!("{code:02x}h"),
        subpage => format!("{code:02x}h/{subpage:02x}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reference_page_is_what_the_tables_say() {
        let page = include_str!("../../../docs/scsi.md");
        assert!(
            page == reference(),
            "make it anew: cargo run -p scsi --example reference > docs/scsi.md"
        );
    }
}
