//! libiscsi's command-line tools against `quintain serve`.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use interop::target::TARGET_NAME;
use interop::tool::{Outcome, run, succeed};
use interop::{Credentials, Driver, Serve, on_each_driver};

const LIMIT: Duration = Duration::from_secs(60);
const HOST: Credentials = Credentials {
    user: "host1",
    secret: "host1-secret-16b",
};
const TARGET: Credentials = Credentials {
    user: "target1",
    secret: "target1-secret16",
};
const WRONG: Credentials = Credentials {
    user: "host1",
    secret: "not-the-secret-9",
};
const OWN_NAME: &str = "iqn.2026-11.org.example:allowed";

on_each_driver! {
    discovery_lists_target_and_each_lun,
    inquiry_and_its_pages_are_answered,
    capacity_is_told_in_the_chosen_block_size,
    chap_lets_in_the_right_secret_only,
    mutual_chap_proves_the_target,
    named_initiator_alone_sees_and_enters,
    header_digest_is_agreed_and_works,
    every_address_is_served_and_told_to_those_who_ask_there,
}

fn inquiry(url: &str, arguments: &[&str]) -> Result<Outcome> {
    run(Command::new("iscsi-inq").args(arguments).arg(url), LIMIT)
}

/// What the tool says when a login is refused, and that it was the login.
fn refused(outcome: &Outcome) -> Result<()> {
    ensure!(!outcome.status.success(), "it got in: {}", outcome.text);
    let text = outcome.text.to_lowercase();
    ensure!(
        text.contains("login") || text.contains("auth"),
        "no refusal of a login: {}",
        outcome.text
    );
    Ok(())
}

fn discovery_lists_target_and_each_lun(driver: Driver) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let target = Serve::new(folder.path(), driver)
        .file("disk.img", "64MiB")
        .ram("32MiB")
        .start()?;
    let portal = format!("iscsi://{}", target.portal);
    let listed = succeed(Command::new("iscsi-ls").args(["-s", &portal]), LIMIT)?;
    ensure!(
        listed.contains(&format!("Target:{TARGET_NAME} Portal:{}", target.portal)),
        "{listed}"
    );
    for lun in ["Lun:0 ", "Lun:1 "] {
        let line = listed.lines().find(|line| line.starts_with(lun));
        ensure!(
            line.is_some_and(|line| line.contains("DIRECT_ACCESS")),
            "{lun}: {listed}"
        );
    }
    ensure!(!listed.contains("Lun:2 "), "{listed}");
    Ok(())
}

fn inquiry_and_its_pages_are_answered(driver: Driver) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let target = Serve::new(folder.path(), driver).ram("64MiB").start()?;
    let standard = inquiry(&target.url(0), &[])?;
    ensure!(
        standard
            .text
            .contains("Peripheral Device Type:DIRECT_ACCESS"),
        "{standard:?}"
    );
    for page in ["0x00", "0x80", "0x83", "0xb0", "0xb1", "0xb2"] {
        let page_code = u8::from_str_radix(&page[2..], 16)?.to_string();
        let answer = inquiry(&target.url(0), &["-e", "1", "-c", &page_code])?;
        ensure!(answer.status.success(), "page {page}: {answer:?}");
    }
    let serial = target.announced["luns"][0]["serial"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let answer = inquiry(&target.url(0), &["-e", "1", "-c", "128"])?;
    ensure!(
        !serial.is_empty() && answer.text.contains(&serial),
        "{serial}: {answer:?}"
    );
    // No such LUN: peripheral qualifier 3, and not an error of the login.
    let absent = inquiry(&target.url(7), &[])?;
    ensure!(!absent.text.contains("DIRECT_ACCESS"), "{absent:?}");
    Ok(())
}

fn capacity_is_told_in_the_chosen_block_size(driver: Driver) -> Result<()> {
    for block_size in ["512", "4096"] {
        let folder = tempfile::tempdir()?;
        let serve = Serve::new(folder.path(), driver).file("disk.img", "64MiB");
        let target = serve
            .argument("--block-size")
            .argument(block_size)
            .start()?;
        let told = succeed(
            Command::new("iscsi-readcapacity16").arg(target.url(0)),
            LIMIT,
        )?;
        ensure!(
            told.contains(&format!("LOGICAL BLOCK LENGTH IN BYTES:{block_size}\n")),
            "{told}"
        );
        ensure!(told.contains("Total size:67108864"), "{told}");
    }
    Ok(())
}

