//! QEMU's own initiator (`block/iscsi.c`) against `quintain serve`: images in, out and compared.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use interop::pattern::{Random, fill};
use interop::tool::{run, succeed};
use interop::{Credentials, Driver, Serve, on_each_driver};

const LIMIT: Duration = Duration::from_secs(300);
const MIB: u64 = 1 << 20;
const HOST: Credentials = Credentials {
    user: "qemu",
    secret: "qemu-secret-16by",
};

on_each_driver! {
    gigabyte_converted_in_and_out_compares,
    gigabyte_in_4096_byte_blocks_compares,
    image_under_chap_compares,
    discarded_and_zeroed_ranges_read_as_zeroes,
}

fn qemu(program: &str) -> Command {
    let image_tool =
        std::env::var_os("QUINTAIN_QEMU_IMG").map_or_else(|| "qemu-img".into(), PathBuf::from);
    Command::new(image_tool.with_file_name(program))
}

/// An image with data everywhere but in some holes: each block holds its address, so that nothing misplaced compares.
fn image(path: &Path, mib: u64) -> Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    let mut random = Random::new(mib);
    let mut chunk = vec![0; 1 << 20];
    for index in 0..mib {
        if random.below(8) == 0 {
            file.seek(SeekFrom::Current(1 << 20))?;
            continue;
        }
        for (block, lba) in chunk.chunks_exact_mut(4096).zip(index * 256..) {
            fill(block, lba, 1);
        }
        file.write_all(&chunk)?;
    }
    file.flush()?;
    file.get_ref().set_len(mib * MIB)?;
    Ok(())
}

fn same_bytes(left: &Path, right: &Path) -> Result<()> {
    let (mut left, mut right) = (File::open(left)?, File::open(right)?);
    ensure!(
        left.metadata()?.len() == right.metadata()?.len(),
        "lengths differ"
    );
    let (mut a, mut b) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    for mib in 0.. {
        let read = left.read(&mut a)?;
        if read == 0 {
            break;
        }
        right.read_exact(&mut b[..read])?;
        ensure!(a[..read] == b[..read], "differ in MiB {mib}");
    }
    Ok(())
}

/// In, compared by QEMU, out again, compared by us; the target is started anew between.
fn round_trip(
    serve: &Serve,
    folder: &Path,
    mib: u64,
    url: impl Fn(&interop::Target) -> String,
) -> Result<()> {
    let (source, back) = (folder.join("source.raw"), folder.join("back.raw"));
    image(&source, mib)?;
    let target = serve.start()?;
    succeed(
        qemu("qemu-img")
            .args(["convert", "-n", "-f", "raw", "-O", "raw"])
            .arg(&source)
            .arg(url(&target)),
        LIMIT,
    )?;
    let compare = |target: &interop::Target| {
        succeed(
            qemu("qemu-img")
                .args(["compare", "-f", "raw", "-F", "raw"])
                .arg(&source)
                .arg(url(target)),
            LIMIT,
        )
    };
    compare(&target)?;
    ensure!(target.drain()?.success(), "it did not exit 0");
    let target = serve.start()?;
    compare(&target)?;
    succeed(
        qemu("qemu-img")
            .args(["convert", "-f", "raw", "-O", "raw"])
            .arg(url(&target))
            .arg(&back),
        LIMIT,
    )?;
    same_bytes(&source, &back)
}

fn gigabyte_converted_in_and_out_compares(driver: Driver) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let serve = Serve::new(folder.path(), driver).file("disk.img", "1GiB");
    round_trip(&serve, folder.path(), 1024, |target| target.url(0))
}

fn gigabyte_in_4096_byte_blocks_compares(driver: Driver) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let serve = Serve::new(folder.path(), driver).file("disk.img", "1GiB");
    let serve = serve.argument("--block-size").argument("4096");
    // QEMU 7.2 ends in an assertion of its own when it copies or compares from a disk of 4096-byte blocks (block/iscsi.c,
    // iscsi_co_block_status: alignment): it writes the disk, and what it wrote is compared by us in the disk's file.
    let source = folder.path().join("source.raw");
    image(&source, 1024)?;
    let target = serve.start()?;
    let mut convert = qemu("qemu-img");
    convert.args(["convert", "-n", "-f", "raw", "-O", "raw"]);
    succeed(convert.arg(&source).arg(target.url(0)), LIMIT)?;
    ensure!(target.drain()?.success(), "it did not exit 0");
    same_bytes(&source, &folder.path().join("disk.img"))
}

fn image_under_chap_compares(driver: Driver) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let serve = Serve::new(folder.path(), driver)
        .file("disk.img", "64MiB")
        .chap(HOST)?;
    round_trip(&serve, folder.path(), 64, |target| {
        target.url_with_chap(0, HOST, None)
    })?;
    let target = serve.start()?;
    let refused = run(qemu("qemu-img").arg("info").arg(target.url(0)), LIMIT)?;
    ensure!(
        !refused.status.success(),
        "it got in without credentials: {refused:?}"
    );
    Ok(())
}

fn discarded_and_zeroed_ranges_read_as_zeroes(driver: Driver) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let target = Serve::new(folder.path(), driver)
        .file("disk.img", "64MiB")
        .start()?;
    let script = [
        "write -P 0xa5 0 16M",
        "flush",
        "discard 1M 2M",
        "write -z 5M 1M",
        "write -z -u 7M 1M",
        "read -P 0xa5 0 1M",
        "read -P 0 1M 2M",
        "read -P 0xa5 3M 2M",
        "read -P 0 5M 1M",
        "read -P 0xa5 6M 1M",
        "read -P 0 7M 1M",
        "read -P 0xa5 8M 8M",
        "read -P 0 16M 1M",
    ];
    let mut command = qemu("qemu-io");
    command.args(["-f", "raw", "-d", "unmap", "-t", "none"]);
    for line in script {
        command.args(["-c", line]);
    }
    let told = succeed(command.arg(target.url(0)), LIMIT)?;
    // QEMU asks for GET LBA STATUS wherever UNMAP is offered, and takes everything as mapped where it is not there.
    let failed = |line: &&str| line.contains("failed") && !line.contains("GET_LBA_STATUS failed");
    ensure!(!told.lines().any(|line| failed(&line)), "{told}");
    Ok(())
}
