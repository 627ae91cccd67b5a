//! What a run has measured, for people and for scripts.

use std::time::Duration;

use initiator::Params;
use serde_json::{Value, json};

use super::args::{Args, Pattern};
use super::histogram::Histogram;
use super::workload::{Direction, Region};
use crate::client::table::Table;
use crate::serve::size::show_size;

/// Quantiles that are told, in thousandths, and their names.
const QUANTILES: [(u64, &str); 4] = [(500, "p50"), (900, "p90"), (990, "p99"), (999, "p99.9")];
/// The longest bar of the histogram, in characters.
const BAR: u64 = 50;

/// Counts of the time that was measured.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    pub(super) read: Histogram,
    pub(super) write: Histogram,
    /// Commands that the target wanted to be asked again: not in the histograms.
    pub(super) again: u64,
    /// Reads that were compared with what had been written, those at the end included.
    pub(super) verified: u64,
}

/// A run that went well.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub(super) counts: Counts,
    pub(super) region: Region,
    pub(super) params: Params,
    pub(super) elapsed: Duration,
    /// The processor time of this process in that time.
    pub(super) client: Duration,
}

impl Counts {
    pub(super) fn new() -> Self {
        Self {
            read: Histogram::new(),
            write: Histogram::new(),
            again: 0,
            verified: 0,
        }
    }

    pub(super) fn of(&mut self, direction: Direction) -> &mut Histogram {
        match direction {
            Direction::Read => &mut self.read,
            Direction::Write => &mut self.write,
        }
    }

    pub(super) fn commands(&self) -> u64 {
        self.read.total() + self.write.total()
    }

    fn rows(&self) -> impl Iterator<Item = (&'static str, &Histogram)> {
        let rows = [("read", &self.read), ("write", &self.write)];
        rows.into_iter().filter(|(_, row)| row.total() > 0)
    }
}

impl Report {
    /// The final table and the histogram.
    pub(super) fn text(&self, args: &Args) -> String {
        let mut text = format!("{}\n{}\n\n", args.url, self.what(args));
        let mut titles = vec!["", "IOPS", "MB/s", "mean us"];
        titles.extend(QUANTILES.iter().map(|(_, name)| *name));
        titles.push("max us");
        let mut table = Table::new(&titles);
        for (name, row) in self.counts.rows() {
            let mut cells = vec![
                name.to_owned(),
                format!("{:.0}", self.per_second(row.total())),
                format!("{:.1}", self.megabytes(row)),
                us(row.mean_ns()),
            ];
            cells.extend(QUANTILES.iter().map(|(part, _)| us(row.quantile_ns(*part))));
            cells.push(us(row.max_ns()));
            table.row(cells);
        }
        text.push_str(&table.text());
        for (name, row) in self.counts.rows() {
            text.push_str(&format!("\n{name} latency\n{}", bars(row)));
        }
        text.push_str(&format!(
            "\nclient: {:.0} % of a core",
            100.0 * self.client_share()
        ));
        if self.counts.again > 0 {
            text.push_str(&format!("; asked again: {}", self.counts.again));
        }
        if args.verify {
            text.push_str(&format!("; reads verified: {}", self.counts.verified));
        }
        text.push('\n');
        text
    }

    /// The same as one JSON object.
    pub(super) fn json(&self, args: &Args) -> Value {
        let params = &self.params;
        let mut value = json!({
            "url": args.url,
            "block_size_bytes": self.region.slot_bytes,
            "span_bytes": u128::from(self.region.slots) * u128::from(self.region.slot_bytes),
            "read_percent": args.read,
            "pattern": pattern_name(args.pattern),
            "depth": args.depth,
            "sessions": args.sessions,
            "seed": args.seed,
            "seconds": self.elapsed.as_secs_f64(),
            "client_cores": self.client_share(),
            "asked_again": self.counts.again,
            "negotiated": {
                "HeaderDigest": params.header_digest,
                "DataDigest": params.data_digest,
                "ImmediateData": params.immediate_data,
                "InitialR2T": params.initial_r2t,
                "FirstBurstLength": params.first_burst_length,
                "MaxBurstLength": params.max_burst_length,
                "MaxSendDataSegmentLength": params.max_send_data_segment_length,
                "MaxRecvDataSegmentLength": params.max_recv_data_segment_length,
            },
        });
        if args.verify {
            value["verified_reads"] = json!(self.counts.verified);
        }
        for (name, row) in self.counts.rows() {
            let mut latency = json!({ "mean": row.mean_ns(), "max": row.max_ns() });
            for (part, name) in QUANTILES {
                latency[name] = json!(row.quantile_ns(part));
            }
            value[name] = json!({
                "commands": row.total(),
                "per_second": self.per_second(row.total()),
                "bytes_per_second": self.megabytes(row) * 1e6,
                "latency_ns": latency,
                "histogram_below_ns": row.octaves(),
            });
        }
        value
    }

