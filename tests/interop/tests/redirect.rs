//! libiscsi follows temporary redirections (RFC 7143 §11.13.5): of a target, and those of a helper that spreads logins over two
//! daemons. (What it does not follow, and redirections after authentication: `crates/engine/tests/redirect.rs`.)

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use interop::process::{Process, client, daemon};
use interop::target::TARGET_NAME;
use interop::tool::{run, succeed};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(60);
const INITIATOR: &str = "iqn.2026-11.org.example:asker";

/// A daemon with one disk, whose size tells it from another.
struct Site {
    folder: tempfile::TempDir,
    portal: SocketAddr,
    _daemon: Process,
}

impl Site {
    fn start(mebibytes: u32, top: impl FnOnce(&Path) -> String) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let portal = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let top = top(folder.path());
        let desired = format!(
            r#"
{top}
[[backstore]]
name = "disk"
type = "ram"
size = "{mebibytes}MiB"

[[target]]
name = "{TARGET_NAME}"

[[target.tpg]]
portals = ["{portal}"]
generate_node_acls = true
luns = [{{ lun = 0, backstore = "disk" }}]
"#
        );
        let daemon = daemon(folder.path(), &desired)?;
        Ok(Self {
            folder,
            portal,
            _daemon: daemon,
        })
    }

    fn plain(mebibytes: u32) -> Result<Self> {
        Self::start(mebibytes, |_| String::new())
    }

    /// The size of the disk that an initiator reaches which logs in here.
    fn mebibytes(&self) -> Result<u64> {
        capacity(&format!("iscsi://{}/{TARGET_NAME}/0", self.portal))
    }

    fn redirect(&self, to: &Self, permanent: &str) -> Result<()> {
        let words = [
            "set",
            &format!("/targets/{TARGET_NAME}"),
            &format!("redirect.address={}", to.portal),
            &format!("redirect.permanent={permanent}"),
        ];
        succeed(&mut client(self.folder.path(), &words)?, LIMIT)?;
        Ok(())
    }

    /// What `explain` says of a login here.
    fn explained(&self) -> Result<String> {
        let words = ["explain", "--initiator", INITIATOR, "--target", TARGET_NAME];
        Ok(run(&mut client(self.folder.path(), &words)?, LIMIT)?.text)
    }
}

fn capacity(url: &str) -> Result<u64> {
    let told = succeed(
        Command::new("iscsi-readcapacity16").args(["-s", url]),
        LIMIT,
    )?;
    let bytes: u64 = told.trim().parse().with_context(|| told.clone())?;
    Ok(bytes >> 20)
}

#[test]
fn temporary_redirect_of_a_target_is_followed_and_explained() -> Result<()> {
    let back = Site::plain(32)?;
    let front = Site::plain(16)?;
    ensure!(front.mebibytes()? == 16, "it serves its own disk at first");
    front.redirect(&back, "no")?;
    ensure!(front.mebibytes()? == 32, "it is not followed");
    let explained = front.explained()?;
    let expected = format!("the target has moved temporarily to {}", back.portal);
    ensure!(explained.contains(&expected), "{explained}");
    // The group's own word goes before the target's.
    let own = format!("redirect.address={}", Site::plain(64)?.portal);
    let group = format!("/targets/{TARGET_NAME}/tpgs/1");
    succeed(
        &mut client(front.folder.path(), &["set", &group, &own])?,
        LIMIT,
    )?;
    ensure!(
        !front.explained()?.contains(&expected),
        "it is the target's still"
    );
    Ok(())
}

#[test]
fn permanent_redirect_is_told_to_libiscsi_which_follows_temporary_ones_only() -> Result<()> {
    let back = Site::plain(32)?;
    let front = Site::plain(16)?;
    front.redirect(&back, "yes")?;
    let url = format!("iscsi://{}/{TARGET_NAME}/0", front.portal);
    let told = run(Command::new("iscsi-readcapacity16").arg(&url), LIMIT)?;
    ensure!(told.text.contains("Target moved permanently"), "{told:?}");
    let explained = front.explained()?;
    let expected = format!("the target has moved permanently to {}", back.portal);
    ensure!(explained.contains(&expected), "{explained}");
    Ok(())
}

#[test]
fn redirects_of_a_helper_spread_logins() -> Result<()> {
    let backs = [Site::plain(32)?, Site::plain(64)?];
    let portals = [backs[0].portal, backs[1].portal];
    let front = Site::start(16, |folder| {
        let socket = folder.join("helper.sock");
        let listener = UnixListener::bind(&socket).expect("a socket of the test's own");
        std::thread::spawn(move || balance(&listener, portals));
        format!(
            "[daemon]\nauth_helper = {:?}\n",
            socket.display().to_string()
        )
    })?;
    let mut reached = Vec::new();
    for _ in 0..4 {
        reached.push(front.mebibytes()?);
    }
    ensure!(reached == [32, 64, 32, 64], "{reached:?}");
    Ok(())
}

/// A helper that sends every login to one of two places, in turn.
fn balance(listener: &UnixListener, portals: [SocketAddr; 2]) {
    let mut turns = portals.into_iter().cycle();
    for stream in listener.incoming().flatten() {
        let _closed = converse(stream, &mut turns);
    }
}

fn converse(mut stream: UnixStream, turns: &mut impl Iterator<Item = SocketAddr>) -> Result<()> {
    for line in BufReader::new(stream.try_clone()?).lines() {
        let asked: Value = serde_json::from_str(&line?)?;
        let answer = if asked["hello"].is_object() {
            json!({"hello": {"protocol": 1, "algorithms": ["md5"]}})
        } else {
            let address = turns.next().context("turns without end")?.to_string();
            json!({"id": asked["id"], "policy": {"redirect": {"address": address}}})
        };
        writeln!(stream, "{answer}")?;
    }
    Ok(())
}
