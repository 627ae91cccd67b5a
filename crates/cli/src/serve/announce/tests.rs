use clap::Parser;

use super::*;
use crate::serve::Args;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn plan(words: &[&str]) -> Plan {
    let line = Line::try_parse_from(["serve"].iter().chain(words)).expect("usage");
    Plan::new(&line.args, "host").expect("plan")
}

fn running(portals: &[&str], units: usize) -> Running {
    let unit = |index: u64| UnitReport {
        backstore: model::ObjectId(index + 1),
        serial: format!("serial-{index}"),
        naa: 0x3000_0000_0000_00ab + index,
        size_bytes: 1 << 30,
        block_size_bytes: 512,
        copy_of: None,
    };
    Running {
        portals: portals.iter().map(|text| text.parse().unwrap()).collect(),
        units: (0..units as u64).map(unit).collect(),
        driver: "epoll".to_owned(),
        driver_report: "epoll; io_uring refused: Operation not permitted, instead: native AIO"
            .to_owned(),
        workers: 2,
        pid: 42,
    }
}

#[test]
fn json_line_holds_all_that_scripts_rely_on() {
    let plan = plan(&["/srv/disk.img", "--ram", "1GiB"]);
    let line = json_line(&plan, &running(&["127.0.0.1:40000", "[::1]:40001"], 2));
    assert!(!line.contains('\n'));
    let expected = json!({
        "portals": ["127.0.0.1:40000", "[::1]:40001"],
        "target": "iqn.2026-11.org.quintain.host:disk",
        "pid": 42,
        "driver": "epoll",
        "workers": 2,
        "luns": [
            {
                "lun": 0, "path": "/srv/disk.img", "serial": "serial-0", "naa": "30000000000000ab",
                "size_bytes": 1_073_741_824_u64, "block_size": 512
            },
            {
                "lun": 1, "ram": true, "serial": "serial-1", "naa": "30000000000000ac",
                "size_bytes": 1_073_741_824_u64, "block_size": 512
            },
        ],
    });
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), expected);
}

#[test]
fn json_line_of_a_relative_path_is_absolute_and_of_strange_names_still_one_line() {
    let plan = plan(&["a\nb.img"]);
    let line = json_line(&plan, &running(&["127.0.0.1:1"], 1));
    assert!(!line.contains('\n'), "{line}");
    let value: Value = serde_json::from_str(&line).unwrap();
    let path = value["luns"][0]["path"].as_str().unwrap();
    assert!(
        path.starts_with('/') && path.ends_with("/a\nb.img"),
        "{path}"
    );
}

#[test]
fn page_on_loopback_is_what_and_where_and_how_to_connect() {
    let plan = plan(&["disk.img", "--ram", "1GiB"]);
    let page = page(&plan, &running(&["127.0.0.1:3260"], 2));
    let expected = "\
serving iqn.2026-11.org.quintain.host:disk

  LUN 0: disk.img, 1 GiB in blocks of 512, serial serial-0, naa.30000000000000ab
  LUN 1: memory, 1 GiB in blocks of 512, serial serial-1, naa.30000000000000ac

  at 127.0.0.1:3260, this machine only
  for any initiator
  by 2 workers, driver epoll; io_uring refused: Operation not permitted, instead: native AIO

Linux:
  sudo iscsiadm -m discovery -t sendtargets -p 127.0.0.1:3260
";
    assert!(page.starts_with(expected), "{page}");
    assert!(page.ends_with("\nCtrl-C ends it in order.\n"), "{page}");
    assert!(!page.contains("PowerShell"), "{page}");
}

#[test]
fn page_beyond_loopback_has_real_addresses_in_the_lines_to_paste() {
    let plan = plan(&[
        "disk.img",
        "--initiator",
        "iqn.a:1",
        "--initiator",
        "iqn.a:2",
    ]);
    let page = page(&plan, &running(&["0.0.0.0:3260"], 1));
    assert!(
        page.contains("  at 0.0.0.0:3260, every address of this machine, as "),
        "{page}"
    );
    assert!(page.contains("  for iqn.a:1, iqn.a:2\n"), "{page}");
    for line in page
        .lines()
        .filter(|line| line.contains("iscsiadm") || line.contains("TargetPortal"))
    {
        assert!(!line.contains("0.0.0.0"), "{line}");
    }
    assert!(
        page.contains("PowerShell") && page.contains("esxcli"),
        "{page}"
    );
}

#[test]
fn page_of_a_path_with_control_characters_shows_none() {
    let plan = plan(&["evil\x1b[2J\n.img"]);
    let page = page(&plan, &running(&["127.0.0.1:1"], 1));
    assert!(!page.contains('\x1b'), "{page}");
    assert!(page.contains("LUN 0: evil\\u{1b}[2J; .img, "), "{page}");
}

#[test]
fn portals_are_told_in_the_order_they_were_asked_for() {
    let addresses = |texts: &[&str]| -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    };
    let listen = addresses(&["[::1]:3260", "127.0.0.2:0", "127.0.0.1:860", "127.0.0.2:0"]);
    let engine = addresses(&[
        "127.0.0.1:860",
        "127.0.0.2:33001",
        "127.0.0.2:33002",
        "[::1]:3260",
    ]);
    let expected = addresses(&[
        "[::1]:3260",
        "127.0.0.2:33001",
        "127.0.0.2:33002",
        "127.0.0.1:860",
    ]);
    assert_eq!(in_order(engine, &listen), expected);
}