fn chap_lets_in_the_right_secret_only(driver: Driver) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let target = Serve::new(folder.path(), driver)
        .ram("64MiB")
        .chap(HOST)?
        .start()?;
    let entered = inquiry(&target.url_with_chap(0, HOST, None), &[])?;
    ensure!(entered.status.success(), "{entered:?}");
    refused(&inquiry(&target.url(0), &[])?)?;
    refused(&inquiry(&target.url_with_chap(0, WRONG, None), &[])?)?;
    let unknown = Credentials {
        user: "stranger",
        ..HOST
    };
    refused(&inquiry(&target.url_with_chap(0, unknown, None), &[])?)?;
    ensure!(
        !target.log_text().contains(HOST.secret),
        "the secret stands in the log"
    );
    Ok(())
}

fn mutual_chap_proves_the_target(driver: Driver) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let serve = Serve::new(folder.path(), driver)
        .ram("64MiB")
        .chap(HOST)?
        .mutual_chap(TARGET)?;
    let target = serve.start()?;
    let entered = inquiry(&target.url_with_chap(0, HOST, Some(TARGET)), &[])?;
    ensure!(entered.status.success(), "{entered:?}");
    let impostor = Credentials {
        secret: "another-secret-9",
        ..TARGET
    };
    refused(&inquiry(
        &target.url_with_chap(0, HOST, Some(impostor)),
        &[],
    )?)?;
    refused(&inquiry(
        &target.url_with_chap(0, WRONG, Some(TARGET)),
        &[],
    )?)
}

fn named_initiator_alone_sees_and_enters(driver: Driver) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let serve = Serve::new(folder.path(), driver).ram("64MiB");
    let target = serve.argument("--initiator").argument(OWN_NAME).start()?;
    let entered = inquiry(&target.url(0), &["-i", OWN_NAME])?;
    ensure!(entered.status.success(), "{entered:?}");
    refused(&inquiry(
        &target.url(0),
        &["-i", "iqn.2026-11.org.example:other"],
    )?)?;
    let portal = format!("iscsi://{}", target.portal);
    let seen = run(
        Command::new("iscsi-ls").args(["-i", OWN_NAME, &portal]),
        LIMIT,
    )?;
    ensure!(seen.text.contains(TARGET_NAME), "{seen:?}");
    let unseen = run(
        Command::new("iscsi-ls").args(["-i", "iqn.2026-11.org.example:other", &portal]),
        LIMIT,
    )?;
    ensure!(
        !unseen.text.contains(TARGET_NAME),
        "told to a stranger: {unseen:?}"
    );
    Ok(())
}

fn header_digest_is_agreed_and_works(driver: Driver) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let target = Serve::new(folder.path(), driver).ram("64MiB").start()?;
    for digest in ["crc32c", "none"] {
        let url = format!("{}?header_digest={digest}", target.url(0));
        let told = succeed(Command::new("iscsi-readcapacity16").arg(&url), LIMIT)?;
        ensure!(told.contains("Total size:67108864"), "{digest}: {told}");
    }
    Ok(())
}

fn every_address_is_served_and_told_to_those_who_ask_there(driver: Driver) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let serve = Serve::new(folder.path(), driver)
        .ram("64MiB")
        .argument("--listen")
        .argument("[::1]:0");
    let target = serve.start()?;
    let portals = target.announced["portals"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let portals: Vec<&str> = portals
        .iter()
        .filter_map(|portal| portal.as_str())
        .collect();
    ensure!(
        portals.len() == 2 && portals.iter().any(|portal| portal.starts_with("[::1]:")),
        "{portals:?}"
    );
    for portal in portals {
        let told = succeed(
            Command::new("iscsi-ls").arg(format!("iscsi://{portal}")),
            LIMIT,
        )?;
        ensure!(
            told.contains(&format!("Portal:{portal},")),
            "asked at {portal}: {told}"
        );
        let entered = inquiry(&format!("iscsi://{portal}/{TARGET_NAME}/0"), &[])?;
        ensure!(entered.status.success(), "{entered:?}");
    }
    Ok(())
}