    fn what(&self, args: &Args) -> String {
        let digests = if self.params.data_digest {
            ", digests"
        } else {
            ""
        };
        let sessions = match args.sessions {
            1 => "1 session".to_owned(),
            many => format!("{many} sessions"),
        };
        format!(
            "{:.1} s, {sessions} x depth {}, {} {}, {} % reads{digests}",
            self.elapsed.as_secs_f64(),
            args.depth,
            show_size(self.region.slot_bytes.into()),
            pattern_name(args.pattern),
            args.read,
        )
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }

    fn megabytes(&self, row: &Histogram) -> f64 {
        self.per_second(row.total()) * f64::from(self.region.slot_bytes) / 1e6
    }

    fn client_share(&self) -> f64 {
        self.client.as_secs_f64() / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }
}

/// The line on a terminal while it runs.
pub(super) fn progress(second: u64, commands: u64, elapsed: Duration, slot_bytes: u32) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = commands as f64 / elapsed.as_secs_f64().max(f64::EPSILON);
    let megabytes = rate * f64::from(slot_bytes) / 1e6;
    format!("{second} s: {rate:.0} IOPS, {megabytes:.1} MB/s")
}

fn pattern_name(pattern: Pattern) -> &'static str {
    match pattern {
        Pattern::Random => "random",
        Pattern::Sequential => "sequential",
    }
}

#[expect(clippy::cast_precision_loss, reason = "a time for people")]
fn us(ns: u64) -> String {
    format!("{:.1}", ns as f64 / 1000.0)
}

fn bars(row: &Histogram) -> String {
    let octaves = row.octaves();
    let most = octaves.iter().map(|(_, count)| *count).max().unwrap_or(1);
    let mut text = String::new();
    for (below, count) in octaves {
        let long = u128::from(count) * u128::from(BAR) / u128::from(most.max(1));
        let bar = "#".repeat(usize::try_from(long).unwrap_or(0));
        let line = format!("  < {:>10} us  {count:>10}  {bar}", us(below));
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> (Args, Report) {
        let args = Args {
            url: "iscsi://h/iqn.2026-11.org.example:disk/0".to_owned(),
            block_size: "4KiB".to_owned(),
            read: 50,
            pattern: Pattern::Random,
            depth: 8,
            sessions: 2,
            span: None,
            time: 2,
            warm_up: 0,
            digests: false,
            verify: true,
            overwrite: true,
            seed: 1,
            initiator: String::new(),
            chap: None,
            chap_secret_file: None,
            json: false,
        };
        let mut counts = Counts::new();
        for us in 1..=1000 {
            let latency = Duration::from_micros(us);
            counts.of(Direction::Read).record(latency);
        }
        counts.of(Direction::Write).record(Duration::from_millis(3));
        counts.verified = 77;
        let report = Report {
            counts,
            region: Region {
                slot_bytes: 4096,
                block_bytes: 512,
                slots: 1024,
            },
            params: Params::default(),
            elapsed: Duration::from_secs(2),
            client: Duration::from_secs(1),
        };
        (args, report)
    }

    #[test]
    fn json_of_a_run_has_rates_latencies_and_a_histogram() {
        let (args, report) = report();
        let value = report.json(&args);
        assert_eq!(value["read"]["commands"], 1000);
        assert_eq!(value["read"]["per_second"], 500.0);
        assert_eq!(value["read"]["bytes_per_second"], 500.0 * 4096.0);
        assert_eq!(value["read"]["latency_ns"]["max"], 1_000_000);
        assert_eq!(
            value["write"]["histogram_below_ns"],
            json!([[4_194_304, 1]])
        );
        assert_eq!(value["client_cores"], 0.5);
        assert_eq!(value["verified_reads"], 77);
        assert_eq!(value["span_bytes"], 4 << 20);
    }

    #[test]
    fn text_of_a_run_has_a_row_for_each_direction_and_the_clients_share() {
        let (args, report) = report();
        let text = report.text(&args);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[1],
            "2.0 s, 2 sessions x depth 8, 4 KiB random, 50 % reads"
        );
        assert!(lines[3].contains("IOPS") && lines[3].contains("p99.9"));
        assert!(lines[4].starts_with("read   500"), "{text}");
        assert!(lines[5].starts_with("write  0"), "{text}");
        assert!(text.contains("client: 50 % of a core; reads verified: 77"));
        let longest = lines.iter().filter(|line| line.ends_with('#')).count();
        assert!(longest >= 2, "{text}");
    }

    #[test]
    fn progress_tells_the_rate_of_the_last_second() {
        let line = progress(3, 1000, Duration::from_millis(500), 4096);
        assert_eq!(line, "3 s: 2000 IOPS, 8.2 MB/s");
    }
}
