//! The daemon as a client of a real iSNS server: isnsd of open-isns, on loopback.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use interop::process::{PATIENCE, Process, client, daemon};
use interop::tool::{run, succeed};
use rustix::process::{Pid, Signal, kill_process};

const LIMIT: Duration = Duration::from_secs(60);
const DISK: &str = "iqn.2026-11.org.example:disk";
const SPARE: &str = "iqn.2026-11.org.example:spare";
const ENTITY: &str = "san1.example.org";

/// An isnsd with nothing of the machine's configuration.
struct Isnsd {
    folder: tempfile::TempDir,
    address: SocketAddr,
    process: Option<Process>,
}

impl Isnsd {
    fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let own = folder.path().display();
        let server = format!(
            "SourceName = isns.test\n\
             HostName = localhost\n\
             Database = {own}/database\n\
             BindAddress = {address}\n\
             ControlSocket = {own}/control\n\
             PIDFile = {own}/pid\n\
             Security = 0\n\
             SLPRegister = 0\n\
             DefaultDiscoveryDomain = 1\n\
             RegistrationPeriod = 30\n\
             ESIMinInterval = 1\n\
             ESIMaxInterval = 2\n\
             ESIRetries = 2\n\
             SCNTimeout = 5\n\
             SCNRetries = 2\n"
        );
        std::fs::write(folder.path().join("isnsd.conf"), server)?;
        let admin = format!(
            "SourceName = iqn.2026-11.org.example:admin\n\
             ServerAddress = {address}\n\
             ControlSocket = {own}/control\n\
             Security = 0\n"
        );
        std::fs::write(folder.path().join("isnsadm.conf"), admin)?;
        let mut isnsd = Self {
            folder,
            address,
            process: None,
        };
        isnsd.run()?;
        Ok(isnsd)
    }

    fn run(&mut self) -> Result<()> {
        let mut command = Command::new("isnsd");
        command
            .args(["-f", "-d", "esi", "-d", "scn", "-c"])
            .arg(self.folder.path().join("isnsd.conf"))
            .stdout(Stdio::null());
        let mut process = Process::start(&mut command, self.folder.path(), "isnsd.log")?;
        let address = self.address;
        process.until("isnsd", |_| std::net::TcpStream::connect(address).is_ok())?;
        self.process = Some(process);
        Ok(())
    }

    /// Ends it, and with it all that it knows.
    fn lose(&mut self) -> Result<()> {
        self.process = None;
        std::fs::remove_dir_all(self.folder.path().join("database"))?;
        Ok(())
    }

    fn told(&self) -> String {
        self.process.as_ref().map(Process::told).unwrap_or_default()
    }

    /// What an administrator sees: `--list nodes`, `--list portals`.
    fn admin(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new("isnsadm");
        command
            .args(["--local", "-c"])
            .arg(self.folder.path().join("isnsadm.conf"))
            .args(words);
        Ok(run(&mut command, LIMIT)?.text)
    }

    fn knows(&self, what: &str) -> Result<bool> {
        Ok(self.admin(&["--list", "nodes"])?.contains(what))
    }

    /// Waits until it knows of a target, or does not any more.
    fn until_it_knows(&self, what: &str, known: bool) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while self.knows(what)? != known {
            ensure!(
                Instant::now() < end,
                "{what} known: {known}; {}",
                self.admin(&["--list", "nodes"])?
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

/// A daemon with one target, whose server is `isnsd`.
struct Site {
    folder: tempfile::TempDir,
    portal: SocketAddr,
    daemon: Process,
}

impl Site {
    fn start(isnsd: &Isnsd, settings: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let portal = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let desired = format!(
            r#"
[daemon]
isns = {{ server = "{}", entity = "{ENTITY}", {settings} }}

[[backstore]]
name = "disk"
type = "ram"
size = "16MiB"

[[target]]
name = "{DISK}"
alias = "disks"

[[target.tpg]]
tag = 7
portals = ["{portal}"]
generate_node_acls = true
luns = [{{ lun = 0, backstore = "disk" }}]
"#,
            isnsd.address
        );
        let daemon = daemon(folder.path(), &desired)?;
        Ok(Self {
            folder,
            portal,
            daemon,
        })
    }

    fn change(&self, words: &[&str]) -> Result<()> {
        succeed(&mut client(self.folder.path(), words)?, LIMIT)?;
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("daemon.log")
    }
}

fn logged(log: &Path, what: &str) -> bool {
    std::fs::read_to_string(log).is_ok_and(|text| text.contains(what))
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        ensure!(Instant::now() < end, "it does not come: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

#[test]
fn isnsd_is_told_of_targets_as_they_come_and_go() -> Result<()> {
    let isnsd = Isnsd::start()?;
    let mut site = Site::start(&isnsd, "esi_interval_s = 0")?;
    isnsd.until_it_knows(DISK, true)?;
    let nodes = isnsd.admin(&["--list", "nodes"])?;
    ensure!(
        nodes.contains("Target") && nodes.contains("disks"),
        "{nodes}"
    );
    let portals = isnsd.admin(&["--list", "portals"])?;
    ensure!(
        portals.contains(&site.portal.port().to_string()),
        "{portals}"
    );
    let groups = isnsd.admin(&["--list", "portal-groups"])?;
    ensure!(
        groups.contains(DISK) && groups.contains("tag = 7"),
        "{groups}"
    );

    let spare = format!("/targets/{SPARE}");
    let second = format!("127.0.0.1:{}", free_port()?);
    let tpg = format!("{spare}/tpgs/1");
    site.change(&["create", &spare])?;
    site.change(&["create", &tpg])?;
    ensure!(!isnsd.knows(SPARE)?, "nobody reaches it");
    site.change(&["create", &format!("{tpg}/portals/{second}")])?;
    isnsd.until_it_knows(SPARE, true)?;
    site.change(&["set", &spare, "isns=no"])?;
    isnsd.until_it_knows(SPARE, false)?;
    site.change(&["set", &spare, "isns=yes"])?;
    isnsd.until_it_knows(SPARE, true)?;
    site.change(&["disable", &tpg])?;
    isnsd.until_it_knows(SPARE, false)?;
    ensure!(isnsd.knows(DISK)?, "the other one stays");

    site.change(&["set", "/", "--default", "isns.server"])?;
    isnsd.until_it_knows(DISK, false)?;
    let server = format!("isns.server={}", isnsd.address);
    site.change(&["set", "/", &server])?;
    isnsd.until_it_knows(DISK, true)?;

    // A daemon that ends takes its registration back.
    let pid = Pid::from_child(&site.daemon.child);
    kill_process(pid, Signal::TERM)?;
    ensure!(
        site.daemon.child.wait()?.success(),
        "{}",
        site.daemon.told()
    );
    ensure!(!isnsd.knows(DISK)?, "it is still there");
    Ok(())
}

#[test]
fn isnsd_that_lost_everything_is_told_anew() -> Result<()> {
    let mut isnsd = Isnsd::start()?;
    let site = Site::start(&isnsd, "esi_interval_s = 0, period_s = 3")?;
    isnsd.until_it_knows(DISK, true)?;
    isnsd.lose()?;
    until("a failure", || logged(&site.log(), "no connection"))?;
    isnsd.run()?;
    isnsd.until_it_knows(DISK, true)?;
    // Somebody takes the target away: the server tells of that, or it is found at the next question after it.
    let mut remove = Command::new("isnsadm");
    remove
        .args(["--local", "-c"])
        .arg(isnsd.folder.path().join("isnsadm.conf"))
        .args(["--deregister", &format!("iscsi-name={DISK}")]);
    succeed(&mut remove, LIMIT)?;
    until("told anew", || logged(&site.log(), "forgotten"))?;
    isnsd.until_it_knows(DISK, true)
}

#[test]
fn isnsd_inquires_and_forgets_a_daemon_that_was_killed() -> Result<()> {
    let isnsd = Isnsd::start()?;
    let mut site = Site::start(&isnsd, "esi_interval_s = 1, period_s = 600")?;
    isnsd.until_it_knows(DISK, true)?;
    // Longer than it takes to be forgotten without an answer: see below.
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(12) {
        ensure!(isnsd.knows(DISK)?, "it was taken away: {}", isnsd.told());
        std::thread::sleep(Duration::from_millis(200));
    }
    site.daemon.child.kill()?;
    site.daemon.child.wait()?;
    isnsd.until_it_knows(DISK, false)
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}
